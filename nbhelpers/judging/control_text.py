"""Texts that a judge, or its tokenizer, would read as the end of a field or of a turn, and how they are broken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

# The turn tokens of common chat formats that do not begin with "<|". Those of a model in memory are known besides.
TURN_TOKENS = tuple(
    """
    <s> </s> <bos> <eos> <pad> <unk> <sep> <cls> <mask> <eot> <eod> <eom> <eoh> <eoa> <sop> <eop> [gMASK] [sMASK]
    [INST] [/INST] <<SYS>> <</SYS>> [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS]
    [TOOL_RESULTS] [/TOOL_RESULTS] [THINK] [/THINK] [CLS] [SEP] [PAD] [BOS] [EOS] [UNK] [MASK]
    <start_of_turn> <end_of_turn> <turn|> <channel|> <end_of_utterance> <start_of_image> <end_of_image>
    <BOS_TOKEN> <EOS_TOKEN> <EOD> <PAD> <think> </think> <tool_call> </tool_call> <tool_response> </tool_response>
    <reserved_102> <reserved_103> <reserved_106> <reserved_107> <extra_id_0> <extra_id_1> <SPECIAL_10> <SPECIAL_11>
    <SPECIAL_12> [|system|] [|user|] [|assistant|] [|endofturn|] <seed:bos> <seed:eos> <seed:think> </seed:think>
    <fim_prefix> <fim_middle> <fim_suffix> <end_of_text> ]~b] ]~!b[ [e~[ <im_start> <im_end> <im_sep>
    """.split()  # noqa: SIM905
)
OPENS_A_TOKEN = re.compile(r"<\|")
OWN_TAG = re.compile(r"<(\s*+)/?\s*+([^\s<>/=\"'|]++)[^<>]*+>")
ANGLES = str.maketrans("‹›〈〉⟨⟩❮❯", "<><><><>")
ROUNDS = 10


@dataclass(frozen=True)
class Piece:
    """A part of the filled text: the template's own, or a field's."""

    text: str
    foreign: bool


def harmless(pieces: Sequence[Piece], special: Sequence[str]) -> str:
    """The pieces as one text, with a space in every control text that is not wholly the template's own.

    A space may make another token whole ("[INST]" becomes "[ INST]"), so the text is searched until nothing is found.
    """
    text = "".join(piece.text for piece in pieces)
    foreign = bytearray(b"".join(bytes([piece.foreign]) * len(piece.text) for piece in pieces))
    own = "\0".join("" if piece.foreign else piece.text for piece in pieces)
    tags = _tags(own.replace("\0", ""))
    tokens = _by_beginning(tuple(special))
    for _ in range(ROUNDS):
        places = _to_break(text, foreign, tags, tokens)
        if not places:
            return text
        text, foreign = _spaced(text, foreign, places)
    raise ValueError(
        f"special tokens that differ by spaces alone cannot be broken by spaces, and a text holds one: {text!r:.200}"
    )


def _to_break(
    text: str, foreign: bytearray, tags: re.Pattern[str] | None, tokens: dict[str, dict[int, set[str]]]
) -> list[int]:
    """Where a space must be put: a place inside every control text that is not wholly the template's."""
    folded, origins = _folded(text)
    places = set()
    for start, stop in _control_texts(folded, tags, tokens):
        first, last = origins[start], origins[stop - 1]
        if 1 not in foreign[first : last + 1]:
            continue
        inside = sorted({origin for origin in origins[start + 1 : stop] if origin > first})
        # Never between two characters of the template: its own tokens stay whole.
        place = next((p for p in inside if foreign[p] or foreign[p - 1]), None)
        if place is not None:
            places.add(place)
    return sorted(places)


def _control_texts(
    folded: str, tags: re.Pattern[str] | None, tokens: dict[str, dict[int, set[str]]]
) -> Iterable[tuple[int, int]]:
    """Beginning and end of every control text in a folded text; they may overlap."""
    for match in OPENS_A_TOKEN.finditer(folded):
        yield match.span()
    for match in tags.finditer(folded) if tags else ():
        yield match.span("tag")
    for place, character in enumerate(folded):
        for length, some in tokens.get(character, {}).items():
            if folded[place : place + length] in some:
                yield place, place + length


def _spaced(text: str, foreign: bytearray, places: Sequence[int]) -> tuple[str, bytearray]:
    texts, marks, end = [], bytearray(), 0
    for place in places:
        texts += [text[end:place], " "]
        marks += foreign[end:place] + b"\1"
        end = place
    return "".join([*texts, text[end:]]), marks + foreign[end:]


def _tags(own: str) -> re.Pattern[str] | None:
    """Finds the beginnings of the tags that the template itself holds.

    Where the template puts a space after "<", one more there breaks nothing, and the tag's name is broken instead.
    """
    names, spaced = set(), False
    for tag in OWN_TAG.finditer(own.translate(ANGLES)):
        names.add(re.escape(_folded(tag[2])[0]))
        spaced = spaced or tag[1] != ""
    names.discard("")
    if not names:
        return None
    name = rf"(?:{'|'.join(sorted(names, key=len, reverse=True))})(?![\w.:-])"
    return re.compile(rf"<\s*+/?\s*+(?P<tag>{name})" if spaced else rf"(?P<tag><(?:/\s*+)?{name})")


@lru_cache(maxsize=32)
def _by_beginning(special: tuple[str, ...]) -> dict[str, dict[int, set[str]]]:
    """Folded tokens by first character and length: a tokenizer may have thousands of them."""
    found: dict[str, dict[int, set[str]]] = {}
    for token in (*TURN_TOKENS, *special):
        folded = _folded(token)[0].strip()
        if len(folded) > 1:
            found.setdefault(folded[0], {}).setdefault(len(folded), set()).add(folded)
    return found


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """The text as the most tolerant tokenizer reads it, and where each of its characters stood.

    Without case, accents, widths and invisible characters: tokenizers may normalise before they look for their tokens.
    """
    if text.isascii() and (text.isprintable() or not re.search(r"[^\n\t -~]", text)):
        return text.lower(), range(len(text))
    folded, origins = [], []
    for place, character in enumerate(text.translate(ANGLES)):
        for part in unicodedata.normalize("NFKD", character).casefold():
            if part in "\n\t\r" or unicodedata.category(part) not in ("Cc", "Cf", "Mn", "Me"):
                folded.append(part)
                origins.append(place)
    return "".join(folded), origins
