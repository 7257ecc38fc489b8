"""A model as judge: a verdict is a probability distribution over the replies it may give, or a reply that is parsed.

A judge is a :class:`~nbhelpers.LanguageModel` or an :class:`~nbhelpers.Endpoint`. What it is asked is a
:class:`~nbhelpers.Template`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from .judges import as_judge
from .models import LanguageModel
from .parsing import parse_verdict
from .servers import Endpoint
from .templates import (
    PAIR,
    PAIR_OR_TIE,
    PAIR_REFERENCE,
    RUBRIC,
    YES_NO,
    YES_NO_REFERENCE,
    Item,
    Template,
    fill,
    require_fields,
)
from .verdicts import PairVerdict, Verdict, from_log_probabilities

# The templates, `fill` and the types are part of this module's interface: `judging.YES_NO`.
__all__ = [
    "PAIR",
    "PAIR_OR_TIE",
    "PAIR_REFERENCE",
    "RUBRIC",
    "YES_NO",
    "YES_NO_REFERENCE",
    "PairVerdict",
    "Template",
    "Verdict",
    "fill",
    "judge",
    "judge_pairs",
    "parse_verdict",
]

Read = Literal["probability", "text"]
Parser = Callable[[str, Sequence[str]], str | None]


def judge(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Parser | None = None,
    max_new_tokens: int = 16,
    progress: bool = False,
) -> list[Verdict]:
    """Ask a judge about each item.

    Parameters
    ----------
    lm : LanguageModel or Endpoint
        The judge. It reads every item in a chat of its own, or as plain text if the tokenizer has no chat template.
    template : Template
    items : iterable of mapping
        Each with a string for every field of the template.
    examples : sequence of (item, verdict)
        Solved cases, shown to the judge before each item.
    read : "probability" or "text"
        "probability" compares the probabilities of the legal verdicts as the beginning of the judge's reply. A server
        must return log-probabilities for this; verdicts that it leaves out count as impossible.
        "text" lets the judge write greedily, and looks for a verdict in what it wrote.
    parse : callable, optional
        For ``read="text"``: from a reply and the legal verdicts to one of them, or None. By default
        :func:`parse_verdict`.
    max_new_tokens : int
        For ``read="text"``: how much the judge may write. A judge that reasons first needs hundreds of tokens, and a
        `parse` that reads the end.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Verdict
        In the order of the items. A reply that cannot be parsed is a Verdict of None: count those.

    Raises
    ------
    TypeError, ValueError
        If an item lacks a field or a field is not a string, an example's verdict is not legal, one verdict's tokens
        begin another's, or `read` is unknown. Errors of :func:`score_answers`, :func:`generate` and :func:`complete`
        come through.

    Notes
    -----
    The text under judgement is data, see :func:`fill`: it cannot close its tag or end its turn. It may still *say*
    anything, such as "choose this answer", and a judge may obey. The chapter "Judging with a Model" measures how often.

    A local model is scored on the verdict as the template spells it. In a server's list of likely tokens, " A" and "A"
    both count as "A".

    Zheng et al. (2023, MT-Bench); Liu et al. (2023, G-Eval).
    """
    if not isinstance(template, Template):
        raise TypeError(f"template must be a Template, not {type(template).__name__}")
    if read not in ("probability", "text"):
        raise ValueError(f"read={read!r} is unknown: give 'probability' or 'text'")
    judge_model = as_judge(lm)
    shown = []
    for number, (item, verdict) in enumerate(examples):
        if verdict not in template.verdicts:
            raise ValueError(f"example {number} has the verdict {verdict!r}: give one of {template.verdicts!r}")
        question = fill(template, item, judge_model.control_tokens, f"example {number}")
        shown += [{"role": "user", "content": question}, {"role": "assistant", "content": verdict}]
    chats = []
    for number, item in enumerate(items):
        question = fill(template, item, judge_model.control_tokens, f"item {number}")
        chats.append([*shown, {"role": "user", "content": question}])
    if read == "text":
        replies = judge_model.write(chats, max_new_tokens, progress)
        return [_parsed(template, reply, parse or parse_verdict) for reply in replies]
    logprobs = judge_model.verdict_log_probabilities(chats, template.verdicts, progress)
    return [from_log_probabilities(template, of_one) for of_one in logprobs]


def _parsed(template: Template, reply: str, parse: Parser) -> Verdict:
    verdict = parse(reply, template.verdicts)
    if verdict is None:
        return Verdict(None, None, None, reply=reply)
    if verdict not in template.verdicts:
        raise ValueError(f"parse returned {verdict!r}: return one of {template.verdicts!r}, or None")
    value = float(template.values[template.verdicts.index(verdict)])
    return Verdict(verdict, value, value, reply=reply)


def judge_pairs(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Parser | None = None,
    max_new_tokens: int = 16,
    progress: bool = False,
) -> list[PairVerdict]:
    """Ask a judge to compare two answers, shown in both orders, in one call.

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
    The template's values lie between 0 (the answer shown second is better) and 1 (the first is). Why both orders are
    needed: see the chapter "Biases of a Judge". For one order only, give the same items to :func:`judge`.
    """
    if isinstance(template, Template):  # else `judge` says what is wrong
        if not {"first", "second"} <= set(template.fields):
            raise ValueError(f"the template has the fields {template.fields!r}: a pair needs {{first}} and {{second}}")
        if not all(0 <= value <= 1 for value in template.values):
            raise ValueError(f"values={template.values!r}: for a pair, 1 means the first is better, 0 the second")
    items = list(items)
    for number, item in enumerate(items):
        require_fields(item, ("first", "second"), f"item {number}")
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
