"""What a judge is asked: a text with fields, the verdicts it may reply, and what each is worth.

The templates below are meant to be read, and replaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Item = Mapping[str, str]

FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """What a judge is asked, and what it may reply.

    Attributes
    ----------
    text : str
        The question to the judge. ``{name}`` is replaced by the item's field of that name. Put what is judged between
        its own tags, as in ``<answer>{answer}</answer>``: then no text can close them, see :func:`fill`.
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
            )
        if len(self.verdicts) < 2 or len(set(self.verdicts)) < len(self.verdicts):
            raise ValueError(f"verdicts={self.verdicts!r}: a judge needs two or more different replies to choose from")
        if len(self.values) != len(self.verdicts) or not all(map(math.isfinite, self.values)):
            raise ValueError(f"values={self.values!r}: give one finite number for each of {self.verdicts!r}")

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order of first occurrence."""
        return tuple(dict.fromkeys(FIELD.findall(self.text)))


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

    Inside the texts, a space breaks the template's own tags, anything that begins with ``<|``, and the given special
    tokens, so that no text can close its tag or end its turn. Something that merely looks like a tag to the judge may
    remain.

    Parameters
    ----------
    template : Template
    item : mapping
        With a string for every field of the template.
    special : sequence of str
        The judge's special tokens, ``lm.tokenizer.all_special_tokens``.
    name : str
        How errors call the item.

    Raises
    ------
    TypeError, ValueError
        If the item is no mapping, lacks a field, or a field is not a string.
    """
    require_fields(item, template.fields, name)
    tags = "|".join(set(re.findall(r"</?(\w+)>", FIELD.sub("", template.text)))) or r"(?!)"
    tokens = "".join(f"|{re.escape(token)}" for token in sorted(special, key=len, reverse=True))
    dangerous = re.compile(rf"<(?=\s*/?\s*(?:{tags})\s*>)|<(?=\|){tokens}", re.IGNORECASE)

    def harmless(text: str) -> str:
        # Insert a space rather than delete a character: "<</answer>" must not turn into "</answer>".
        return dangerous.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    return FIELD.sub(lambda found: harmless(item[found[1]]), template.text)


def require_fields(item: Any, fields: Sequence[str], name: str) -> None:
    if not isinstance(item, Mapping):
        raise TypeError(f"{name} must be a mapping from field names to texts, not {type(item).__name__}")
    for field in fields:
        if field not in item:
            raise ValueError(f"{name} has no {field!r}, which is asked for: it has {', '.join(map(repr, item))}")
        if not isinstance(item[field], str):
            raise TypeError(f"{name}: {field!r} must be a string, not {type(item[field]).__name__}")
