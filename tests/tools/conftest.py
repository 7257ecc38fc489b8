"""A tiny repository with one page, for the tests of the notebook conventions; marks for tests that run a notebook."""

from pathlib import Path

import pytest
from small_book import write_small_book


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "grown" in getattr(item, "fixturenames", ()):  # a book whose new chapters were executed
            item.add_marker("kernel")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A tiny repository whose one notebook, book/page.ipynb, has no problem."""
    return write_small_book(tmp_path)
