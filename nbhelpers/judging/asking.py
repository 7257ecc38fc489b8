"""Ask a judge about items, or about pairs of answers in both orders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

from ..models import LanguageModel
from ..sampling import check_sampling
from ..servers import Endpoint
from ..warn import warn_caller
from .judges import Reading, Written, as_judge
from .parsing import parse_verdict, without_reasoning
from .templates import Item, Template, fill, require_fields
from .verdicts import PairVerdict, Verdict, from_log_probabilities

Read = Literal["probability", "text", "reasoned"]
Parser = Callable[[str, Sequence[str]], str | None]

CUT_REASONING = "the reasoning was cut off before a verdict: raise max_new_tokens"


def judge(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Parser | None = None,
    max_new_tokens: int = 16,
    draws: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
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
    read : "probability", "text" or "reasoned"
        "probability" compares the probabilities of the legal verdicts as the beginning of the judge's reply. A server
        must return log-probabilities for this; verdicts that it leaves out count as impossible.
        "text" lets the judge write, and looks for a verdict in what it wrote.
        "reasoned" lets the judge write greedily, looks for a verdict, and compares the probabilities of the legal
        verdicts at the place where the reply last states it.
    parse : callable, optional
        For "text" and "reasoned": from a reply and the legal verdicts to one of them, or None. By default
        :func:`parse_verdict`, which leaves out reasoning between ``<think>`` and ``</think>``.
    max_new_tokens : int
        For "text" and "reasoned": how much the judge may write. A judge that reasons first needs hundreds of tokens.
    draws : int
        For "text": how often each item is asked. With more than one, the verdict is the one given most often, None for
        a tie; `Verdict.draws` has all of them and `Verdict.flip_rate` how often two differ.
    temperature, seed
        For "text", as in :func:`nbhelpers.generate`. Several draws need a temperature above 0.
    chat_template_kwargs : mapping, optional
        For the chat template of a model in memory: ``{"enable_thinking": False}``.
    extra_body : mapping, optional
        For a server: further fields of each request, as in :func:`nbhelpers.complete`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Verdict
        In the order of the items. A reply that holds no verdict is a Verdict of None: count those. Where something else
        stood in the way of one item (a refusal, a filter, reasoning that was cut off, more probability outside of the
        verdicts than on them at a server), `Verdict.problem` says what, and one warning how often.

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

    A local model is scored on the verdict as the template spells it. From a server come likely tokens: " A" and "A"
    both count as "A", and a token that only begins a verdict is read to its end if the server's reply goes that way.
    Where too much probability is on tokens that could not be read to their end, there is no verdict.

    Zheng et al. (2023, MT-Bench); Liu et al. (2023, G-Eval).
    """
    if not isinstance(template, Template):
        raise TypeError(f"template must be a Template, not {type(template).__name__}")
    if read not in ("probability", "text", "reasoned"):
        raise ValueError(f"read={read!r} is unknown: give 'probability', 'text' or 'reasoned'")
    check_sampling(max_new_tokens, temperature, seed, ())
    _check_draws(draws, temperature, read)
    judge_model = as_judge(lm, chat_template_kwargs, extra_body)
    chats = _ask(template, items, examples, judge_model.control_tokens)

    def find(reply: str) -> str | None:
        return _checked((parse or parse_verdict)(reply, template.verdicts), template)

    if read == "text":
        rounds, warned = [], set()
        for draw in range(draws):
            written = judge_model.write(chats, max_new_tokens, temperature, int(seed) + draw, progress)
            rounds.append([_parsed(template, reply, find) for reply in written])
            warned |= {number for number, reply in enumerate(written) if reply.warned}
        verdicts = rounds[0] if draws == 1 else [_majority(template, of_one) for of_one in zip(*rounds, strict=True)]
    else:
        if read == "reasoned":
            readings = judge_model.weigh_after_reasoning(chats, template.verdicts, max_new_tokens, find, progress)
        else:
            readings = judge_model.weigh(chats, template.verdicts, progress)
        verdicts = [_weighed(template, reading) for reading in readings]
        warned = {number for number, reading in enumerate(readings) if reading.warned}
    _warn_of_problems(verdicts, warned)
    return verdicts


