"""Which characters of a text each of a server's tokens covers, from what the tokens themselves spell.

A server may count characters of its own (vLLM 0.32 counts the letters of a BOS token as if they stood in the text), so
its offsets are not used. The spelled tokens must join to the text. One character may be spread over several tokens;
vLLM then spells nothing for all of them but the last, which gets the whole character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .reading import Failure

PART = "\ufffd"  # what stands for a part of a character


@dataclass(frozen=True)
class Alignment:
    """Tokens, and what they cover.

    Attributes
    ----------
    spans : tuple of (int, int)
        For each token, the characters ``text[start:end]`` that it holds, or holds a part of.
    tokens : tuple of str
        The same as text. A part of a character shows as U+FFFD.
    unclear : tuple of (int, int)
        Where several characters are spread over several tokens in a way that the spelling does not show. Their tokens
        all have this span.
    """

    spans: tuple[tuple[int, int], ...]
    tokens: tuple[str, ...]
    unclear: tuple[tuple[int, int], ...]


def align(text: str, pieces: Sequence[str | None]) -> Alignment:
    """The tokens of a text with the characters that they cover; a `Failure` if they do not join to the text.

    The first piece may be None, where the server does not spell the token that nothing precedes: it is what the others
    leave of the text.
    """
    if pieces and pieces[0] is None:
        rest = "".join(piece or "" for piece in pieces[1:])
        pieces = [text[: len(text) - len(rest)] if text.endswith(rest) else "", *pieces[1:]]
    pieces = ["" if piece is None else piece for piece in pieces]
    joined = "".join(pieces)
    if joined == f" {text}":  # SentencePiece puts a space before every text
        number = next(number for number, piece in enumerate(pieces) if piece)
        pieces[number] = pieces[number][1:]
    elif joined != text:
        raise Failure(
            f"the server's tokens read {joined[-60:]!r}, which is not the text (it ends in {text[-60:]!r}): their "
            "characters cannot be told. A character that the tokenizer drops or replaces may be the reason"
        )
    spans, tokens, unclear, silent, begin = [], [], [], 0, 0
    for piece in pieces:
        if not piece:
            silent += 1
            continue
        if not silent:
            spans.append((begin, begin + len(piece)))
            tokens.append(piece)
        else:
            group = _spread_over(piece, begin, silent)
            if group is None:
                unclear.append((begin, begin + len(piece)))
                group = [(begin, begin + len(piece), piece)] * (silent + 1)
            spans += [(start, end) for start, end, _ in group]
            tokens += [token for _, _, token in group]
        begin, silent = begin + len(piece), 0
    spans += [(begin, begin)] * silent
    return Alignment(tuple(spans), tuple(tokens + [""] * silent), tuple(unclear))


def _spread_over(piece: str, begin: int, silent: int) -> list[tuple[int, int, str]] | None:
    """Spans and texts of `silent` tokens that spell nothing and the one after them, which spells `piece`.

    Each silent one ends inside a character of several bytes. If the piece has just one such character, it is that, and
    all that stands before it belongs to the first. None if it has several.
    """
    wide = [place for place, character in enumerate(piece) if not character.isascii()]
    if not wide:  # tokens without text
        return [(begin, begin, "")] * silent + [(begin, begin + len(piece), piece)]
    if len(wide) > 1:
        return None
    at, end = wide[0], begin + len(piece)
    first = (begin, begin + at + 1, piece[:at] + PART)
    inner = (begin + at, begin + at + 1, PART)
    return [first, *[inner] * (silent - 1), (begin + at, end, PART + piece[at + 1 :])]
