"""Every rule of tools/page_rules.py, broken by one small change to a page without a problem."""

from pathlib import Path

import pytest
from nbformat.v4 import new_output
from small_book import (
    BOTH_SKIPS,
    CHOICES,
    Mutation,
    add_code,
    add_text,
    both,
    cell_values,
    code,
    edit,
    figure,
    metadata,
    move,
    no_outputs,
    output,
    printed,
    problems_after,
    set_tags,
)

ONE_CHOICE = CHOICES[: CHOICES.rindex("<details>")]
LONG = "value = " + "1" * 72
WIDGET = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "x"})
RECORDED = add_code("print(1)", printed(), tags=BOTH_SKIPS)
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])

# (what is changed, what the one problem then says, why it matters)
PROBLEMS = [
    # 1: the notebook's format
    (metadata(kernelspec={"name": "conda", "display_name": "x"}), "is 'conda'; set", "no one else has it"),
    (lambda notebook: notebook.update(nbformat_minor=4), "is nbformat 4.4", "no cell ids"),
    (lambda notebook: notebook.cells[5].pop("id"), "missing or repeated", "a cell without an id"),
    (both(cell_values(1, id="same"), cell_values(2, id="same")), "missing or repeated", "one id twice"),
    (metadata(widgets={}), "widget state", "state of a widget was saved"),
    # 2: execution counts
    (cell_values(6, execution_count=9), "cell 6: execution count is 9, not 3", "not run from top to bottom"),
    (cell_values(6, execution_count=None), "cell 6: execution count is None, not 3", "not run"),
    (
        both(add_code("x = 1", tags=BOTH_SKIPS), cell_values(7, execution_count=7)),
        "cell 7: is skipped but has execution count 7",
        "a cell that never runs has no count",
    ),
    # 3: outputs
    (output(), "cell 6: shows something but has no output", "print at top level"),
    (add_code("for i in [1]:\n    if i:\n        print(i)"), "no output", "print in blocks"),
    (add_code("with open('x') as f:\n    display(f)"), "no output", "display in a with"),
    (add_code("try:\n    f()\nexcept ValueError:\n    print(1)"), "no output", "print in a try"),
    (add_code("import matplotlib.pyplot as plt\nplt.show()", tags=("hide-input",)), "no output", "a figure"),
    (add_code("x = 1\nx"), "no output", "a last line with a value"),
    (add_code("math.sqrt(2)"), "no output", "a last line with a call that returns something"),
    (add_code("def f(:\n    pass"), "cell 7: does not parse (", "code that cannot run"),
    (no_outputs, "page.ipynb: no cell that runs has an output", "nbval passes without comparing anything"),
    # 4: skipped cells
    (add_code("x = 1", tags=("skip-execution",)), "only the tag skip-execution", "nbval would run it"),
    (add_code("x = 1", tags=("nbval-skip",)), "only the tag nbval-skip", "the book's build would run it"),
    (RECORDED, "where 'recorded'", "looks like a fresh output"),
    # 5: nothing hidden from nbval
    (add_code("x = 1", tags=("nbval-ignore-output",)), "has nbval-ignore-output", "output is not compared"),
    (add_code("# NBVAL_IGNORE_OUTPUT\nx = 1"), "has NBVAL_IGNORE_OUTPUT", "the same as a comment"),
    (add_code("# NBVAL_SKIP\nx = 1"), "has NBVAL_SKIP", "skipped by a comment, which the build ignores"),
    (add_code("# PYTEST_VALIDATE_IGNORE_OUTPUT\nx = 1"), "has PYTEST_VALIDATE", "nbval's older name for it"),
    (add_code("x = 1", tags=("nbval-test-listed",)), "has nbval-test-listed", "any other nbval tag"),
    (add_code("x = 1", tags=("raises-exception",)), "has raises-exception", "an exception passes"),
    (add_code("x = 1", tags=("nbval-raises-exception",)), "has nbval-raises", "the same, for nbval"),
    # 6: outputs that are the same in every run
    (output(printed(), printed("warning", "stderr")), "writes to stderr", "a warning in the page"),
    (output(ERROR), "ends in an error", "a traceback in the page"),
    (output(WIDGET), "shows a widget", "a widget does not work on a static page"),
    (output(printed("a\rb")), r"output has '\r'", "a line that overwrites itself"),
    (output(printed("5 [00:01, 4.9it/s]")), "output has 'it/s]'", "a progress bar with a speed"),
    (output(printed(" 50%|#####     | 1/2")), "output has '%|'", "a progress bar"),
    (output(printed("\x1b[31mred")), r"output has '\x1b'", "colours of a terminal"),
    # 7: size of code, and what is folded
    (
        add_code("plt.show()", figure(), mystnb={"image": {"alt": "A curve from 0 to 1."}}),
        "cell 7: draws a figure in sight",
        "code that only plots",
    ),
    (add_code("x = 1\n" * 16), "cell 7: has 16 lines, over 15", "more than one idea"),
    (add_code(LONG), "line 1 has 80 characters, over 79", "a scroll bar"),
    # 8: tensors on the model's device
    (add_code("x = torch.tensor([[1]])"), "cell 7: makes a tensor with `torch.tensor` and names no", "fails on a GPU"),
    (add_code("x = f(torch.tensor(ids).cpu())"), "makes a tensor with `torch.tensor`", "inside another call"),
    (add_code("def f(t):\n    return lm.tokenizer(t, return_tensors='pt')"), "`lm.tokenizer`", "inside a function"),
    # 9: one name, one meaning
    (add_code("for i in [1]:\n    x = i\ny = i"), "cell 7: uses the loop variable `i` after its loop", "in its cell"),
    (
        both(add_code("y = i"), add_code("for i in [1]:\n    x = i")),
        "cell 8: uses the loop variable `i`",
        "sections on",
    ),
    (add_code("for a, (b, c) in z:\n    pass\ny = [c for q in z]"), "variable `c`", "part of a target, in a list"),
    (add_code("for i in [1]:\n    pass\n\n\ndef f(x):\n    return x + i"), "variable `i`", "in a function"),
    (add_code("for i in [1]:\n    pass\ni += 1"), "variable `i`", "used and bound in one"),
    (add_code("while True:\n    for i in [1]:\n        break\n    x = i"), "variable `i`", "in a loop inside a loop"),
    # 9: plain Markdown
    (add_text(":::{include} page.md"), "a `:::` fence", "shown raw by Colab"),
    (add_text("```{note}\nHi\n```"), "a fence with a {directive}", "shown as code by Colab"),
    (add_text("See {ref}`there`."), "a {role}", "shown raw by Colab"),
    (add_text("The answer is {{ answer }}."), "a {{ substitution }}", "shown raw by Colab"),
    (add_text("One\n\n+++\n\nTwo"), "a `+++` block break", "shown raw by Colab"),
    (add_text("(second)=\nText"), "a (label)= line", "only the page has a label"),
    (add_text("% to do\n\nText"), "a `%` comment line", "shown raw by Colab"),
    # 9: alt text
    (add_code("plt.show()", figure(), tags=("hide-input",)), "image lacks alt text", "no alt text"),
    (add_code("x", figure("image/svg+xml"), mystnb={"image": {"alt": "A plot"}}), "lacks alt", "too short"),
    (add_text("![](data/tiny.jsonl)"), "'![](' has no alt text", "an image in Markdown"),
    (add_text('<img src="data/tiny.jsonl" alt="">'), "has no alt text", "an image in HTML, empty alt"),
    (add_text('<img src="data/tiny.jsonl">'), "has no alt text", "an image in HTML, no alt"),
    # 10: the page's skeleton
    (edit("(small_page)=\n", ""), "cell 1: must be markdown that starts with", "nothing to link to"),
    (edit("small_page", "Small-Page"), "must be markdown that starts with `(label)=`", "another form"),
    (edit("# A small page", "A small page\n\n# Late"), "followed by `# Title`", "text before the title"),
    (edit("This is why you want to read on.", ""), "put a paragraph there", "no hook"),
    (edit("This is why", "- This is why"), "put a paragraph there", "a list is no hook"),
    (edit("> **The short answer.**", "**In short.**"), "cell 1: has no short answer", "two minutes must be enough"),
    (edit("## At a glance", "## Overview"), "first level-2 heading must be '## At a glance'", "no table"),
    (edit("**Hardware**", "**Machine**"), "cell 2: the 'At a glance' table has no row 'Hardware'", "no row"),
    (move(3, 2), "cell 2: code stands before the 'At a glance' table", "the table comes too late"),
    (both(edit("    print", "    #"), set_tags(3)), "must be the Colab set-up", "the site would show it"),
    (edit("google.colab", "colab"), "must be the Colab set-up", "does nothing on Colab"),
    (edit("import math", "x = 1"), "cell 4: the second code cell must hold the imports", "no imports"),
    (edit("## What we saw", "## Summary"), "they must be ['In your project'", "another name"),
    (move(19, 18), "they must be ['In your project'", "another order"),
    (add_text("## Exercises\n\nMore."), "'## Exercises' stands 2 times", "one too many"),
    (add_text("# Another title"), "has 2 level-1 headings", "two titles"),
    (add_text("#### Too deep"), "heading 'Too deep' jumps from level 2 to 4", "a level is left out"),
    # 11: check yourself
    (edit("**3. Is it so?**", "Is it so?"), "has 2 of 3 questions", "too few questions"),
    (edit(CHOICES, ONE_CHOICE), "'**1. Is it so?**' has 1 <details>", "one choice"),
    (edit("<summary>No</summary>", "No"), "has 1 <details> with <summary>", "a choice without summary"),
    (edit("</details>", ""), "has 6 <details> but 5 </details>", "the rest of the page would fold"),
    (edit("<summary>No</summary>\n", "<summary>No</summary>"), "put a blank line after", "shown raw"),
    # 12: in your project
    (edit("5. Measure.\n", ""), "cell 7: 'In your project' has 4 steps; give 5 to 8", "a recipe cut short"),
    (edit("5. Measure.", "5. Measure.\n" * 5), "has 9 steps", "nobody follows nine"),
    (edit("print(3.14)", "x = 3.14"), "'In your project' has no cell that runs and prints", "nothing to copy"),
    (edit("**What it costs.**", "It costs."), "no paragraph that starts with `**What it costs.**`", "the bill"),
    (edit("**The line to report.**", "Report"), "starts with `**The line to report.**`", "what to write down"),
    # 13: exercises
    (edit("**3. Compute it.**", ""), "has 2 of 3 exercises", "too few exercises"),
    (set_tags(15), "cell 14: '**2. Compute it.**' has no code cell tagged hide-cell", "not folded"),
    (edit("**3. Compute", "So it is one.\n\n**3. Compute"), "'**2. Compute it.**' is answered in sight", "a spoiler"),
]

