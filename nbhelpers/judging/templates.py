"""What a judge is asked: a text with fields, the verdicts it may reply, and what each is worth.

The templates below are meant to be read, and replaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .control_text import Piece, harmless

Item = Mapping[str, str]

# A brace before "{name}", a doubled brace, or a field.
BRACES = re.compile(r"\{(?=\{\w+\}(?!\}))|\{\{|\}\}|\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """What a judge is asked, and what it may reply.

    Attributes
    ----------
    text : str
        The question to the judge. ``{name}`` is replaced by the item's field of that name. A pair ``{{`` and ``}}``
        means the braces themselves, as in ``str.format``: ``\\boxed{{answer}}`` asks for ``\\boxed{answer}``. Other
        braces mean themselves as well, so JSON may be written as it is, unless a name stands alone in braces. Put what
        is judged between its own tags, as in ``<answer>{answer}</answer>``: then no text can close them, see
        :func:`fill`.
    verdicts : tuple of str
        The legal replies: ("Yes", "No"). Each must be a single token if an endpoint is to judge.
    values : tuple of float
        What each verdict is worth. For a pair: 1 for the answer shown first, 0 for the second, 0.5 for a tie.

    Raises
    ------
    TypeError, ValueError
        If `text` has no field, or the verdicts are fewer than two, not distinct, or not as many as the values.
    """

    text: str
    verdicts: tuple[str, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if isinstance(self.verdicts, str) or not all(
            isinstance(v, str) and v.strip() == v != "" for v in self.verdicts
        ):
            raise TypeError(f"verdicts={self.verdicts!r}: give a tuple of words without spaces around them")
        if not isinstance(self.text, str) or not self.fields:
            raise ValueError(
                f"the template's text must hold a field such as {{answer}}, and this has none: {self.text!r:.80}"
                + (". In {{name}} the doubled braces are literal: write {name}" if "{{" in str(self.text) else "")
            )
        if len(self.verdicts) < 2 or len(set(self.verdicts)) < len(self.verdicts):
            raise ValueError(f"verdicts={self.verdicts!r}: a judge needs two or more different replies to choose from")
        if len(self.values) != len(self.verdicts) or not all(map(math.isfinite, self.values)):
            raise ValueError(f"values={self.values!r}: give one finite number for each of {self.verdicts!r}")

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order of first occurrence."""
        return tuple(dict.fromkeys(piece for piece, is_field in _pieces(self.text) if is_field))


@lru_cache(maxsize=128)
def _pieces(text: str) -> tuple[tuple[str, bool], ...]:
    """A template's text as literal texts and names of fields, in order: (text or name, whether a field).

    ``{{`` and ``}}`` count as a pair only. Alone they are what they are: nested JSON may end in ``}}``.
    """
    found = list(BRACES.finditer(text))
    opened: list[int] = []
    literal: set[int] = set()
    for number, match in enumerate(found):
        if match[0] == "{{":
            opened.append(number)
        elif match[0] == "}}" and opened:
            literal |= {number, opened.pop()}
    pieces: list[tuple[str, bool]] = []
    written, end = "", 0
    for number, match in enumerate(found):
        written += text[end : match.start()]
        end = match.end()
        if match[1]:
            pieces += [(written, False), (match[1], True)]
            written = ""
        else:
            written += match[0][0] if number in literal else match[0]
    return (*pieces, (written + text[end:], False))


YES_NO = Template(
    "<question>{question}</question>\n<answer>{answer}</answer>\n"
    "Is the answer a good and correct answer to the question? Reply with Yes or No only.",
    ("Yes", "No"),
    (1, 0),
)
YES_NO_REFERENCE = Template(
    "<question>{question}</question>\n<correct>{reference}</correct>\n<answer>{answer}</answer>\n"
    "Does the answer agree with the correct one, and is it well put? Reply with Yes or No only.",
    ("Yes", "No"),
    (1, 0),
)
RUBRIC = Template(
    "<question>{question}</question>\n<answer>{answer}</answer>\n"
    "Grade the answer from 1 to 5.\n"
    "1: wrong or beside the point. 2: mostly wrong. 3: partly right, or hard to understand. "
    "4: right, with small faults. 5: right, complete and clear.\n"
    "Reply with the number only.",
    ("1", "2", "3", "4", "5"),
    (1, 2, 3, 4, 5),
)
PAIR = Template(
    "<question>{question}</question>\n<answer_a>{first}</answer_a>\n<answer_b>{second}</answer_b>\n"
    "Which answer is better, A or B? Reply with the letter only.",
    ("A", "B"),
    (1, 0),
)
PAIR_OR_TIE = Template(
    "<question>{question}</question>\n<answer_a>{first}</answer_a>\n<answer_b>{second}</answer_b>\n"
    "Which answer is better, A or B? If they are equally good, say C. Reply with the letter only.",
    ("A", "B", "C"),
    (1, 0, 0.5),
)
PAIR_REFERENCE = Template(
    "<question>{question}</question>\n<correct>{reference}</correct>\n"
    "<answer_a>{first}</answer_a>\n<answer_b>{second}</answer_b>\n"
    "Which answer agrees better with the correct one, A or B? Reply with the letter only.",
    ("A", "B"),
    (1, 0),
)


def fill(template: Template, item: Item, special: Sequence[str] = (), name: str = "the item") -> str:
    """What the judge reads: the template with the item's texts in it.

    A space breaks what would let a text close its tag or end its turn: the template's own tags, with attributes or
    without; the given special tokens; all that begins with ``<|``; and the turn tokens of common chat formats, such as
    ``</s>``, ``[INST]`` and ``<end_of_turn>``. They are found in the filled text as a whole, so that two fields side by
    side cannot make one, in any case, and in full-width letters or with invisible characters between. What the template
    itself holds stays as it is. Nothing is lost: without spaces, the texts are what they were.

    Parameters
    ----------
    template : Template
    item : mapping
        With a string for every field of the template.
    special : sequence of str
        What the judge reads as special tokens: the texts of ``lm.tokenizer.added_tokens_decoder``. Tokens of one
        character or of white space alone are left, since no space can break them.
    name : str
        How errors call the item.

    Raises
    ------
    TypeError, ValueError
        If the item is no mapping, lacks a field, or a field is not a string.

    Notes
    -----
    What is *not* prevented: a judge may take for a tag what merely looks like one (``< /answer>``, look-alike letters,
    an HTML entity); roles in plain words ("USER:", "### Response:") stay, and so do other fences than tags, such as
    three backticks or "[End of Answer]"; a field inside a tag (``<answer lang="{lang}">``) can close this tag. The
    tokens of a server's model are known only as far as they are common. A text may say anything, and a judge may obey.
    """
    require_fields(item, template.fields, name)
    pieces = [Piece(item[text], True) if is_field else Piece(text, False) for text, is_field in _pieces(template.text)]
    return harmless(pieces, special)


def require_fields(item: Any, fields: Sequence[str], name: str) -> None:
    if not isinstance(item, Mapping):
        raise TypeError(f"{name} must be a mapping from field names to texts, not {type(item).__name__}")
    for field in fields:
        if field not in item:
            raise ValueError(f"{name} has no {field!r}, which is asked for: it has {', '.join(map(repr, item))}")
        if not isinstance(item[field], str):
            raise TypeError(f"{name}: {field!r} must be a string, not {type(item[field]).__name__}")
