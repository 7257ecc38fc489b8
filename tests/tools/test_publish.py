"""The book's address in its configuration, the links and cells of one copy for Colab, and the command."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from publish import address_node, colab_copy, link_maker, main, refuse_links, with_links, write_address

ROOT = Path(__file__).parents[2]
BOOK = "https://github.com/someone/some-book"
SITE = "https://someone.github.io/some-book"


# --- The address in the configuration ---


def test_the_address_is_one_line_of_the_configuration_and_nothing_else_changes(tmp_path):
    config = tmp_path / "_config.yml"
    before = (ROOT / "_config.yml").read_text("utf-8")
    config.write_text(before, "utf-8")
    for url in (BOOK, "https://github.com/a/b"):  # the first time, and over an earlier one
        write_address(f"{url}/", config)
        after = config.read_text("utf-8")
        changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
        assert [new for _, new in changed] == [f"  url: {url}"]
        assert yaml.safe_load(after)["repository"] == {"url": url, "branch": "colab"}


@pytest.mark.parametrize("url", ['url: ""  # here', "url:  # here", f"url: {BOOK}/old # here", "url: '' # here"])
def test_a_comment_behind_the_address_stays(tmp_path, url):
    config = tmp_path / "_config.yml"
    config.write_text(f"# first\nrepository:\n  branch: colab\n  {url}\nlast: 1\n")
    write_address(BOOK, config)
    assert config.read_text().endswith("# here\nlast: 1\n")
    assert yaml.safe_load(config.read_text())["repository"] == {"url": BOOK, "branch": "colab"}


@pytest.mark.parametrize("text", ["", "title: x\n", "repository:\n", "repository: x\n", "repository:\n  branch: x\n"])
def test_a_configuration_without_the_line_is_an_error(text):
    with pytest.raises(ValueError, match=r"_config.yml has no repository.url"):
        address_node(text)


# --- Links ---

FILES = {"README.md", "LICENSE", "book/index.md", "book/a/one.ipynb", "book/a/two.md", "book/data/x y.jsonl"}
FILES |= {"book/a/plot.png", "book/draft.md", "nbhelpers/scoring.py"}
LISTED = {"book/a/one.ipynb": "book/a/one.html", "book/a/two.md": "book/a/two.html", "book/index.md": "book/index.html"}
LISTED |= {"book/a/one.md": "book/a/one.html"}  # page_addresses lists both suffixes of every page

# (a link in book/a/one.ipynb, what comes of it, why)
LINKS = [
    ("[x](two.md)", f"[x]({SITE}/book/a/two.html)", "a page beside"),
    ("[x](../index.md#top)", f"[x]({SITE}/book/index.html#top)", "a page above, at a heading"),
    ("[x](#here)", f"[x]({SITE}/book/a/one.html#here)", "this page: Colab has other anchors"),
    ('[x](two.md "A title")', f'[x]({SITE}/book/a/two.html "A title")', "with a title"),
    ("[x](<two.md>)", f"[x](<{SITE}/book/a/two.html>)", "in angle brackets"),
    ("[`x`](two.md), `[y](two.md)`", f"[`x`]({SITE}/book/a/two.html), `[y](two.md)`", "code is code"),
    ('<a href="two.md">t</a>', f'<a href="{SITE}/book/a/two.html">t</a>', "in HTML"),
    ("[x](../data/x%20y.jsonl)", f"[x]({BOOK}/blob/main/book/data/x y.jsonl)".replace(" ", "%20"), "data"),
    ("[x](../draft.md)", f"[x]({BOOK}/blob/main/book/draft.md)", "not on the site: not in the contents"),
    ("[x](../../nbhelpers/scoring.py#L3)", f"[x]({BOOK}/blob/main/nbhelpers/scoring.py#L3)", "code"),
    ("[x](../../nbhelpers)", f"[x]({BOOK}/tree/main/nbhelpers)", "a folder"),
    ("![A plot](plot.png)", f"![A plot]({BOOK}/raw/main/book/a/plot.png)", "an image: its words stay"),
    ("[![A](plot.png)](two.md)", f"[![A]({BOOK}/raw/main/book/a/plot.png)]({SITE}/book/a/two.html)", "both"),
    ("```\n[x](two.md)\n```", "```\n[x](two.md)\n```", "fenced code is code"),
    ("[x](https://example.org/two.md)", "[x](https://example.org/two.md)", "in full already"),
    ("[x](mailto:a@example.org)", "[x](mailto:a@example.org)", "no file"),
    ("| [x](two.md) |\n|---|\n", f"| [x]({SITE}/book/a/two.html) |\n|---|\n", "in a table"),
]

# (a link, what the error says, why)
BAD_LINKS = [
    ("[x](gone.md)", "book/a/one.ipynb links to gone.md, which git does not know", "no such file"),
    ("[x](../../../etc/passwd)", "links to ../../../etc/passwd, which", "outside the repository"),
    ("[x](/book/index.md)", "links to /book/index.md, which", "a path from the root means another place on the site"),
    ("[x](one.md)", "links to one.md, which", "the page is an .ipynb"),
    ("[x][y]\n\n[y]: two.md\n", "links to two.md in a way that is not understood", "a reference"),
    ("<img alt='A' src=plot.png>", "links to plot.png in a way that is not", "HTML without quotes"),
]


@pytest.fixture
def absolute():
    return link_maker(BOOK, SITE, FILES, LISTED)


@pytest.mark.parametrize(("source", "expected", "reason"), LINKS)
def test_links_in_full(absolute, source, expected, reason):
    assert with_links(source, "book/a/one.ipynb", absolute) == expected, reason


@pytest.mark.parametrize(("source", "message", "reason"), BAD_LINKS)
def test_an_unknown_link_is_an_error_that_names_page_and_link(absolute, source, message, reason):
    with pytest.raises(ValueError) as error:
        with_links(source, "book/a/one.ipynb", absolute)
    assert message in str(error.value), reason


# --- One copy ---

SETUP = 'import sys\n\nREPOSITORY, PAGE = "", "elm/book/a"'


def small_notebook(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    setup = new_code_cell(SETUP, metadata={"tags": ["remove-cell"]})
    return new_notebook(cells=[new_markdown_cell("(one)=\n# One\n\n(not a label)= here"), setup, *cells])


def copy(notebook: nbformat.NotebookNode, absolute) -> nbformat.NotebookNode:
    return colab_copy(notebook, "book/a/one.ipynb", BOOK, absolute)


def test_the_address_is_stamped_and_the_label_gone(absolute):
    first, setup = copy(small_notebook(), absolute).cells
    assert first.source == "# One\n\n(not a label)= here"
    assert setup.source == f'#@title Set up Colab\nimport sys\n\nREPOSITORY, PAGE = "{BOOK}", "elm/book/a"'


@pytest.mark.parametrize(
    ("tag", "mime", "title"),
    [
        ("hide-cell", "text/plain", "Solution"),
        ("hide-cell", "image/png", "Solution"),  # even if it draws a figure
        ("hide-input", "image/png", "The code of the figure"),
        ("hide-input", "text/plain", "The code"),
        ("hide-output", "text/plain", None),
        ("skip-execution", "text/plain", None),  # readers should see it
    ],
)
def test_what_the_site_folds_is_a_form(absolute, tag, mime, title):
    shown = new_output("display_data", data={mime: "aGk="})
    cell = copy(small_notebook(new_code_cell("x = 1", metadata={"tags": [tag]}, outputs=[shown])), absolute).cells[-1]
    assert cell.source == (f"#@title {title}\nx = 1" if title else "x = 1")
    assert cell.metadata.get("cellView") == ("form" if title else None)
    assert cell.outputs == [shown]


# (a notebook, what the error says, why)
BAD_NOTEBOOKS = [
    (small_notebook(new_code_cell("%%time\nx", metadata={"tags": ["hide-cell"]})), "starts with %%time", "magic first"),
    (new_notebook(cells=[new_markdown_cell("(one)=\n# One")]), "has no Colab cell", "no code at all"),
    (new_notebook(cells=[new_code_cell('REPOSITORY = ""')]), "has no Colab cell", "another form of it"),
    (new_notebook(cells=[new_code_cell("x = 1"), new_code_cell(SETUP)]), "has no Colab cell", "not the first code"),
]


@pytest.mark.parametrize(("notebook", "message", "reason"), BAD_NOTEBOOKS)
def test_a_notebook_that_cannot_be_copied_is_named(absolute, notebook, message, reason):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        copy(notebook, absolute)
    assert "book/a/one.ipynb" in str(error.value), reason


# --- Links in the file system ---

SECRET = "what nobody should read"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def small_repo(tmp_path: Path) -> Path:
    """A repository with files in the places that are published and in one that is not; beside it lies a secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.csv").write_text(SECRET)
    repo = tmp_path / "repo"
    for file in ("nbhelpers/a.py", "book/data/a.csv", "book/area/page.md", "_toc.yml", "_config.yml", "notes/a.md"):
        (repo / file).parent.mkdir(parents=True, exist_ok=True)
        (repo / file).write_text("root: book/area/page\n")
    git(repo, "init", "-q")
    git(repo, "add", ".")
    return repo


