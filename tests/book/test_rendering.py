"""Notebooks as GitHub and JupyterLab render them, and their copies for Colab: no markup may remain visible."""

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from notebook_code import NOTEBOOKS as PAGES
from notebook_code import ROOT
from publish import write_copies

RAW = re.compile(
    r":::|```|~~~|\{[a-z][\w:.+-]*\}`?|\{\{|\}\}|^\+\+\+|^%.*|\([\w-]+\)=|</?details|</?summary", re.MULTILINE
)
EXPORTER = HTMLExporter()


def shows_markdown(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" or any("text/markdown" in output.get("data", {}) for output in cell.outputs)


def raw_markup(notebook: NotebookNode) -> list[str]:
    """The markup that rendered prose still shows. Code may contain anything, and a script draws the formulas."""
    # Code cells are most of a page, take most of the time to render, and are removed below.
    shown = new_notebook(cells=[cell for cell in notebook.cells if shows_markdown(cell)], metadata=notebook.metadata)
    body, _ = EXPORTER.from_notebook_node(shown)
    prose = BeautifulSoup(body, "html.parser").select(".jp-RenderedMarkdown")
    assert prose, "the class of rendered Markdown has changed, so this test would look at nothing"
    for code in [code for part in prose for code in part.select("pre, code")]:
        code.decompose()
    text = "\n".join(part.get_text() for part in prose)
    return RAW.findall(re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL))


# (markdown, the markup that stays visible, why it matters)
MARKUP = [
    ("(page)=\n# A page", ["(page)="], "the label, which the book accepts"),
    (":::{note}\nHi\n:::", [":::", "{note}", ":::"], "a fence of MyST"),
    ("See {ref}`there`.", ["{ref}"], "a role; its text becomes code"),
    ("It is {{ answer }}.", ["{{", "}}"], "a substitution"),
    ("% a comment", ["% a comment"], "a comment that everyone sees"),
    ("One\n\n+++\n\nTwo", ["+++"], "a block break"),
    ("<details><summary>A</summary>\n\n**b**\n\n</details>", [], "folds, as HTML does"),
    ("&lt;details>", ["<details"], "a tag that is shown instead"),
    ("`(page)=` and $x_{ref}$ and 50%", [], "code, a formula, a percentage"),
]


@pytest.mark.parametrize(("markdown", "expected", "reason"), MARKUP)
def test_what_counts_as_raw(markdown, expected, reason):
    assert raw_markup(new_notebook(cells=[new_markdown_cell(markdown)])) == expected, reason


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_no_markup_but_its_label(page):
    notebook = nbformat.read(ROOT / page, as_version=4)
    label = notebook.cells[0].source.splitlines()[0].strip()
    assert raw_markup(notebook) == [label]


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copies") / "tree"
    write_copies("https://github.com/someone/some-book", "https://example.org", folder, ROOT)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_copy_for_colab_shows_none(copies, page):
    assert raw_markup(nbformat.read(copies / page, as_version=4)) == []
