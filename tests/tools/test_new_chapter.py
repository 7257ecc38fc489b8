"""A new chapter, added to a copy of the book, passes every check; a refused one leaves nothing behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from check_notebooks import check_notebook, check_toc
from nbformat.v4 import new_code_cell, new_notebook
from new_chapter import SENTENCE, colab_cell, main
from toc import toc_entries

ROOT = Path(__file__).parents[2]
TITLE = 'What "70%" of $rain$ in SENTENCE `# Title` Means'  # with signs of the shell and words of the skeleton
TOC, SENTENCES = "_toc.yml", "tests/site/sentences.yml"


def copy_of_the_book(folder: Path) -> Path:
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "nbhelpers").symlink_to(ROOT / "nbhelpers")  # or ruff would sort its imports as third-party ones
    (folder / "tests" / "site").mkdir(parents=True)
    for file in (TOC, SENTENCES, "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / file, folder / file)
    return folder


def new_chapter(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(root / "tools" / "new_chapter.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def content(root: Path) -> dict[Path, bytes]:
    files = [path for path in root.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.read_bytes() if path.is_file() else b"" for path in files}


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """The book with two more pages: one in a new area, with quotation marks in its title, one in an existing area."""
    root = copy_of_the_book(tmp_path_factory.mktemp("book"))
    for arguments in (["weather/rain_or_shine", "--title", TITLE], ["llm_judge/panels"]):
        done = new_chapter(root, *arguments)
        assert done.returncode == 0, done.stderr
    return root


PAGES = ["book/weather/rain_or_shine", "book/llm_judge/panels"]


@pytest.mark.parametrize("page", PAGES)
def test_a_new_page_keeps_every_convention(grown, page):
    assert check_notebook(grown / f"{page}.ipynb", grown) == []
    assert check_toc(grown) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_new_page_runs_and_shows_what_it_showed(grown, page):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", f"{page}.ipynb"]
    done = subprocess.run(command, cwd=grown, capture_output=True, text=True)
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize("command", [["check", "--no-cache", "book"], ["format", "--check", "--no-cache", "tools"]])
def test_a_new_page_and_its_skeleton_are_in_style(grown, command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command], cwd=grown, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_titles_are_those_that_were_asked_for_or_made_of_the_name(grown):
    titles = [nbformat.read(grown / f"{page}.ipynb", as_version=4).cells[0].source.splitlines()[:2] for page in PAGES]
    assert titles == [["(rain_or_shine)=", f"# {TITLE}"], ["(panels)=", "# Panels"]]


def test_new_pages_stand_where_a_reader_looks_for_them_and_the_old_lines_stay_as_they_were(grown):
    before, after = ((root / TOC).read_text().splitlines() for root in (ROOT, grown))
    added = [line for line in after if line not in before]
    assert added == ["      - file: book/llm_judge/panels", "  - caption: Weather", f"      - file: {PAGES[0]}"]
    back = before.index("  - caption: Back matter")
    assert [line for line in after if line not in added] == [*before[:back], "    chapters:", *before[back:]]
    # The new page is the last of its area; the new area comes before the back matter.
    assert after.index(added[0]) == before.index("      - file: book/llm_judge/trusting_a_judge") + 1
    weather = after.index("  - caption: Weather")
    assert after[weather : weather + 4] == [added[1], "    chapters:", added[2], "  - caption: Back matter"]


def test_the_tests_of_the_site_know_what_to_look_for(grown):
    text = (grown / SENTENCES).read_text("utf-8")
    sentences = yaml.safe_load(text)
    assert [*sentences] == [*toc_entries(yaml.safe_load((grown / TOC).read_text("utf-8")))]
    for page in PAGES:
        assert sentences[page] == SENTENCE in (grown / f"{page}.ipynb").read_text("utf-8")
    assert text.startswith((ROOT / SENTENCES).read_text("utf-8").partition("book/")[0])  # the comment at the top


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """A copy that all refusals share, since they change nothing."""
    return copy_of_the_book(tmp_path_factory.mktemp("book"))


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ([""], "'' is no name for a chapter"),
        (["panels"], "give AREA/NAME"),
        (["llm_judge/panels.ipynb"], "is no name"),
        (["llm_judge/Panels"], "is no name"),
        (["llm_judge/more/panels"], "is no name"),
        (["../panels/x"], "is no name"),
        (["_static/panels"], "is no name"),
        (["data/panels"], "book/data holds data"),
        (["text_overlap/bleu"], "book/text_overlap/bleu.ipynb is there already"),
        (["perplexity/notes"], "book/perplexity/notes.md is there already"),
        (["weather/bleu"], "book/text_overlap/bleu.ipynb has the label bleu"),
        (["weather/rain", "--title", "two\nlines"], "is no title"),
        (["weather/rain", "--title", "# Rain"], "is no title"),
        # check_notebooks finds these two after the page was executed.
        pytest.param(["weather/rain", "--title", "Rain {ref}`or`"], "would break a rule", marks=pytest.mark.kernel),
        # The line that names the folder in Colab is too long.
        pytest.param([f"{'far_' * 20}north/rain"], "over 79", marks=pytest.mark.kernel),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(book, capsys, arguments, reason):
    (book / "book/perplexity/notes.md").write_text("A page without code.", "utf-8")
    before = content(book)
    assert main([*arguments, "--root", str(book)]) == 1
    errors = capsys.readouterr().err
    assert errors.splitlines()[-1].startswith("no chapter was made: ")
    assert reason in errors
    assert content(book) == before


@pytest.mark.parametrize("name", ["--help", "-rf", "$(touch ran)", "`x`/y", "a/b;c", "a/b\n", 'a/"', "a/b c", "é/a"])
def test_a_name_is_never_an_option_nor_anything_to_run(book, capsys, name):
    before = content(book)
    assert main(["--root", str(book), "--title=-x", "--", name]) == 1
    assert f"{name!r} is no name for a chapter" in capsys.readouterr().err
    assert content(book) == before


def test_a_page_that_is_only_listed_is_refused(tmp_path):
    root = copy_of_the_book(tmp_path)
    (root / "book" / "text_overlap" / "bleu.ipynb").unlink()
    done = new_chapter(root, "text_overlap/bleu")
    assert done.returncode == 1 and "_toc.yml lists book/text_overlap/bleu already" in done.stderr


@pytest.mark.kernel
def test_a_skeleton_that_fails_leaves_nothing(tmp_path):
    root = copy_of_the_book(tmp_path)
    skeleton = root / "tools" / "skeleton.ipynb"
    notebook = nbformat.read(skeleton, as_version=4)
    notebook.cells[-2].source = "1 / 0"
    nbformat.write(notebook, skeleton)
    before = content(root)
    done = new_chapter(root, "weather/rain")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert content(root) == before


@pytest.mark.parametrize(
    "sources, expected",
    [
        # The folder is replaced only where it ends a path.
        (
            {"book/a.ipynb": "google.colab; book = 1; cd('/elm/book')"},
            "google.colab; book = 1; cd('/elm/book/weather')",
        ),
        ({"book/x/a.ipynb": 'google.colab; PAGE = "elm/book/x"'}, 'google.colab; PAGE = "elm/book/weather"'),
        # The first page needs a package that a new page does not need.
        (
            {"book/a.ipynb": "google.colab; 'a>=1'; 'book'", "book/x/b.ipynb": "google.colab; ''; 'book/x'  # nothing"},
            "google.colab; ''; 'book/weather'  # nothing",
        ),
    ],
)
def test_the_colab_cell_is_that_of_the_other_pages_for_this_folder(tmp_path, sources, expected):
    for path, source in sources.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cell = new_code_cell(source, metadata={"tags": ["remove-cell"]})
        nbformat.write(new_notebook(cells=[cell]), tmp_path / path)
    assert colab_cell(tmp_path, "weather") == expected


@pytest.mark.parametrize(
    "source, reason",
    [
        ("print()", "no page of the book has a Colab cell"),
        ("google.colab", "names its folder 0 times"),
        ("google.colab; 'book'; 'book'", "names its folder 2 times"),
    ],
)
def test_a_colab_cell_that_cannot_be_taken_over_is_an_error(tmp_path, source, reason):
    (tmp_path / "book").mkdir()
    notebook = new_notebook(cells=[new_code_cell(source, metadata={"tags": ["remove-cell"]})])
    (tmp_path / "book" / "a.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match=reason):
        colab_cell(tmp_path, "weather")
