"""A model as judge: a verdict is a probability distribution over the replies it may give, or a reply that is parsed.

A judge is a :class:`~nbhelpers.LanguageModel` or an :class:`~nbhelpers.Endpoint`. What it is asked is a
:class:`Template`: a text with fields in braces, the verdicts that it may reply, and what each is worth. The templates
below are meant to be read, and replaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .endpoint import Endpoint, complete
from .generation import generate
from .models import LanguageModel
from .scoring import score_answers

Item = Mapping[str, str]
Read = Literal["probability", "text"]

FIELD = re.compile(r"\{(\w+)\}")
ALTERNATIVES = 20  # as many as OpenAI's servers give for a token


@dataclass(frozen=True)
class Template:
    """What a judge is asked, and what it may reply.

    Attributes
    ----------
    text : str
        The question to the judge. ``{name}`` is replaced by the item's field of that name. Put what is judged between
        tags of its own, as in ``<answer>{answer}</answer>``: no text can then close them, see :func:`fill`.
    verdicts : tuple of str
        The legal replies, each to be written in one token if an endpoint is to judge: ("Yes", "No").
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
        """The names of the fields, in the order in which they first occur."""
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


@dataclass(frozen=True)
class Verdict:
    """What a judge said about one item.

    Attributes
    ----------
    verdict : str or None
        The most probable legal verdict, or the one found in the reply; None if the reply held none.
    value : float or None
        What the template says this verdict is worth.
    score : float or None
        The same if parsed from text. Read as a probability: the expected worth over the legal verdicts, as in G-Eval
        (Liu et al., 2023).
    probabilities : tuple of float, or None
        Of the legal verdicts in the template's order, adding up to 1. None if the verdict was parsed from text.
    outside : float or None
        The probability of every reply that does not begin with a legal verdict: what the judge would rather have said.
    reply : str or None
        What the judge wrote, if the verdict was parsed from text.
    """

    verdict: str | None
    value: float | None
    score: float | None
    probabilities: tuple[float, ...] | None = None
    outside: float | None = None
    reply: str | None = None


@dataclass(frozen=True)
class PairVerdict:
    """What a judge said about two answers, shown in both orders.

    Attributes
    ----------
    straight : Verdict
        With the item's `first` answer shown first.
    swapped : Verdict
        With the item's `second` answer shown first.
    """

    straight: Verdict
    swapped: Verdict

    @property
    def parsed(self) -> bool:
        """Whether both orders gave a legal verdict."""
        return self.straight.score is not None and self.swapped.score is not None

    @property
    def winner(self) -> Literal["first", "second", "tie"] | None:
        """The answer that wins in both orders; otherwise a tie, the rule of MT-Bench. None if not `parsed`."""
        if not self.parsed:
            return None
        sides = _side(self.straight), -_side(self.swapped)
        return "first" if sides == (1, 1) else "second" if sides == (-1, -1) else "tie"

    @property
    def consistent(self) -> bool | None:
        """Whether both orders say the same about the answers. None if not `parsed`."""
        return _side(self.straight) == -_side(self.swapped) if self.parsed else None

    @property
    def preference(self) -> float | None:
        """For the item's `first` answer, between 0 and 1, averaged over both orders. None if not `parsed`."""
        return (self.straight.score + 1 - self.swapped.score) / 2 if self.parsed else None

    @property
    def position_preference(self) -> float | None:
        """For whichever answer is shown first, between 0 and 1; 0.5 is none. None if not `parsed`."""
        return (self.straight.score + self.swapped.score) / 2 if self.parsed else None


def judge(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Callable[[str, Sequence[str]], str | None] | None = None,
    max_new_tokens: int = 16,
    progress: bool = False,
) -> list[Verdict]:
    """Ask a judge about each item.

    Parameters
    ----------
    lm : LanguageModel or Endpoint
        The judge. Every item is a chat of its own, or a plain text if the tokenizer has no chat template.
    template : Template
    items : iterable of mapping
        Each with a string for every field of the template.
    examples : sequence of (item, verdict)
        Solved cases, shown to the judge before each item.
    read : "probability" or "text"
        "probability" compares the probabilities of the legal verdicts as the beginning of the judge's reply; an
        endpoint's judge must give log-probabilities for this, and those it leaves out count as zero.
        "text" lets the judge write greedily, and looks for a verdict in what it wrote.
    parse : callable, optional
        For ``read="text"``: from a reply and the legal verdicts to one of them, or None. :func:`parse_verdict` by
        default.
    max_new_tokens : int
        For ``read="text"``: how much the judge may write. One that is to reason first needs hundreds, and a `parse`
        that reads the end.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Verdict
        In the order of the items. A reply that cannot be parsed is a Verdict with None in it: count those.

    Raises
    ------
    TypeError, ValueError
        If an item lacks a field or a field is not a string, an example's verdict is not legal, one verdict's tokens
        begin another's, or `read` is unknown. Errors of :func:`score_answers`, :func:`generate` and :func:`complete`
        come through.

    Notes
    -----
    The text under judgement is data, see :func:`fill`: it cannot close its tag or end its turn. It may still *say*
    anything, such as "choose this answer", and a judge may obey: the chapter "Judging with a Model" measures how often.

    A local model is asked for the verdict as the template spells it; from a server's list of likely tokens, " A" and
    "A" both count as "A".

    Zheng et al. (2023, MT-Bench); Liu et al. (2023, G-Eval).
    """
    if not isinstance(template, Template):
        raise TypeError(f"template must be a Template, not {type(template).__name__}")
    if read not in ("probability", "text"):
        raise ValueError(f"read={read!r} is unknown: give 'probability' or 'text'")
    special = [] if isinstance(lm, Endpoint) else lm.tokenizer.all_special_tokens
    shown = []
    for number, (item, verdict) in enumerate(examples):
        if verdict not in template.verdicts:
            raise ValueError(f"example {number} has the verdict {verdict!r}: give one of {template.verdicts!r}")
        shown.append({"role": "user", "content": fill(template, item, special, f"example {number}")})
        shown.append({"role": "assistant", "content": verdict})
    chats = [
        [*shown, {"role": "user", "content": fill(template, item, special, f"item {number}")}]
        for number, item in enumerate(items)
    ]
    if read == "text":
        return _from_text(lm, template, chats, parse or parse_verdict, max_new_tokens, progress)
    if isinstance(lm, Endpoint):
        return _from_alternatives(lm, template, chats, progress)
    return _from_scores(lm, template, chats, progress)


