"""make takes names and values for text: hostile ones run nothing, lose nothing, and nothing outside is touched.

Each test runs the Makefile in a folder of its own, where the programs of .venv are stand-ins that note how they were
called.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = sorted(set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE)))

# A stand-in notes its name, its arguments and what it is told in the environment, each behind a NUL. jupyter-book also
# makes the folder of the site.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\0' "${0##*/}" "$@" "device=$NBHELPERS_DEVICE" $'end\\n' >>"$LOG"
[ "${0##*/}" != jupyter-book ] || mkdir -p _build/html
"""

# (a value, why)
VALUES = [
    ('x"; touch ran; "', "ends quotation marks"),
    ("x'; touch ran; '", "ends the other marks"),
    ("$(touch ran)", "the shell's substitution, and make's"),
    ("`touch ran`", "the older one"),
    ("$(shell touch ran)", "make's own"),
    ("${shell touch ran}", "the same in braces"),
    ("$$(touch ran)", "the shell's, escaped for make"),
    ("What $rain$ Means for $HOME, $$ and $@", "what make would take for variables"),
    ("two\nlines; touch ran", "a recipe's line would end here"),
    ("#x", "a comment"),
    ("x  y ", "spaces; make drops those at the start"),
    ("-x", "looks like an option"),
    ("--help", "looks like an option that is there"),
    ("\\", "would escape the closing mark"),
    ("a\\\nb", "a continued line"),
    ("*", "a pattern of names"),
    ("é ‮", "not ASCII"),
    ("", "nothing"),
]

# (a name of a file, why)
NAMES = [
    ("my draft", "a space"),
    ("part one: x", "a colon"),
    ("it's", "an apostrophe"),
    ('"quoted"', "quotation marks"),
    ("$(touch ran)", "the shell's substitution"),
    ("$(shell touch ran)", "make's"),
    ("`touch ran`", "the older one"),
    ("a;touch ran;", "the end of a command"),
    ("two\nlines", "a line break"),
    ("-rf", "an option"),
    ("a#b%c=d", "signs of make's"),
    ("back\\slash", "a backslash"),
    ("a::b[0]", "pytest's own signs"),
]


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_repo(folder: Path) -> Path:
    """A repository that is installed and has nothing in it but the Makefile, its scripts and stand-ins."""
    for name in ("Makefile", "tools/is_stale.sh", "tools/clean_model.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in (
        "requirements.txt",
        "constraints.txt",
        "pyproject.toml",
        "_config.yml",
        "_toc.yml",
        "benchmarks/peers.txt",
        "tests/real_vllm/requirements.txt",
    ):
        write(folder / name)
    for name in ("nbhelpers/a.py", "book/data/a.csv", "book/page.ipynb"):
        write(folder / name)
    for program in ("python", "ruff", "jupyter-book"):
        write(folder / ".venv" / "bin" / program, STAND_IN).chmod(0o755)
    write(folder / ".venv" / "pyvenv.cfg")
    write(folder / ".venv" / ".ready")
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "repo")


def make(repo: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run make; afterwards the stand-ins' notes are in `log`, beside the repository."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    # No test may come near the cache of the person who runs it.
    own = {
        "HOME": str(repo.parent / "home"),
        "NBHELPERS_CACHE": str(repo.parent / "cache"),
        "LOG": f"{repo.parent}/log",
    }
    everything = {**kept, **own, **environment}
    return subprocess.run(["make", *arguments], cwd=repo, env=everything, capture_output=True, text=True, timeout=60)


def calls(repo: Path) -> list[list[str]]:
    """How the stand-ins were called, without the word that ends each note."""
    log = repo.parent / "log"
    notes = log.read_text("utf-8").split("\0end\n\0")[:-1] if log.exists() else []
    return [note.split("\0") for note in notes]


def nothing_ran(repo: Path) -> bool:
    return not [path for path in repo.parent.rglob("ran") if path.is_file()]


def content(folder: Path) -> dict[str, str]:
    return {str(path): os.readlink(path) if path.is_symlink() else "" for path in sorted(folder.rglob("*"))}


# --- The list ---


def test_make_alone_lists_every_command(repo):
    done = make(repo)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"^make ([a-z-]+) ", done.stdout, re.MULTILINE)) == TARGETS
    assert len(TARGETS) > 20 and calls(repo) == []


