"""The address of a repository, as people write it, and of the site that GitHub serves from it."""

import pytest
from addresses import github_address, pages_address

BOOK = "https://github.com/someone/some-book"

# (what is given, what comes of it, why)
ADDRESSES = [
    (BOOK, BOOK, "as it should be"),
    (f"{BOOK}/", BOOK, "as a browser shows it"),
    (f"{BOOK}.git", BOOK, "as `git clone` takes it"),
    ("https://github.com/A-1/b.c_d", "https://github.com/A-1/b.c_d", "all characters that names may have"),
    ("", None, "make address without URL="),
    ("https://github.com/someone", None, "no repository"),
    ("https://github.com//some-book", None, "no owner"),
    (f"{BOOK}/tree/main", None, "a page of the repository"),
    ("http://github.com/someone/some-book", None, "not the scheme that Colab's links are made from"),
    ("https://gitlab.com/someone/some-book", None, "Colab opens repositories of GitHub only"),
    ("https://github.com.example.org/someone/some-book", None, "another host"),
    ("git@github.com:someone/some-book.git", None, "needs a key, which Colab has not"),
    ("https://github.com/someone/some book", None, "a space would end the word in the shell"),
    ("https://github.com/someone/x;reboot", None, "the address is stamped into a shell command"),
    ("https://github.com/someone/..", None, "no name of a repository"),
    (f"{BOOK}\n", None, "a line break would end the line of the configuration"),
    (f"see {BOOK}", None, "more than the address"),
]


@pytest.mark.parametrize(("url", "expected", "reason"), ADDRESSES)
def test_an_address_is_one_of_github_or_an_error_that_repeats_it(url, expected, reason):
    if expected:
        assert github_address(url) == expected, reason
    else:
        with pytest.raises(ValueError, match="is no address of a GitHub repository: give") as error:
            github_address(url)
        assert repr(url) in str(error.value), reason


@pytest.mark.parametrize(
    ("repository", "site"),
    [
        (BOOK, "https://someone.github.io/some-book"),
        ("https://github.com/SomeOne/Book", "https://someone.github.io/Book"),  # hosts have no capitals, paths may
        ("https://github.com/SomeOne/someone.github.io", "https://someone.github.io"),  # the site of the owner
    ],
)
def test_where_github_serves_the_site(repository, site):
    assert pages_address(repository) == site
