"""The button that opens a page in Colab: on every notebook if the book has an address, nowhere if it has none."""

import shutil
from pathlib import Path

import nbformat
import pytest
from built import PAGES, ROOT, article, build, card, once_per_run, parsed
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

COLAB = "https://colab.research.google.com"


def links_to_colab(site: Path, page: str) -> list[str]:
    links = [link["href"] for link in parsed(site / f"{page}.html").find_all("a", href=True)]
    return [link for link in links if COLAB in link]


def test_notebooks_have_the_button_and_other_pages_do_not(site):
    found = {page: links_to_colab(site, page) for page in PAGES}
    for page, links in found.items():
        is_notebook = (ROOT / f"{page}.ipynb").exists()
        address = f"{COLAB}/github/Someone/some-book/blob/colab/{page}.ipynb"
        assert links == ([address] if is_notebook else []), page
    assert sum(map(len, found.values())) >= 8


@pytest.fixture(scope="session")
def unpublished(tmp_path_factory) -> Path:
    """The site of a book that has no address yet, of a page and a notebook: the configuration is the real one."""

    def make(folder: Path) -> None:
        book = folder / "source" / "book"
        book.mkdir(parents=True)
        for name in ("_static", "_templates"):
            shutil.copytree(ROOT / "book" / name, book / name)
        shutil.copy(ROOT / "book" / "references.bib", book)
        (book / "index.md").write_text("# A book\n\nWith a page that says what it is about.\n")
        cells = [new_markdown_cell("# A notebook\n\nWith a cell that says what it prints."), new_code_cell("print(1)")]
        nbformat.write(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), book / "page.ipynb")
        toc = "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  chapters:\n  - file: book/page\n"
        (folder / "source" / "_toc.yml").write_text(toc)
        build(folder / "source", folder, url="")

    return once_per_run(tmp_path_factory, "unpublished", make) / "_build" / "html"


@pytest.mark.parametrize("page", ["book/index", "book/page"])
def test_without_an_address_no_page_has_it(unpublished, page):
    assert article(unpublished, page).h1
    assert links_to_colab(unpublished, page) == []


@pytest.mark.parametrize("page", ["book/index", "book/page"])
def test_without_an_address_the_picture_of_the_card_is_linked_relatively(unpublished, page):
    shown = card(unpublished, page)
    assert len(shown["og:description"]) > 20
    assert (unpublished / shown["og:image"]).is_file()
