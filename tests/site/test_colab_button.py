"""The button that opens a page in Colab: on every notebook once the book has an address, and nowhere before."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from built import PAGES, ROOT, build

COLAB = "https://colab.research.google.com"


def links_to_colab(address: str | None, folder: Path) -> dict[str, list[str]]:
    """Build the site of a book that is published there; the links to Colab of each of its pages."""
    site = build(folder, url=address)
    pages = {page: BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser") for page in PAGES}
    links = {page: soup.find_all("a", href=True) for page, soup in pages.items()}
    return {page: [link["href"] for link in found if COLAB in link["href"]] for page, found in links.items()}


def test_notebooks_have_the_button_and_other_pages_do_not(tmp_path):
    links = links_to_colab("https://github.com/someone/some-book", tmp_path)
    for page, found in links.items():
        is_notebook = (ROOT / f"{page}.ipynb").exists()
        address = f"{COLAB}/github/someone/some-book/blob/colab/{page}.ipynb"
        assert found == ([address] if is_notebook else []), page
    assert sum(map(len, links.values())) >= 8


def test_with_an_address_cards_have_whole_links(tmp_path):
    site = build(tmp_path, url="https://github.com/Someone/some-book")
    assert 'property="og:url" content="https://someone.github.io/some-book/' in (site / "book/index.html").read_text()


@pytest.mark.parametrize("address", ["", None], ids=["empty", "nothing"])
def test_without_an_address_no_page_has_it_and_the_build_succeeds(tmp_path, address):
    assert set(map(tuple, links_to_colab(address, tmp_path).values())) == {()}
