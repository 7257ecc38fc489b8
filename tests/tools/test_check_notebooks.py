"""Every rule of tools/check_notebooks.py, as one small change to a page that has no problem."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from check_notebooks import check_notebook, check_toc  # noqa: E402

Mutation = Callable[[NotebookNode], None]

FIRST = "(small_page)=\n# A small page\n\nThis is why you want to read on."
GLANCE = """## At a glance

| | |
|---|---|
| **Time to read** | 5 minutes |
| **Time to run** | 1 second |
| **Hardware** | any |
| **Needs** | nothing |
| **After this page you can…** | check a notebook |"""
COLAB = 'import sys\n\nif "google.colab" in sys.modules:\n    %pip install -q nothing\n    print("ready")'
CONTENT = "## How large?\n\nSee [GPT-3](https://arxiv.org/abs/2005.14165) and [data](data/tiny.jsonl#first)."
CHOICES = """
<details><summary>Yes</summary>

Right, **since** it is.
</details>
<details>
<summary>No</summary>

Wrong.
</details>"""
QUESTIONS = "## Check yourself\n" + "".join(f"\n**{number}. Is it so?**\n{CHOICES}\n" for number in (1, 2, 3))
BIBLIOGRAPHY = """
@article{brown2020, title = {GPT-3}, author = {Brown, Tom}, year = {2020}, url = {https://arxiv.org/abs/2005.14165}}
@article{papineni2002, title = {BLEU}, author = {P, K}, year = {2002}, doi = {10.3115/1073083.1073135}}
@article{touvron2023, title = {LLaMA}, author = {T, H}, year = {2023}, eprint = {2302.13971}}
@misc{radford2019, TITLE = {GPT-2}, AUTHOR = {R, A}, YEAR = {2019}, URL = {https://cdn.openai.com/better.pdf}}
"""
PYPROJECT = '[project]\ndependencies = ["matplotlib>=3.8", "numpy>=1.26", "torch>=2.4"]\n'
REQUIREMENTS = "# lower bounds\nnumpy>=1.26\nrouge-score>=0.1.2\nscikit-learn>=1.5\ntorch>=2.4\n"
TOC = "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  chapters:\n  - file: book/page\n"


def printed(text: str = "3.14\n", name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def figure(mime: str = "image/png") -> NotebookNode:
    return new_output("display_data", data={mime: "aGk=", "text/plain": "<Figure size 640x480 with 1 Axes>"})


def code(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = (), **metadata: object) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags), **metadata})


def valid_notebook() -> NotebookNode:
    cells = [new_markdown_cell(FIRST), new_markdown_cell(GLANCE), code(COLAB, tags=("remove-cell",))]
    cells += [code("import math"), new_markdown_cell(CONTENT), code("print(math.pi)", printed())]
    cells += [new_markdown_cell(QUESTIONS), new_markdown_cell("## Exercises\n\nTry before you look.")]
    for number in (1, 2, 3):
        cells.append(new_markdown_cell(f"**{number}. Compute it.**"))
        cells.append(code(f"print({number})", printed(f"{number}\n"), tags=("hide-cell",)))
    cells += [new_markdown_cell("## What we saw\n\nPi."), new_markdown_cell("## Further reading\n\nA book.")]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "x"}})
    renumber(notebook)
    return notebook


def renumber(notebook: NotebookNode) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    running = [cell for cell in cells if not {"skip-execution", "nbval-skip"} <= set(cell.metadata.tags)]
    for count, cell in enumerate(running, 1):
        cell.execution_count = count


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A tiny repository whose one notebook, book/page.ipynb, has no problem."""
    (tmp_path / "book" / "data").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "book" / "references.bib").write_text(BIBLIOGRAPHY)
    (tmp_path / "book" / "data" / "tiny.jsonl").write_text("{}\n")
    (tmp_path / "book" / "data" / "README.md").write_text("# The data\n")
    nbformat.write(valid_notebook(), tmp_path / "book" / "page.ipynb")
    return tmp_path


def problems_after(repo: Path, mutation: Mutation) -> list[str]:
    notebook = valid_notebook()
    mutation(notebook)
    path = repo / "book" / "page.ipynb"
    path.write_text(nbformat.v4.nbjson.writes(notebook))  # as it is: nbformat.write would mend it
    return [str(problem) for problem in check_notebook(path, repo)]


# --- The mutations: the notebook's cell 5 is text and cell 6 prints; what is added comes after them ---


def edit(old: str, new: str, count: int = 1) -> Mutation:
    """Replace text in the first cell that has it."""

    def mutation(notebook: NotebookNode) -> None:
        cell = next(cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new, count)

    return mutation


def add_code(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = (), **metadata: object) -> Mutation:
    def mutation(notebook: NotebookNode) -> None:
        notebook.cells.insert(6, code(source, *outputs, tags=tags, **metadata))
        renumber(notebook)

    return mutation


def add_text(source: str) -> Mutation:
    return lambda notebook: notebook.cells.insert(6, new_markdown_cell(source))


def both(first: Mutation, second: Mutation) -> Mutation:
    def mutation(notebook: NotebookNode) -> None:
        first(notebook)
        second(notebook)

    return mutation


def output(*outputs: NotebookNode) -> Mutation:
    return lambda notebook: notebook.cells[5].update(outputs=list(outputs))


def metadata(**values: object) -> Mutation:
    return lambda notebook: notebook.metadata.update(values)


def cell_values(number: int, **values: object) -> Mutation:
    return lambda notebook: notebook.cells[number - 1].update(values)


def move(number: int, to: int) -> Mutation:
    def mutation(notebook: NotebookNode) -> None:
        notebook.cells.insert(to - 1, notebook.cells.pop(number - 1))
        renumber(notebook)

    return mutation


def set_tags(number: int, *tags: str) -> Mutation:
    return lambda notebook: notebook.cells[number - 1].metadata.update(tags=list(tags))


def no_outputs(notebook: NotebookNode) -> None:
    """As a cleared notebook is, with nothing in it that would show something."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], source=cell.source.replace("print", "len"))
    notebook.cells[5].source = "pi = 3.14"
    for number in (10, 12, 14):
        notebook.cells[number - 1].source = "answer = 42"


def also(packages: str) -> Mutation:
    """Let the Colab cell install these packages too."""
    return edit("import sys\n", f'import sys\n\nALSO = "{packages}"')


ONE_CHOICE = CHOICES[: CHOICES.rindex("<details>")]
BOTH_SKIPS = ("skip-execution", "nbval-skip")
LONG = "value = " + "1" * 72
WIDGET = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "x"})
RECORDED = add_code("print(1)", printed(), tags=BOTH_SKIPS)
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])

# (what is changed, what the one problem then says, why it matters)
PROBLEMS = [
    # 1: the notebook's format
    (metadata(kernelspec={"name": "conda", "display_name": "x"}), "is 'conda'; set", "no one else has it"),
    (lambda notebook: notebook.update(nbformat_minor=4), "is nbformat 4.4", "no cell ids"),
    (lambda notebook: notebook.cells[5].pop("id"), "missing or repeated", "a cell without an id"),
    (both(cell_values(1, id="same"), cell_values(2, id="same")), "missing or repeated", "one id twice"),
    (metadata(widgets={}), "widget state", "state of a widget was saved"),
    # 2: execution counts
    (cell_values(6, execution_count=9), "cell 6: execution count is 9, not 3", "not run from top to bottom"),
    (cell_values(6, execution_count=None), "cell 6: execution count is None, not 3", "not run"),
    (
        both(add_code("x = 1", tags=BOTH_SKIPS), cell_values(7, execution_count=7)),
        "cell 7: is skipped but has execution count 7",
        "a cell that never runs has no count",
    ),
    # 3: outputs
    (output(), "cell 6: shows something but has no output", "print at top level"),
    (add_code("for i in [1]:\n    if i:\n        print(i)"), "no output", "print in blocks"),
    (add_code("with open('x') as f:\n    display(f)"), "no output", "display in a with"),
    (add_code("try:\n    f()\nexcept ValueError:\n    print(1)"), "no output", "print in a try"),
    (add_code("import matplotlib.pyplot as plt\nplt.show()"), "no output", "a figure"),
    (add_code("x = 1\nx"), "no output", "a last line with a value"),
    (add_code("math.sqrt(2)"), "no output", "a last line with a call that returns something"),
    (add_code("def f(:\n    pass"), "cell 7: does not parse (", "code that cannot run"),
    (no_outputs, "page.ipynb: no cell that runs has an output", "nbval passes without comparing anything"),
    # 4: skipped cells
    (add_code("x = 1", tags=("skip-execution",)), "only the tag skip-execution", "nbval would run it"),
    (add_code("x = 1", tags=("nbval-skip",)), "only the tag nbval-skip", "the book's build would run it"),
    (RECORDED, "where 'recorded'", "looks like a fresh output"),
    # 5: nothing hidden from nbval
    (add_code("x = 1", tags=("nbval-ignore-output",)), "has nbval-ignore-output", "output is not compared"),
    (add_code("# NBVAL_IGNORE_OUTPUT\nx = 1"), "has NBVAL_IGNORE_OUTPUT", "the same as a comment"),
    (add_code("# NBVAL_SKIP\nx = 1"), "has NBVAL_SKIP", "skipped by a comment, which the build ignores"),
    (add_code("# PYTEST_VALIDATE_IGNORE_OUTPUT\nx = 1"), "has PYTEST_VALIDATE", "nbval's older name for it"),
    (add_code("x = 1", tags=("nbval-test-listed",)), "has nbval-test-listed", "any other nbval tag"),
    (add_code("x = 1", tags=("raises-exception",)), "has raises-exception", "an exception passes"),
    (add_code("x = 1", tags=("nbval-raises-exception",)), "has nbval-raises", "the same, for nbval"),
    # 6: outputs that are the same in every run
    (output(printed(), printed("warning", "stderr")), "writes to stderr", "a warning in the page"),
    (output(ERROR), "ends in an error", "a traceback in the page"),
    (output(WIDGET), "shows a widget", "a widget does not work on a static page"),
    (output(printed("a\rb")), r"output has '\r'", "a line that overwrites itself"),
    (output(printed("5 [00:01, 4.9it/s]")), "output has 'it/s]'", "a progress bar with a speed"),
    (output(printed(" 50%|#####     | 1/2")), "output has '%|'", "a progress bar"),
    (output(printed("\x1b[31mred")), r"output has '\x1b'", "colours of a terminal"),
    # 7: size of code
    (add_code("x = 1\n" * 16), "cell 7: has 16 lines, over 15", "more than one idea"),
    (add_code(LONG), "line 1 has 80 characters, over 79", "a scroll bar"),
    # 8: plain Markdown
    (add_text(":::{include} page.md"), "a `:::` fence", "shown raw by Colab"),
    (add_text("```{note}\nHi\n```"), "a fence with a {directive}", "shown as code by Colab"),
    (add_text("See {ref}`there`."), "a {role}", "shown raw by Colab"),
    (add_text("The answer is {{ answer }}."), "a {{ substitution }}", "shown raw by Colab"),
    (add_text("One\n\n+++\n\nTwo"), "a `+++` block break", "shown raw by Colab"),
    (add_text("(second)=\nText"), "a (label)= line", "only the page has a label"),
    (add_text("% to do\n\nText"), "a `%` comment line", "shown raw by Colab"),
    # 9: alt text
    (add_code("plt.show()", figure()), "image lacks alt text", "no alt text"),
    (add_code("x", figure("image/svg+xml"), mystnb={"image": {"alt": "A plot"}}), "lacks alt", "too short"),
    (add_text("![](data/tiny.jsonl)"), "'![](' has no alt text", "an image in Markdown"),
    (add_text('<img src="data/tiny.jsonl" alt="">'), "has no alt text", "an image in HTML, empty alt"),
    (add_text('<img src="data/tiny.jsonl">'), "has no alt text", "an image in HTML, no alt"),
    # 10: the page's skeleton
    (edit("(small_page)=\n", ""), "cell 1: must be markdown that starts with", "nothing to link to"),
    (edit("small_page", "Small-Page"), "must be markdown that starts with `(label)=`", "another form"),
    (edit("# A small page", "A small page\n\n# Late"), "followed by `# Title`", "text before the title"),
    (edit("This is why you want to read on.", ""), "put a paragraph there", "no hook"),
    (edit("This is why", "- This is why"), "put a paragraph there", "a list is no hook"),
    (edit("## At a glance", "## Overview"), "first level-2 heading must be '## At a glance'", "no table"),
    (edit("**Hardware**", "**Machine**"), "cell 2: the 'At a glance' table has no row 'Hardware'", "no row"),
    (move(3, 2), "cell 2: code stands before the 'At a glance' table", "the table comes too late"),
    (both(edit("    print", "    #"), set_tags(3)), "must be the Colab set-up", "the site would show it"),
    (edit("google.colab", "colab"), "must be the Colab set-up", "does nothing on Colab"),
    (edit("import math", "x = 1"), "cell 4: the second code cell must hold the imports", "no imports"),
    (edit("## What we saw", "## Summary"), "they must be ['Check yourself'", "another name"),
    (move(16, 15), "they must be ['Check yourself'", "another order"),
    (add_text("## Exercises\n\nMore."), "'## Exercises' stands 2 times", "one too many"),
    (add_text("# Another title"), "has 2 level-1 headings", "two titles"),
    (add_text("#### Too deep"), "heading 'Too deep' jumps from level 2 to 4", "a level is left out"),
    # 11: check yourself
    (edit("**3. Is it so?**", "Is it so?"), "has 2 of 3 questions", "too few questions"),
    (edit(CHOICES, ONE_CHOICE), "'**1. Is it so?**' has 1 <details>", "one choice"),
    (edit("<summary>No</summary>", "No"), "has 1 <details> with <summary>", "a choice without summary"),
    (edit("</details>", ""), "has 6 <details> but 5 </details>", "the rest of the page would fold"),
    (edit("<summary>No</summary>\n", "<summary>No</summary>"), "put a blank line after", "shown raw"),
    # 12: exercises
    (edit("**3. Compute", "**Compute"), "has 2 of 3 exercises", "too few exercises"),
    (set_tags(12), "cell 11: '**2. Compute it.**' has no code cell tagged hide-cell", "not folded"),
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
    (add_code("def f():\n    print(1)\n\n\ng = lambda: print(2)"), "print that runs later"),
    (add_code("class A:\n    def show(self):\n        print(self)"), "print in a class"),
    (add_code("x = [1]\nx.append(2)"), "a call known to return nothing"),
    (add_code("math.sqrt(2);  # quiet"), "a value silenced by a semicolon"),
    (add_code('"""A docstring."""'), "a constant string"),
    (add_code("..."), "an ellipsis"),
    (add_code("%matplotlib inline"), "a magic that shows nothing"),
    (add_code("files = !ls\nx = 1"), "a shell call"),
    (lambda notebook: notebook.cells.insert(6, code("")), "an empty cell, which never runs"),
    (add_code("print(1)", tags=BOTH_SKIPS), "a skipped cell without outputs"),
    (add_code("# Recorded on an H100.\nprint(1)", printed(), tags=BOTH_SKIPS), "recorded, says a comment"),
    (both(RECORDED, add_text("As recorded on an H100:")), "recorded, says the text"),
    (add_code("x", figure(), mystnb={"image": {"alt": "A curve from 0 to 1."}}), "a described figure"),
    (add_code("x = 1\n" * 15), "15 lines"),
    (add_code(LONG[:-1]), "79 characters"),
    (add_text("```python\n+++\n% x\n:::\n# no heading\n[x](none.md)\n```"), "fenced code may hold anything"),
    (add_text("Write `{ref}` or ``{{ x }}`` or `[x](none.md)`; $x_{i}$ is fine."), "so may code spans"),
    (add_text("| a | 50% |\n|---|---|\n| % b | +++ |"), "marks inside a line"),
    (add_text('<img src="data/tiny.jsonl" alt="A plot"> ![A plot](data/tiny.jsonl)'), "described images"),
    (add_text("### Deeper\n\n#### Deeper still"), "levels one by one"),
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


def test_an_empty_notebook_breaks_many_rules_but_crashes_none(repo: Path) -> None:
    problems = problems_after(repo, lambda notebook: notebook.update(cells=[]))
    for fragment in ("`(label)=`", "At a glance", "needs two code cells", "level-1", "no cell that runs"):
        assert any(fragment in problem for problem in problems), fragment


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
