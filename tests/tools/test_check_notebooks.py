"""The conventions that need other files (the bibliography, the data, the requirements, _toc.yml), and the command."""

import subprocess
import sys
from pathlib import Path

import pytest
from check_notebooks import check_notebook, check_toc
from small_book import (
    BOTH_SKIPS,
    TOC,
    Mutation,
    add_code,
    add_text,
    also,
    both,
    edit,
    output,
    printed,
    problems_after,
)

TOOLS = Path(__file__).parents[2] / "tools"

# (what is changed, what the one problem then says, why it matters)
PROBLEMS = [
    # 13: papers
    (add_text("<https://arxiv.org/abs/1706.03762>"), "1706.03762 is not in references.bib", "not listed"),
    (add_text("[x](https://www.aclanthology.org/P02-1040/)"), "is not in references.bib", "www. or not"),
    # 14: relative links
    (add_text("[next](next.ipynb#top)"), "links to next.ipynb#top, which does not exist", "a dead link"),
    (add_text("[![A plot](data/tiny.jsonl)](gone.md)"), "links to gone.md", "an image that is a link"),
    (add_text('<a href="gone.md">x</a>'), "links to gone.md", "a link in HTML"),
    (add_text("[data](../data/tiny.jsonl)"), "links to ../data/tiny.jsonl", "the path from another folder"),
    # 15: what Colab installs
    (
        add_code("import sklearn.svm"),
        "cell 7: imports sklearn, which nbhelpers does not bring; add 'scikit-learn>=1.5'",
        "no such package on Colab",
    ),
    (
        add_code("def f():\n    from rouge_score import x"),
        "add 'rouge-score>=0.1.2' to ALSO",
        "imported later, in a function",
    ),
    (
        add_code("import none_such as n", tags=BOTH_SKIPS),
        "add 'none-such>=VERSION'",
        "not in requirements.txt; the cell is run by hand",
    ),
    (both(add_code("import sklearn"), also("'rouge-score>=0.1.2'")), "imports sklearn", "another package is installed"),
    (
        also("'rouge-score>=0.1'"),
        "cell 3: the Colab set-up installs 'rouge-score>=0.1'; write 'rouge-score>=0.1.2'",
        "another bound",
    ),
    (also("rouge-score"), "installs 'rouge-score'; write", "no bound"),
    (also("'none-such>=1'"), "write 'none-such>=VERSION'", "not in requirements.txt"),
    (also("'rouge-score==0.1.2'"), "has `==`", "an exact version, which may break what Colab brings"),
    (edit("-q nothing", "-q torch==2.4"), "has `==`", "an exact version in another way"),
    (also("'rouge score'"), "ALSO of the Colab set-up is not for pip", "a typo"),
]

# (what is changed, why it is no problem)
FINE = [
    (add_text("<http://www.arxiv.org/pdf/2005.14165v4/>; https://arxiv.org/abs/2005.14165."), "spellings"),
    (add_text("[BLEU](https://doi.org/10.3115/1073083.1073135)"), "in the bibliography by its doi"),
    (add_text("[GPT-2](https://cdn.openai.com/better.pdf)"), "in the bibliography, in capitals"),
    (add_text("An address starts with https://... or http://www."), "half an address"),
    (add_text("[LLaMA](https://arxiv.org/abs/2302.13971)"), "in the bibliography by its eprint"),
    (add_text("[x](https://dl.acm.org/doi/10.3115/1073083.1073135#abstract)"), "the ACM's page of a DOI"),
    (add_text("[a](https://example.org/x.md) [b](#here) [c](mailto:a@b.c) [d](index.md#top)"), "other links"),
    (add_code("import numpy as np\nfrom torch.nn import functional"), "brought by nbhelpers"),
    (add_code("import nbhelpers\nfrom nbhelpers import plots\nfrom IPython.display import HTML"), "there anyway"),
    (both(also("'rouge-score>=0.1.2'"), add_code("import rouge_score")), "installed by the Colab cell"),
    (also("'scikit-learn>=1.5' 'rouge_score>=0.1.2'"), "two packages, one spelt another way"),
]


def test_a_valid_notebook_has_no_problem(repo: Path) -> None:
    assert check_notebook(repo / "book" / "page.ipynb", repo) == []
    assert check_toc(repo) == []