def link(repo: Path, path: str, target: str) -> None:
    """Put a link in the place of whatever is there, and let git know."""
    place = repo / path
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    git(repo, "add", "--all", ".")


def nest(repo: Path, path: str) -> None:
    """Put a repository of its own into the repository, as `git clone` in the wrong folder does."""
    (repo / path).mkdir(parents=True)
    (repo / path / "a.py").write_text("x")
    git(repo / path, "init", "-q")
    git(repo / path, "add", ".")
    git(repo / path, "commit", "-q", "-m", "x")
    git(repo, "add", ".")


def unknown_to_git(repo: Path, path: str) -> None:
    """A folder that git holds for one of plain files became a link after the last `git add`."""
    shutil.rmtree(repo / path)
    (repo / path).symlink_to("../../outside")


def text_of_a_link(repo: Path, path: str) -> None:
    """A link as git writes it where there are none, as on Windows: a file with the target in it."""
    (repo / path).symlink_to("../../outside/a.csv")
    git(repo, "add", path)
    (repo / path).unlink()
    (repo / path).write_text("../../outside/a.csv")


def named_pipe(repo: Path, path: str) -> None:
    (repo / path).unlink()
    os.mkfifo(repo / path)


# (what is done to the repository, what the error says, why)
TRAPS = [
    (lambda r: link(r, "book/data/b.csv", "../../../outside/a.csv"), "'book/data/b.csv' is a link", "to outside"),
    (lambda r: link(r, "book/data/b.csv", "a.csv"), "'book/data/b.csv' is a link", "inside: no rule to understand"),
    (lambda r: link(r, "book/data/b.csv", "/nowhere"), "'book/data/b.csv' is a link", "to nowhere"),
    (lambda r: link(r, "nbhelpers/more", "../../outside"), "'nbhelpers/more' is a link", "a folder"),
    (lambda r: link(r, "book/plot.png", "../../outside/a.csv"), "'book/plot.png' is a link", "the site would copy it"),
    (lambda r: link(r, "book", "notes"), "'book' is a link", "everything"),
    (lambda r: link(r, "README.md", "../outside/a.csv"), "'README.md' is a link", "published by its name"),
    (lambda r: link(r, "book/two\nlines", "x"), r"'book/two\nlines' is a link", "one line, whatever the name"),
    (lambda r: unknown_to_git(r, "book/data"), "'book/data/a.csv' is a link, or lies behind one", "in the folder only"),
    (lambda r: text_of_a_link(r, "book/data/b.csv"), "'book/data/b.csv' is a link", "in git only"),
    (lambda r: nest(r, "nbhelpers/other"), "'nbhelpers/other' is a git repository of its own", "a nested .git"),
    (lambda r: nest(r, "book/other"), "'book/other' is a git repository of its own", "among the pages"),
    (
        lambda r: named_pipe(r, "book/data/a.csv"),
        "'book/data/a.csv' is no plain file",
        "reading it would wait for ever",
    ),
]