@pytest.mark.parametrize("target", TARGETS)
def test_every_command_can_be_asked_what_it_would_do_and_does_nothing(repo, target):
    before = content(repo)
    done = make(repo, "-n", target, JOBS="$(touch ran)", PYTHON="$(shell touch ran)")
    assert done.returncode == 0, done.stderr
    assert (content(repo), calls(repo), nothing_ran(repo)) == (before, [], True)


# --- Values ---


@pytest.mark.parametrize(("value", "reason"), VALUES)
@pytest.mark.parametrize("where", ["command line", "environment"])
def test_a_value_reaches_the_tool_as_it_was_written(repo, value, reason, where):
    def given(**values: str) -> tuple[list[str], dict[str, str]]:
        words = [f"{name}={value}" for name, value in values.items()]
        return (words, {}) if where == "command line" else ([], values)

    words, environment = given(URL=value)
    assert make(repo, "address", *words, **environment).returncode == 0
    words, environment = given(NAME=value, TITLE=value)
    assert make(repo, "new-chapter", *words, **environment).returncode == 0
    words, environment = given(JOBS=value)
    assert make(repo, "check", *words, **environment).returncode == 0
    address, chapter, *_, check = calls(repo)
    assert address[:-1] == ["python", "tools/publish.py", "address", "--", value], reason
    assert chapter[:-1] == ["python", "tools/new_chapter.py", f"--title={value}", "--", value], reason
    # In the environment an empty JOBS is one that is set.
    assert f"--numprocesses={value}" in check, reason
    assert nothing_ran(repo), reason


@pytest.mark.parametrize(("device", "expected"), [("cpu", "cuda"), ("cuda:1", "cuda:1"), ("$(touch ran)", None)])
def test_pages_are_tried_on_the_device_that_was_named(repo, device, expected):
    assert make(repo, "pages-on-gpu", f"NBHELPERS_DEVICE={device}").returncode == 0
    assert calls(repo)[-1] == ["python", "tools/try_pages.py", f"device={expected or device}"]
    assert nothing_ran(repo)


@pytest.mark.parametrize(
    ("given", "expected"), [([], []), (["RESUME=1"], ["--resume"]), (["RESUME=$(touch ran)"], None)]
)
def test_a_benchmark_goes_on_if_it_is_told_to(repo, given, expected):
    write(repo / "benchmarks" / ".venv" / ".ready")
    assert make(repo, "bench", *given).returncode == 0
    *_, bench, report = (call[:-1] for call in calls(repo))
    assert bench == ["python", "benchmarks/bench.py", *(["--resume"] if expected is None else expected)]
    assert report == ["python", "benchmarks/report.py"]
    assert nothing_ran(repo)


@pytest.mark.parametrize("value", ["$(touch ran)", "$(shell touch ran)", "x; touch ran", '"'])
def test_a_python_of_such_a_name_is_not_found_and_runs_nothing(repo, value):
    shutil.copy2(ROOT / "tools" / "install.sh", repo / "tools" / "install.sh")
    (repo / ".venv" / ".ready").unlink()
    done = make(repo, "install", f"PYTHON={value}")
    assert done.returncode != 0 and f"there is no {value}" in done.stderr
    assert make(repo, "clean-model", f"PYTHON={value}").returncode != 0
    assert nothing_ran(repo)


def test_no_value_can_change_what_a_recipe_runs(repo):
    others = ["SOURCES=x; touch ran", "READY=; touch ran", "FETCH_MODEL=touch ran", "X=$(shell touch ran)"]
    assert make(repo, "lint", "book", *others).returncode == 0
    assert nothing_ran(repo)


@pytest.mark.parametrize(
    "word", ["a(b=$(shell touch ran)", "$(shell touch ran)=x", "a-b=$(shell touch ran)", "é=$(touch ran)"]
)
def test_a_value_of_an_odd_name_runs_nothing_either(repo, word):
    make(repo, "lint", word)
    assert nothing_ran(repo)


