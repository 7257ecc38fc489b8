"""Bradley-Terry ratings: closed forms, logistic regression as oracle, resampling, simulated coverage and errors."""

import copy
import dataclasses
import itertools
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from statistics_cases import NAN, limits, warned_at, written_at

from nbhelpers import statistics as st
from nbhelpers.statistics.ratings import maximum_likelihood


def games(*results):
    """Turn (first, second, wins, losses) into comparisons, each on its own question."""
    rows = [(a, b, s) for a, b, wins, losses in results for s in [1] * wins + [0] * losses]
    return [(i, *row) for i, row in enumerate(rows)]


def tournament(questions, seed=9, names="ABCDEF", shift=0.0):
    """Every pair once on every question; `shift`, in nats, is how much a question favours some models."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(0.6, -0.6, len(names))
    rows = []
    for question in range(questions):
        mine = strength + shift * rng.normal(size=len(names))
        for i, j in itertools.combinations(range(len(names)), 2):
            won = 1.0 if rng.random() < 1 / (1 + math.exp(mine[j] - mine[i])) else 0.0
            rows.append((question, names[i], names[j], 0.5 if rng.random() < 0.1 else won))
    return rows


@pytest.mark.parametrize(
    "comparisons, expected",
    [
        (games(("A", "B", 3, 1)), {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # 400 log10(3)
        (games(("B", "A", 1, 3)), {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # the order does not matter
        ([(1, "A", "B", 0.5), (2, "A", "B", 1)], {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # 1.5 to 0.5
        ([(1, "A", "B", 0.5), (2, "B", "A", 0.5)], {"A": 0, "B": 0}),
        # strengths 4, 2, 1: the counts fit the model exactly, and each step is 400 log10(2)
        (games(("A", "B", 10, 5), ("A", "C", 12, 3), ("B", "C", 10, 5)), {"A": 120.412, "B": 0, "C": -120.412}),
        (games(("A", "B", 5_000, 1)), {"A": 200 * math.log10(5_000), "B": -200 * math.log10(5_000)}),
    ],
)
def test_ratings_in_closed_form(comparisons, expected):
    result = st.bradley_terry(comparisons, resamples=40)
    assert dict(zip(result.names, result.estimate, strict=True)) == pytest.approx(expected, abs=1e-3)
    assert list(result.estimate) == sorted(result.estimate, reverse=True)


def test_a_chain_of_ratings_adds_up():
    """Nine steps of 99 to 1 span 7,184 points, and Newton's method still converges."""
    names = list("ABCDEFGHIJ")
    rows = games(*((x, y, 99, 1) for x, y in itertools.pairwise(names)))
    result = st.bradley_terry(rows, anchor="J", resamples=40)
    assert result.names == tuple(names)
    assert result.estimate == pytest.approx([400 * math.log10(99) * k for k in range(9, -1, -1)], abs=1e-3)
    assert (result.estimate[-1], result.low[-1], result.high[-1]) == (0, 0, 0)


def test_lopsided_tables_converge():
    """At the maximum, every model's wins equal their expectation. Newton's full steps fail on this table."""
    wins = np.array(
        [
            [0, 0, 935, 0, 0, 10, 0, 2],
            [0, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 15, 0, 995, 15],
            [17231, 7, 13129, 0, 16, 1, 0, 0],
            [0, 509, 10, 0, 0, 2760, 3, 8946],
            [0, 292, 23, 3237, 0, 0, 14873, 0],
            [32, 1, 2510, 0, 0, 45, 0, 0],
            [0, 11081, 0, 0, 0, 0, 0, 0],
        ]
    )
    strength = maximum_likelihood(wins[None], np.ones((1, 8, 8), dtype=bool))[0]
    expected = (wins + wins.T) / (1 + np.exp(strength[None, :] - strength[:, None]))
    assert expected.sum(axis=1) == pytest.approx(wins.sum(axis=1), rel=1e-6)


def test_ratings_are_a_logistic_regression():
    import statsmodels.api as sm

    rows = tournament(60)
    design = np.zeros((len(rows), 6))
    for row, (_, first, second, _) in zip(design, rows, strict=True):
        row["ABCDEF".index(first)], row["ABCDEF".index(second)] = 1, -1
    fit = sm.GLM([row[3] for row in rows], design[:, 1:], family=sm.families.Binomial()).fit(tol=1e-12)
    result = st.bradley_terry(rows, anchor="A")
    ours = dict(zip(result.names, result.estimate, strict=True))
    assert [ours[name] for name in "BCDEF"] == pytest.approx(400 / math.log(10) * fit.params, abs=1e-4)
    centred = st.bradley_terry(rows)
    assert sum(centred.estimate) == pytest.approx(0, abs=1e-6)
    assert np.ptp(centred.estimate) == pytest.approx(np.ptp(result.estimate))


