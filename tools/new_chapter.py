"""Add a chapter to the book: a page that passes every check from the start, ready for you to rewrite.

    make new-chapter NAME=area/name [TITLE="What It Is About"]

The page is tools/skeleton.ipynb, executed, as book/AREA/NAME.ipynb. It is listed in _toc.yml below the other pages of
its area (or under a new caption), and tests/site/sentences.yml gets a sentence to look for on it.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from check_notebooks import check_notebook
from nbclient.exceptions import CellExecutionError
from notebook_parts import tags
from ruamel.yaml import YAML
from run_notebooks import execute
from toc import PAGE_SUFFIXES, toc_entries

SKELETON = Path(__file__).with_name("skeleton.ipynb")
SENTENCE = "This sentence is a placeholder with a job: the tests look for it on the built page."
NAME = re.compile(r"([a-z][a-z0-9_]*)/([a-z][a-z0-9_]*)")
NEXT = """\
{page} passes every check, and every sentence in it wants to be replaced. What the checks cannot know:
  - the question that {name} asks, in the list of chapters of book/index.md;
  - a sentence of your own in tests/site/sentences.yml, once the placeholder is gone;
  - `make notebooks` after you changed cells, `make lint` while you write, `make test` at the end.
CONTRIBUTING.md has the rest."""


def round_trip() -> YAML:
    """A YAML reader and writer that preserves comments and layout."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    yaml.preserve_quotes = True
    return yaml


def in_words(name: str) -> str:
    return name.replace("_", " ").title()


def check_name(name: str, root: Path) -> tuple[str, str]:
    """Area and name of the page; ValueError if the name is malformed or taken."""
    match = NAME.fullmatch(name)
    if not match:
        raise ValueError(
            f"{name!r} is no name for a chapter: give AREA/NAME in a-z, 0-9 and _, as in llm_judge/judging"
        )
    area, page = match.groups()
    if area == "data":
        raise ValueError("book/data holds data, and no page in it is looked for: give another area")
    taken = [path for suffix in PAGE_SUFFIXES if (path := root / "book" / f"{name}{suffix}").exists()]
    if taken:
        raise ValueError(f"book/{name}{taken[0].suffix} is there already: give another name, or edit that page")
    if f"book/{name}" in toc_entries(round_trip().load(root / "_toc.yml")):
        raise ValueError(f"_toc.yml lists book/{name} already: take it out, or give another name")
    for path in sorted(path for suffix in PAGE_SUFFIXES for path in (root / "book").rglob(f"*{suffix}")):
        # In a notebook's JSON, the label follows a quotation mark.
        if re.search(rf'^\s*"?\({page}\)=', path.read_text(encoding="utf-8"), re.MULTILINE):
            raise ValueError(f"{path.relative_to(root)} has the label {page}: give a name that no other page has")
    return area, page


def check_title(title: str) -> str:
    if not title.isprintable() or title.startswith("#"):
        raise ValueError(f"{title!r} is no title: give one line of text, without the # that makes it a heading")
    return title


def colab_cell(root: Path, area: str) -> str:
    """The Colab set-up cell of the page that installs least, changed to this area's folder."""
    found = []
    for path in sorted((root / "book").rglob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        found += [(cell.source, path.parent) for cell in cells if "google.colab" in cell.source and tags(cell)]
    if not found:
        raise ValueError("no page of the book has a Colab cell that a new one could take over: write the first by hand")
    source, folder = min(found, key=lambda item: (item[0].count(">="), len(item[0])))  # one >= per package
    there = folder.relative_to(root).as_posix()
    changed, times = re.subn(rf"\b{re.escape(there)}(?=[\"'])", f"book/{area}", source)
    if times != 1:
        raise ValueError(
            f"the Colab cell of {there} names its folder {times} times, not once: mend tools/new_chapter.py"
        )
    return changed


def write_page(root: Path, area: str, name: str, title: str) -> Path:
    """Write, execute and check the page; after a failure nothing of it remains."""
    notebook = nbformat.read(SKELETON, as_version=4)
    first = notebook.cells[0]
    # The title comes last, as it may hold any of the other words.
    first.source = first.source.replace("(label)=", f"({name})=").replace("SENTENCE", SENTENCE)
    first.source = first.source.replace("# Title", f"# {title}", 1)
    (setup,) = (cell for cell in notebook.cells if "remove-cell" in tags(cell))
    setup.source = colab_cell(root, area)
    page = root / "book" / area / f"{name}.ipynb"
    is_new = not page.parent.exists()
    page.parent.mkdir(exist_ok=True)
    try:
        nbformat.write(notebook, page)
        execute(page, timeout=600)
        problems = check_notebook(page, root)
        if problems:
            raise ValueError(f"a page of this name and title would break a rule: {problems[0]}")
    except BaseException:  # Ctrl-C included
        page.unlink(missing_ok=True)
        if is_new:
            page.parent.rmdir()
        raise
    return page


def add_to_lists(root: Path, area: str, name: str) -> None:
    """Add the page to the table of contents, and its sentence to the list that the site's tests read."""
    yaml = round_trip()
    toc_file, sentences_file = root / "_toc.yml", root / "tests" / "site" / "sentences.yml"
    toc, sentences = yaml.load(toc_file), yaml.load(sentences_file)
    entry, parts = f"book/{area}/{name}", toc["parts"]
    own = [part for part in parts if any(file.startswith(f"book/{area}/") for file in toc_entries(part))]
    if own:
        own[0]["chapters"].append({"file": entry})
    else:
        back = next((at for at, part in enumerate(parts) if "book/references" in toc_entries(part)), len(parts))
        parts.insert(back, {"caption": in_words(area), "chapters": [{"file": entry}]})
    sentences.insert([*toc_entries(toc)].index(entry), entry, SENTENCE)
    yaml.dump(toc, toc_file)
    yaml.dump(sentences, sentences_file)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="AREA/NAME", help="the page's place in book/, as in llm_judge/judging")
    parser.add_argument("--title", default="", help="the title (default: made of the name)")
    here = Path(__file__).parents[1]
    parser.add_argument("--root", type=Path, default=here, help="the repository (default: that of this file)")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        area, name = check_name(options.name, root)
        title = check_title(options.title.strip() or in_words(name))
        print(f"writing book/{area}/{name}.ipynb and executing it ...", flush=True)
        page = write_page(root, area, name, title)
        add_to_lists(root, area, name)
    except (OSError, ValueError, CellExecutionError) as error:
        print(f"no chapter was made: {error}", file=sys.stderr)
        return 1
    print(NEXT.format(page=page.relative_to(root), name=name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