def test_a_command_inside_a_command_gets_the_values_too(repo):
    """`make newest` starts make again."""
    done = make(repo, "-n", "newest", "TITLE=$(shell touch ran)", "X=a$$b'\"")
    assert done.returncode == 0, done.stderr
    assert nothing_ran(repo)


# --- Names of files ---


@pytest.mark.parametrize(("name", "reason"), NAMES)
def test_no_name_of_a_file_reaches_a_command(repo, name, reason):
    for path in (f"book/{name}.ipynb", f"book/{name}/{name}.ipynb", f"nbhelpers/{name}.py", f"book/data/{name}"):
        write(repo / path)
    done = make(repo, "book", "notebooks", "check", "test", "lint")
    assert done.returncode == 0, done.stderr
    called = calls(repo)
    assert ["python", "tools/run_notebooks.py", "--all", "device=cpu"] in called
    (test,) = (call for call in called if "--nbval" in call)
    assert test[-3:-1] == ["book", "tests"], "the notebooks come first"
    assert not [word for call in called for word in call if name in word], reason
    assert nothing_ran(repo), reason


@pytest.mark.parametrize(("name", "reason"), NAMES)
def test_the_site_is_built_again_when_a_file_of_such_a_name_changes(repo, name, reason):
    page = write(repo / "book" / name / f"{name}.md")

    def builds() -> int:
        assert make(repo, "book").returncode == 0
        return [call[0] for call in calls(repo)].count("jupyter-book")

    assert builds() == 1
    assert builds() == 1, "nothing changed"
    later = (repo / "_build" / "html" / ".built").stat().st_mtime + 1
    os.utime(page, (later, later))
    assert builds() == 2, reason
    assert nothing_ran(repo)


# (what changes, whether the site is built again, whether the notebooks are executed again)
CHANGES = [
    ("book/page.ipynb", True, False),
    ("_config.yml", True, False),
    ("_toc.yml", True, False),
    ("tools/new.py", True, False),
    ("nbhelpers/a.py", True, True),
    ("book/data/a.csv", True, True),
    ("pyproject.toml", True, True),
    ("tools/__pycache__/a.pyc", False, False),
    ("book/.ipynb_checkpoints/page.ipynb", False, False),
    ("README.md", False, False),
]


@pytest.mark.parametrize(("changed", "built", "executed"), CHANGES)
def test_what_is_built_again_after_a_change(repo, changed, built, executed):
    write(repo / "tools" / "install.sh", "#!/bin/sh\n").chmod(0o755)
    assert make(repo, "book").returncode == 0
    remembered = write(repo / "_build" / ".jupyter_cache" / "page")
    now = (repo / "_build" / "html" / ".built").stat().st_mtime
    for path in repo.rglob("*"):
        os.utime(path, (now - 10, now - 10))
    write(repo / changed)
    os.utime(repo / changed, (now - 5, now - 5))
    assert make(repo, "book").returncode == 0
    assert [call[0] for call in calls(repo)].count("jupyter-book") == 1 + built
    assert remembered.exists() is not executed


def test_a_failed_build_is_said_and_is_tried_again(repo):
    jupyter_book = repo / ".venv" / "bin" / "jupyter-book"
    jupyter_book.write_text("#!/bin/sh\nexit 3\n")
    for _ in range(2):
        done = make(repo, "book")
        assert done.returncode != 0 and "The site was not built" in done.stderr and "== Open" not in done.stdout


@pytest.mark.parametrize("name", ["a $(touch ran) b", 'x"; touch ran; "', "it's %s"])
def test_the_repository_may_lie_in_a_folder_of_any_name(tmp_path, name):
    repo = make_repo(tmp_path / name)
    done = make(repo, "book")
    assert done.returncode == 0 and f"== Open {repo}/_build/html/index.html\n" in done.stdout, done.stderr
    assert make(repo, "clean").returncode == 0
    assert nothing_ran(repo) and not (repo / ".venv").exists()


