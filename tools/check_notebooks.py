"""Check that the notebooks keep the book's conventions and that the table of contents is complete.

The rules about one notebook on its own are in page_rules.py. Here are those that also need other files: the
bibliography, the data, the requirements and `_toc.yml`.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbformat.validator import iter_validate
from notebook_parts import LINK_TARGET, Line, cells_of, prose_lines
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from page_rules import RULES, Findings
from pybtex.database import parse_file
from pybtex.exceptions import PybtexError
from toc import PAGE_SUFFIXES, public_pages, toc_entries, without_suffix

PAPER_HOSTS = {"arxiv.org", "aclanthology.org", "doi.org", "openreview.net", "dl.acm.org", "cdn.openai.com"}
SAME_ADDRESS = {  # applied in this order
    r"^https?://(www\.|dx\.)?": "https://",
    r"#.*$": "",
    r"/+$": "",
    r"^https://arxiv\.org/(pdf|html)/": "https://arxiv.org/abs/",
    r"^(https://arxiv\.org/abs/.+?)(v\d+)?(\.pdf)?$": r"\1",
    r"^https://dl\.acm\.org/doi/(abs/|pdf/|full/)?": "https://doi.org/",
    r"^https://doi\.org/10\.48550/arxiv\.": "https://arxiv.org/abs/",
}
NOT_INSTALLED = {"nbhelpers", "google", "IPython", *sys.stdlib_module_names}  # our own, or part of any kernel
URL = re.compile(r"https?://(?:[^\s()<>\[\]\"'`]|\([^\s()]*\))+")


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; `cell` is None when it concerns the whole page."""

    path: Path
    cell: int | None
    message: str

    def __str__(self) -> str:
        place = self.path.as_posix() if self.cell is None else f"{self.path.as_posix()}, cell {self.cell}"
        return f"{place}: {self.message}"


# --- Rules that need other files ---


def same_address(url: str) -> str:
    """The normalised address of a paper, in lower case because hosts and DOIs ignore case."""
    address = url.replace("\\", "").rstrip(".,;:*").lower()
    for pattern, replacement in SAME_ADDRESS.items():
        address = re.sub(pattern, replacement, address)
    return address


def known_papers(bibliography: Path) -> set[str]:
    """The normalised addresses of all entries, from their url, doi and eprint."""
    try:
        entries = parse_file(str(bibliography), bib_format="bibtex").entries.values()
    except PybtexError as error:
        raise ValueError(f"{bibliography}: {error}") from error
    prefixes = {"url": "", "doi": "https://doi.org/", "eprint": "https://arxiv.org/abs/"}
    addresses = set()
    for fields in [entry.fields for entry in entries]:
        for key, prefix in prefixes.items():
            value = fields.get(key, "")
            if value:
                addresses.add(same_address(value if value.startswith("http") else prefix + value))
    return addresses


def cited_papers(notebook: NotebookNode, bibliography: Path) -> Findings:
    """A link may die; the bibliography entry still identifies the paper."""
    links = [(number, url) for number, line in prose_lines(notebook) for url in URL.findall(line)]
    papers = [(number, url) for number, url in links if urlsplit(same_address(url)).hostname in PAPER_HOSTS]
    known = known_papers(bibliography) if papers else set()
    for number, url in papers:
        if same_address(url) not in known:
            yield number, f"{url} is not in {bibliography.name}; add an entry with this url, doi or eprint"


def relative_links(notebook: NotebookNode, folder: Path) -> Findings:
    """A link to a missing file is dead on the site and on GitHub."""
    for number, line in prose_lines(notebook):
        for target in (markdown or html for markdown, html in LINK_TARGET.findall(line)):
            file = unquote(re.split(r"[#?]", target)[0])
            has_scheme = re.match(r"[a-zA-Z][\w+.-]*:", target)
            if file and not has_scheme and not (folder / file).is_file():
                yield number, f"links to {target}, which does not exist; give the path from the page's folder"


def requirements(lines: list[str]) -> dict[str, str]:
    """The version bounds by package name, from the lines of a requirements.txt."""
    found = [Requirement(line) for line in (line.partition("#")[0].strip() for line in lines) if line]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in found}


@cache
def installed_distributions() -> Mapping[str, list[str]]:
    """The distributions that provide each installed module; cached, as it reads the metadata of every package."""
    return packages_distributions()


def colab_packages(notebook: NotebookNode) -> list[str]:
    """What the Colab set-up cell installs besides nbhelpers: the words of its string ALSO."""
    code = cells_of(notebook, "code")
    match = re.search(r'^ALSO = "(.*)"', code[0][1].source, re.M) if code else None
    return shlex.split(match[1]) if match else []


