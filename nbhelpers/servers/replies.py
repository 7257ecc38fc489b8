"""The cache of replies on disk: one JSON file per request, which holds the request and the server's own words.

The folder is private to its owner, the files are too, and what does not look like one of ours is neither opened nor
removed. Reading needs no right to write.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

from .reading import DEEPEST, parse_json
from .services import Result, Service

PRIVATE_FOLDER, PRIVATE_FILE, OTHERS = 0o700, 0o600, 0o077  # OTHERS: the bits that let other users in
LARGEST_FILE = 128 * 2**20  # bytes
STALE = 3600.0  # seconds after which an unfinished file belongs to a process that was killed

_REPLY = re.compile(r"[\da-f]{64}\.json")
_UNFINISHED = re.compile(r"tmp\w{8}(\.part)?")  # without .part: a folder, as earlier versions made them


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal. Lone surrogates, halves of a character, are allowed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def open_folder(cache: str | Path | None) -> Path | None:
    """The folder `cache`, made if it is missing; None if nothing is to be kept.

    If it is ours and holds nothing but replies, other users lose access to it. What killed processes left is removed.
    """
    if cache is None:
        return None
    try:
        folder = Path(cache).expanduser()
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the name; RuntimeError: no home
        raise OSError(f"cannot make the folder {cache} for replies ({error}): give cache another path") from None
    with suppress(OSError):  # a folder that we may only read will do, too
        _tidy(folder)
    return folder


def _tidy(folder: Path) -> None:
    with os.scandir(folder) as entries:
        others = [entry.name for entry in entries if not _REPLY.fullmatch(entry.name)]
    for name in filter(_UNFINISHED.fullmatch, others):
        with suppress(OSError):
            _remove_if_stale(folder / name)
    state = folder.stat()
    shared = state.st_mode & stat.S_ISGID  # somebody made it for a group, on purpose
    only_replies = all(map(_UNFINISHED.fullmatch, others))
    if only_replies and not shared and state.st_mode & OTHERS and _is_ours(state):
        folder.chmod(PRIVATE_FOLDER)


def _remove_if_stale(path: Path) -> None:
    """Remove an unfinished file, or a folder with nothing else in it, that is ours and an hour old."""
    state = path.lstat()
    if not _is_ours(state) or time() - state.st_mtime < STALE:
        return
    if stat.S_ISREG(state.st_mode):
        path.unlink()
    elif stat.S_ISDIR(state.st_mode) and {entry.name for entry in path.iterdir()} <= {"reply.json"}:
        with suppress(FileNotFoundError):
            (path / "reply.json").unlink()
        path.rmdir()


def require_room(folder: Path | None) -> None:
    """A clear error, before anything is asked and paid for, if the folder cannot take replies."""
    if folder is None:
        return
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder} for replies ({error}): give cache another path") from None


def save_reply(
    folder: Path | None,
    name: str,
    request: Mapping[str, Any],
    body: Any,
    refused: bool = False,
    indent: int | None = 1,
) -> None:
    """Write the request and the server's JSON to a file that appears whole or not at all."""
    if folder is None:
        return
    signed = [request, body, "refused"] if refused else [request, body]
    record = {"sha256": digest(signed), "request": request, "reply": body} | ({"refused": True} if refused else {})
    content = json.dumps(record, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(content) > LARGEST_FILE:  # lists of numbers grow by the indentation
        content = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
    handle, building = tempfile.mkstemp(dir=folder, prefix="tmp", suffix=".part")  # private from the start
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(building, folder / f"{name}.json")
    except BaseException:
        with suppress(OSError):
            os.unlink(building)
        raise


def load_reply(folder: Path | None, name: str, request: Mapping[str, Any], service: Service[Result]) -> Result | None:
    """The kept reply; None if there is none, or if the file is damaged, or belongs to another request."""
    if folder is None:
        return None
    try:
        record = parse_json(_read_file(folder / f"{name}.json"), DEEPEST + 4)
        refused = record.get("refused", False)
        signed = [request, record["reply"], "refused"] if refused else [request, record["reply"]]
        if record["request"] != request or record["sha256"] != digest(signed):
            return None
        reply = service.refused(record["reply"]) if refused else service.read(record["reply"], request)
        return replace(reply, cached=True)
    except (IsADirectoryError, MemoryError):
        raise
    except Exception:  # whatever stands there, the server can be asked again
        return None


def _read_file(path: Path) -> bytes:
    """The content of a regular file. A link is not followed, and a pipe or a device is not waited for."""
    flags = (getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))  # Windows lacks them
    handle = os.open(path, os.O_RDONLY | sum(flags))
    try:
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(f"{path} is a folder, and a reply should be kept there: remove it")
        if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST_FILE:
            raise OSError(f"{path} is no reply")
        if state.st_mode & OTHERS and _is_ours(state):
            with suppress(OSError):
                os.fchmod(handle, PRIVATE_FILE)
        with open(handle, "rb", closefd=False) as file:
            return file.read(LARGEST_FILE)
    finally:
        os.close(handle)


def _is_ours(state: os.stat_result) -> bool:
    """Whether this user owns a file. Where files have no owner in this sense, nothing is changed."""
    return hasattr(os, "getuid") and state.st_uid == os.getuid()
