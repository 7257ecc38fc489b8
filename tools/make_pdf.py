"""Print the built site as one PDF: a title page, contents with page numbers, then every page in the order of _toc.yml.

Chromium prints page by page with book/_static/print.css, and join_pdf.py joins the prints. The front matter is printed
last, when the page numbers are known; its own numbers are Roman, so that they shift no others.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import yaml
from join_pdf import Heading, Printed, destinations, join
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Error as BrowserError
from pypdf import PdfReader
from site_browser import check_is_built, interrupts_deferred, launch, served

ROOT = Path(__file__).parents[1]
FRONT = "front"  # the address of the title page and contents, which the site does not have

# Chromium exports the position of an anchor only if something on the page links to it, so this adds hidden links.
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


def toc_pages(toc: dict) -> list[tuple[str | None, str]]:
    """The pages in reading order, each with the caption of its part; the root has no part."""
    chapters = [(part["caption"], chapter["file"]) for part in toc["parts"] for chapter in part["chapters"]]
    return [(None, toc["root"]), *chapters]


def print_page(browser: Browser, base: str, name: str, part: str | None, start: int, front: str = "") -> Printed:
    """Print one page of the site, or the HTML `front` in its place. Requests to other servers are blocked."""
    page = browser.new_page(color_scheme="light")
    page.route("**", lambda route: route.continue_() if route.request.url.startswith(base) else route.abort())
    if front:
        page.route(f"{base}{name}.html", lambda route: route.fulfill(body=front, content_type="text/html"))
    page.goto(f"{base}{name}.html")
    found, opening = page.evaluate(PREPARE)
    if not found:
        raise ValueError(f"{name}.html has no heading inside an article: is it a page of this book?")
    running = json.dumps("Contents" if front else found[0][1], ensure_ascii=False)  # a CSS string
    style = STYLE % {"style": ", lower-roman" if front else "", "running": running, "start": start}
    page.add_style_tag(content=style + (NO_FOOTER if front else ""))
    reader = PdfReader(BytesIO(page.pdf(prefer_css_page_size=True, print_background=True, tagged=True)))
    places = destinations(reader)
    headings = [Heading(level, " ".join(text.split()), anchor, *places[anchor]) for level, text, anchor in found]
    page.close()
    return Printed(name, part, reader, headings, " ".join(opening.split()), start)


def front_matter(config: dict, pages: list[Printed], base: str) -> str:
    """Title page and contents as HTML, with the site's style sheet; the links point into the site."""
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


def make_pdf(site: Path, target: Path) -> None:
    """Print every page, then the front matter, join them, and move the finished file into place atomically."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    toc = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    check_is_built(site, [name for _, name in toc])
    target.parent.mkdir(parents=True, exist_ok=True)
    pages, start = [], 1
    with interrupts_deferred() as interrupted, served(site) as base, sync_playwright() as playwright:
        browser = launch(playwright)
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
    """Make the PDF, or explain in one sentence why it could not be made."""
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
