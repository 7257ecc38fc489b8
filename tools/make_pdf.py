"""Print the built site as one PDF: a title page, contents with page numbers, then every page in the order of _toc.yml.

Chromium prints page by page with book/_static/print.css, and pypdf joins what it printed. Joining is more than laying
sheets on a pile: links between pages become jumps inside the file, the outline and the tags for screen readers, which
Chromium writes for each page alone, become those of the whole book. The front is printed last, when the page numbers
are known; its own are Roman, so that they push no other.
"""

from __future__ import annotations

import argparse
import functools
import html
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Error as BrowserError
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    Fit,
    NameObject,
    NullObject,
    NumberObject,
    TextStringObject,
)

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FRONT = "front"  # the address of the title page and contents, which are not of the site
TOP = 842.0  # the height of A4 in points
# The sandbox wants rights that containers and CI seldom give; the pages printed are our own.
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Chromium keeps the place of an anchor only if something on the same page links to it; so something does.
PREPARE = """async () => {
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map(image => image.decode()));
  document.documentElement.dataset.theme = "light";
  document.querySelectorAll("details").forEach(folded => folded.open = true);
  const links = document.body.appendChild(document.createElement("div"));
  for (const target of document.querySelectorAll("[id]")) {
    const link = links.appendChild(document.createElement("a"));
    link.href = "#" + encodeURIComponent(target.id);
  }
  links.hidden = true;
  const headings = [...document.querySelectorAll("article :is(h1, h2, h3)")].map(heading => {
    const bare = heading.cloneNode(true);
    bare.querySelectorAll(".headerlink").forEach(link => link.remove());
    return [Number(heading.tagName[1]), bare.textContent.trim(), heading.closest("[id]").id];
  });
  return [headings, document.querySelector("article p")?.textContent ?? ""];
}"""

STYLE = """
@page { size: A4; @bottom-right { content: counter(page%(style)s); font: 8.5pt sans-serif; color: #48566b; }
        @bottom-left { content: %(running)s; font: 8.5pt sans-serif; color: #48566b; } }
@page :first { counter-set: page %(start)d; }
"""
NO_FOOTER = '@page :first { @bottom-right { content: ""; } @bottom-left { content: ""; } }'


@dataclass(frozen=True)
class Heading:
    """A heading and where it was printed; `page` counts from 0 within its own page of the site."""

    level: int
    text: str
    anchor: str
    page: int
    top: float


@dataclass(frozen=True)
class Printed:
    """One page of the site as Chromium printed it: `start` is the number on its first sheet."""

    name: str
    part: str | None
    reader: PdfReader
    headings: list[Heading]
    opening: str
    start: int


def toc_pages(toc: dict) -> list[tuple[str | None, str]]:
    """The pages in reading order, each with the caption of its part; the root belongs to none."""
    chapters = [(part["caption"], chapter["file"]) for part in toc["parts"] for chapter in part["chapters"]]
    return [(None, toc["root"]), *chapters]


@contextmanager
def interrupts_deferred() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, and KeyboardInterrupt is raised at the end of the block; a second Ctrl-C raises at once.

    Raised inside Playwright's event loop, it now and then hangs there or leaves a traceback.
    """
    asked, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:  # a job in the background ignores Ctrl-C, and goes on ignoring it
        signal.signal(signal.SIGINT, note)
    try:
        yield asked
    except BrowserError:
        if not asked.is_set():  # a terminal sends Ctrl-C to the browser as well, which then ends with an error
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise KeyboardInterrupt


def find_browser() -> str:
    """The path of Debian's, Ubuntu's or Google's Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(f"no browser to print with: none of {', '.join(BROWSERS)} is on the PATH; install one")
    return found


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a free local port, as an address; files alone would not do, as browsers give those no origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def destinations(reader: PdfReader) -> dict[str, tuple[int, float]]:
    """For each anchor its sheet, from 0, and the height on it in points. Anchors above the paper are at its top."""
    named = reader.named_destinations.items()
    return {name[1:]: (reader.get_destination_page_number(place), float(place["/Top"])) for name, place in named}


def print_page(browser: Browser, base: str, name: str, part: str | None, start: int, front: str = "") -> Printed:
    """Print one page of the site, or `front` in its place. Nothing outside the local server is asked for anything."""
    page = browser.new_page(color_scheme="light")
    page.route("**", lambda route: route.continue_() if route.request.url.startswith(base) else route.abort())
    if front:
        page.route(f"{base}{name}.html", lambda route: route.fulfill(body=front, content_type="text/html"))
    page.goto(f"{base}{name}.html")
    found, opening = page.evaluate(PREPARE)
    if not found:
        raise ValueError(f"{name}.html has no heading inside an article: is it a page of this book?")
    running = json.dumps("Contents" if front else found[0][1], ensure_ascii=False)  # as a string of CSS
    style = STYLE % {"style": ", lower-roman" if front else "", "running": running, "start": start}
    page.add_style_tag(content=style + (NO_FOOTER if front else ""))
    reader = PdfReader(BytesIO(page.pdf(prefer_css_page_size=True, print_background=True, tagged=True)))
    places = destinations(reader)
    headings = [Heading(level, " ".join(text.split()), anchor, *places[anchor]) for level, text, anchor in found]
    page.close()
    return Printed(name, part, reader, headings, " ".join(opening.split()), start)


