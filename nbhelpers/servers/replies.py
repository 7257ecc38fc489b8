"""The cache of replies on disk: one JSON file per request, which holds the request and the server's own words."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .reading import Failure, Reply, read_reply


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal. Lone surrogates, halves of a character, are allowed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def open_folder(cache: str | Path | None) -> Path | None:
    """The folder `cache`, made if it is missing; None if nothing is to be kept."""
    if cache is None:
        return None
    folder = Path(cache).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {folder} for replies ({error}): give cache another path") from None
    return folder


def save_reply(folder: Path | None, name: str, request: Mapping[str, Any], body: Any) -> None:
    """Write the request and the server's JSON to a file that appears whole or not at all."""
    if folder is None:
        return
    record = {"sha256": digest([request, body]), "request": request, "reply": body}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        building = Path(scratch, "reply.json")
        building.write_bytes(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        os.replace(building, folder / f"{name}.json")


def load_reply(folder: Path | None, name: str, request: Mapping[str, Any]) -> Reply | None:
    """The kept reply; None if there is none, or if the file is damaged or belongs to another request."""
    if folder is None:
        return None
    try:
        record = json.loads((folder / f"{name}.json").read_bytes().decode("utf-8", "surrogatepass"))
        if record["request"] != request or record["sha256"] != digest([request, record["reply"]]):
            return None
        return replace(read_reply(record["reply"], request), cached=True)
    except (OSError, ValueError, KeyError, TypeError, Failure):
        return None