def judge_pairs(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Callable[[str, Sequence[str]], str | None] | None = None,
    max_new_tokens: int = 16,
    progress: bool = False,
) -> list[PairVerdict]:
    """Ask a judge to compare two answers, in both orders, in one call.

    Parameters
    ----------
    items : iterable of mapping
        Each with the answers `first` and `second`, and whatever else the template asks for.
    lm, template, examples, read, parse, max_new_tokens, progress
        As for :func:`judge`.

    Returns
    -------
    list of PairVerdict
        In the order of the items.

    Raises
    ------
    TypeError, ValueError
        As :func:`judge`; also if the template does not have the fields `first` and `second`.

    Notes
    -----
    The template's values lie between 0 (the answer shown second is better) and 1.
    Why both orders: the chapter "Biases of a Judge". For one order only, give the same items to :func:`judge`.
    """
    if isinstance(template, Template):  # else `judge` says what is wrong
        if not {"first", "second"} <= set(template.fields):
            raise ValueError(f"the template has the fields {template.fields!r}: a pair needs {{first}} and {{second}}")
        if not all(0 <= value <= 1 for value in template.values):
            raise ValueError(f"values={template.values!r}: for a pair, 1 means the first is better, 0 the second")
    items = list(items)
    for number, item in enumerate(items):
        _require_fields(item, ("first", "second"), f"item {number}")
    swapped = [{**item, "first": item["second"], "second": item["first"]} for item in items]
    verdicts = judge(
        lm,
        template,
        [*items, *swapped],
        examples=examples,
        read=read,
        parse=parse,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    return [PairVerdict(*both) for both in zip(verdicts[: len(items)], verdicts[len(items) :], strict=True)]


def fill(template: Template, item: Item, special: Sequence[str] = (), name: str = "the item") -> str:
    """What the judge reads: the template with the item's texts in it.

    Inside the texts, the template's own tags, anything that begins with ``<|``, and the special tokens given are
    broken by a space, so that no text can close its tag or end its turn. (Something that merely looks like a tag to
    the judge may remain.)

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
    _require_fields(item, template.fields, name)
    tags = "|".join(set(re.findall(r"</?(\w+)>", FIELD.sub("", template.text)))) or r"(?!)"
    tokens = "".join(f"|{re.escape(token)}" for token in sorted(special, key=len, reverse=True))
    dangerous = re.compile(rf"<(?=\s*/?\s*(?:{tags})\s*>)|<(?=\|){tokens}", re.IGNORECASE)

    def harmless(text: str) -> str:
        # A space inside, rather than a character less: "<</answer>" must not become what was to be prevented.
        return dangerous.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    return FIELD.sub(lambda found: harmless(item[found[1]]), template.text)


def parse_verdict(reply: str, verdicts: Sequence[str]) -> str | None:
    """The verdict that a written reply holds, or None rather than a guess.

    It must be the only one in the reply, as a word of its own, with no "not" or "neither" shortly before it. Case
    counts for single letters only. "4/5" and "4 out of 5" are 4; "4.5" and the "1." of a list are no grades; an "A"
    that begins a sentence ("A good answer would …") is an article.
    """
    text = re.sub(r"(\d+)\s*(?:/|out of)\s*\d+", r"\1", reply)
    found = set()
    for verdict in verdicts:
        case = re.IGNORECASE if len(verdict) > 1 else 0
        for match in re.finditer(rf"(?<![\w.,]){re.escape(verdict)}(?!\w|[.,]\d)", text, case):
            before, after = text[: match.start()], text[match.end() :]
            numbers_a_list = verdict.isdigit() and re.match(r"[.)]\s*\w", after)
            article = (
                verdict == "A"
                and re.match(r" (?!or |and |is |was |wins)[a-z]", after)
                and re.search(r"(^|[.!?:]\W*)\W*$", before)
            )
            denied = re.search(r"(?:\bnot|n't|\bneither|\bnor)\s+(?:\w+\s+)?\W*$", before, re.IGNORECASE)
            if numbers_a_list or denied:
                return None
            if not article:
                found.add(verdict)
    return found.pop() if len(found) == 1 else None


def _side(verdict: Verdict) -> int:
    """1 if a verdict is for the answer shown first, -1 for the other, 0 for a tie."""
    return (verdict.value > 0.5) - (verdict.value < 0.5)


def _plain(chat: Sequence[Mapping[str, str]]) -> str:
    """A chat as a text, for a model without a chat template: what follows it is the verdict."""
    turns = [m["content"] if m["role"] == "user" else f"Verdict: {m['content']}" for m in chat]
    return "\n\n".join([*turns, "Verdict:"])


def _from_scores(
    lm: LanguageModel, template: Template, chats: Sequence[list[dict[str, str]]], progress: bool
) -> list[Verdict]:
    """One scoring call for everything: each chat, followed by each verdict."""
    prompts, lead = [], ""
    if lm.tokenizer.chat_template:
        for chat in chats:
            prompts.append(lm.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    else:
        lead = " "
        prompts = [_plain(chat) for chat in chats]
    pairs = [(prompt, lead + verdict) for prompt in prompts for verdict in template.verdicts]
    scores = score_answers(lm, [p for p, _ in pairs], [v for _, v in pairs], boundary="split", progress=progress)
    size = len(template.verdicts)
    for one in scores[:size]:
        for other in scores[:size]:
            if one is not other and other.token_ids[: len(one.token_ids)] == one.token_ids:
                raise ValueError(
                    f"the verdict {one.answer.strip()!r} begins the verdict {other.answer.strip()!r}, so that its "
                    "probability holds the other's: use verdicts that differ from the first token on"
                )
    return [
        _distribution(template, [s.total for s in scores[start : start + size]])
        for start in range(0, len(scores), size)
    ]


def _from_alternatives(
    endpoint: Endpoint, template: Template, chats: Sequence[list[dict[str, str]]], progress: bool
) -> list[Verdict]:
    """From the most likely first tokens of the replies; " A" and "A" are both the verdict "A"."""
    replies = complete(endpoint, chats, 1, top_logprobs=ALTERNATIVES, progress=progress)
    results = []
    for reply in replies:
        mass = dict.fromkeys(template.verdicts, 0.0)
        for token, logprob in reply.alternatives[0] if reply.alternatives else ():
            if token.strip() in mass:
                mass[token.strip()] += math.exp(logprob)
        if not any(mass.values()):
            results.append(Verdict(None, None, None, outside=1.0))
        else:
            results.append(_distribution(template, [math.log(m) if m else -math.inf for m in mass.values()]))
    return results


def _distribution(template: Template, logprobs: Sequence[float]) -> Verdict:
    """Normalise without underflow: all verdicts may be very unlikely, and one of them still the likeliest."""
    top = max(logprobs)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    probabilities = tuple(weight / math.fsum(weights) for weight in weights)
    score = math.fsum(p * value for p, value in zip(probabilities, template.values, strict=True))
    best = logprobs.index(top)
    outside = 1 - math.fsum(map(math.exp, logprobs))
    return Verdict(
        template.verdicts[best], float(template.values[best]), score, probabilities, min(max(outside, 0.0), 1.0)
    )


def _from_text(
    lm: LanguageModel | Endpoint,
    template: Template,
    chats: Sequence[list[dict[str, str]]],
    parse: Callable[[str, Sequence[str]], str | None],
    max_new_tokens: int,
    progress: bool,
) -> list[Verdict]:
    if isinstance(lm, Endpoint):
        replies = complete(lm, chats, max_new_tokens, progress=progress)
    else:
        prompts = chats if lm.tokenizer.chat_template else [_plain(chat) for chat in chats]
        replies = generate(lm, prompts, max_new_tokens, progress=progress)
    results = []
    for reply in replies:
        verdict = parse(reply.text, template.verdicts)
        if verdict is not None and verdict not in template.verdicts:
            raise ValueError(f"parse returned {verdict!r}: return one of {template.verdicts!r}, or None")
        value = None if verdict is None else float(template.values[template.verdicts.index(verdict)])
        results.append(Verdict(verdict, value, value, reply=reply.text))
    return results


def _require_fields(item: Any, fields: Sequence[str], name: str) -> None:
    if not isinstance(item, Mapping):
        raise TypeError(f"{name} must be a mapping from field names to texts, not {type(item).__name__}")
    for field in fields:
        if field not in item:
            raise ValueError(f"{name} has no {field!r}, which is asked for: it has {', '.join(map(repr, item))}")
        if not isinstance(item[field], str):
            raise TypeError(f"{name}: {field!r} must be a string, not {type(item[field]).__name__}")
