"""What an error of another library says, in a form that fits into one sentence of ours."""

from __future__ import annotations

LONGEST = 300  # characters


def one_line(text: object, longest: int = LONGEST) -> str:
    """`text` without line breaks and control characters, cut to `longest` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)[: 10 * longest]).split())
    return line if len(line) <= longest else line[: longest - 4] + " ..."


def reason(error: BaseException) -> str:
    """Why something failed, in the words of `error`."""
    said = one_line(getattr(error, "strerror", None) or error)
    return said if " " in said else f"{type(error).__name__}: {said}"  # a KeyError says nothing but a key