def imported(notebook: NotebookNode) -> Iterator[Line]:
    """The top-level modules a page imports, each with its cell's number; skipped cells count too."""
    for number, cell in cells_of(notebook, "code"):
        try:
            nodes = list(ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))))
        except SyntaxError:
            continue  # outputs_present reports it
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        yield from ((number, name) for name in dict.fromkeys(name.partition(".")[0] for name in names))


def colab_installs(notebook: NotebookNode, repo_root: Path) -> Findings:
    """Colab lacks less common packages, and pinning one to an exact version could break the torch Colab provides."""
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = requirements(project["dependencies"])
    bounds = requirements((repo_root / "requirements.txt").read_text(encoding="utf-8").splitlines())
    number = next((number for number, _ in cells_of(notebook, "code")), None)
    if number and "==" in notebook.cells[number - 1].source:
        yield number, "the Colab set-up has `==`; install by lower bounds only"
        return
    try:
        named = requirements(colab_packages(notebook))
    except InvalidRequirement as error:
        yield number, f"ALSO of the Colab set-up is not for pip: {str(error).splitlines()[0]}; write 'NAME>=VERSION'"
        return

    def bounded(name: str) -> str:
        return f"'{name}{bounds.get(name, '>=VERSION')}'"

    for name, bound in named.items():
        if bound != bounds.get(name):
            yield number, f"the Colab set-up installs '{name}{bound}'; write {bounded(name)}, as requirements.txt does"
    distributions = installed_distributions()
    for place, module in imported(notebook):
        packages = {canonicalize_name(name) for name in distributions.get(module, [module])}
        if module not in NOT_INSTALLED and not packages & (brought.keys() | named.keys()):
            yield place, f"imports {module}, which nbhelpers does not bring; add {bounded(min(packages))} to ALSO"


def check_toc(repo_root: Path) -> list[Problem]:
    """A page missing from the table of contents is never built; a page listed twice has two places."""
    toc = repo_root / "_toc.yml"
    try:
        content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{toc}: {error}") from error
    entries = [without_suffix(entry) for entry in toc_entries(content)]
    problems = []
    for page in public_pages(repo_root):
        times = entries.count(page.with_suffix("").as_posix())
        if times != 1:
            problems.append(Problem(page, None, f"stands {times} times in _toc.yml; list it exactly once"))
    for entry in dict.fromkeys(entries):
        if not any((repo_root / f"{entry}{suffix}").is_file() for suffix in PAGE_SUFFIXES):
            message = f"lists {entry}, which has no .ipynb or .md file; add the file or remove the entry"
            problems.append(Problem(Path(toc.name), None, message))
    return problems


# --- The command ---


def read_notebook(path: Path) -> NotebookNode:
    """Parse without the repairs `nbformat.read` makes, which would hide what the rules look for."""
    try:
        notebook = nbformat.reader.reads(path.read_text(encoding="utf-8"))
        # The relaxed 4.4 schema is the 4.5 schema without cell ids, which `notebook_format` checks.
        for error in iter_validate(notebook, version=4, version_minor=4, relax_add_props=True):
            raise error
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path}: not a notebook of nbformat 4: {error}") from error
    return notebook


def shown_path(path: Path, repo_root: Path) -> Path:
    return path.relative_to(repo_root) if path.is_relative_to(repo_root) else path


def check_notebook(path: Path, repo_root: Path) -> list[Problem]:
    """All problems of one notebook, ordered by cell; raises ValueError or OSError if it cannot be read."""
    notebook = read_notebook(path)
    findings = [finding for rule in RULES for finding in rule(notebook)]
    findings += cited_papers(notebook, repo_root / "book" / "references.bib")
    findings += relative_links(notebook, path.parent)
    findings += colab_installs(notebook, repo_root)
    findings.sort(key=lambda finding: finding[0] or 0)
    return [Problem(shown_path(path, repo_root), number, message) for number, message in findings]


def main(arguments: list[str] | None = None) -> int:
    """Check the notebooks, print one line per problem, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Check that the notebooks keep the book's conventions, and that _toc.yml is complete.",
        epilog="Exit status: 0 no problem, 1 problems found, 2 something cannot be read.",
    )
    which = "what to check (default: all of book/**/*.ipynb, and _toc.yml against the pages)"
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help=which)
    here = Path(__file__).parents[1]
    parser.add_argument("--root", type=Path, default=here, help="the repository (default: that of this file)")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    everything = sorted(root.glob("book/**/*.ipynb"))
    saved = [path for path in everything if path.parent.name != ".ipynb_checkpoints"]
    notebooks = [path.resolve() for path in options.notebooks or saved]
    problems: list[Problem] = []
    try:
        if not notebooks:
            raise ValueError(f"there is no notebook in {root / 'book'}")
        for path in notebooks:
            print(f"checking {shown_path(path, root)}", flush=True)
            problems += check_notebook(path, root)
        if not options.notebooks:
            problems += check_toc(root)
    except (OSError, ValueError) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    print(f"{len(notebooks)} notebooks checked, {len(problems)} problems found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