@pytest.mark.parametrize(("trap", "message", "reason"), TRAPS)
def test_what_is_no_plain_file_is_refused_and_nothing_is_written(
    small_repo, monkeypatch, capsys, trap, message, reason
):
    trap(small_repo)
    monkeypatch.setattr("publish.ROOT", small_repo)
    output = small_repo.parent / "out"
    assert main(["copies", "--repository", BOOK, str(output)]) == 1, reason
    error = capsys.readouterr().err
    assert error.startswith("cannot publish: ") and error.count("\n") == 1
    assert message in error and not output.exists(), reason


def test_links_that_are_not_published_are_nobodys_trouble(small_repo):
    link(small_repo, "notes/b.md", "/nowhere")
    link(small_repo, "nbhelpers.old", "nbhelpers")
    nest(small_repo, "notes/other")
    refuse_links(small_repo)


def test_this_repository_has_no_links():
    refuse_links(ROOT)


# --- The command ---

# (arguments, what it says, why)
MISTAKES = [
    (["address", "https://gitlab.com/a/b"], "'https://gitlab.com/a/b' is no address", "not on GitHub"),
    (["copies", "OUT"], "the book has no address yet: run `make address", "no address in the configuration"),
    (["copies", "--repository", "file:///x", "OUT"], "give --site URL", "no site can be derived"),
    (["copies", "--repository", f"{BOOK}/tree/main", "OUT"], "is no address of a GitHub", "a page of the repository"),
    (["copies", "--repository", BOOK, "."], "give a new one, so that nothing old is published", "a folder with files"),
    (["copies", "--repository", BOOK, "_toc.yml"], "give a new one", "a file"),
]