def test_resampling_rows_is_too_narrow_where_questions_repeat():
    """Each verdict stands nine times, which adds no information, but rows count as nine: sqrt(9) times narrower."""
    rows = [(q, "A", "B", score) for q, score in enumerate([1, 0, 1, 1, 0] * 20) for _ in range(9)]
    by_question, by_row = st.bradley_terry(rows), st.bradley_terry(rows, by="row")
    assert by_question.estimate == by_row.estimate
    width = [r.high[0] - r.low[0] for r in (by_question, by_row)]
    assert width[0] / width[1] == pytest.approx(3, rel=0.15)
    assert by_question == st.bradley_terry(rows) != st.bradley_terry(rows, seed=1)


def test_resamples_without_finite_ratings_count_as_infinite():
    """3 wins of 4. Resamples have 4 (infinite) with chance .316, 0 with .004, 0 or 1 with .051: so low is 1 win."""
    result = st.bradley_terry(games(("A", "B", 3, 1)))
    assert result.high[0] == math.inf and result.low[1] == -math.inf
    assert result.low[0] == pytest.approx(-190.848502 / 2, abs=1e-6)
    assert result.high[1] == pytest.approx(190.848502 / 2, abs=1e-6)
    mild = st.bradley_terry(
        games(("A", "B", 3, 1)), confidence=0.2
    )  # the middle fifth of the resamples has 3 or 4 wins
    assert math.isfinite(mild.low[0])


def test_an_anchor_keeps_what_is_finite_apart():
    """C rarely wins. In some resamples it is infinite relative to A; relative to the mean, A and B are infinite too."""
    rows = games(("A", "B", 60, 40), ("A", "C", 59, 1), ("B", "C", 59, 1))
    anchored, centred = st.bradley_terry(rows, anchor="A"), st.bradley_terry(rows)
    assert anchored.names == ("A", "B", "C")
    assert math.isfinite(anchored.low[1]) and math.isfinite(anchored.high[1])
    two = st.bradley_terry(games(("A", "B", 60, 40)), anchor="A")
    assert (anchored.low[1], anchored.high[1]) == pytest.approx((two.low[1], two.high[1]), abs=25)
    assert anchored.low[2] == -math.inf and math.isfinite(anchored.high[2])
    assert centred.high[0] == centred.high[1] == math.inf and centred.low[2] == -math.inf


def test_a_resample_that_cannot_compare_counts_as_the_worst():
    """Only B links A and C, on one question of three. Without that question (8 resamples of 27) C is unknown."""
    rows = [(0, "A", "B", 0.5), (1, "B", "C", 0.5), (2, "A", "B", 0.5)]
    result = st.bradley_terry(rows, anchor="A")
    assert result.estimate == pytest.approx((0, 0, 0))
    by_name = {n: (low, high) for n, low, high in zip(result.names, result.low, result.high, strict=True)}
    assert by_name == {"A": (0, 0), "B": (-math.inf, math.inf), "C": (-math.inf, math.inf)}


def test_the_difference_of_two_models_is_a_rating_with_the_other_as_anchor():
    """Its limits come from the same resamples, infinite ones included."""
    rows = [*games(("A", "B", 60, 40), ("A", "C", 59, 1), ("B", "C", 59, 1)), (0, "D", "A", 0.5), (1, "D", "B", 0.5)]
    rated = st.bradley_terry(rows)
    for a, b in itertools.permutations("ABCD", 2):
        anchored = st.bradley_terry(rows, anchor=b)
        i, difference = anchored.names.index(a), rated.difference(a, b)
        assert limits(difference) == (anchored.low[i], anchored.high[i])
        assert difference.estimate == pytest.approx(anchored.estimate[i])
    assert math.isfinite(rated.difference("A", "B").low) and rated.difference("C", "A").low == -math.inf


def test_intervals_around_the_mean_do_not_compare_two_models():
    """Rivals A and B meet on every question and B wins 2 of 3; both lose to C, by whom they move together."""
    rng = np.random.default_rng(50)
    rows = []
    for q in range(120):
        rows.append((q, "A", "B", float(rng.random() < 1 / 3)))
        hard = rng.random() < 0.5
        for name in "AB":
            rows += [(q, name, "C", float(rng.random() < (0.02 if hard else 0.98)))] * 3
    rated = st.bradley_terry(rows)
    low, high = (dict(zip(rated.names, limit, strict=True)) for limit in (rated.low, rated.high))
    assert low["B"] < high["A"]  # the intervals overlap
    assert rated.difference("B", "A").low > 0  # and yet B is better


