"""The copies of the book's notebooks that Colab opens, the tree they are published in, and their set-up cell."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from notebook_code import NOTEBOOKS as PAGES
from notebook_code import ROOT
from notebook_parts import tags
from publish import link_targets, write_copies

BOOK = "https://github.com/someone/some-book"
SITE = "https://someone.github.io/some-book"


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


def test_an_untracked_file_is_not_published(tmp_path):
    repo = tmp_path / "repo"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(repo)], check=True)
    (repo / "nbhelpers" / "stray.py").write_text("secret = 1\n")
    (repo / "book" / "stray.ipynb").write_text("{}")
    write_copies(BOOK, SITE, tmp_path / "out", repo)
    assert (tmp_path / "out" / "nbhelpers" / "scoring.py").exists()
    assert [*(tmp_path / "out").rglob("stray*")] == []


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
