"""What this book adds to its theme and what it removes, to keep pages light, stable and accessible."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import nbformat
import yaml
from addresses import pages_address
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from toc import toc_entries

# Scripts and styles of extensions that Jupyter Book always loads, for features this book does not use. Thebe's would
# also name a third-party server on every page.
UNUSED = ("thebe", "togglebutton", "design-tabs")
# The status table when the build executed nothing.
EMPTY_TABLE = re.compile(r'<table class="table">(?:(?!</table>).)*<tbody>\s*</tbody>\s*</table>', re.DOTALL)
NOTHING_RUN = "<em>This copy of the site was built from the committed outputs, without executing anything.</em>"
# ARIA roles docutils gives a bibliography: a deprecated one, and a list whose children are not all items.
ROLES = re.compile(r'(<div) role="list"( class="citation-list">)|(<div class="citation"[^>]*) role="doc-biblioentry"')
TIMES = ("Time to read", "Time to run")
PROMPTS = {"Show code cell content": "Show the solution", "Hide code cell content": "Hide the solution"}
PROMPTS |= {"Show code cell source": "Show the code", "Hide code cell source": "Hide the code"}
IMAGE = re.compile(r'<img (?=[^>]*src="([^"]+\.png)")(?![^>]*\bwidth=)')


def know_the_address(app: Sphinx, config: Config) -> None:
    """Without an address, remove the Colab button: the theme would fail because it cannot make the link.

    With an address, make the links in social cards absolute: they start with `html.baseurl` or, by default, with the
    address at which GitHub Pages serves the repository.
    """
    repository = config.html_theme_options.get("repository_url") or ""
    if not repository:
        config.html_theme_options.pop("launch_buttons", None)
    if repository.startswith("https://github.com/") and not config.html_baseurl:
        config.html_baseurl = f"{pages_address(repository)}/"
    config.ogp_site_url = config.html_baseurl


class CellOutput(SphinxDirective):
    """`{cell-output} path/to/page.ipynb` with `some text` as content: the first HTML output that contains the text.

    So a sample on the front page is what a notebook computed, and nbval checks it in that notebook.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        wanted = " ".join(self.content)
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                html = output.get("data", {}).get("text/html", "")
                if wanted in html:
                    return [nodes.raw("", html, format="html")]
        raise self.error(f"no output in {relative} holds {wanted!r}: run the notebook, or name another text")


class Chapters(SphinxDirective):
    """`{chapters}`: a table of all notebooks in book order, with the times each one states.

    The content lists the question each chapter asks, as `page: question`; without content the table has no such column.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        lines = [line.partition(": ") for line in self.content if line.strip()]
        questions = {page.strip(): question.strip() for page, _, question in lines}
        self.env.note_dependency("_toc.yml")
        toc = yaml.safe_load((Path(self.env.srcdir) / "_toc.yml").read_text("utf-8"))
        rows, totals = [], [0.0, 0.0]
        for page in toc_entries(toc):
            path = Path(self.env.srcdir) / f"{page}.ipynb"
            if not path.exists():
                continue
            self.env.note_dependency(f"{page}.ipynb")
            title, times = title_and_times(path)
            totals = [total + time for total, time in zip(totals, times, strict=True)]
            question = questions.pop(page.removeprefix("book/"), "*placeholder: what this chapter asks*")
            rows.append([f"[{title}](/{page}.ipynb)", question, *map(minutes, times)])
        if questions:
            raise self.error(f"there are questions for pages that are not in _toc.yml: {', '.join(questions)}")
        rows.append(["**All of it**", "", *(f"**{minutes(total)}**" for total in totals)])
        table = [["Chapter", "Asks", "Read", "Run"], [":---", ":---", "---:", "---:"], *rows]
        columns = (0, 1, 2, 3) if self.content else (0, 2, 3)
        text = "\n".join("| " + " | ".join(row[column] for column in columns) + " |" for row in table)
        return self.parse_text_to_nodes(text)


def title_and_times(path: Path) -> tuple[str, list[float]]:
    """A notebook's title, and the minutes for reading and for running from its "At a glance" table."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)", text, re.MULTILINE)
    found = [re.search(rf"^\| *{row} *\| *(?:about )?(\d+½?|½) minutes?\b", text, re.MULTILINE) for row in TIMES]
    if not title or not all(found):
        raise ExtensionError(
            f"{path.name} needs a title, and {' and '.join(TIMES)} in minutes, as in `about 1½ minutes`"
        )
    return title[1], [float(match[1].replace("½", ".5")) for match in found]


def minutes(time: float) -> str:
    """Minutes in whole and half, as in `1½`."""
    whole, half = divmod(time, 1)
    return (f"{whole:.0f}" if whole else "") + ("½" if half else "")


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header."""
    with path.open("rb") as file:
        header = file.read(24)
    if header[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is named .png and is not a PNG file")
    return struct.unpack(">II", header[16:24])


def finish_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Drop unused files, and state every image's size so that the text does not jump when the image arrives."""
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not any(name in str(vars(file)).lower() for name in UNUSED)]

    def with_size(match: re.Match[str]) -> str:
        source = app.builder.outdir / Path(pagename).parent / match[1]
        original = app.srcdir / "book" / "_static" / source.name  # Sphinx copies images after writing the pages
        candidates = [Path(app.srcdir) / name for name, (_, copy) in app.env.images.items() if copy == source.name]
        for path in (*candidates, original, source):
            if path.is_file():
                width, height = png_size(path)
                return f'<img width="{width}" height="{height}" loading="lazy" '
        return match[0]

    if "body" in context:
        body = ROLES.sub(lambda match: "".join(filter(None, match.groups())), context["body"])
        body = EMPTY_TABLE.sub(NOTHING_RUN, body)
        for prompt, plainer in PROMPTS.items():
            body = body.replace(prompt, plainer)
        context["body"] = IMAGE.sub(with_size, body)


def setup(app: Sphinx) -> dict[str, bool]:
    # The kernels inherit it: torch's threads would otherwise spin while they wait, which slows a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app.add_directive("cell-output", CellOutput)
    app.add_directive("chapters", Chapters)
    app.connect("config-inited", know_the_address)
    app.connect("html-page-context", finish_page, priority=900)  # after the extensions that add scripts to the page
    return {"parallel_read_safe": True, "parallel_write_safe": True}
