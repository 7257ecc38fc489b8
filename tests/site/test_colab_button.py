"""The button that opens a page in Colab: on every notebook once the book has an address, and nowhere before."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from book_site import know_the_address
from bs4 import BeautifulSoup
from built import PAGES, ROOT

COLAB = "https://colab.research.google.com"


def links_to_colab(site: Path) -> dict[str, list[str]]:
    """The links to Colab of each page."""
    pages = {page: BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser") for page in PAGES}
    links = {page: [link["href"] for link in soup.find_all("a", href=True)] for page, soup in pages.items()}
    return {page: [link for link in found if COLAB in link] for page, found in links.items()}


def test_notebooks_have_the_button_and_other_pages_do_not(published):
    links = links_to_colab(published)
    for page, found in links.items():
        is_notebook = (ROOT / f"{page}.ipynb").exists()
        address = f"{COLAB}/github/Someone/some-book/blob/colab/{page}.ipynb"
        assert found == ([address] if is_notebook else []), page
    assert sum(map(len, links.values())) >= 8


@pytest.mark.parametrize("page", PAGES)
def test_with_an_address_cards_have_whole_links(published, page):
    soup = BeautifulSoup((published / f"{page}.html").read_text("utf-8"), "html.parser")
    card = {tag["property"]: tag["content"] for tag in soup.find_all("meta", property=True)}
    base = "https://someone.github.io/some-book/"
    assert card["og:url"] == f"{base}{page}.html"
    assert (published / card["og:image"].removeprefix(base)).is_file() and card["og:image"].startswith(base)


def test_without_an_address_no_page_has_it(site):
    assert set(map(tuple, links_to_colab(site).values())) == {()}


@pytest.mark.parametrize("address", ["", None], ids=["empty", "nothing"])
def test_without_an_address_the_theme_is_not_asked_for_it(address):
    options = {"repository_url": address, "launch_buttons": {"colab_url": COLAB}}
    config = SimpleNamespace(html_theme_options=options, html_baseurl="", ogp_site_url=None)
    know_the_address(None, config)
    assert "launch_buttons" not in options
    assert config.ogp_site_url == ""
