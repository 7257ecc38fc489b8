"""The book's conventions for one notebook on its own: `RULES`, one function each.

A rule's docstring says why the rule exists. The function yields its findings: the number of the cell (from 1, counting
cells of every kind; None for the page as a whole) and a message that says how to fix it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from IPython.core.inputtransformer2 import TransformerManager
from loop_variables import used_after_loop
from nbformat import NotebookNode
from notebook_parts import (
    SKIP_TAGS,
    cells_of,
    ends_in_value,
    headings,
    level_two,
    mime_types,
    numbered_parts,
    output_text,
    prose,
    prose_lines,
    running_nodes,
    runs,
    section,
    tags,
    trees,
)

MAX_LINES, MAX_WIDTH = 15, 79
MIN_ALT = 20
FOLDED = {"hide-input", "hide-cell", "remove-input"}
MIN_QUESTIONS, MIN_CHOICES, MIN_EXERCISES = 3, 2, 3

SHOWING_CALLS = {"print", "display", "plt.show"}
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
TENSOR_CALLS = {"torch.tensor", "torch.as_tensor", "torch.from_numpy", "torch.LongTensor"}
GLANCE = "At a glance"
GLANCE_ROWS = ("Time to read", "Time to run", "Hardware", "Needs", "After this page you can")
PROJECT = "In your project"
PROJECT_PARTS = ("**What it costs.**", "**The line to report.**")
MIN_STEPS, MAX_STEPS = 5, 8
SHORT_ANSWER = "> **The short answer.** "
CLOSING = [PROJECT, "Check yourself", "Exercises", "What we saw", "Further reading"]

PARAGRAPH = re.compile(r"(?![#|<>`]|!\[|[-+*] )\S")
HTML_ALT = re.compile(r"""\balt\s*=\s*["']\s*[^"'\s]""")

Findings = Iterator[tuple[int | None, str]]


# --- Rules about the notebook, its code and its outputs ---


def notebook_format(notebook: NotebookNode) -> Findings:
    """Every machine has the kernel `python3`; cell ids keep diffs small; widget state changes with every run."""
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


def on_device(notebook: NotebookNode) -> Findings:
    """A tensor that is handed to the model without the model's device fails as soon as that is a GPU."""
    for number, tree in trees(notebook):
        remedy = 'add `device=lm.device` or `.to(lm.device)`, or `device="cpu"` if the model never sees it'
        for call, placed in _tensor_calls(tree):
            if not placed:
                yield number, f"makes a tensor with `{call}` and names no device; {remedy}"


def _tensor_calls(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Each call that makes a tensor of given values, and whether it names a device or is moved to one."""
    nodes = list(ast.walk(tree))
    moves = [n.func.value for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "to"]
    moved_names = {node.id for node in moves if isinstance(node, ast.Name)}
    placed = {id(part) for node in moves for part in ast.walk(node)}
    for node in nodes:
        if isinstance(node, ast.Assign) and moved_names & {getattr(target, "id", "") for target in node.targets}:
            placed |= {id(part) for part in ast.walk(node)}
    for node in nodes:
        if isinstance(node, ast.Call):
            name, keywords = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            if name in TENSOR_CALLS or "return_tensors" in keywords:
                yield name, "device" in keywords or id(node) in placed


def loop_variables(notebook: NotebookNode) -> Findings:
    """A name that a loop left behind sections ago means whatever came last; the reader has to scroll for it."""
    cells = trees(notebook)
    for (number, _), names in zip(cells, used_after_loop([tree for _, tree in cells]), strict=True):
        for name in names:
            yield number, f"uses the loop variable `{name}` after its loop; give the value a name of its own"


def execution_order(notebook: NotebookNode) -> Findings:
    """Counts 1..n prove that the outputs come from one top-to-bottom run in a fresh kernel."""
    code = cells_of(notebook, "code")
    for number, cell in code:
        if tags(cell) >= SKIP_TAGS and cell.execution_count is not None:
            yield number, f"is skipped but has execution count {cell.execution_count}; set it to null"
    for expected, (number, cell) in enumerate([item for item in code if runs(item[1])], 1):
        if cell.execution_count != expected:
            yield number, f"execution count is {cell.execution_count}, not {expected}; restart and run all"
            return


def outputs_present(notebook: NotebookNode) -> Findings:
    """Without an output the reader sees nothing, and nbval passes because it compares nothing."""
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
    """nbclient honours one skip tag and nbval the other; a recorded output must not look like a fresh one."""
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
    """An output that nbval ignores can stay wrong for years; an exception reads better caught and printed."""
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


def plots_folded(notebook: NotebookNode) -> Findings:
    """How a figure is drawn is nobody's question; who wants to know unfolds the cell."""
    for number, cell in cells_of(notebook, "code"):
        if "plt.show()" in cell.source and not tags(cell) & FOLDED:
            yield number, "draws a figure in sight; add the tag hide-input, and compute what it shows in another cell"


def code_size(notebook: NotebookNode) -> Findings:
    """A short cell holds one idea, and 79 characters fit the page without a scroll bar."""
    for number, cell in cells_of(notebook, "code"):
        lines = cell.source.splitlines()
        if len(lines) > MAX_LINES:
            yield number, f"has {len(lines)} lines, over {MAX_LINES}; split it, or move code to nbhelpers"
        for index, line in enumerate(lines, 1):
            if len(line) > MAX_WIDTH:
                yield number, f"line {index} has {len(line)} characters, over {MAX_WIDTH}; break it"


# --- Rules about the text ---


def plain_markdown(notebook: NotebookNode) -> Findings:
    """Colab, JupyterLab and GitHub do not render MyST syntax, so notebooks avoid it."""
    for position, (number, line) in enumerate(prose_lines(notebook)):
        is_page_label = number == 1 and position == 0 and line.startswith("(")
        for pattern, advice in MYST_ONLY.items():
            if re.match(pattern, line) and not is_page_label:
                yield number, f"{line.strip()[:40]!r} has {advice}"


def alt_text(notebook: NotebookNode) -> Findings:
    """Screen readers read the alt text; myst-nb takes it from the cell's `mystnb.image.alt`."""
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
    """Every page starts the same way: a label to link to, a title, and a paragraph that says why to read on."""
    source = "".join(cell.source for number, cell in cells_of(notebook, "markdown") if number == 1)
    label, title, hook = ([line for line in prose(source) if line.strip()] + ["", "", ""])[:3]
    if not re.match(r"\([a-z0-9_]+\)=\s*\n", source):
        yield 1, "must be markdown that starts with `(label)=` in lower case letters, digits and underscores"
    elif not title.startswith("# "):
        yield 1, f"{title[:40]!r} follows the line {label}; it must be followed by `# Title`"
    elif not PARAGRAPH.match(hook):
        yield 1, f"{hook[:40]!r} follows the title; put a paragraph there that says why to read on"
    elif not any(line.startswith(SHORT_ANSWER) for line in prose(source)):
        yield 1, f"has no short answer; after the hook, write `{SHORT_ANSWER}` and what to do, avoid and report"


def at_a_glance(notebook: NotebookNode) -> Findings:
    """The table lets a reader decide in ten seconds whether to read the page now."""
    if level_two(notebook)[:1] != [GLANCE]:
        yield None, f"the first level-2 heading must be '## {GLANCE}', with its table"
        return
    lines = section(notebook, GLANCE)
    rows = {line.split("|")[1].strip(" *_:.…").casefold() for _, line in lines if line.startswith("|")}
    for row in GLANCE_ROWS:
        if row.casefold() not in rows:
            yield lines[0][0], f"the '{GLANCE}' table has no row '{row}'; add `| **{row}** | ... |`"


def setup_cells(notebook: NotebookNode) -> Findings:
    """Colab must be set up before the first import, and one cell of imports shows what the page needs."""
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
    """Every page ends the same way, so that readers find the questions and the summary at once."""
    titles = level_two(notebook)
    last = titles[-len(CLOSING) :]
    if last != CLOSING:
        yield None, f"the last level-2 headings are {last}; they must be {CLOSING}"
    for title in [GLANCE, *CLOSING]:
        if titles.count(title) > 1:
            yield None, f"'## {title}' stands {titles.count(title)} times; keep one"


def heading_levels(notebook: NotebookNode) -> Findings:
    """The page's contents and screen readers build the outline from the headings."""
    found = headings(notebook)
    ones = [title for _, level, title in found if level == 1]
    if len(ones) != 1:
        yield None, f"has {len(ones)} level-1 headings {ones}; keep exactly one"
    for (_, above, _), (number, level, title) in pairwise(found):
        if level > above + 1:
            yield number, f"heading '{title}' jumps from level {above} to {level}; use level {above + 1}"


def details_render(notebook: NotebookNode) -> Findings:
    """An unclosed <details> swallows what follows; without a blank line its Markdown is shown raw."""
    for number, cell in cells_of(notebook, "markdown"):
        lines = prose(cell.source)
        opened = sum(len(re.findall(r"<details\b", line)) for line in lines)
        closed = sum(line.count("</details>") for line in lines)
        if opened != closed:
            yield number, f"has {opened} <details> but {closed} </details>; close each in its own cell"
        for line, following in pairwise(lines):
            if "</summary>" in line and following.strip():
                yield number, f"put a blank line after {line.strip()[:40]!r}, or what follows is shown raw"


def in_your_project(notebook: NotebookNode) -> Findings:
    """Readers come with data of their own: a recipe, a cell that carries it out, its cost, and a line to report."""
    lines = section(notebook, PROJECT)
    if not lines:
        return  # `closing` reports it
    start = lines[0][0]
    steps = sum(bool(re.match(r"\d+\. ", line)) for _, line in lines)
    if not MIN_STEPS <= steps <= MAX_STEPS:
        yield start, f"'{PROJECT}' has {steps} steps; give {MIN_STEPS} to {MAX_STEPS}, as a list `1. `, `2. `"
    inside = {number for number, _ in lines}
    cells = [cell for number, cell in cells_of(notebook, "code") if number in inside]
    if not any(runs(cell) and "print(" in cell.source for cell in cells):
        yield start, f"'{PROJECT}' has no cell that runs and prints; follow the recipe on a small file, print its line"
    for part in PROJECT_PARTS:
        if not any(line.startswith(part) for _, line in lines):
            yield start, f"'{PROJECT}' has no paragraph that starts with `{part}`"


def check_yourself(notebook: NotebookNode) -> Findings:
    """Questions tell readers what they remember; each choice explains why it is right or wrong."""
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
    """Every exercise has a solution that runs; folding it, and what it shows, avoids spoilers."""
    lines = section(notebook, "Exercises")
    parts = numbered_parts(lines)
    if lines and len(parts) < MIN_EXERCISES:
        yield lines[0][0], f"has {len(parts)} of {MIN_EXERCISES} exercises; start each with `**1.`, `**2.`"
    solutions = {number for number, cell in cells_of(notebook, "code") if "hide-cell" in tags(cell)}
    for part in parts:
        if not solutions & {number for number, _ in part}:
            number, start = part[0]
            yield number, f"{start[:40]!r} has no code cell tagged hide-cell below it; add its solution"
            continue
        solved = min(solutions & {number for number, _ in part})
        told = "\n".join(line for number, line in part if number > solved)
        if re.sub(r"(?s)<details>.*?</details>", "", told).strip():
            yield solved, f"{part[0][1][:40]!r} is answered in sight below its solution; fold that into <details>"


RULES = (
    notebook_format, execution_order, outputs_present, skipped_cells, nothing_ignored, stable_outputs, code_size,
    plots_folded, on_device, loop_variables, plain_markdown, alt_text, opening, at_a_glance, setup_cells, closing,
    heading_levels, details_render, in_your_project, check_yourself, exercises,
)  # fmt: skip
