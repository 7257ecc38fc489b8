"""The button that opens a page in Colab: on every notebook once the book has an address, and nowhere before."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
COLAB = "https://colab.research.google.com"


def links_to_colab(address: str, folder: Path) -> dict[str, list[str]]:
    """Build the site of a book that is published there; the links to Colab of each of its pages."""
    config = CONFIG | {"repository": CONFIG["repository"] | {"url": address}}
    config["execute"] = config["execute"] | {"execute_notebooks": "off"}
    extensions = config["sphinx"]["local_extensions"]  # relative to the configuration file, which moves
    absolute = {name: str(ROOT / place) for name, place in extensions.items()}
    config["sphinx"] = config["sphinx"] | {"local_extensions": absolute}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT), "-n", "-W", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--path-output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    pages = {page: (folder / "_build" / "html" / f"{page}.html").read_text("utf-8") for page in PAGES}
    links = {page: BeautifulSoup(text, "html.parser").find_all("a", href=True) for page, text in pages.items()}
    return {page: [link["href"] for link in found if COLAB in link["href"]] for page, found in links.items()}


def test_notebooks_have_the_button_and_other_pages_do_not(tmp_path):
    links = links_to_colab("https://github.com/someone/some-book", tmp_path)
    for page, found in links.items():
        is_notebook = (ROOT / f"{page}.ipynb").exists()
        address = f"{COLAB}/github/someone/some-book/blob/colab/{page}.ipynb"
        assert found == ([address] if is_notebook else []), page
    assert sum(map(len, links.values())) >= 8


@pytest.mark.parametrize("address", ["", None], ids=["empty", "nothing"])
def test_without_an_address_no_page_has_it_and_the_build_succeeds(tmp_path, address):
    assert set(map(tuple, links_to_colab(address, tmp_path).values())) == {()}
