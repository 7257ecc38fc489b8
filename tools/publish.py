"""Publish the book: record its address, and write the copies of its notebooks that Colab opens.

    tools/publish.py address https://github.com/OWNER/REPO    write the address into _config.yml
    tools/publish.py copies _build/colab-branch               write what goes to the branch `colab`

Colab opens a notebook straight from a repository and knows nothing of the site, the package or the book's data. So the
branch `colab` holds copies: each contains the book's address, folds the cells that the site folds, and links to the
site. The branch also holds what the set-up cell installs and reads, so one shallow clone is enough.
"""

import argparse
import os
import posixpath
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

import nbformat
import yaml
from addresses import github_address, pages_address
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from notebook_parts import CODE_SPAN, LINK_TARGET, prose, tags
from toc import PAGE_SUFFIXES, toc_entries, without_suffix

ROOT = Path(__file__).parents[1]
PUBLISHED = ("nbhelpers", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT", "book/data", "book/**.ipynb")
SHOWN = {*PUBLISHED, "book", "_config.yml", "_toc.yml"}  # and the site, which is made of these
UNSTAMPED = 'REPOSITORY, PAGE = "",'
LABEL = re.compile(r"\A\([a-z0-9_]+\)=\s*\n")
SCHEME = re.compile(r"[a-zA-Z][\w+.-]*:")
IMAGE_SUFFIXES = (".png", ".svg", ".jpg", ".jpeg", ".gif")


# --- The address ---


def address_node(text: str) -> yaml.ScalarNode:
    """The YAML node of `repository.url`, whose position allows an edit that touches nothing else."""
    node = yaml.compose(text)
    for key in ("repository", "url"):
        values = {name.value: value for name, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        node = values.get(key)
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError('_config.yml has no repository.url to write to: add `repository:` and, below, `  url: ""`')
    return node


def write_address(url: str, config: Path) -> None:
    """Write the address into the configuration and leave everything else, comments included, untouched."""
    address = github_address(url)
    text = config.read_text(encoding="utf-8")
    node = address_node(text)
    start, end = node.start_mark.index, node.end_mark.index
    space = "" if end > start else " "  # `url:` without a value
    config.write_text(f"{text[:start]}{space}{address}{text[end:]}", encoding="utf-8")
    print(f"{config.name}: repository.url is {address}")


# --- The copies ---


def tracked_files(root: Path, *patterns: str) -> list[str]:
    """The files git tracks, so that no stray file is published; a pattern without a match is an error."""
    return [path for _, path in tracked_entries(root, *patterns)]


def tracked_entries(root: Path, *patterns: str) -> list[tuple[str, str]]:
    """Mode and path of what git tracks."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--stage", "--error-unmatch", "--", *patterns]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise ValueError(f"git cannot list the files to publish in {root}: {os.fsdecode(done.stderr).strip()}")
    entries = [entry.partition("\t") for entry in os.fsdecode(done.stdout).split("\0")[:-1]]
    return [(about.split()[0], path) for about, _, path in entries]


def refuse_links(root: Path) -> None:
    """Refuse whatever would publish a file from elsewhere, on the site or in the copies, or lose a folder's files.

    Reading a link gives the content of its target, which may lie outside the repository. Of a repository inside this
    one git keeps no more than the name of a commit.
    """
    for mode, path in tracked_entries(root):
        ways = [Path(path), *Path(path).parents][:-1]
        if SHOWN.isdisjoint(way.as_posix() for way in ways):
            continue
        if mode == "160000":
            raise ValueError(f"{path!r} is a git repository of its own, whose files would be lost: remove its .git")
        if mode == "120000" or any((root / way).is_symlink() for way in ways):
            raise ValueError(f"{path!r} is a link, or lies behind one: put the file itself there, or untrack it")
        if os.path.lexists(root / path) and not stat.S_ISREG((root / path).lstat().st_mode):
            raise ValueError(f"{path!r} is no plain file: put the file that git knows in its place")


def page_addresses(root: Path) -> dict[str, str]:
    """Possible source files of the pages in the table of contents, each with its path on the site."""
    entries = toc_entries(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))
    names = [without_suffix(entry) for entry in entries]
    return {f"{name}{suffix}": f"{name}.html" for name in names for suffix in PAGE_SUFFIXES}


def link_maker(repository: str, site: str, files: set[str], pages: dict[str, str]) -> Callable[[str, str], str]:
    """A function from a file and a link in it to the absolute address of the link, on the site or in the repository."""

    def absolute(path: str, target: str) -> str:
        if SCHEME.match(target):
            return target
        link, mark, rest = re.match(r"([^#?]*)([#?]?)(.*)", target).groups()
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(link))) if link else path
        if file in pages and file in files:
            return f"{site}/{pages[file]}{mark}{rest}"
        if file in files:
            view = "raw" if file.endswith(IMAGE_SUFFIXES) else "blob"
            return f"{repository}/{view}/main/{quote(file)}{mark}{rest}"
        if any(known.startswith(f"{file}/") for known in files):
            return f"{repository}/tree/main/{quote(file)}{mark}{rest}"
        raise ValueError(f"{path} links to {target}, which git does not know: mend the link, or `git add` the file")

    return absolute


def with_links(source: str, path: str, absolute: Callable[[str, str], str]) -> str:
    """The Markdown with absolute links; code is left unchanged."""

    def replace(match: re.Match) -> str:
        target = match[1] or match[2]  # the match ends with it
        return match[0].removesuffix(target) + absolute(path, target)

    lines = []
    for line, shown in zip(source.splitlines(keepends=True), prose(source), strict=True):
        spans = [*CODE_SPAN.finditer(line)] if shown else []
        starts = [0, *(span.end() for span in spans)]
        ends = [*(span.start() for span in spans), len(line)]
        pieces = [LINK_TARGET.sub(replace, line[start:end]) for start, end in zip(starts, ends, strict=True)]
        codes = [*(span[0] for span in spans), ""]
        lines.append("".join(part for pair in zip(pieces, codes, strict=True) for part in pair) if shown else line)
    result = "".join(lines)
    for target in link_targets(result):
        if not SCHEME.match(target):
            raise ValueError(f"{path} links to {target} in a way that is not understood: write [text]({target})")
    return result


def link_targets(source: str) -> list[str]:
    """The targets of all links and images that a Markdown parser finds, in any syntax."""
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    tokens += [child for token in tokens for child in token.children or []]
    html = [token.content for token in tokens if token.type.startswith("html_")]
    found = [str(token.attrs[name]) for token in tokens for name in ("href", "src") if name in token.attrs]
    return found + [target for piece in html for target in re.findall(r"\b(?:href|src)=[\"']?([^\"'\s>]+)", piece)]


def form_title(cell: NotebookNode) -> str | None:
    """The title Colab shows instead of a cell that the site folds or omits; None for a visible cell."""
    draws = any(mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {}))
    titles = {
        "remove-cell": "Set up Colab",
        "hide-cell": "Solution",
        "hide-input": "The code of the figure" if draws else "The code",
    }
    return next((title for tag, title in titles.items() if tag in tags(cell)), None)


def folded(cell: NotebookNode, title: str) -> None:
    """Turn the cell into a Colab form: a title and a run button, with the code one click away."""
    cell.source = f"#@title {title}\n{cell.source}"
    cell.metadata["cellView"] = "form"


def colab_copy(notebook: NotebookNode, path: str, repository: str, absolute: Callable[[str, str], str]) -> NotebookNode:
    """Turn the notebook, in place, into the copy for Colab; outputs stay, so that readers see them before running."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code or code[0].source.count(UNSTAMPED) != 1:
        raise ValueError(f"{path} has no Colab cell to write the address into: its first code must hold `{UNSTAMPED}`")
    code[0].source = code[0].source.replace(UNSTAMPED, UNSTAMPED.replace('""', f'"{repository}"'))
    for cell in code:
        title = form_title(cell)
        if title and cell.source.startswith("%%"):
            raise ValueError(f"{path} folds a cell that starts with {cell.source.split()[0]}, which must come first")
        if title:
            folded(cell, title)
    notebook.cells[0].source = LABEL.sub("", notebook.cells[0].source)  # Colab would show the label as text
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_links(cell.source, path, absolute)
    notebook.metadata["colab"] = {"name": posixpath.basename(path), "provenance": [], "toc_visible": True}
    return notebook


def write_copies(repository: str, site: str, output: Path, root: Path) -> None:
    """Write the whole tree of the branch `colab` into a new or empty folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is there and not an empty folder: give a new one, so that nothing old is published")
    refuse_links(root)
    absolute = link_maker(repository, site, set(tracked_files(root)), page_addresses(root))
    copies: dict[str, bytes] = {}
    for path in tracked_files(root, *PUBLISHED):
        content = (root / path).read_bytes()
        if path.endswith(".ipynb"):
            notebook = colab_copy(nbformat.reads(content, as_version=4), path, repository, absolute)
            nbformat.validate(notebook)
            content = f"{nbformat.writes(notebook)}\n".encode()
        elif path.endswith(".md"):
            content = with_links(content.decode(), path, absolute).encode()
        if path == "README.md":
            note = f"> `tools/publish.py` makes this branch from the branch `main` of <{repository}>: change it there."
            content = f"{note}\n\n".encode() + content
        copies[path] = content
    for path, content in copies.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(content)
    notebooks = sum(path.endswith(".ipynb") for path in copies)
    print(f"{output}: {notebooks} notebooks and what they need, {len(copies)} files")


# --- The command ---


def plain_url(text: str) -> str:
    """An address that needs no quoting in a shell command or a Python string."""
    if not re.fullmatch(r"(https?|file)://[\w./:~@+%-]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no plain address: give https://HOST/PATH")
    return text.rstrip("/")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    address = commands.add_parser("address", help="write where the book is published into _config.yml")
    address.add_argument("url", metavar="URL", help="https://github.com/OWNER/REPO")
    copies = commands.add_parser("copies", help="write what goes to the branch `colab`")
    known = "the address that the copies are cloned from (default: repository.url of _config.yml)"
    copies.add_argument("--repository", type=plain_url, metavar="URL", help=known)
    served = "the address of the site (default: that of GitHub Pages for a repository on GitHub)"
    copies.add_argument("--site", type=plain_url, metavar="URL", help=served)
    copies.add_argument("output", type=Path, metavar="OUTPUT", help="a folder, new or empty")
    options = parser.parse_args(arguments)
    config = ROOT / "_config.yml"
    try:
        if options.command == "address":
            write_address(options.url, config)
            return 0
        repository = options.repository or address_node(config.read_text(encoding="utf-8")).value
        if not repository:
            raise ValueError("the book has no address yet: run `make address URL=https://github.com/OWNER/REPO` first")
        if repository.startswith("https://github.com/"):
            repository = github_address(repository)
        elif not options.site:
            raise ValueError(f"{repository} is not on GitHub, so the site's address is not known: give --site URL")
        write_copies(repository, options.site or pages_address(repository), options.output, ROOT)
    except (OSError, ValueError) as error:
        print(f"cannot publish: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