def front_matter(config: dict, pages: list[Printed], base: str) -> str:
    """Title page and contents as HTML, in the dress of the site; the links in it are those of the site."""
    title, line, author, year = map(
        html.escape, (config["title"], pages[0].opening, config["author"], config["copyright"])
    )
    licence = html.escape(config["html"]["extra_footer"])
    rows, part = [], None
    for page in pages:
        if page.part != part:
            part = page.part
            rows.append(f'<li class="part">{html.escape(part)}</li>')
        for heading in page.headings:
            if heading.level <= 2:
                rows.append(
                    f'<li class="level-{heading.level}"><a href="{base}{page.name}.html#{html.escape(heading.anchor)}">'
                    f"{html.escape(heading.text)}<i></i>{page.start + heading.page}</a></li>"
                )
    return f"""<!doctype html><html lang="{config["sphinx"]["config"]["language"]}"><head><meta charset="utf-8">
<title>{title}</title><link rel="stylesheet" href="{base}_static/print.css"></head>
<body class="front"><article class="bd-article">
<section class="title" id="title"><h1>{title}</h1><p>{line}</p>
<p class="licence">{author}, {year}.<br>{licence}</p></section>
<section class="contents" id="contents"><h1>Contents</h1><ul>{"".join(rows)}</ul></section></article></body></html>"""


def pdf(**entries: object) -> DictionaryObject:
    """A PDF dictionary; what is given as a plain string is a name."""
    values = {key: NameObject(value) if type(value) is str else value for key, value in entries.items()}
    return DictionaryObject({NameObject(f"/{key}"): value for key, value in values.items()})


def elements(node: object) -> Iterator[DictionaryObject]:
    """The tags below a node of the tree, itself included."""
    node = node.get_object()
    if isinstance(node, DictionaryObject) and "/S" in node:
        yield node
        node = node.get("/K", [])
    for child in node if isinstance(node, ArrayObject) else []:
        yield from elements(child)


def join_tags(writer: PdfWriter, firsts: list[tuple[int, Printed]]) -> None:
    """One tree of tags for the whole file: each page's own, its numbers moved past those of the pages before it."""
    document, root = DictionaryObject(), DictionaryObject()
    here, above = writer._add_object(document), writer._add_object(root)
    parts, numbers, shift = ArrayObject(), ArrayObject(), 0
    for first, printed in firsts:
        tree = printed.reader.root_object["/StructTreeRoot"]
        part = tree.raw_get("/K").clone(writer)
        part.get_object().update({NameObject("/S"): NameObject("/Sect"), NameObject("/P"): here})
        parts.append(part)
        for element in elements(part):
            # Chromium counts its IDs anew on every page. They only tie cells to headers, which /Scope does as well.
            element.pop("/ID", None)
            if isinstance(element.get("/A"), ArrayObject):
                element[NameObject("/A")] = ArrayObject(a for a in element["/A"] if "/Headers" not in a.get_object())
        entries = tree["/ParentTree"]["/Nums"]
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            numbers += [NumberObject(shift + key), value.clone(writer)]
        for page, source in zip(writer.pages[first:], printed.reader.pages, strict=False):
            page[NameObject("/StructParents")] = NumberObject(source["/StructParents"] + shift)  # pypdf leaves it out
            for link in (reference.get_object() for reference in page.get("/Annots", [])):
                link[NameObject("/StructParent")] = NumberObject(link["/StructParent"] + shift)
        shift += tree["/ParentTreeNextKey"]
    document.update(pdf(Type="/StructElem", S="/Document", P=above, K=parts))
    tree = pdf(Nums=numbers)
    root.update(pdf(Type="/StructTreeRoot", K=here, ParentTree=tree, ParentTreeNextKey=NumberObject(shift)))
    writer.root_object.update(pdf(StructTreeRoot=above, MarkInfo=pdf(Marked=BooleanObject(True))))


def spell_out(printed: Printed, base: str) -> None:
    """Give jumps within a page the full address of their goal: short names such as at-a-glance stand on every page."""
    for page in printed.reader.pages:
        for link in page.get("/Annots", []):
            link = link.get_object()
            if "/Dest" in link:
                goal = f"{base}{printed.name}.html#{link.pop('/Dest')[1:]}"
                link[NameObject("/A")] = pdf(S="/URI", URI=TextStringObject(goal))
    printed.reader.root_object.pop("/Dests", None)


