"""The pages of the book, a strict build of its site, and what the tests read from the built pages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from functools import cache
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from filelock import FileLock

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
SENTENCES = [*yaml.safe_load((ROOT / "tests" / "site" / "sentences.yml").read_text("utf-8")).items()]
# Where the tests pretend that the book is published.
REPOSITORY = "https://github.com/Someone/some-book"
PUBLISHED_AT = "https://someone.github.io/some-book/"


def build(source: Path, folder: Path, url: str) -> Path:
    """Build the site of the book in `source`, published at `url`, with its committed outputs; returns its pages."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    config["repository"]["url"] = url
    extensions = config["sphinx"]["local_extensions"]  # relative to the configuration file, which is written elsewhere
    config["sphinx"]["local_extensions"] = {name: str(ROOT / place) for name, place in extensions.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source), "-n", "-W", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--path-output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=source)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    return folder / "_build" / "html"


def once_per_run(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once in a run: under pytest-xdist one worker fills it and the others wait."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # each worker has its own folder below the run's
    folder, is_made = run / name, run / f"{name}.made"
    with FileLock(run / f"{name}.lock"):
        if not is_made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed halfway
            make(folder)
            is_made.touch()
    return folder


@cache
def parsed(path: Path) -> BeautifulSoup:
    assert path.exists(), f"{path} was not built"
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def article(site: Path, page: str) -> BeautifulSoup:
    return parsed(site / f"{page}.html").find("article")


def card(site: Path, page: str) -> dict[str, str]:
    """The properties of the page's social card, by their names."""
    return {tag["property"]: tag["content"] for tag in parsed(site / f"{page}.html").find_all("meta", property=True)}


def headings(site: Path, page: str) -> list[tuple[int, str]]:
    """Level and text of the page's headings, as a reader of the site sees them."""
    body: BeautifulSoup = copy(article(site, page))
    for link in body.select(".headerlink"):
        link.decompose()
    return [(int(tag.name[1]), " ".join(tag.get_text().split())) for tag in body.find_all(["h1", "h2", "h3"])]