# --- make clean ---


@pytest.mark.parametrize(("name", "reason"), [*NAMES, ("-rf book", "an option and a name"), ("~", "a home")])
def test_clean_deletes_what_tools_made_and_nothing_beside(repo, name, reason):
    for first in {*re.split(r"[\s;:]", name)} - {"", "."}:  # what a split name would name
        write(repo / "book" / first / "kept.md")
    write(repo / "book" / name / "kept.md")
    outside = write(repo.parent / "outside" / "__pycache__" / "kept.pyc").parents[1]
    before = content(repo / "book") | content(outside)
    for made in ("__pycache__", ".ipynb_checkpoints"):
        write(repo / "book" / name / made / name / "a")
    for made in (
        "_build",
        "benchmarks/.venv",
        "tests/real_vllm/.venv",
        ".pytest_cache",
        ".ruff_cache",
        "build",
        "x.egg-info",
        "-rf.egg-info",
    ):
        write(repo / made / "a")
    done = make(repo, "clean")
    assert done.returncode == 0, done.stderr
    assert content(repo / "book") | content(outside) == before, reason
    left = {path.name for path in repo.iterdir() if path.suffix not in (".txt", ".toml", ".yml")}
    assert left == {"Makefile", "benchmarks", "book", "nbhelpers", "tests", "tools"}
    assert nothing_ran(repo), reason


def test_clean_follows_no_link_and_leaves_what_is_not_this_repositorys(repo):
    outside = repo.parent / "outside"
    for name in ("__pycache__", "_build", "venv"):
        write(outside / name / "__pycache__" / "kept")
    (repo / "_build").symlink_to(outside / "_build")
    shutil.rmtree(repo / ".venv")
    (repo / ".venv").symlink_to(outside / "venv")
    (repo / "book" / "link").symlink_to(outside)
    (repo / "book" / "__pycache__").symlink_to(outside / "__pycache__")
    kept = [
        ".git/refs/heads/__pycache__/branch",  # a branch may be called so
        "book/other/.git/HEAD",
        "book/other/__pycache__/in a repository of its own.pyc",
        "worktree/.git",  # a file, as in a worktree or a submodule
        "worktree/__pycache__/a.pyc",
        "my env/pyvenv.cfg",
        "my env/lib/__pycache__/a.pyc",
    ]
    for path in kept:
        write(repo / path)
    before = content(outside)
    done = make(repo, "clean")
    assert done.returncode == 0, done.stderr
    assert content(outside) == before
    assert [path for path in kept if not (repo / path).exists()] == []
    assert not os.path.lexists(repo / "_build") and not os.path.lexists(repo / ".venv"), "the links themselves go"


def test_clean_has_nothing_to_do_twice(repo):
    for _ in range(2):
        assert make(repo, "clean").returncode == 0


# --- pytest finds the notebooks that make does not name ---


def test_pytest_looks_for_notebooks_wherever_the_book_may_have_them(tmp_path):
    """The options of `make test`, with stand-ins for what nbval would execute."""
    names = [name for name, _ in NAMES if "/" not in name]
    for area in ("build", "dist", "venv", ".ipynb_checkpoints", *names):
        write(
            tmp_path / "book" / area / "page.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
        )
    write(
        tmp_path / "conftest.py",
        "def pytest_collection_finish(session):\n    print()\n"
        "import pytest\n\n\nclass Note(pytest.File):\n    def collect(self):\n"
        "        print('FOUND', ascii(self.path.parent.name))\n        return []\n\n\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    return Note.from_parent(parent, path=file_path) if file_path.suffix == '.ipynb' else None\n",
    )
    (option,) = re.findall(r"--override-ini='(\S+)'", MAKEFILE)
    command = [sys.executable, "-m", "pytest", "-q", "-s", f"--override-ini={option}", "-p", "no:nbval"]
    done = subprocess.run([*command, "book"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert set(re.findall(r"FOUND (.*)", done.stdout)) == {ascii(area) for area in ("build", "dist", "venv", *names)}