def test_a_difference_turned_round():
    rated = st.bradley_terry(tournament(30))
    there, back = rated.difference("A", "B"), rated.difference("B", "A")
    assert (back.estimate, back.low, back.high) == pytest.approx((-there.estimate, -there.high, -there.low), rel=0.2)


def test_ratings_stay_what_they_were():
    """Frozen, equal if the numbers are, hashable, and what is kept for differences survives copies."""
    rated = st.bradley_terry(tournament(10), resamples=40)
    assert rated == st.bradley_terry(tournament(10), resamples=40) and len({rated, copy.deepcopy(rated)}) == 1
    assert "resamples" not in repr(rated)
    assert pickle.loads(pickle.dumps(rated)).difference("A", "B") == rated.difference("A", "B")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rated.low = ()
    assert st.Ratings(rated.names, rated.estimate, rated.low, rated.high) == rated


SAME = [(q, "A", "B", score) for q in range(9) for score in (1, 1, 0)]  # every question says the same


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.bradley_terry(SAME),
        lambda: st.bradley_terry(SAME, anchor="B"),
        lambda: st.bradley_terry([(q, "A", "B", 0.5) for q in range(9)], anchor="A"),
    ],
)
def test_resamples_that_all_give_the_same_rating_are_warned_of(call):
    with pytest.warns(UserWarning, match="no width, because nearly all resamples rate '[AB]' so"):
        rated = call()
    with pytest.warns(UserWarning, match="no width, because nearly all resamples give it"):
        rated.difference("A", "B")
    assert warned_at(call) == [written_at(call)]


@pytest.mark.parametrize(
    "rows",
    [
        [(x for x in row) for row in games(("A", "B", 3, 1))],  # a generator has no length
        [list(row) for row in games(("A", "B", 3, 1))],
        np.array(games(("A", "B", 3, 1)), dtype=object),
        pd.DataFrame(games(("A", "B", 3, 1))).to_numpy(),
        pd.DataFrame(games(("A", "B", 3, 1))).itertuples(index=False),
        (row for row in games(("A", "B", 3, 1))),
    ],
)
def test_comparisons_in_many_wrappings(rows):
    assert st.bradley_terry(rows) == st.bradley_terry(games(("A", "B", 3, 1)))


def test_ratings_print_as_a_table():
    lines = repr(st.bradley_terry(games(("long name", "B", 30, 20)))).split("\n")
    assert lines[0].startswith("long name    +35.2 [") and lines[1].startswith("B            -35.2 [")


def test_a_thousand_resamples_take_few_linear_solves(monkeypatch):
    """Speed, without a clock: Newton's method takes 7 steps here, for a hundred resamples at a time."""
    solve, solved = np.linalg.solve, []

    def counting(matrices, right_sides):
        solved.append(len(matrices))
        return solve(matrices, right_sides)

    monkeypatch.setattr(np.linalg, "solve", counting)
    rows = tournament(67)
    assert len(rows) == 1_005
    st.bradley_terry(rows)
    assert set(solved) == {1, 100}  # the estimate, and batches of resamples
    assert solved.count(1) <= 12
    assert solved.count(100) <= 10 * 12


def test_coverage_of_ratings_needs_whole_questions():
    """60 questions that each favour some models: the 18 comparisons on one question are not independent."""
    pairs = list(itertools.combinations("ABCD", 2))
    first, second = np.triu_indices(4, 1)  # the same pairs as numbers
    hits = {"question": [], "row": []}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        favour = 2 * rng.normal(size=(60, 4))  # the true ratings, over all questions, are 0
        chance = 1 / (1 + np.exp(favour[:, second] - favour[:, first]))
        won = rng.random((60, 6, 3)) < chance[:, :, None]  # (questions, pairs, repetitions)
        rows = [(q, *pairs[p], int(won[q, p, k])) for q, p, k in np.ndindex(won.shape)]
        resampled = ["question", "row"] if seed < 50 else ["question"]  # rows are so far off that 50 runs show it
        for by in resampled:
            result = st.bradley_terry(rows, by=by, resamples=200, seed=seed)
            hits[by] += [low <= 0 <= high for low, high in zip(result.low, result.high, strict=True)]
    assert 0.91 <= np.mean(hits["question"]) <= 0.98
    assert np.mean(hits["row"]) < 0.8


