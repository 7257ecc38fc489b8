"""What the Sphinx extension `book_site` does before a page is read; tests/site looks at the pages it makes."""

import os
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from sphinx_extensions.book_site import know_the_address, setup

COLAB = "https://colab.research.google.com"


@pytest.mark.parametrize("address", ["", None], ids=["empty", "nothing"])
def test_without_an_address_the_theme_is_not_asked_for_it(address):
    options = {"repository_url": address, "launch_buttons": {"colab_url": COLAB}}
    config = SimpleNamespace(html_theme_options=options, html_baseurl="", ogp_site_url=None)
    know_the_address(None, config)
    assert "launch_buttons" not in options
    assert config.ogp_site_url == ""


@pytest.mark.parametrize(
    "base, expected",
    [
        ("", "https://someone.github.io/some-book/"),
        ("https://book.example.org/", "https://book.example.org/"),  # an address of its own wins
    ],
)
def test_with_an_address_the_button_stays_and_cards_get_the_address_of_the_site(base, expected):
    options = {"repository_url": "https://github.com/Someone/some-book", "launch_buttons": {"colab_url": COLAB}}
    config = SimpleNamespace(html_theme_options=options, html_baseurl=base, ogp_site_url=None)
    know_the_address(None, config)
    assert options["launch_buttons"] == {"colab_url": COLAB}
    assert config.ogp_site_url == config.html_baseurl == expected


@pytest.mark.parametrize("given, expected", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_kernels_wait_without_spinning_unless_told_otherwise(monkeypatch, given, expected):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    setup(Mock())
    assert os.environ["OMP_WAIT_POLICY"] == expected
