"""Formulas are compared by math-verify in a process of its own, which a hostile one cannot hold up."""

import importlib.util
import subprocess
import threading

import pytest

from nbhelpers import same_expressions
from nbhelpers.checking import expressions

EQUAL = [
    ("2(x+1)", "2x+2"),
    ("$x^2-1$", "(x-1)(x+1)"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt{9}", "3"),  # not "the number 9"
    (r"\boxed{\frac{x}{2}}", "0.5x"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"\sin^2(x)+\cos^2(x)", "1"),
    ("sin(x)", r"\sin x"),
    ("2**3", "8"),
]
UNEQUAL = [
    ("2x", "2y"),
    ("x", "-x"),
    ("(1,2)", "(2,1)"),
    ("[0,1)", "[0,1]"),
    (r"\sqrt{9}", "9"),
]
UNDECIDED = [
    ("", "5", "empty"),
    ("12 or 13", "13", "no single formula"),
    ("the answer is x", "x", "no single formula"),
    ("$x$ and $y$", "y", "no single formula"),
    (r"\frac{x}{", "x", "no formula that can be read"),
    ("x" * 301, "x", "more than 300 characters"),
]


def test_formulas_that_are_the_same_and_that_are_not():
    pairs = EQUAL + UNEQUAL + [(answer, reference) for answer, reference, _ in UNDECIDED]
    found = same_expressions(*zip(*pairs, strict=True), timeout=60)
    expected = [True] * len(EQUAL) + [False] * len(UNEQUAL) + [None] * len(UNDECIDED)
    assert [result.equal for result in found] == expected
    for (_, _, why), result in zip(UNDECIDED, found[-len(UNDECIDED) :], strict=True):
        assert why in result.why


def test_two_numbers_are_compared_exactly_and_start_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    pairs = [("1/2", "0.5"), (r"\frac{1}{2}", "0.50"), ("1,250", "1250"), ("0.333333333", "1/3"), ("-5", "−5")]
    found = same_expressions(*zip(*pairs, strict=True))
    assert [result.equal for result in found] == [True, True, True, False, True]


@pytest.mark.parametrize(
    "formula", ["9^{9^{9^{9}}}", r"10^{10^{10}}", r"\binom{1000000}{500000}", "(" * 140 + "x" + ")" * 140]
)
def test_a_hostile_formula_is_not_decided_and_those_around_it_are(formula):
    """Each of these holds up math-verify, without its own limit of time, for more than ten seconds."""
    found = same_expressions(["2x", formula, "x+x"], ["x+x", "5", "2x"], timeout=3)
    assert [result.equal for result in found] == [True, None, True]


def test_the_process_is_gone_afterwards(monkeypatch):
    started = []
    original = subprocess.Popen

    def remembered(*given, **named):
        started.append(original(*given, **named))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)
    same_expressions(["9^{9^{9^{9}}}", "2x"], ["5", "x+x"], timeout=2)
    assert len(started) == 2 and all(process.returncode is not None for process in started)


def test_it_works_in_a_thread():
    """math-verify's own limit of time does not: signals reach the main thread only."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(same_expressions(["2x"], ["x+x"])))
    thread.start()
    thread.join()
    assert found[0].equal


def test_a_process_that_dies_leaves_its_pair_undecided(monkeypatch, tmp_path):
    worker = tmp_path / "formula_worker.py"
    worker.write_text("import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nsys.exit(3)\n")
    monkeypatch.setattr(expressions, "__file__", str(tmp_path / "expressions.py"))
    found = same_expressions(["2x", "3x"], ["x+x", "x"])
    assert [result.equal for result in found] == [None, None] and "ended" in found[0].why


def test_without_math_verify_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert same_expressions(["1/2"], ["0.5"])[0].equal  # numbers need none
    with pytest.raises(ImportError, match=r"pip install 'nbhelpers\[checking\]'"):
        same_expressions(["2x"], ["x+x"])


@pytest.mark.parametrize(
    "answers, references, options, error, message",
    [
        ("x", ["x"], {}, TypeError, "answers='x' is one string"),
        (["x"], "x", {}, TypeError, "references='x' is one string"),
        (["x"], [1], {}, TypeError, "the reference must be a string"),
        (["x"], [], {}, ValueError, "1 answers and 0 references"),
        (["x"], ["x"], {"timeout": 0}, ValueError, "timeout=0"),
        (["x"], ["x"], {"timeout": float("nan")}, ValueError, "timeout=nan"),
        (["x"], ["x"], {"memory": 1.5}, ValueError, "memory=1.5"),
        (["x"], ["x"], {"memory": 1}, ValueError, "memory=1"),
    ],
)
def test_a_wrong_argument_is_refused(answers, references, options, error, message):
    with pytest.raises(error, match=message):
        same_expressions(answers, references, **options)


def test_nothing_to_compare_is_no_error():
    assert same_expressions([], []) == []