@pytest.fixture
def without_address(monkeypatch, tmp_path):
    """A repository without an address, as the tool's root and working folder."""
    (tmp_path / "_toc.yml").write_text("root: book/index\n")
    (tmp_path / "_config.yml").write_text('repository:\n  url: ""\n')
    monkeypatch.setattr("publish.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "message", "reason"), MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(without_address, capsys, arguments, message, reason):
    before = sorted(without_address.rglob("*"))
    assert main(arguments) == 1, reason
    error = capsys.readouterr().err
    assert error.startswith("cannot publish: ") and error.count("\n") == 1
    assert message in error, reason
    assert sorted(without_address.rglob("*")) == before


@pytest.mark.parametrize("url", ["x y", "https://example.org/$(reboot)", "ftp://example.org", 'https://a"b'])
def test_what_is_stamped_into_a_command_must_be_plain(url, capsys):
    with pytest.raises(SystemExit):
        main(["copies", "--repository", url, "--site", SITE, "out"])
    assert "is no plain address" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["-x", "--help", "", "x y", f"{BOOK}/$(touch ran)", f'{BOOK}"'])
def test_an_address_is_never_an_option(without_address, capsys, url):
    assert main(["address", "--", url]) == 1
    assert f"{url!r} is no address of a GitHub repository" in capsys.readouterr().err


def test_address_then_copies_as_make_does(without_address, capsys):
    assert main(["address", "--", BOOK]) == 0
    subprocess.run(["git", "init", "-q"], cwd=without_address, check=True)
    assert main(["copies", "out"]) == 1
    assert "git cannot list the files to publish" in capsys.readouterr().err, "there is nothing yet"
