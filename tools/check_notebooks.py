"""Check that the notebooks keep the book's conventions, and that the table of contents is complete.

Each rule is one function that says why the rule exists and yields what it finds: the number of the cell
(from 1, over cells of every kind; None for the page as a whole) and a message that says how to mend it.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path
from types import EllipsisType
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbformat.validator import iter_validate
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pybtex.database import parse_file
from pybtex.exceptions import PybtexError

MAX_LINES, MAX_WIDTH = 15, 79
MIN_ALT = 20
MIN_QUESTIONS, MIN_CHOICES, MIN_EXERCISES = 3, 2, 3

SKIP_TAGS = {"skip-execution", "nbval-skip"}
SHOWING_CALLS = {"print", "display", "plt.show"}
SILENT_CALLS = {"add", "append", "basicConfig", "close", "extend", "filterwarnings", "seed", "sort", "update"}
RUNS_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
UNSTABLE_TEXT = ("\r", "it/s]", "%|", "\x1b")  # carriage return, progress bars, ANSI escape
MYST_ONLY = {
    r"\s*:::": "a `:::` fence; use plain Markdown, or <details> for what folds",
    r"\s*(```|~~~)[`~]*\s*\{": "a fence with a {directive}; use plain Markdown, or a code cell",
    r".*\{[\w:.+-]+\}`": "a {role}; use a plain link, or $...$ for a formula",
    r".*\{\{.*\}\}": "a {{ substitution }}; write the text out (in a formula, put a space between braces)",
    r"\+\+\+": "a `+++` block break; start a new cell instead",
    r"\([^()]+\)=\s*$": "a (label)= line; only the page's first line may be one, elsewhere link to files",
    r"%": "a `%` comment line, which other viewers show; delete it",
}
GLANCE = "At a glance"
GLANCE_ROWS = ("Time to read", "Time to run", "Hardware", "Needs", "After this page you can")
CLOSING = ["Check yourself", "Exercises", "What we saw", "Further reading"]
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
PAGE_SUFFIXES = (".ipynb", ".md")
NOT_INSTALLED = {"nbhelpers", "google", "IPython", *sys.stdlib_module_names}  # the book's own, or there with the kernel

HEADING = re.compile(r" {0,3}(#{1,6})\s+(.+?)(?:\s+#+)?\s*$")
FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})\s*(.*)$")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
NUMBERED = re.compile(r"\*\*\d+\.")  # a question or an exercise starts with **1., **2., ...
PARAGRAPH = re.compile(r"(?![#|<>`]|!\[|[-+*] )\S")
URL = re.compile(r"https?://(?:[^\s()<>\[\]\"'`]|\([^\s()]*\))+")
LINK_TARGET = re.compile(r"\]\(\s*<?([^)\s>]+)|\b(?:href|src)=[\"']([^\"']+)")
HTML_ALT = re.compile(r"""\balt\s*=\s*["']\s*[^"'\s]""")

Findings = Iterator[tuple[int | None, str]]
Line = tuple[int, str]


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; `cell` is None when it concerns the whole page."""

    path: Path
    cell: int | None
    message: str

    def __str__(self) -> str:
        place = self.path.as_posix() if self.cell is None else f"{self.path.as_posix()}, cell {self.cell}"
        return f"{place}: {self.message}"


# --- Looking into a notebook ---


def cells_of(notebook: NotebookNode, kind: str) -> list[tuple[int, NotebookNode]]:
    """The cells of one kind ("code" or "markdown"), each with its number."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == kind]


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def runs(cell: NotebookNode) -> bool:
    """Whether the kernel executes this code cell: it isn't empty, and isn't skipped."""
    return bool(cell.source.strip()) and not tags(cell) >= SKIP_TAGS


def mime_types(cell: NotebookNode) -> set[str]:
    return {mime for output in cell.outputs for mime in output.get("data", {})}


def output_text(cell: NotebookNode) -> str:
    """All that a cell shows as text."""
    streams = [output.get("text", "") for output in cell.outputs]
    data = [item for output in cell.outputs for item in output.get("data", {}).items()]
    return "\n".join(streams + [content for mime, content in data if mime.startswith("text/")])


def prose(source: str) -> list[str]:
    """The lines of a markdown cell, with the content of fenced code and of `code spans` blanked out."""
    lines, open_fence = [], ""
    for line in source.splitlines():
        fence = FENCE.match(line)
        if open_fence:
            lines.append("")
            if fence and fence[1].startswith(open_fence) and not fence[2]:
                open_fence = ""
        elif fence:
            lines.append(line)
            open_fence = fence[1]
        else:
            lines.append(CODE_SPAN.sub("``", line))
    return lines


def prose_lines(notebook: NotebookNode) -> list[Line]:
    return [(number, line) for number, cell in cells_of(notebook, "markdown") for line in prose(cell.source)]


def headings(notebook: NotebookNode) -> list[tuple[int, int, str]]:
    """Cell number, level and title of each heading."""
    matches = [(number, HEADING.match(line)) for number, line in prose_lines(notebook)]
    return [(number, len(match[1]), match[2]) for number, match in matches if match]


def level_two(notebook: NotebookNode) -> list[str]:
    return [title for _, level, title in headings(notebook) if level == 2]


def section(notebook: NotebookNode, title: str) -> list[Line]:
    """The lines from a level-2 heading up to the next one; a code cell stands in it as one blank line."""
    lines, inside = [], False
    for number, cell in enumerate(notebook.cells, 1):
        for line in prose(cell.source) if cell.cell_type == "markdown" else [""]:
            heading = HEADING.match(line)
            if heading and len(heading[1]) <= 2:
                inside = heading[2] == title
            if inside:
                lines.append((number, line))
    return lines


def numbered_parts(lines: list[Line]) -> list[list[Line]]:
    """Cut a section at the lines that start with `**1.`, `**2.`, ..."""
    starts = [index for index, (_, line) in enumerate(lines) if NUMBERED.match(line)]
    return [lines[start:stop] for start, stop in pairwise([*starts, len(lines)])]


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that run now: not what stands in a function, a class or a lambda."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, RUNS_LATER):
            yield from running_nodes(child)


def ends_in_value(tree: ast.Module, code: str) -> bool:
    """Whether the last statement is an expression whose value Jupyter shows."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return False
    value = tree.body[-1].value
    if isinstance(value, ast.Constant):
        return not isinstance(value.value, str | EllipsisType)
    called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    is_silent = called.startswith("get_ipython()") or called.split(".")[-1] in SILENT_CALLS
    return not (is_silent or DisplayHook.semicolon_at_end_of_expression(code))


# --- Rules about the notebook, its code and its outputs ---


def notebook_format(notebook: NotebookNode) -> Findings:
    """Everyone has the kernel `python3`; cell ids keep diffs small; widget state changes at every run."""
    ids = [cell.get("id") for cell in notebook.cells]
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if notebook.nbformat_minor < 5:
        yield None, f"is nbformat 4.{notebook.nbformat_minor}; save it as 4.5 or later, which has cell ids"
    elif None in ids or len(set(ids)) < len(ids):
        yield None, "has cell ids that are missing or repeated; save it again from Jupyter"
    if kernel != "python3":
        yield None, f"kernel is {kernel!r}; set metadata.kernelspec.name to 'python3'"
    if "widgets" in notebook.metadata:
        yield None, "has widget state; delete `widgets` from the notebook's metadata"


def execution_order(notebook: NotebookNode) -> Findings:
    """Counts 1..n show that the outputs come from one run, from top to bottom, in a fresh kernel."""
    code = cells_of(notebook, "code")
    for number, cell in code:
        if tags(cell) >= SKIP_TAGS and cell.execution_count is not None:
            yield number, f"is skipped but has execution count {cell.execution_count}; set it to null"
    for expected, (number, cell) in enumerate([item for item in code if runs(item[1])], 1):
        if cell.execution_count != expected:
            yield number, f"execution count is {cell.execution_count}, not {expected}; restart and run all"
            return


def outputs_present(notebook: NotebookNode) -> Findings:
    """Without an output the reader sees nothing, and nbval compares nothing and yet passes."""
    code_cells = cells_of(notebook, "code")
    for number, cell in code_cells:
        code = TransformerManager().transform_cell(cell.source)
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            yield number, f"does not parse ({error.msg}, line {error.lineno}); mend the code"
            continue
        if cell.outputs or tags(cell) & {"skip-execution", "remove-cell"}:
            continue
        calls = {ast.unparse(node.func) for node in running_nodes(tree) if isinstance(node, ast.Call)}
        if calls & SHOWING_CALLS or ends_in_value(tree, code):
            yield number, "shows something but has no output; run it (or end a silent last line with `;`)"
    if not any(cell.outputs for _, cell in code_cells if runs(cell)):
        yield None, "no cell that runs has an output, so nbval would compare nothing; run it and save it"


def skipped_cells(notebook: NotebookNode) -> Findings:
    """nbclient heeds one skip tag and nbval the other; a recorded output must not pass for a fresh one."""
    for number, cell in cells_of(notebook, "code"):
        found = tags(cell) & SKIP_TAGS
        if len(found) == 1:
            yield number, f"has only the tag {found.pop()}; give it both of {sorted(SKIP_TAGS)}, or neither"
        places = [other.source for at, other in cells_of(notebook, "markdown") if at == number - 1]
        places += re.findall(r"#.*", cell.source)
        is_labelled = any(re.search(r"\brecorded\b", place, re.I) for place in places)
        if tags(cell) & SKIP_TAGS and cell.outputs and not is_labelled:
            yield number, "is skipped but has outputs; say in the text before, or a comment, where 'recorded'"


def nothing_ignored(notebook: NotebookNode) -> Findings:
    """An output that nbval ignores may be wrong for years; an exception reads better caught and printed."""
    for number, cell in cells_of(notebook, "code"):
        comments = re.findall(r"#.*\b(NBVAL_\w+|PYTEST_VALIDATE_\w+)", cell.source, re.I)
        markers = {tag for tag in tags(cell) if re.match(r"nbval-|pytest-validate-|raises-exception$", tag)}
        for marker in sorted(markers - {"nbval-skip"}) + comments:
            yield number, f"has {marker}; remove it, and make the output stable or catch the exception"


def stable_outputs(notebook: NotebookNode) -> Findings:
    """Warnings, progress bars and widgets differ from run to run, and look broken on a static page."""
    for number, cell in cells_of(notebook, "code"):
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield number, "writes to stderr; mend what it warns of, then run it again"
        if any(output.output_type == "error" for output in cell.outputs):
            yield number, "ends in an error; catch the exception and print it"
        if any(mime.startswith("application/vnd.jupyter.widget") for mime in mime_types(cell)):
            yield number, "shows a widget; turn the widget or progress bar off, then run it again"
        for mark in UNSTABLE_TEXT:
            if mark in output_text(cell):
                yield number, f"output has {mark!r}; turn progress bars and colours off, then run it again"


def code_size(notebook: NotebookNode) -> Findings:
    """A short cell carries one idea, and 79 characters fit the page without a scroll bar."""
    for number, cell in cells_of(notebook, "code"):
        lines = cell.source.splitlines()
        if len(lines) > MAX_LINES:
            yield number, f"has {len(lines)} lines, over {MAX_LINES}; split it, or move code to nbhelpers"
        for index, line in enumerate(lines, 1):
            if len(line) > MAX_WIDTH:
                yield number, f"line {index} has {len(line)} characters, over {MAX_WIDTH}; break it"


# --- Rules about the text ---


def plain_markdown(notebook: NotebookNode) -> Findings:
    """Colab, JupyterLab and GitHub show MyST syntax as it is typed, so notebooks do without."""
    for position, (number, line) in enumerate(prose_lines(notebook)):
        is_page_label = number == 1 and position == 0 and line.startswith("(")
        for pattern, advice in MYST_ONLY.items():
            if re.match(pattern, line) and not is_page_label:
                yield number, f"{line.strip()[:40]!r} has {advice}"


def alt_text(notebook: NotebookNode) -> Findings:
    """Who cannot see a figure reads its alt text; myst-nb takes it from the cell's `mystnb.image.alt`."""
    for number, cell in cells_of(notebook, "code"):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if any(mime.startswith("image/") for mime in mime_types(cell)) and len(str(alt).strip()) < MIN_ALT:
            yield number, f"image lacks alt text; set metadata.mystnb.image.alt, {MIN_ALT} characters or more"
    for number, cell in cells_of(notebook, "markdown"):
        text = "\n".join(prose(cell.source))
        html_images = [image for image in re.findall(r"<img\b[^>]*>", text) if not HTML_ALT.search(image)]
        for image in re.findall(r"!\[\s*\][(\[]", text) + html_images:
            yield number, f"image {image[:40]!r} has no alt text; describe it for who cannot see it"


def opening(notebook: NotebookNode) -> Findings:
    """Every page starts alike: a label to link to, a title, and a paragraph that says why to read on."""
    source = "".join(cell.source for number, cell in cells_of(notebook, "markdown") if number == 1)
    label, title, hook = ([line for line in prose(source) if line.strip()] + ["", "", ""])[:3]
    if not re.match(r"\([a-z0-9_]+\)=\s*\n", source):
        yield 1, "must be markdown that starts with `(label)=` in lower case letters, digits and underscores"
    elif not title.startswith("# "):
        yield 1, f"{title[:40]!r} follows the line {label}; it must be followed by `# Title`"
    elif not PARAGRAPH.match(hook):
        yield 1, f"{hook[:40]!r} follows the title; put a paragraph there that says why to read on"


def at_a_glance(notebook: NotebookNode) -> Findings:
    """The table lets the reader decide in ten seconds whether to read the page now."""
    if level_two(notebook)[:1] != [GLANCE]:
        yield None, f"the first level-2 heading must be '## {GLANCE}', with its table"
        return
    lines = section(notebook, GLANCE)
    rows = {line.split("|")[1].strip(" *_:.…").casefold() for _, line in lines if line.startswith("|")}
    for row in GLANCE_ROWS:
        if row.casefold() not in rows:
            yield lines[0][0], f"the '{GLANCE}' table has no row '{row}'; add `| **{row}** | ... |`"


def setup_cells(notebook: NotebookNode) -> Findings:
    """Colab must be set up before the first import, and imports in one place show what the page needs."""
    code = cells_of(notebook, "code")[:2]
    if len(code) < 2:
        yield None, "needs two code cells after the table: the Colab set-up, then the imports"
        return
    (colab_number, colab), (imports_number, imports) = code
    if any(number > colab_number for number, _, title in headings(notebook) if title == GLANCE):
        yield colab_number, f"code stands before the '{GLANCE}' table; move it below"
    if "remove-cell" not in tags(colab) or "google.colab" not in colab.source:
        yield colab_number, "the first code cell must be the Colab set-up: tag remove-cell, name google.colab"
    if not re.search(r"^(import|from) \w", imports.source, re.M):
        yield imports_number, "the second code cell must hold the imports; move them here"


def closing(notebook: NotebookNode) -> Findings:
    """Every page ends alike, so that a reader can turn to the questions or the summary at once."""
    titles = level_two(notebook)
    if titles[-4:] != CLOSING:
        yield None, f"the last four level-2 headings are {titles[-4:]}; they must be {CLOSING}"
    for title in [GLANCE, *CLOSING]:
        if titles.count(title) > 1:
            yield None, f"'## {title}' stands {titles.count(title)} times; keep one"


def heading_levels(notebook: NotebookNode) -> Findings:
    """The table of contents and screen readers take the outline from the headings."""
    found = headings(notebook)
    ones = [title for _, level, title in found if level == 1]
    if len(ones) != 1:
        yield None, f"has {len(ones)} level-1 headings {ones}; keep exactly one"
    for (_, above, _), (number, level, title) in pairwise(found):
        if level > above + 1:
            yield number, f"heading '{title}' jumps from level {above} to {level}; use level {above + 1}"


def details_render(notebook: NotebookNode) -> Findings:
    """An open <details> swallows what follows; without a blank line the Markdown in it is shown raw."""
    for number, cell in cells_of(notebook, "markdown"):
        lines = prose(cell.source)
        opened = sum(len(re.findall(r"<details\b", line)) for line in lines)
        closed = sum(line.count("</details>") for line in lines)
        if opened != closed:
            yield number, f"has {opened} <details> but {closed} </details>; close each in its own cell"
        for line, following in pairwise(lines):
            if "</summary>" in line and following.strip():
                yield number, f"put a blank line after {line.strip()[:40]!r}, or what follows is shown raw"


def check_yourself(notebook: NotebookNode) -> Findings:
    """Questions tell the reader what has stuck; each choice explains itself, right or wrong."""
    lines = section(notebook, "Check yourself")
    questions = numbered_parts(lines)
    if lines and len(questions) < MIN_QUESTIONS:
        yield (
            lines[0][0],
            f"has {len(questions)} of {MIN_QUESTIONS} questions; start each with `**1.`, `**2.`",
        )
    for question in questions:
        text = "\n".join(line for _, line in question)
        choices = len(re.findall(r"<details\b[^>]*>\s*<summary\b", text))
        if choices < MIN_CHOICES:
            number, start = question[0]
            yield number, f"{start[:40]!r} has {choices} <details> with <summary>; give {MIN_CHOICES} or more"


def exercises(notebook: NotebookNode) -> Findings:
    """An exercise without a solution that runs leaves the reader alone; folded, it spoils nothing."""
    lines = section(notebook, "Exercises")
    parts = numbered_parts(lines)
    if lines and len(parts) < MIN_EXERCISES:
        yield lines[0][0], f"has {len(parts)} of {MIN_EXERCISES} exercises; start each with `**1.`, `**2.`"
    solutions = {number for number, cell in cells_of(notebook, "code") if "hide-cell" in tags(cell)}
    for part in parts:
        if not solutions & {number for number, _ in part}:
            number, start = part[0]
            yield number, f"{start[:40]!r} has no code cell tagged hide-cell below it; add its solution"


RULES = (
    notebook_format, execution_order, outputs_present, skipped_cells, nothing_ignored, stable_outputs,
    code_size, plain_markdown, alt_text, opening, at_a_glance, setup_cells, closing, heading_levels,
    details_render, check_yourself, exercises,
)  # fmt: skip


# --- Rules that look outside the notebook ---


def same_address(url: str) -> str:
    """One spelling for all addresses of one paper; case is dropped, since hosts and DOIs ignore it."""
    address = url.replace("\\", "").rstrip(".,;:*").lower()
    for pattern, replacement in SAME_ADDRESS.items():
        address = re.sub(pattern, replacement, address)
    return address


def known_papers(bibliography: Path) -> set[str]:
    """The addresses of all entries, from their url, doi and eprint."""
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
    """A link may die; the entry in the bibliography still says which paper it was."""
    links = [(number, url) for number, line in prose_lines(notebook) for url in URL.findall(line)]
    papers = [(number, url) for number, url in links if urlsplit(same_address(url)).hostname in PAPER_HOSTS]
    known = known_papers(bibliography) if papers else set()
    for number, url in papers:
        if same_address(url) not in known:
            yield number, f"{url} is not in {bibliography.name}; add an entry with this url, doi or eprint"


def relative_links(notebook: NotebookNode, folder: Path) -> Findings:
    """A link to a file that is not there is dead, on the site and on GitHub alike."""
    for number, line in prose_lines(notebook):
        for target in (markdown or html for markdown, html in LINK_TARGET.findall(line)):
            file = unquote(re.split(r"[#?]", target)[0])
            has_scheme = re.match(r"[a-zA-Z][\w+.-]*:", target)
            if file and not has_scheme and not (folder / file).is_file():
                yield number, f"links to {target}, which does not exist; give the path from the page's folder"


def requirements(lines: list[str]) -> dict[str, str]:
    """The bounds by the name of the package, from lines as in requirements.txt."""
    found = [Requirement(line) for line in (line.partition("#")[0].strip() for line in lines) if line]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in found}


