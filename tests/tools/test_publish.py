"""The book's address, and the copies of its notebooks that Colab opens."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from check_notebooks import tags  # noqa: E402
from publish import (  # noqa: E402
    address_node,
    colab_copy,
    github_address,
    link_maker,
    link_targets,
    main,
    pages_address,
    with_links,
    write_address,
    write_copies,
)

BOOK = "https://github.com/someone/some-book"
SITE = "https://someone.github.io/some-book"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("book/**/*.ipynb") if path.parent.name[0] != ".")


# --- The address ---

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
        (BOOK, SITE),
        ("https://github.com/SomeOne/Book", "https://someone.github.io/Book"),  # hosts have no capitals, paths may
        ("https://github.com/SomeOne/someone.github.io", "https://someone.github.io"),  # the site of the owner
    ],
)
def test_where_github_serves_the_site(repository, site):
    assert pages_address(repository) == site


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
LISTED |= {"book/a/one.md": "book/a/one.html"}  # as book_pages has it: either suffix may be the one that exists

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
        ("hide-cell", "image/png", "Solution"),  # also one that draws
        ("hide-input", "image/png", "The code of the figure"),
        ("hide-input", "text/plain", "The code"),
        ("hide-output", "text/plain", None),
        ("skip-execution", "text/plain", None),  # there to be read
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


# --- The tree ---


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copies") / "tree"
    write_copies(BOOK, SITE, folder, ROOT)
    return folder


def pairs(tree: Path, page: str) -> Iterator[tuple[nbformat.NotebookNode, nbformat.NotebookNode]]:
    """Each cell of a page and its copy."""
    old, new = (nbformat.read(folder / page, as_version=4) for folder in (ROOT, tree))
    return zip(old.cells, new.cells, strict=True)


def test_the_tree_holds_what_pip_and_the_pages_need_and_nothing_else(tree):
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    assert files <= set(known)
    assert set(PAGES) <= files
    assert {"pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT", "nbhelpers/py.typed"} <= files
    assert {file for file in known if file.startswith("book/data/")} <= files
    assert {file.split("/")[0] for file in files if "/" in file} == {"book", "nbhelpers"}
    assert (tree / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()


@pytest.mark.parametrize("page", PAGES)
def test_a_copy_is_a_valid_notebook_with_the_address_and_the_kernel_that_colab_has(tree, page):
    notebook = nbformat.read(tree / page, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.colab == {"name": page.split("/")[-1], "provenance": [], "toc_visible": True}
    assert notebook.cells[0].source.startswith("# "), "no label above the title"
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert f'REPOSITORY, PAGE = "{BOOK}", "elm/{page.rpartition("/")[0]}"' in setup.source


@pytest.mark.parametrize("page", PAGES)
def test_only_links_labels_and_folds_differ(tree, page):
    for old, new in pairs(tree, page):
        assert new.get("outputs") == old.get("outputs")
        assert new.get("execution_count") == old.get("execution_count")
        assert {key: value for key, value in new.metadata.items() if key != "cellView"} == old.metadata
        if old.cell_type == "markdown":
            words = [re.sub(r"\]\([^)]*\)", "]()", cell.source) for cell in (old, new)]
            assert words[0].removesuffix(words[1]) in ("", words[0][: words[0].find("\n") + 1])
        elif "remove-cell" not in tags(old):
            assert new.source.removeprefix(new.source.removesuffix(old.source)) == old.source


@pytest.mark.parametrize("page", PAGES)
def test_solutions_and_the_code_of_figures_are_folded_and_nothing_else_is(tree, page):
    titles = []
    for old, new in pairs(tree, page):
        folds = bool(tags(old) & {"remove-cell", "hide-cell", "hide-input"})
        assert (new.metadata.get("cellView") == "form") is folds
        title = re.match(r"#@title (.+)\n", new.source)
        assert bool(title) is folds
        titles += [(title[1], tags(old))] if title else []
    assert [title for title, _ in titles].count("Set up Colab") == 1
    assert len([title for title, old in titles if title == "Solution" and "hide-cell" in old]) >= 3


@pytest.mark.parametrize("page", [*PAGES, "README.md", "book/data/README.md"])
def test_no_link_is_left_that_leads_nowhere_from_colab(tree, page):
    is_notebook = page.endswith(".ipynb")
    cells = nbformat.read(tree / page, as_version=4).cells if is_notebook else []
    sources = [cell.source for cell in cells if cell.cell_type == "markdown"] or [(tree / page).read_text("utf-8")]
    targets = [target for source in sources for target in link_targets(source)]
    assert [target for target in targets if not target.startswith(("http://", "https://"))] == []
    if is_notebook:
        assert targets, "a page without a link would be news"


def test_every_link_into_the_site_is_that_of_a_page(tree):
    toc = (ROOT / "_toc.yml").read_text()
    sources = [cell.source for page in PAGES for cell in nbformat.read(tree / page, as_version=4).cells]
    links = {match for source in sources for match in re.findall(rf"{SITE}/([^)\s#]+)", source)}
    assert len(links) > 5
    for link in links:
        assert link.endswith(".html") and f"{link.removesuffix('.html')}\n" in toc, link


@pytest.mark.parametrize("page", PAGES)
def test_set_up_cells_are_alike_but_for_the_folder_and_the_packages(page):
    sources = []
    for path in (page, PAGES[0]):
        cells = nbformat.read(ROOT / path, as_version=4).cells
        setup = next(cell.source for cell in cells if cell.cell_type == "code")
        assert f'"elm/{path.rpartition("/")[0]}"' in setup, "or the page would not find its data"
        sources.append(re.sub(r'"elm/[^"]*"|^ALSO = .*$', "", setup, flags=re.M))
    assert sources[0] == sources[1]


# --- The set-up cell, which is plain Python ---


def run_setup(folder: Path, repository: str, *, on_colab: bool = True) -> subprocess.CompletedProcess[str]:
    cells = nbformat.read(ROOT / PAGES[0], as_version=4).cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    source = source.replace('REPOSITORY, PAGE = ""', f'REPOSITORY, PAGE = "{repository}"')
    stand_in = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    code = f"{stand_in if on_colab else ''}{source}\nprint(os.getcwd())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)


def test_elsewhere_the_set_up_does_nothing(tmp_path):
    for repository in ("", BOOK):
        done = run_setup(tmp_path, repository, on_colab=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}\n", "")
    assert [*tmp_path.iterdir()] == []


def test_the_set_up_says_that_it_has_no_address(tmp_path):
    done = run_setup(tmp_path, "")
    assert done.returncode == 1
    assert done.stderr.endswith("AssertionError: This copy was not published: it has no address.\n")


def test_the_set_up_stops_where_git_fails(tmp_path):
    done = run_setup(tmp_path, f"file://{tmp_path}/none")
    assert done.returncode == 1
    assert "fatal: " in done.stderr, "git's own words"
    assert re.search(r"CalledProcessError: Command .*git clone .*/none elm' returned non-zero exit status", done.stderr)


def test_the_set_up_stops_where_pip_fails_and_does_not_clone_again(tmp_path):
    (tmp_path / "elm").mkdir()  # nothing that pip could install
    done = run_setup(tmp_path, f"file://{tmp_path}/none")
    assert done.returncode == 1
    assert re.search(r"CalledProcessError: Command .*-m pip install -q ./elm ' returned non-zero", done.stderr)


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
    """The repository, in its own folder so that nothing is written here, before it has an address."""
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


def test_address_then_copies_as_make_does(without_address, capsys):
    assert main(["address", BOOK]) == 0
    subprocess.run(["git", "init", "-q"], cwd=without_address, check=True)
    assert main(["copies", "out"]) == 1
    assert "git cannot list the files to publish" in capsys.readouterr().err, "there is nothing yet"


def test_an_untracked_file_is_not_published(tmp_path):
    repo = tmp_path / "repo"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(repo)], check=True)
    (repo / "nbhelpers" / "stray.py").write_text("secret = 1\n")
    (repo / "book" / "stray.ipynb").write_text("{}")
    write_copies(BOOK, SITE, tmp_path / "out", repo)
    assert (tmp_path / "out" / "nbhelpers" / "scoring.py").exists()
    assert [*(tmp_path / "out").rglob("stray*")] == []
