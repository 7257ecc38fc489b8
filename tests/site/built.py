"""Which pages the book has, and a strict build of its site."""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]


def build(folder: Path, **repository: str | None) -> Path:
    """Build the site with the committed outputs, as that of a book published there; where its pages are."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    config["repository"] |= repository
    extensions = config["sphinx"]["local_extensions"]  # relative to the configuration file, which moves
    config["sphinx"]["local_extensions"] = {name: str(ROOT / place) for name, place in extensions.items()}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT), "-n", "-W", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--path-output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    return folder / "_build" / "html"