@pytest.mark.parametrize(("mutation", "fragment", "reason"), PROBLEMS)
def test_a_change_that_is_one_problem(repo: Path, mutation: Mutation, fragment: str, reason: str) -> None:
    problems = problems_after(repo, mutation)
    assert len(problems) == 1, problems
    assert problems[0].startswith("book/page.ipynb"), problems
    assert fragment in problems[0], reason


@pytest.mark.parametrize(("mutation", "reason"), FINE)
def test_a_change_that_is_fine(repo: Path, mutation: Mutation, reason: str) -> None:
    assert problems_after(repo, mutation) == [], reason


# (a file to write, its content, what the one problem then says, why it matters)
TOC_PROBLEMS = [
    ("book/new.ipynb", "", "book/new.ipynb: stands 0 times", "a notebook that is never built"),
    ("book/deep/new.md", "", "book/deep/new.md: stands 0 times", "a page in a folder"),
    ("_toc.yml", TOC + "  - file: book/page\n", "book/page.ipynb: stands 2 times", "a page in two places"),
    ("_toc.yml", TOC + "  - file: book/none\n", "_toc.yml: lists book/none, which", "an entry without page"),
    ("_toc.yml", TOC + "    sections:\n    - file: none\n", "_toc.yml: lists none", "an entry below a page"),
]


@pytest.mark.parametrize(("file", "content", "start", "reason"), TOC_PROBLEMS)
def test_a_toc_with_one_problem(repo: Path, file: str, content: str, start: str, reason: str) -> None:
    (repo / file).parent.mkdir(exist_ok=True)
    (repo / file).write_text(content)
    problems = [str(problem) for problem in check_toc(repo)]
    assert len(problems) == 1, problems
    assert problems[0].startswith(start), reason


def test_a_toc_needs_no_drafts_readmes_or_data(repo: Path) -> None:
    for file in ("_draft.md", "README.md", "data/notes.md", "_build/x.md", ".ipynb_checkpoints/page.ipynb"):
        (repo / "book" / file).parent.mkdir(exist_ok=True)
        (repo / "book" / file).write_text("")
    assert check_toc(repo) == []


def run(repo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "check_notebooks.py"), "--root", str(repo), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=repo, check=False)


def test_exit_0_when_there_is_no_problem(repo: Path) -> None:
    for arguments in ([], ["book/page.ipynb"]):
        result = run(repo, *arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout == "checking book/page.ipynb\n1 notebooks checked, 0 problems found\n"


def test_exit_1_and_one_line_a_problem(repo: Path) -> None:
    problems_after(repo, both(output(printed("x\r")), add_text("{{ x }}")))
    (repo / "_toc.yml").write_text("root: book/index")
    result = run(repo)
    lines = result.stdout.splitlines()
    assert result.returncode == 1, result.stderr
    assert [line.split(": ")[0] for line in lines] == [
        "checking book/page.ipynb",
        "book/page.ipynb, cell 6",
        "book/page.ipynb, cell 7",
        "book/page.ipynb",
        "1 notebooks checked, 3 problems found",
    ]
    assert "_toc.yml" not in run(repo, "book/page.ipynb").stdout, "a named notebook is checked alone"


UNREADABLE = [
    ("book/page.ipynb", "no JSON", "page.ipynb: not a notebook"),
    ("book/page.ipynb", "[]", "page.ipynb: not a notebook"),
    ("book/page.ipynb", '{"nbformat": 3, "worksheets": [], "metadata": {}}', "page.ipynb: not a notebook"),
    ("book/page.ipynb", '{"nbformat": 4, "metadata": {}, "cells": [{}]}', "page.ipynb: not a notebook"),
    ("book/references.bib", "@article{half, title = {", "references.bib"),
    ("_toc.yml", "root: [", "_toc.yml"),
]


@pytest.mark.parametrize(("file", "content", "fragment"), UNREADABLE)
def test_exit_2_when_something_cannot_be_read(repo: Path, file: str, content: str, fragment: str) -> None:
    (repo / file).write_text(content)
    result = run(repo)
    assert (result.returncode, result.stderr[:12]) == (2, "cannot read:"), result
    assert fragment in result.stderr
    assert "Traceback" not in result.stderr


def test_exit_2_when_there_is_nothing_to_check(repo: Path) -> None:
    assert run(repo, "none.ipynb").returncode == 2
    (repo / "book" / "page.ipynb").unlink()
    result = run(repo)
    assert result.returncode == 2
    assert "no notebook" in result.stderr, "a check of nothing must not pass"