ROWS = games(("A", "B", 3, 1))
BAD_INPUT = [
    (lambda: st.bradley_terry([]), ValueError, "comparisons is empty"),
    (lambda: st.bradley_terry("A beats B"), TypeError, "comparisons must be a list"),
    (lambda: st.bradley_terry([(1, "A", "B")]), TypeError, "comparison 0 must be .question, first, second, score."),
    (lambda: st.bradley_terry([*ROWS, "ABCD"]), TypeError, "comparison 4 must be"),
    (lambda: st.bradley_terry([*ROWS, b"ABCD"]), TypeError, "comparison 4 must be"),
    (lambda: st.bradley_terry([(x for x in (1, "A", "B"))]), TypeError, "comparison 0 must be"),
    (lambda: st.bradley_terry([iter(int, 1)]), TypeError, "comparison 0 must be"),  # endless
    (lambda: st.bradley_terry([1, 2]), TypeError, "comparison 0 must be .* not 1"),
    (lambda: st.bradley_terry(pd.DataFrame(ROWS)), TypeError, r"DataFrame, .* give comparisons\.to_numpy\(\)"),
    (lambda: st.bradley_terry([(1, "A", "B", pd.NA)]), ValueError, "comparison 0 has score <NA>"),
    (lambda: st.bradley_terry([(1, "A", "B", 1j)]), ValueError, "comparison 0 has score 1j"),
    (lambda: st.bradley_terry([([1], "A", "B", 1)]), TypeError, "item 0 of the questions of comparisons is list"),
    (lambda: st.bradley_terry(ROWS).difference("A", "C"), ValueError, r"'C' was not rated: choose among \['A', 'B'\]"),
    (lambda: st.bradley_terry(ROWS).difference(["A"], "B"), ValueError, r"\['A'\] was not rated"),
    (lambda: st.bradley_terry(ROWS).difference("A", "A"), ValueError, "'A' does not differ from itself"),
    (lambda: st.Ratings(("A", "B"), (0, 0), (0, 0), (0, 0)).difference("A", "B"), ValueError, "hold no resamples"),
    (lambda: st.bradley_terry([(1, "A", 2, 1)]), TypeError, "comparison 0 must name two models with strings"),
    (lambda: st.bradley_terry([(1, "A", "A", 1)]), ValueError, "comparison 0 compares 'A' with itself"),
    (lambda: st.bradley_terry([(1, "A", "B", 0.7)]), ValueError, "comparison 0 has score 0.7: give 1"),
    (lambda: st.bradley_terry([(1, "A", "B", NAN)]), ValueError, "comparison 0 has score nan"),
    (lambda: st.bradley_terry([(1, "A", "B", "1")]), ValueError, "comparison 0 has score '1'"),
    (lambda: st.bradley_terry([(None, "A", "B", 1)]), ValueError, "item 0 of the questions"),
    (lambda: st.bradley_terry([(1, "A", "B", 1), (1, "A", "B", 0)]), ValueError, "there is one question only"),
    (lambda: st.bradley_terry(ROWS, anchor="C"), ValueError, r"anchor='C' was never compared: .* \['A', 'B'\]"),
    (lambda: st.bradley_terry(ROWS, by="judge"), ValueError, "by='judge' is unknown"),
    (lambda: st.bradley_terry(ROWS, resamples=10), ValueError, "resamples=10 is too few"),
    (  # A won everything
        lambda: st.bradley_terry(games(("A", "B", 3, 0), ("A", "C", 2, 0), ("B", "C", 2, 1))),
        ValueError,
        r"\['A'\] won every comparison with \['B', 'C'\]",
    ),
    (  # C lost everything
        lambda: st.bradley_terry(games(("A", "B", 3, 1), ("A", "C", 2, 0), ("B", "C", 2, 0))),
        ValueError,
        r"\['A', 'B'\] won every comparison with \['C'\]",
    ),
    (  # nobody won everything, yet C and D never beat A or B
        lambda: st.bradley_terry(games(("A", "B", 1, 1), ("C", "D", 1, 1), ("A", "C", 1, 0))),
        ValueError,
        r"\['A', 'B'\] won every comparison with \['C', 'D'\]",
    ),
    (
        lambda: st.bradley_terry(games(("A", "B", 1, 1), ("C", "D", 1, 1))),
        ValueError,
        r"\['A', 'B'\] and \['C', 'D'\] were never compared",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
