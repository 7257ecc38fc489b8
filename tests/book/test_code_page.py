"""The programs of the book's data: each reference passes its tests, each test can fail; and the grader of the page."""

import ast
import json
from pathlib import Path

import pytest
from notebook_code import definitions

import nbhelpers as nb

FILE = Path(__file__).parents[2] / "book" / "data" / "programs.jsonl"
PROBLEMS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
NAMES = [problem["name"] for problem in PROBLEMS]


def test_there_are_twenty_with_names_of_their_own():
    assert len(PROBLEMS) == len(set(NAMES)) == 20


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
def test_the_reference_passes_its_tests(problem):
    run = nb.run_program(problem["reference"], problem["tests"], timeout=30)
    assert run.passed, run
    (function,) = ast.parse(problem["reference"]).body
    assert f"{function.name}({ast.unparse(function.args)})" == problem["signature"]
    assert function.name == problem["name"]


@pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)
@pytest.mark.parametrize("value", ["None", "0", "True", "''", "[]"])
def test_a_constant_does_not_pass(problem, value):
    constant = f"def {problem['signature']}:\n    return {value}\n"
    assert nb.run_program(constant, problem["tests"], timeout=30).status == "failed"


def test_the_weakness_that_the_page_finds_is_there_and_is_mended_by_one_assert():
    (celsius,) = [problem for problem in PROBLEMS if problem["name"] == "celsius"]
    wrong = "def celsius(fahrenheit):\n    return (fahrenheit - 32) * 5 // 9\n"
    more = "assert abs(celsius(0) + 160 / 9) < 1e-9\n"
    assert nb.run_program(wrong, celsius["tests"], timeout=30).passed
    assert nb.run_program(wrong, celsius["tests"] + more, timeout=30).status == "failed"
    assert nb.run_program(celsius["reference"], celsius["tests"] + more, timeout=30).passed


# --- The grader that the page derives ---

NOTEBOOK = json.loads((FILE.parents[1] / "tasks" / "code.ipynb").read_text(encoding="utf-8"))
page = vars(definitions("tasks/code.ipynb"))
for cell in NOTEBOOK["cells"]:  # what is neither a function nor an import, but what mutants are made with
    if "".join(cell["source"]).startswith(("SWAPS =", "class Mutate")):
        exec("".join(cell["source"]), page["mutants"].__globals__)


@pytest.mark.parametrize(
    "reply, program",
    [
        ("Sure!\n```python\nx = 1\n```\nIt works.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),  # no language
        ("```py\nx = 1\ny", "x = 1\ny"),  # cut off
        ("x = 1", "x = 1"),  # no fence
        ("```python\nx = 1\n```\n```python\nx = 2\n```", "x = 1\n"),  # the first of two
        ("```python3\nx = 1\n```\nText", "x = 1\n"),  # any language: else the closing fence would open a block
        ("  ```python\n  x = 1\n  ```\nText", "  x = 1\n"),  # in a list
        ("```python\n```\nText", ""),
        ('```python\nx = "```"\n```', 'x = "```"\n'),  # inside a line it is no fence
    ],
)
def test_extraction(reply, program):
    assert page["extract"](reply) == program


def test_mutants_change_one_thing_each():
    assert page["mutants"]("def f(x):\n    return x + 1 < 2\n") == [
        "def f(x):\n    return x - 1 < 2",
        "def f(x):\n    return x + 2 < 2",
        "def f(x):\n    return x + 1 <= 2",
        "def f(x):\n    return x + 1 < 3",
    ]
    assert page["mutants"]("def f(x):\n    return True") == ["def f(x):\n    return False"]
    assert page["mutants"]("def f(x):\n    return x") == []


def test_another_name_is_lent_only_where_it_is_missing():
    renamed = page["renamed"]
    assert renamed("def g(x):\n    return x", "f").endswith("\nf = g")
    assert renamed("def f(x):\n    return x", "f") == "def f(x):\n    return x"
    assert renamed("def g(", "f") == "def g("
    assert renamed("x = 1", "f") == "x = 1"


@pytest.mark.filterwarnings("ignore:the interval")  # of two equal problems
@pytest.mark.parametrize("n, c, k", [(5, 2, 2), (5, 0, 5), (5, 5, 1), (10, 3, 4)])
def test_the_page_derives_the_estimators_of_the_package(n, c, k):
    assert page["at_least_one"](n, c, k) == pytest.approx(nb.pass_at_k([c, c], n, k).estimate)
    assert page["all_of"](n, c, k) == pytest.approx(nb.pass_hat_k([c, c], n, k).estimate)