def colab_packages(notebook: NotebookNode) -> list[str]:
    """What the Colab set-up installs beside nbhelpers: the words of the string that it calls ALSO."""
    code = cells_of(notebook, "code")
    match = re.search(r'^ALSO = "(.*)"', code[0][1].source, re.M) if code else None
    return shlex.split(match[1]) if match else []


def imported(notebook: NotebookNode) -> Iterator[Line]:
    """The modules of the top level that a page imports anywhere, also in a cell that is skipped here."""
    for number, cell in cells_of(notebook, "code"):
        try:
            nodes = list(ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))))
        except SyntaxError:
            continue  # a finding of outputs_present
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        yield from ((number, name) for name in dict.fromkeys(name.partition(".")[0] for name in names))


def colab_installs(notebook: NotebookNode, repo_root: Path) -> Findings:
    """Colab lacks packages that few use, and brings its own torch, which the exact version of another would break."""
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
    distributions = packages_distributions()
    for place, module in imported(notebook):
        packages = {canonicalize_name(name) for name in distributions.get(module, [module])}
        if module not in NOT_INSTALLED and not packages & (brought.keys() | named.keys()):
            yield place, f"imports {module}, which nbhelpers does not bring; add {bounded(min(packages))} to ALSO"


def toc_entries(node: object) -> Iterator[str]:
    """The `root` and every `file` of a table of contents, however deep."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("root", "file") if key in node)
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from toc_entries(child)


def book_pages(repo_root: Path) -> list[Path]:
    """What the reader is meant to find: not the data, not READMEs, not what starts with `_` or `.`."""
    book = repo_root / "book"
    paths = [path.relative_to(book) for path in sorted(book.rglob("*")) if path.suffix in PAGE_SUFFIXES]
    public = [path for path in paths if not any(part.startswith(("_", ".")) for part in path.parts)]
    return [Path("book") / path for path in public if path.parts[0] != "data" and path.name != "README.md"]


def check_toc(repo_root: Path) -> list[Problem]:
    """A page that is not in the table of contents is never built; one that is there twice has two places."""
    toc = repo_root / "_toc.yml"
    try:
        content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{toc}: {error}") from error
    entries = [entry.removesuffix(".md").removesuffix(".ipynb") for entry in toc_entries(content)]
    problems = []
    for page in book_pages(repo_root):
        times = entries.count(page.with_suffix("").as_posix())
        if times != 1:
            problems.append(Problem(page, None, f"stands {times} times in _toc.yml; list it exactly once"))
    for entry in dict.fromkeys(entries):
        if not any((repo_root / f"{entry}{suffix}").is_file() for suffix in PAGE_SUFFIXES):
            message = f"lists {entry}, which has no .ipynb or .md file; add the file or remove the entry"
            problems.append(Problem(Path(toc.name), None, message))
    return problems


# --- Running it ---


def read_notebook(path: Path) -> NotebookNode:
    """Read without the repairs of `nbformat.read`, which would hide what the rules look for."""
    try:
        notebook = nbformat.reader.reads(path.read_text(encoding="utf-8"))
        # The schema of 4.4, relaxed: that of 4.5, but for the cell ids, which have a rule of their own.
        for error in iter_validate(notebook, version=4, version_minor=4, relax_add_props=True):
            raise error
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path}: not a notebook of nbformat 4: {error}") from error
    return notebook


def shown_path(path: Path, repo_root: Path) -> Path:
    return path.relative_to(repo_root) if path.is_relative_to(repo_root) else path


def check_notebook(path: Path, repo_root: Path) -> list[Problem]:
    """All problems of one notebook, in the order of its cells; ValueError or OSError if it cannot be read."""
    notebook = read_notebook(path)
    findings = [finding for rule in RULES for finding in rule(notebook)]
    findings += cited_papers(notebook, repo_root / "book" / "references.bib")
    findings += relative_links(notebook, path.parent)
    findings += colab_installs(notebook, repo_root)
    findings.sort(key=lambda finding: finding[0] or 0)
    return [Problem(shown_path(path, repo_root), number, message) for number, message in findings]


def main(arguments: list[str] | None = None) -> int:
    """Check, print one line a problem, and say by the exit status how it went."""
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
