"""judge_audit is held to judges whose biases are known because the tests wrote them."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scripted_server import ScriptedServer, completion, entry

import nbhelpers as nb
from nbhelpers.judging import PADDING, PAIR, PAIR_FORMS, PAIR_OR_TIE, Template, asking, judge_audit
from nbhelpers.judging.judges import Reading

ITEMS = [
    {
        "question": f"What is {n} + {n}?",
        "first": f"It is {2 * n}.",
        "second": f"It is {2 * n + 1}.",
        "own": f"{2 * n}, I'd say.",
        "other": f"That is {2 * n}.",
    }
    for n in range(12)
]
BARE = [{k: d[k] for k in ("question", "first", "second")} for d in ITEMS]
NO_BIAS = 0.5


@dataclass(frozen=True)
class Shown:
    """What a judge sees: two answers in the order shown, each with its label, and which label is named first."""

    answers: tuple[str, str]
    labels: tuple[str, str]
    named: str


def see(content: str) -> Shown:
    (one, first), (other, second) = re.findall(r"<answer_(\w)>(.*?)</answer_\w>", content, re.S)
    named = re.search(r"better, (\w) or", content)
    return Shown((first, second), (one.upper(), other.upper()), named[1] if named else "")


@dataclass(frozen=True)
class Scripted:
    """A judge that gives the answer shown first the probability `first(what it sees)`; None is a reply without one."""

    first: object
    name: str = "scripted"
    control_tokens: tuple = ()

    def weigh(self, chats, verdicts, progress):
        readings = []
        for chat in chats:
            shown = see(chat[-1]["content"])
            p = self.first(shown)
            if p is None:
                readings.append(Reading(problem="the judge will not say"))
                continue
            assert verdicts[:2] == shown.labels
            probabilities = (p, 1 - p, *(0.0 for _ in verdicts[2:]))
            readings.append(Reading(tuple(math.log(x) if x else -math.inf for x in probabilities)))
        return readings


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(asking, "as_judge", lambda judge, *_: judge)
    return Scripted


def estimates(audit) -> dict[str, float]:
    return {bias.name: bias.preference.estimate for bias in audit.biases}


def longer(shown: Shown) -> float:
    one, other = (len(answer.split()) for answer in shown.answers)
    return 0.5 if one == other else float(one > other)


def best(shown: Shown) -> float:
    """A fair judge: it prefers an answer that is right, and knows no other reason."""
    right = ["1." not in answer and not re.search(r"[13579]\.", answer) for answer in shown.answers]
    return (1 + right[0] - right[1]) / 2


@pytest.mark.parametrize(
    "first, expected",
    [
        (lambda s: 1.0, {"shown first": 1.0}),
        (lambda s: 0.2, {"shown first": 0.2}),  # likes the second place
        (lambda s: float(s.labels[0] == "B"), {"called A": 0.0}),
        (lambda s: 0.9 if s.named == s.labels[0] else 0.1, {"named first": 0.9}),
        (longer, {"padded": 1.0}),
        (lambda s: (1 + ("I'd say" in s.answers[0]) - ("I'd say" in s.answers[1])) / 2, {"its own": 1.0}),
        (lambda s: 0.5, {}),
        (best, {}),
    ],
    ids=["first", "second", "letter B", "named first", "longer", "itself", "coin", "fair"],
)
def test_a_judge_shows_the_bias_it_has_and_no_other(scripted, first, expected):
    audit = judge_audit(scripted(first), ITEMS)
    names = ["shown first", "called A", "named first", "padded", "its own"]
    assert estimates(audit) == pytest.approx({name: expected.get(name, NO_BIAS) for name in names})
    assert all(bias.n == 12 and bias.unread == 0 for bias in audit.biases)
    assert (audit.items, audit.asked, audit.unread) == (12, 12 * 2 * 6, 0)


@pytest.mark.parametrize(
    "first, consistent",
    [(lambda s: 1.0, 0.0), (best, 1.0), (lambda s: float(s.labels[0] == "B"), 0.0)],
)
def test_whether_the_two_orders_agree(scripted, first, consistent):
    assert judge_audit(scripted(first), BARE).consistent.estimate == consistent


def test_the_interval_is_that_of_one_number_an_item(scripted):
    """Twelve items, 4 forms and 2 orders: the interval is of twelve numbers and not of 96."""
    rng = np.random.default_rng(0)
    taste = {d["first"]: p for d, p in zip(BARE, rng.uniform(0.3, 0.9, 12), strict=True)}

    def first(shown):
        return next(p for answer, p in taste.items() if answer in shown.answers)

    place = judge_audit(scripted(first), BARE, padding=None).biases[0].preference
    by_hand = nb.mean_interval(list(taste.values()))
    assert (place.estimate, place.low, place.high) == pytest.approx((by_hand.estimate, by_hand.low, by_hand.high))


def test_clusters_widen_the_interval(scripted):
    """Each question three times over: as independent items they would narrow the interval by the root of three."""
    rng = np.random.default_rng(0)
    taste = {d["first"]: p for d, p in zip(BARE, rng.uniform(0.3, 0.9, 12), strict=True)}

    def first(shown):
        return next(p for answer, p in taste.items() if answer in shown.answers)

    question = [d["question"] for d in BARE * 3]
    alone, thrice = (
        judge_audit(scripted(first), BARE * 3, padding=None, clusters=clusters).biases[0].preference
        for clusters in (None, question)
    )
    by_hand = nb.mean_interval([*taste.values()] * 3, clusters=question)
    assert (thrice.low, thrice.high) == pytest.approx((by_hand.low, by_hand.high))
    assert thrice.high - thrice.low > 1.5 * (alone.high - alone.low)


def test_a_cluster_that_is_not_read_is_no_cluster(scripted):
    """The judge is silent about the fifth of 12 questions, each asked twice: 11 clusters are left."""
    taste = {d["first"]: 0.3 + 0.05 * number for number, d in enumerate(BARE)}

    def first(shown):
        answer = next(answer for answer in taste if answer in shown.answers)
        return None if answer == BARE[4]["first"] else taste[answer]

    question = [d["question"] for d in BARE * 2]
    with pytest.warns(UserWarning, match="got no verdict"):
        place = judge_audit(scripted(first), BARE * 2, padding=None, clusters=question).biases[0]
    left = [(p, q) for p, q in zip([*taste.values()] * 2, question, strict=True) if q != BARE[4]["question"]]
    by_hand = nb.mean_interval(*zip(*left, strict=True))
    assert (place.n, place.unread) == (22, 2)
    assert (place.preference.low, place.preference.high) == pytest.approx((by_hand.low, by_hand.high))


def test_a_judge_that_never_varies_still_has_an_interval(scripted):
    place, letter, *_ = judge_audit(scripted(lambda s: 1.0), BARE).biases
    wilson = nb.wilson_interval(12, 12)
    assert (place.preference.low, place.preference.high) == pytest.approx((wilson.low, 1.0))
    missed = 1 - wilson.low
    assert (letter.preference.low, letter.preference.high) == pytest.approx((0.5 - missed / 2, 0.5 + missed / 2))


@pytest.mark.parametrize("silent, unread", [(3, 3), (11, 11), (12, 12)])
def test_what_is_not_read_is_counted(scripted, silent, unread):
    """The judge says nothing about some questions when its answers are in one order with A first: 2 of 8 verdicts."""
    quiet = {d["first"] for d in BARE[:silent]}

    def first(shown):
        return None if shown.answers[0] in quiet and shown.labels[0] == "A" else 0.7

    with pytest.warns(UserWarning, match="got no verdict"):
        audit = judge_audit(scripted(first), BARE, padding=None)
    assert audit.unread == 2 * silent and audit.asked == 96
    assert all((bias.n, bias.unread) == (12 - unread, unread) for bias in audit.biases)
    measured = [bias.preference is not None for bias in audit.biases]
    assert measured == [12 - unread >= 2] * 3
    assert f"{2 * silent} not read" in str(audit) and ("not measured" in str(audit)) == (12 - unread < 2)
    assert (audit.consistent is None) == (unread == 12)


RELABELLED = PAIR_FORMS[2]  # B first, "A or B"
BRACKETS = Template(  # the labels are named before the answers
    'Say "[[A]]" if A is better, "[[B]]" if B is.\n<answer_a>{first}</answer_a>\n<answer_b>{second}</answer_b>\nWell?',
    ("A", "B"),
    (1, 0),
)
UNNAMED = replace(BRACKETS, text=BRACKETS.text.partition("\n")[2])


@pytest.mark.parametrize(
    "templates, names",
    [
        (PAIR_FORMS, ["shown first", "called A", "named first"]),
        (PAIR, ["shown first, called A, named first"]),
        (RELABELLED, ["shown first, called B, named second"]),
        ((PAIR, RELABELLED), ["shown first", "called A, named first"]),
        ((PAIR, PAIR_FORMS[3]), ["shown first, named first", "called A"]),
        (PAIR_OR_TIE, ["shown first, called A, named first"]),
        (BRACKETS, ["shown first, called A, named first"]),
        (UNNAMED, ["shown first, called A"]),
    ],
)
def test_what_the_forms_cannot_tell_apart_shares_a_name(scripted, templates, names):
    audit = judge_audit(scripted(lambda s: 0.5), BARE, templates, padding=None)
    assert [bias.name for bias in audit.biases] == names


def test_the_four_forms_are_pair_and_its_relatives():
    assert PAIR_FORMS[0] is PAIR and len({form.text for form in PAIR_FORMS}) == 4
    assert {(*see(form.text).labels, see(form.text).named) for form in PAIR_FORMS} == {
        ("A", "B", "A"), ("A", "B", "B"), ("B", "A", "A"), ("B", "A", "B"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "items, options, error, message",
    [
        (BARE[:9], {}, ValueError, "9 items are too few for an audit: give 10 or more"),
        ([], {}, ValueError, "0 items are too few"),
        (BARE, {"clusters": ["x", "y"] * 6}, ValueError, "2 clusters are too few"),
        (BARE, {"clusters": ["x"]}, ValueError, "clusters has 1 item"),
        ([*BARE[:11], {"question": "?", "first": "a"}], {}, ValueError, "item 11 has no 'second'"),
        ([*BARE[:11], {**BARE[11], "first": None}], {}, TypeError, "item 11: 'first' must be a string"),
        (["Honey."] * 12, {}, TypeError, "item 0 must be a mapping"),
        ([*ITEMS[:11], BARE[11]], {}, ValueError, "item 11 has no 'own' and 'other', and item 0 has"),
        ([{**d, "own": "x"} for d in BARE], {}, ValueError, "item 0 has no 'other'"),
        (BARE, {"padding": "Well."}, ValueError, r"give a text that holds \{answer\}"),
        (BARE, {"templates": "Which?"}, TypeError, "templates must be a Template or a sequence of them"),
        (BARE, {"templates": ()}, TypeError, "templates must be a Template"),
        (BARE, {"templates": Template("{question}", ("A", "B"), (1, 0))}, ValueError, "a pair needs"),
        (BARE, {"templates": PAIR_FORMS[:3]}, ValueError, "not balanced"),
        (BARE, {"templates": (PAIR, replace(PAIR, verdicts=("1", "2")))}, ValueError, "call the answers differently"),
        (BARE, {"read": "guess"}, ValueError, "give 'probability', 'text' or 'reasoned'"),
    ],
)
def test_bad_input_is_named(scripted, items, options, error, message):
    with pytest.raises(error, match=message):
        judge_audit(scripted(lambda s: 0.5), items, **options)


def test_the_table(scripted):
    """Always first, with probability 0.9 and 0.8 in turn; nothing else."""
    turn = {d["first"]: 0.9 - 0.1 * (i % 2) for i, d in enumerate(BARE)}

    def first(shown):
        return next((p for answer, p in turn.items() if answer in shown.answers), 0.5)

    lines = str(judge_audit(scripted(first), ITEMS)).splitlines()
    assert lines[0] == "scripted: 12 items, 144 verdicts asked for, 0 not read"
    assert lines[2].split() == ["shown", "first", "0.850", "[0.817,", "0.883]", "12", "0", "liked"]
    assert [line.split()[-1] for line in lines[3:7]] == ["undecided"] * 4
    assert lines[7].startswith("same winner in both orders") and "0.000 [0.000, 0.2" in lines[7]
    assert lines[8] == "words in its own answers 3, in the others 3"


def test_a_model_in_memory_is_audited_as_judge_pairs_judges_it(embedded):
    audit = judge_audit(embedded, BARE[:10], PAIR)
    pairs = nb.judge_pairs(embedded, PAIR, BARE[:10])
    place = nb.mean_interval([pair.position_preference for pair in pairs])
    padded = [{**d, "first": PADDING.replace("{answer}", d["first"]), "second": d["first"]} for d in BARE[:10]]
    length = nb.mean_interval([pair.preference for pair in nb.judge_pairs(embedded, PAIR, padded)])
    for bias, by_hand in zip(audit.biases, (place, length), strict=True):
        assert bias.preference.estimate == pytest.approx(by_hand.estimate, abs=1e-4)
        assert (bias.preference.low, bias.preference.high) == pytest.approx((by_hand.low, by_hand.high), abs=1e-3)
    assert audit.judge == embedded.name and audit.verdicts[0][0].straight.verdict == pairs[0].straight.verdict


@pytest.mark.parametrize("read", ["probability", "text"])
def test_a_server_is_audited_too(tmp_path, read):
    """It says A with 0.9, and of the first question nothing: 8 of the verdicts on it, and 2 of the padded pair."""

    def answer(content, before):
        likely = {"Well": 0.9} if "0 + 0" in content else {"A": 0.9, "B": 0.1}
        first, *_ = likely
        alternatives = {token: math.log(p) for token, p in likely.items()}
        return completion(first, {"content": [entry(first, alternatives[first], **alternatives)], "refusal": None})

    server = ScriptedServer()
    server.answer = answer
    try:
        endpoint = nb.Endpoint(server.url, "the-model", cache=tmp_path)
        if read == "text":  # replies without a verdict are counted, and no trouble of the server's
            audit = judge_audit(endpoint, BARE, read=read)
        else:
            with pytest.warns(UserWarning, match="no verdict is likely"):
                audit = judge_audit(endpoint, BARE, read=read)
    finally:
        server.close()
    letter = 0.9 if read == "probability" else 1.0
    assert audit.judge == "the-model" and (audit.asked, audit.unread) == (120, 10)
    assert estimates(audit) == pytest.approx(
        {"shown first": 0.5, "called A": letter, "named first": 0.5, "padded": 0.5}
    )
    assert {(bias.n, bias.unread) for bias in audit.biases} == {(11, 1)}
    assert len(server.bodies) == 120