def _check_draws(draws: int, temperature: float, read: Read) -> None:
    if not isinstance(draws, Integral) or draws < 1:
        raise ValueError(f"draws={draws!r}: give how often each item is to be asked, 1 or more")
    if draws > 1 and (read != "text" or temperature == 0):
        raise ValueError(
            f"draws={draws} with read={read!r} and temperature={temperature}: every draw would be the same. Give "
            "read='text' and a temperature above 0, such as 0.7"
        )


def _ask(
    template: Template, items: Iterable[Item], examples: Sequence[tuple[Item, str]], control_tokens: Sequence[str]
) -> list[list[dict[str, str]]]:
    """The chat in which each item is judged, after the examples."""
    shown = []
    for number, (item, verdict) in enumerate(examples):
        if verdict not in template.verdicts:
            raise ValueError(f"example {number} has the verdict {verdict!r}: give one of {template.verdicts!r}")
        question = fill(template, item, control_tokens, f"example {number}")
        shown += [{"role": "user", "content": question}, {"role": "assistant", "content": verdict}]
    chats = []
    for number, item in enumerate(items):
        question = fill(template, item, control_tokens, f"item {number}")
        chats.append([*shown, {"role": "user", "content": question}])
    return chats


def _checked(verdict: str | None, template: Template) -> str | None:
    if verdict is not None and verdict not in template.verdicts:
        raise ValueError(f"parse returned {verdict!r}: return one of {template.verdicts!r}, or None")
    return verdict


def _parsed(template: Template, written: Written, find: Callable[[str], str | None]) -> Verdict:
    if written.text is None:
        return Verdict(None, None, None, problem=written.problem)
    verdict = find(written.text)
    value = None if verdict is None else _value(template, verdict)
    problem = CUT_REASONING if verdict is None and without_reasoning(written.text) is None else None
    return Verdict(verdict, value, value, reply=written.text, problem=problem)


def _weighed(template: Template, reading: Reading) -> Verdict:
    if reading.logprobs is not None:
        return replace(from_log_probabilities(template, reading.logprobs), reply=reading.reply)
    problem = reading.problem
    if problem is None and reading.reply is not None and without_reasoning(reading.reply) is None:
        problem = CUT_REASONING
    return Verdict(None, None, None, outside=reading.outside, reply=reading.reply, problem=problem)


def _majority(template: Template, draws: Sequence[Verdict]) -> Verdict:
    """The verdict of most draws; None where the most frequent ones tie, or no draw holds one."""
    given = tuple(draw.verdict for draw in draws)
    counts = Counter(verdict for verdict in given if verdict is not None).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        problem = next((draw.problem for draw in draws if draw.problem), None)
        return Verdict(None, None, None, reply=draws[0].reply, problem=problem, draws=given)
    values = [draw.value for draw in draws if draw.value is not None]
    score = math.fsum(values) / len(values)
    return Verdict(counts[0][0], _value(template, counts[0][0]), score, reply=draws[0].reply, draws=given)


def _value(template: Template, verdict: str) -> float:
    return float(template.values[template.verdicts.index(verdict)])


def _warn_of_problems(verdicts: Sequence[Verdict], warned: Set[int]) -> None:
    """Once per call: how many items have no verdict for a reason that nobody has reported yet, and the first reason."""
    without = [number for number, verdict in enumerate(verdicts) if verdict.problem and number not in warned]
    if without:
        warn_caller(
            f"{len(without)} of {len(verdicts)} items got no verdict; the first is item {without[0]}: "
            f"{verdicts[without[0]].problem}"
        )


def judge_pairs(
    lm: LanguageModel | Endpoint,
    template: Template,
    items: Iterable[Item],
    *,
    examples: Sequence[tuple[Item, str]] = (),
    read: Read = "probability",
    parse: Parser | None = None,
    max_new_tokens: int = 16,
    draws: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> list[PairVerdict]:
    """Ask a judge to compare two answers, shown in both orders, in one call.

    Parameters
    ----------
    items : iterable of mapping
        Each with the answers `first` and `second`, and whatever else the template asks for.
    lm, template, examples, read, parse, max_new_tokens, draws, temperature, seed, progress
        As for :func:`judge`, and so are `chat_template_kwargs` and `extra_body`.

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
        draws=draws,
        temperature=temperature,
        seed=seed,
        chat_template_kwargs=chat_template_kwargs,
        extra_body=extra_body,
        progress=progress,
    )
    return [PairVerdict(*both) for both in zip(verdicts[: len(items)], verdicts[len(items) :], strict=True)]
