"""The recorded replies of the page on steps and votes, and the votes, checks and parser that it derives."""

import ast
import json
import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from notebook_code import definitions

import nbhelpers as nb

BOOK = Path(__file__).parents[2] / "book"
LINES = (BOOK / "data" / "reasoning_replies.jsonl").read_text(encoding="utf-8").splitlines()
ROWS = [json.loads(line) for line in LINES]
NOTEBOOK = json.loads((BOOK / "knowledge" / "reasoning.ipynb").read_text(encoding="utf-8"))
page = definitions("knowledge/reasoning.ipynb").vote.__globals__
for cell in NOTEBOOK["cells"]:  # and the constants that its functions read
    for node in ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []:
        target = (getattr(node, "targets", None) or [getattr(node, "target", None)])[0]
        if getattr(target, "id", "").isupper():
            exec(compile(ast.Module([node], []), "reasoning", "exec"), page)

PROBLEMS = page["make_problems"](40, seed=0)


# --- The recorded replies ---


def test_one_greedy_reply_a_form_and_sixteen_samples_of_one_form():
    counts = Counter((row["form"], row["question"]) for row in ROWS if row["sample"] is None)
    assert counts == {(form, question): 1 for form in page["FORMS"] for question in PROBLEMS}
    drawn = [(row["form"], row["question"], row["sample"]) for row in ROWS if row["sample"] is not None]
    assert drawn == [("shown steps", question, sample) for question in PROBLEMS for sample in range(16)]


def test_steps_are_those_of_the_template_and_follow_from_the_numbers_of_the_question():
    for row in ROWS:
        assert row["steps"] == PROBLEMS[row["question"]]
        a, b, *c = map(int, page["re"].findall(r"\d+", row["question"]))
        text = row["question"]
        if "finds" in text:
            assert row["steps"] == [a + b]
        elif "eats" in text:
            assert row["steps"] == [a - b]
        else:
            assert row["steps"] == [a * b, *(a * b + one for one in c)]


def test_lengths_fit_the_limits():
    for row in ROWS:
        limit = page["FORMS"][row["form"]][2]
        assert 1 <= row["tokens"] <= limit and row["logprob"] <= 0
        assert row["finished"] or row["tokens"] == limit  # what did not finish was cut there


# --- What the page derives ---


def by_enumeration(answers, key, k):
    shares = []
    for some in combinations(answers, k):
        count = Counter(some)
        best = [answer for answer in count if count[answer] == max(count.values())]
        shares.append((key in best) / len(best))
    return sum(shares) / len(shares)


@pytest.mark.parametrize(
    "answers, key",
    [
        ([1, 1, 2, 2, 3, 4, 4], 1),  # ties of two and of three
        ([1, 2, 3, 4, 5], 1),  # nobody agrees: always a tie
        ([1, 1, 1, 1], 1),  # unanimous
        ([2, 2, 3], 1),  # never said
        ([None, None, 1, 1, 2], 1),  # replies without a number agree with one another
    ],
)
def test_the_vote_is_exact_for_every_size(answers, key):
    for k in range(1, len(answers) + 1):
        assert page["vote_chance"](answers, key, k) == pytest.approx(by_enumeration(answers, key, k))


def test_a_vote_of_two_is_worth_one_sample():
    answers = [5, 5, 7, 8, 8, 8]
    assert page["vote_chance"](answers, 5, 2) == pytest.approx(2 / 6)


@pytest.mark.parametrize("k", range(1, 6))
def test_best_of_n_over_all_choices(k):
    hits = [False, True, True, False, True]
    chances = [hits[min(some)] for some in combinations(range(5), k)]
    assert page["best_chance"](hits, k) == pytest.approx(sum(chances) / math.comb(5, k))


def test_the_vote_takes_the_first_of_equals():
    assert page["vote"]([3, 4, 4, 3, 5]) == 3
    assert page["vote"]([3, 4, 4]) == 4


@pytest.mark.parametrize(
    "reply, grade",
    [
        ("4 * 3 = 12. 12 + 2 = 14. The answer is 14.", "right"),
        ("4 pens * 3 dollars = 12 dollars. 12 + 2 = $14", "right"),  # words and signs between
        ("4 x 3=12, 12+2=14", "right"),
        ("4 * 3 = 13. 13 + 1 = 14.", "wrong"),  # false, and the key all the same
        ("4 + 3 = 7. 7 + 7 = 14.", "wrong"),  # true, but other steps
        ("4 * 3 = 12.", "wrong"),  # stopped too early
        ("12 / 0 = 12.", "wrong"),
        ("The answer is 14.", "none"),
    ],
)
def test_steps_are_graded_by_arithmetic_and_by_the_known_results(reply, grade):
    assert page["grade_steps"](reply, [12, 14]) == grade


@pytest.mark.parametrize("reply, opened", page["MADE_UP"])
def test_thinking_is_left_out_as_the_package_does(reply, opened):
    said = page["after_thinking"](reply, opened)
    read = nb.extract_number("<think>" * opened + reply, "last").value
    assert (None if said is None else page["last_number"](said)) == (None if read is None else float(read))


@pytest.mark.parametrize(
    "reply, opened, said",
    [
        ("<think>a</think>b", False, "b"),
        ("a</think>b", False, "b"),  # the prompt opened it, and nobody told us
        ("a</think>b", True, "b"),
        ("<think>a", False, None),  # cut off
        ("a", True, None),
        ("a", False, "a"),  # no thinking at all
        ("<think>a</think>", False, ""),  # thought, and said nothing
    ],
)
def test_what_is_said_after_thinking(reply, opened, said):
    assert page["after_thinking"](reply, opened) == said