def let_jump(writer: PdfWriter, goals: dict[tuple[str, str], tuple[int, float]], base: str) -> None:
    """Turn links to pages of the site into jumps to their sheets; links to the web stay as they are."""
    for page in writer.pages:
        kept = ArrayObject()
        for reference in page.get("/Annots", []):
            link = reference.get_object()
            address, anchor = urldefrag(str(link.get("/A", {}).get("/URI", "")))
            if address.startswith(base):
                goal = goals.get((unquote(address.removeprefix(base)), unquote(anchor)))
                if goal is None:  # a file that can be downloaded from the site is not in the book
                    print(f"a link to {address.removeprefix(base)} is left out: it is not in the PDF")
                    continue
                del link["/A"]
                where = [writer.pages[goal[0]].indirect_reference, NameObject("/XYZ"), NullObject()]
                link[NameObject("/Dest")] = ArrayObject([*where, NumberObject(round(goal[1])), NullObject()])
            kept.append(reference)
        page[NameObject("/Annots")] = kept


def add_outline(writer: PdfWriter, firsts: list[tuple[int, Printed]]) -> None:
    """Parts, pages and sections, unfolded down to the pages. Chromium's own outline garbles headings that wrap."""
    part, above = None, {}  # the latest entry at each level
    for first, printed in firsts:
        if printed.part != part:
            part = printed.part
            above = {0: writer.add_outline_item(title=part, page_number=first)}
        for heading in printed.headings:
            above = {level: entry for level, entry in above.items() if level < heading.level}
            above[heading.level] = writer.add_outline_item(
                title=heading.text,
                page_number=first + heading.page,
                parent=above[max(above)] if above else None,
                fit=Fit.xyz(left=0, top=min(heading.top, TOP)),
                is_open=False,
            )


def join(front: Printed, pages: list[Printed], base: str, config: dict) -> PdfWriter:
    """The book: all sheets, with links that jump, an outline, tags, page labels and metadata."""
    writer, firsts, goals = PdfWriter(), [], {}
    for printed in (front, *pages):
        first = len(writer.pages)
        firsts.append((first, printed))
        anchors = {"": (0, TOP), **destinations(printed.reader)}
        goals |= {(f"{printed.name}.html", a): (first + sheet, min(y, TOP)) for a, (sheet, y) in anchors.items()}
        spell_out(printed, base)
        writer.append(printed.reader, import_outline=False)
    join_tags(writer, firsts)
    let_jump(writer, goals, base)
    add_outline(writer, firsts[1:])
    body = len(front.reader.pages)
    writer.set_page_label(0, body - 1, style="/r")
    writer.set_page_label(body, len(writer.pages) - 1, style="/D", start=1)
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    language = TextStringObject(config["sphinx"]["config"]["language"])
    writer.root_object.update(pdf(Lang=language, ViewerPreferences=pdf(DisplayDocTitle=BooleanObject(True))))
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    return writer


def make_pdf(site: Path, target: Path) -> None:
    """Print every page, then the front, join them, and put the finished file in its place in one step."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    toc = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    missing = [name for _, name in toc if not (site / f"{name}.html").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{site} lacks {missing[0]}.html: build the site first with `make book`, or give --site"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    browser_path, pages, start = find_browser(), [], 1
    with interrupts_deferred() as interrupted, served(site) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=BROWSER_ARGUMENTS)
        for number, (part, name) in enumerate(toc, start=1):
            pages.append(print_page(browser, base, name, part, start))
            count = len(pages[-1].reader.pages)
            print(f"[{number}/{len(toc)}] {name}: {count} sheets, from page {start}", flush=True)
            start += count
            if interrupted.is_set():
                raise KeyboardInterrupt
        front = print_page(browser, base, FRONT, None, 1, front_matter(config, pages, base))
        browser.close()
    book = join(front, pages, base, config)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pdf-") as folder:
        half = Path(folder) / target.name
        book.write(half)
        os.replace(half, target)
    print(f"{target}: {len(book.pages)} pages, {target.stat().st_size / 1e6:.1f} MB")


def main(arguments: list[str] | None = None) -> int:
    """Make the PDF, and say in one sentence what went wrong where it could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    built = ROOT / "_build" / "html"
    parser.add_argument("--site", type=Path, default=built, help="the built site (default: _build/html)")
    parser.add_argument(
        "--pdf", type=Path, help="the file to write (default: evaluating-language-models.pdf in the site)"
    )
    options = parser.parse_args(arguments)
    try:
        make_pdf(options.site, options.pdf or options.site / "evaluating-language-models.pdf")
    except (OSError, ValueError, BrowserError) as error:
        print(f"No PDF was written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: no PDF was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
