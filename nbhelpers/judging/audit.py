"""What pushes a judge that has nothing to do with the answers: place, label, length, its own hand."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..models import LanguageModel
from ..servers import Endpoint
from ..statistics import Interval, wilson_interval
from ..statistics.checks import groups as cluster_codes
from ..statistics.intervals import interval_around, mean_and_error
from .asking import judge_pairs
from .templates import PAIR, Item, Template, require_fields
from .verdicts import PairVerdict

LEAST = 10  # items; even so, the interval of a share may reach .3 to either side

# Words that say nothing, around an answer.
PADDING = (
    "That is a good question, and many people ask it. {answer} I hope that this helps, and there is of course much "
    "more that one could say about it."
)


def _form(first: str, second: str, named: str) -> Template:
    """The template PAIR with the labels in another place, and the closing question naming them in another order."""
    return Template(
        f"<question>{{question}}</question>\n<answer_{first.lower()}>{{first}}</answer_{first.lower()}>\n"
        f"<answer_{second.lower()}>{{second}}</answer_{second.lower()}>\n"
        f"Which answer is better, {named}? Reply with the letter only.",
        (first, second),
        (1, 0),
    )


# PAIR in four forms: either label first, and either label named first.
PAIR_FORMS = (PAIR, _form("A", "B", "B or A"), _form("B", "A", "A or B"), _form("B", "A", "B or A"))


@dataclass(frozen=True)
class Bias:
    """How much a judge likes an answer for something that is no merit.

    Attributes
    ----------
    name : str
        What the answer is: "shown first", "called A", "named first", "padded", "its own". Several in one name were
        always together, so that this audit cannot tell them apart.
    preference : Interval or None
        For such answers, from 0 to 1; 0.5 is no bias. A 95% interval over items. None if fewer than two items (or
        clusters) could be read.
    n : int
        Items in the interval.
    unread : int
        Items left out, because one of their verdicts could not be read.
    """

    name: str
    preference: Interval | None
    n: int
    unread: int

    def __str__(self) -> str:
        size = self.preference
        if size is None:
            finding = "not measured"
        else:
            finding = "liked" if size.low > 0.5 else "disliked" if size.high < 0.5 else "undecided"
        return f"{self.name:34} {size!s:20} {self.n:5} {self.unread:7}  {finding}"


@dataclass(frozen=True)
class JudgeAudit:
    """The biases of a judge. Printed, it is a table.

    Attributes
    ----------
    judge : str
        The model's name.
    items, asked, unread : int
        Items given, verdicts asked for, and those that could not be read.
    biases : tuple of Bias
    consistent : Interval or None
        In what share of pairs the answer that wins is the same in both orders, with the first template; 1 is best.
        None if no pair could be read.
    own_words : tuple of float, or None
        The mean number of words of the judge's own answers and of the others.
    verdicts : tuple of tuple of PairVerdict
        The pairs as judged with each template, in the order of the templates and of the items.
    """

    judge: str
    items: int
    asked: int
    unread: int
    biases: tuple[Bias, ...]
    consistent: Interval | None
    own_words: tuple[float, float] | None
    verdicts: tuple[tuple[PairVerdict, ...], ...] = field(repr=False)

    def __str__(self) -> str:
        lines = [
            f"{self.judge}: {self.items} items, {self.asked} verdicts asked for, {self.unread} not read",
            f"{'preference for an answer that is':34} {'(0.5: no bias)':20} items  unread",
            *map(str, self.biases),
            f"{'same winner in both orders':34} {self.consistent!s:20} (1 is best)",
        ]
        if self.own_words is not None:
            own, other = self.own_words
            lines.append(f"words in its own answers {own:.0f}, in the others {other:.0f}")
        return "\n".join(lines)


def judge_audit(
    lm: LanguageModel | Endpoint,
    items: Iterable[Item],
    templates: Template | Sequence[Template] | None = None,
    *,
    padding: str | None = PADDING,
    clusters: Iterable[Hashable] | None = None,
    **options: Any,
) -> JudgeAudit:
    """Measure the biases of a judge that compares two answers: position, label, length and self-preference.

    Parameters
    ----------
    lm : LanguageModel or Endpoint
        The judge.
    items : iterable of mapping
        At least 10, better 50, with what the templates ask for: for the default ones `question`, `first` and `second`.
        For self-preference each also has `own`, an answer of the judge, and `other`, somebody else's answer of about
        the same quality and length.
    templates : Template or sequence of Template, optional
        One question in several forms. Place, label, and being named first in the closing question can be told apart if
        each combination of them occurs equally often, as in `judging.PAIR_FORMS`, the default: four forms of `PAIR`.
        What the forms cannot tell apart shares a name; with one template alone, that is everything.
    padding : str or None
        A text with ``{answer}`` in it that adds words and no content, by default `judging.PADDING`. The padded `first`
        is compared with `first` itself. None leaves length out.
    clusters : iterable of labels, optional
        The group of each item, if several belong together: the question of an answer. Without it, items are taken for
        independent. The verdicts on one item are always averaged first: they count as one.
    **options
        As for :func:`judge_pairs`: `read`, `parse`, `examples`, `max_new_tokens`, `progress` and so on.

    Returns
    -------
    JudgeAudit
        ``print`` it for the table. All preferences are between 0 and 1, in the unit of the verdicts: probabilities, or
        shares of pairs if verdicts are parsed from text.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 10 items (or clusters), an item lacks a field, `own` and `other` are in some items only,
        `padding` has no ``{answer}``, or the templates have different labels or are not balanced. Errors of
        :func:`judge_pairs` come through.

    Notes
    -----
    Costs 2 verdicts an item for each template, 2 for length and 2 for self-preference: 12 with everything.

    Answers that are really better do not disturb position and label, since both orders are asked. They do disturb
    self-preference, which is what is left when both answers are equally good: choose pairs that people rate alike.

    Where all items agree, the interval allows for what so many items could have missed: as much as the upper limit of
    Wilson's interval for 0 of n.

    Position, verbosity and self-enhancement bias: Zheng et al. (2023, arXiv 2306.05685); self-preference: Panickssery
    et al. (2024, arXiv 2404.13076). Derived in the chapter "Biases of a Judge".
    """
    if templates is None:
        templates = PAIR_FORMS
    templates = [templates] if isinstance(templates, Template) else list(templates)
    effects = _effects(templates)
    items = list(items)
    with_own = _check_items(items, templates)
    codes = None if clusters is None else cluster_codes(clusters, len(items))
    _require_enough(len(items) if codes is None else int(codes.max()) + 1, "items" if codes is None else "clusters")

    extra: dict[str, list[dict[str, str]]] = {}
    if padding is not None:
        if not isinstance(padding, str) or "{answer}" not in padding:
            raise ValueError(f"padding={padding!r:.60}: give a text that holds {{answer}}, or None")
        extra["padded"] = [{**d, "first": padding.replace("{answer}", d["first"]), "second": d["first"]} for d in items]
    if with_own:
        extra["its own"] = [{**d, "first": d["own"], "second": d["other"]} for d in items]

    asked = [[*items, *(pair for pairs in extra.values() for pair in pairs)], *[items] * (len(templates) - 1)]
    found = [judge_pairs(lm, form, pairs, **options) for form, pairs in zip(templates, asked, strict=True)]
    verdicts = tuple(tuple(pairs[: len(items)]) for pairs in found)

    # One row a form, one column an item.
    first = np.array([[_number(pair.position_preference) for pair in pairs] for pairs in verdicts])
    biases = []
    for name, signs in effects.items():
        preferences = np.where(signs[:, None] > 0, first, 1 - first).mean(axis=0)
        biases.append(_bias(name, preferences, codes))
    for number, name in enumerate(extra, 1):
        liked = [_number(pair.preference) for pair in found[0][number * len(items) : (number + 1) * len(items)]]
        biases.append(_bias(name, np.array(liked), codes))
    single = [verdict for pairs in found for pair in pairs for verdict in (pair.straight, pair.swapped)]
    return JudgeAudit(
        judge=lm.model if isinstance(lm, Endpoint) else lm.name,
        items=len(items),
        asked=len(single),
        unread=sum(verdict.score is None for verdict in single),
        biases=tuple(biases),
        consistent=_consistency(verdicts[0], codes),
        own_words=tuple(_mean_words(items, name) for name in ("own", "other")) if with_own else None,
        verdicts=verdicts,
    )


def _require_enough(count: int, what: str) -> None:
    if count < LEAST:
        raise ValueError(
            f"{count} {what} are too few for an audit: give {LEAST} or more, better 50, since an interval of so few "
            "holds 'no bias' and 'strong bias' alike"
        )


def _check_items(items: Sequence[Item], templates: Sequence[Template]) -> bool:
    """Whether the items have `own` and `other`; an error if only some do, or if another field is missing."""
    fields = list(dict.fromkeys(["first", "second", *(name for form in templates for name in form.fields)]))
    for number, item in enumerate(items):
        require_fields(item, fields, f"item {number}")
    having = [number for number, item in enumerate(items) if "own" in item or "other" in item]
    for number in having:
        require_fields(items[number], ("own", "other"), f"item {number}")
    if having and len(having) < len(items):
        without = next(number for number in range(len(items)) if number not in having)
        raise ValueError(
            f"item {without} has no 'own' and 'other', and item {having[0]} has: give them to all items or to none"
        )
    return bool(having)


# --- what the forms can tell apart ------------------------------------------------------------------------------


def _effects(templates: Sequence[Template]) -> dict[str, np.ndarray]:
    """Each effect that the forms tell apart: for each form 1 if the first place has it, -1 if the second has.

    Effects that are always together, or always apart, share a name.
    """
    if not templates or not all(isinstance(form, Template) for form in templates):
        raise TypeError("templates must be a Template or a sequence of them")
    labels = [_labels(form) for form in templates]
    if any(set(pair) != set(labels[0]) for pair in labels):
        raise ValueError(f"the templates call the answers differently: {labels}. Give one pair of labels in all forms")
    one, other = labels[0]
    suspects = [
        (("shown first", "shown second"), [1] * len(templates)),
        ((f"called {one}", f"called {other}"), [1 if first == one else -1 for first, _ in labels]),
    ]
    named = [_named_first(form, pair) for form, pair in zip(templates, labels, strict=True)]
    if None not in named:
        signs = [1 if name == first else -1 for name, (first, _) in zip(named, labels, strict=True)]
        suspects.append((("named first", "named second"), signs))
    effects: list[tuple[str, np.ndarray]] = []
    for (name, opposite), signs in suspects:
        overlaps = [int(vector @ signs) for _, vector in effects]
        same = next((i for i, overlap in enumerate(overlaps) if abs(overlap) == len(templates)), None)
        if same is not None:
            known, vector = effects[same]
            effects[same] = (f"{known}, {name if overlaps[same] > 0 else opposite}", vector)
        elif any(overlaps):
            raise ValueError(
                f"the templates are not balanced: what is {name!r} is not in each place, or under each label, in half "
                "of them. Give every combination equally often, as judging.PAIR_FORMS does, or one template alone"
            )
        else:
            effects.append((name, np.array(signs)))
    return dict(effects)


def _labels(form: Template) -> tuple[str, str]:
    """What the form calls the answer shown first, and the one shown second."""
    by_value = dict(zip(form.values, form.verdicts, strict=True))
    return by_value[max(by_value)], by_value[min(by_value)]


def _named_first(form: Template, labels: tuple[str, str]) -> str | None:
    """The label that the form names first after the last field, else before the first; None if it names but one."""
    fields = [f"{{{name}}}" for name in form.fields]
    end = max(form.text.rfind(name) + len(name) for name in fields)
    for text in form.text[end:], form.text[: min(form.text.find(name) for name in fields)]:
        places = [re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) for label in labels]
        if all(places):
            return labels[0] if places[0].start() < places[1].start() else labels[1]
    return None


# --- numbers ----------------------------------------------------------------------------------------------------


def _number(preference: float | None) -> float:
    return np.nan if preference is None else preference


def _mean_words(items: Sequence[Item], name: str) -> float:
    return sum(len(item[name].split()) for item in items) / len(items)


def _bias(name: str, preferences: np.ndarray, codes: np.ndarray | None) -> Bias:
    read = ~np.isnan(preferences)
    size = _interval(preferences[read], None if codes is None else codes[read])
    return Bias(name, size, int(read.sum()), int((~read).sum()))


def _interval(values: np.ndarray, codes: np.ndarray | None) -> Interval | None:
    """Of a mean of numbers between 0 and 1, over items or clusters."""
    if codes is not None:
        codes = np.unique(codes, return_inverse=True)[1]
    count = len(values) if codes is None or not len(codes) else int(codes.max()) + 1
    if count < 2:
        return None
    mean, error, freedom = mean_and_error(values, codes)
    if error == 0:
        unseen = wilson_interval(0, count).high
        return Interval(mean, mean - unseen * mean, mean + unseen * (1 - mean))
    return interval_around(mean, error, 0.95, freedom, limits=(0.0, 1.0))


def _consistency(pairs: Sequence[PairVerdict], codes: np.ndarray | None) -> Interval | None:
    read = np.array([pair.parsed for pair in pairs])
    same = np.array([pair.consistent for pair in pairs if pair.parsed], dtype=float)
    if codes is not None:
        return _interval(same, codes[read])
    return wilson_interval(int(same.sum()), len(same)) if len(same) else None
