"""A page without a problem, in a tiny repository, and small changes to the page for the tests of the conventions."""

from collections.abc import Callable
from pathlib import Path

import nbformat
from check_notebooks import check_notebook
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

Mutation = Callable[[NotebookNode], None]

FIRST = "(small_page)=\n# A small page\n\nThis is why you want to read on.\n\n> **The short answer.** Count twice."
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
RECIPE = "## In your project\n\n" + "".join(f"{step}. Measure.\n" for step in range(1, 6))
COST = "**What it costs.** A minute.\n\n**The line to report.** Pi, to two digits."
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
    cells += [new_markdown_cell(RECIPE), code("print(3.14)", printed()), new_markdown_cell(COST)]
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


def write_small_book(tmp_path: Path) -> Path:
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
    path.write_text(nbformat.v4.nbjson.writes(notebook))  # nbformat.write would repair it
    return [str(problem) for problem in check_notebook(path, repo)]


# --- Changes to the page: its cell 5 is text and its cell 6 prints; additions come after them ---


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
    """Clear all outputs, and change the cells so that none shows anything."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], source=cell.source.replace("print", "len"))
    notebook.cells[5].source = "pi = 3.14"
    notebook.cells[7].source = "def report():\n    print(3.14)"
    for number in (13, 15, 17):
        notebook.cells[number - 1].source = "answer = 42"


def also(packages: str) -> Mutation:
    """Make the Colab cell install these packages too."""
    return edit("import sys\n", f'import sys\n\nALSO = "{packages}"')


BOTH_SKIPS = ("skip-execution", "nbval-skip")