# (what is changed, why it is no problem)
FINE = [
    (add_code("def f():\n    print(1)\n\n\ng = lambda: print(2)"), "print that runs later"),
    (add_code("class A:\n    def show(self):\n        print(self)"), "print in a class"),
    (add_code("x = [1]\nx.append(2)"), "a call known to return nothing"),
    (add_code("math.sqrt(2);  # quiet"), "a value silenced by a semicolon"),
    (add_code('"""A docstring."""'), "a constant string"),
    (add_code("..."), "an ellipsis"),
    (add_code("%matplotlib inline"), "a magic that shows nothing"),
    (add_code("files = !ls\nx = 1"), "a shell call"),
    (lambda notebook: notebook.cells.insert(6, code("")), "an empty cell, which never runs"),
    (add_code("print(1)", tags=BOTH_SKIPS), "a skipped cell without outputs"),
    (add_code("# Recorded on an H100.\nprint(1)", printed(), tags=BOTH_SKIPS), "recorded, says a comment"),
    (both(RECORDED, add_text("As recorded on an H100:")), "recorded, says the text"),
    (add_code("x", figure(), mystnb={"image": {"alt": "A curve from 0 to 1."}}), "a described figure"),
    (add_code("x = torch.tensor([1], device=lm.device)"), "a device is named"),
    (add_code("x = torch.tensor([1]).to(lm.device)"), "moved at once"),
    (add_code("x = lm.tokenizer('a', return_tensors='pt').input_ids.to(lm.device)"), "moved at the end"),
    (add_code("x = lm.tokenizer('a', return_tensors='pt').input_ids\ny = lm.model(x.to(lm.device))"), "moved later"),
    (add_code("for i in [1]:\n    x = i\nfor i in [2]:\n    x = i\ni = 3\ny = i"), "bound again before it is used"),
    (add_code("for i in [1]:\n    x = i\ny = [i for i in z]\ndef f(i):\n    return i"), "another scope's name"),
    (add_code("for math in [1]:\n    pass\nimport math\ny = math"), "a module of that name"),
    (
        add_code("plt.show()", figure(), tags=("hide-cell",), mystnb={"image": {"alt": "A curve from 0 to 1."}}),
        "folded",
    ),
    (add_code("x = 1\n" * 15), "15 lines"),
    (add_code(LONG[:-1]), "79 characters"),
    (add_text("```python\n+++\n% x\n:::\n# no heading\n[x](none.md)\n```"), "fenced code may hold anything"),
    (add_text("Write `{ref}` or ``{{ x }}`` or `[x](none.md)`; $x_{i}$ is fine."), "so may code spans"),
    (add_text("| a | 50% |\n|---|---|\n| % b | +++ |"), "marks inside a line"),
    (add_text('<img src="data/tiny.jsonl" alt="A plot"> ![A plot](data/tiny.jsonl)'), "described images"),
    (add_text("### Deeper\n\n#### Deeper still"), "levels one by one"),
]


@pytest.mark.parametrize(("mutation", "fragment", "reason"), PROBLEMS)
def test_a_change_that_is_one_problem(repo: Path, mutation: Mutation, fragment: str, reason: str) -> None:
    problems = problems_after(repo, mutation)
    assert len(problems) == 1, problems
    assert problems[0].startswith("book/page.ipynb"), problems
    assert fragment in problems[0], reason


@pytest.mark.parametrize(("mutation", "reason"), FINE)
def test_a_change_that_is_fine(repo: Path, mutation: Mutation, reason: str) -> None:
    assert problems_after(repo, mutation) == [], reason


def test_an_empty_notebook_breaks_many_rules_but_crashes_none(repo: Path) -> None:
    problems = problems_after(repo, lambda notebook: notebook.update(cells=[]))
    for fragment in ("`(label)=`", "At a glance", "needs two code cells", "level-1", "no cell that runs"):
        assert any(fragment in problem for problem in problems), fragment
