"""The book's table of contents, `_toc.yml`, and the pages that belong in it."""

from collections.abc import Iterator
from pathlib import Path

PAGE_SUFFIXES = (".ipynb", ".md")


def toc_entries(node: object) -> Iterator[str]:
    """The `root` and every `file` of a table of contents, at any depth."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("root", "file") if key in node)
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from toc_entries(child)


def without_suffix(entry: str) -> str:
    """An entry's page name: entries may be written with or without `.md` or `.ipynb`."""
    return entry.removesuffix(".md").removesuffix(".ipynb")


def public_pages(repo_root: Path) -> list[Path]:
    """The pages a reader should find: no data, no READMEs, nothing whose path starts with `_` or `.`."""
    book = repo_root / "book"
    paths = [path.relative_to(book) for path in sorted(book.rglob("*")) if path.suffix in PAGE_SUFFIXES]
    public = [path for path in paths if not any(part.startswith(("_", ".")) for part in path.parts)]
    return [Path("book") / path for path in public if path.parts[0] != "data" and path.name != "README.md"]
