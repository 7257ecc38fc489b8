"""JSON objects in a reply, and the verdict that one holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from . import verdict_words as words
from .legal_verdicts import Legal

OBJECTS = 20  # places at which an object is tried


def json_objects(text: str) -> tuple[str, list[tuple[bool, Any]]]:
    """The text without the JSON objects that begin or end it, and those objects: (begins, value)."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_doubles)
    bare = re.sub(r"^[ \t]{0,8}```[ \t]?(?:json)?[ \t]?$", "", text, flags=re.MULTILINE | re.IGNORECASE)
    found, start, outside = [], bare.find("{"), ""
    end = 0
    for _ in range(OBJECTS):
        if start < 0:
            break
        try:
            value, stop = decoder.raw_decode(bare, start)
        except (ValueError, RecursionError):
            start = bare.find("{", start + 1)
            continue
        begins = not (outside + bare[end:start]).strip("[ \n\t")
        ends = not bare[stop:].strip("] \n\t")
        before = bare[end:start].rstrip()
        told = before.endswith(":") and any(w in words.REPORTS for w in re.findall(r"\w+", before.casefold()[-200:]))
        outside += bare[end:start]
        if value and (begins or (ends and not told)):
            found.append((begins, value))
        outside += "\n"
        end, start = stop, bare.find("{", stop)
    return (outside + bare[end:] if end else text), found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def verdict_of(value: Any, legal: Legal, read: Callable[[str], str | None]) -> str | None:
    """The verdict under the keys that may hold one. Without such a key None, and "" if they hold anything else."""
    if not isinstance(value, dict):
        return None
    found: set[str] = set()
    for key, content in value.items():
        parts = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", key).casefold())
        number = content if isinstance(content, (int, float)) and not isinstance(content, bool) else None
        if legal.top is not None and number is not None and {"max", "maximum", "scale", "top"} & set(parts):
            if number != legal.top:
                return ""
            continue
        if isinstance(content, dict):
            inner = verdict_of(content, legal, read)
            if inner is not None:
                found.add(inner)
        if not parts or not set(parts) & words.LABEL_KEYS or not set(parts) <= words.KEY_MODIFIERS:
            continue
        if isinstance(content, str):
            if len(content) > 60:
                continue
            got = read(content)
            if got is None and set(parts) <= {"answer", "result", "evaluation", "label"}:
                continue
            found.add(got or "")
        elif number is not None:
            if legal.top is not None:
                found.add(read(f"{number:g}" if abs(number) < 1e6 else "") or "")
        elif isinstance(content, (list, bool)) or content is None:
            found.add("")
    return found.pop() if len(found) == 1 else ("" if found else None)
