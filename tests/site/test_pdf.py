"""The book as one PDF: complete, with links that jump to the right place and correct page numbers."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import make_pdf
import nbformat
import pytest
import yaml
from built import NOTEBOOKS, PAGES, ROOT, SENTENCES, TOC, article, headings
from join_pdf import join
from pypdf import PdfReader
from site_browser import find_browser, served


@pytest.fixture(scope="session")
def book(printed):
    return PdfReader(printed)


def squeezed(text: str) -> str:
    """Text without white space, which a PDF does not preserve."""
    return "".join(text.split())


def stands_in(text: str, sheets: list[str]) -> bool:
    """Whether the text is on one sheet, or begins on one and ends on the next.

    Searching the joined sheets would miss some: Chromium draws code and tables after the paragraphs below them.
    """
    wanted = squeezed(text)
    pairs = zip(sheets, [*sheets[1:], ""], strict=True)
    return any(wanted[:n] in one and wanted[n:] in next_ for one, next_ in pairs for n in range(1, len(wanted) + 1))


@pytest.fixture(scope="session")
def sheets(book):
    return [squeezed(page.extract_text()) for page in book.pages]


def outline(book: PdfReader) -> list[tuple[int, str, int]]:
    """Depth, title and sheet of each entry."""

    def walk(entries: list, depth: int) -> Iterator[tuple[int, str, int]]:
        for entry in entries:
            if isinstance(entry, list):
                yield from walk(entry, depth + 1)
            else:
                yield depth, entry.title, book.get_destination_page_number(entry)

    return list(walk(book.outline, 0))


@pytest.fixture(scope="session")
def chapters(site, book, sheets):
    """The sheets of each page of the site, split where the outline says."""
    parts = {part["caption"]: len(part["chapters"]) for part in TOC["parts"]}
    starts, left = [], 1  # the root, which is in no part
    for depth, title, sheet in outline(book):
        if depth == 0 and left == 0 and title in parts:
            left = parts[title]
        elif left and depth == (1 if starts else 0):
            starts.append(sheet)
            left -= 1
    assert len(starts) == len(PAGES)
    ends = [*starts[1:], len(sheets)]
    return {page: sheets[start:end] for page, start, end in zip(PAGES, starts, ends, strict=True)}


@pytest.fixture(scope="session")
def bodies(site, chapters):
    """The sheets of each page without their footers, which come first and would split text that runs over."""
    bodies, number = {}, 0
    for page, texts in chapters.items():
        title = squeezed(headings(site, page)[0][1])
        bodies[page] = [text.removeprefix(f"{n}{title}") for n, text in enumerate(texts, start=number + 1)]
        number += len(texts)
    return bodies


def test_the_outline_is_the_book(site, book):
    expected = [(level - 1, text) for level, text in headings(site, TOC["root"])]
    for part in TOC["parts"]:
        expected.append((0, part["caption"]))
        expected += [(level, text) for chapter in part["chapters"] for level, text in headings(site, chapter["file"])]
    assert [(depth, title) for depth, title, _ in outline(book)] == expected


def test_every_entry_of_the_outline_leads_to_the_sheet_where_its_heading_stands(book, sheets):
    parts = {part["caption"] for part in TOC["parts"]}
    assert [t for depth, t, sheet in outline(book) if squeezed(t) not in sheets[sheet] and t not in parts] == []


def test_there_are_sheets_enough_all_of_a4_and_none_is_blank(book, bodies):
    assert 5 * len(PAGES) < len(book.pages) < 60 * len(PAGES)
    assert {(round(page.mediabox.width), round(page.mediabox.height)) for page in book.pages} == {(595, 842)}
    # A sheet may hold only a figure or the rest of an output, but not only its footer.
    texts = [text for page in PAGES for text in bodies[page]]
    printed = zip(texts, book.pages[-len(texts) :], strict=True)
    assert [number for number, (text, page) in enumerate(printed, start=1) if not text and not page.images] == []


@pytest.mark.parametrize("page, sentence", SENTENCES)
def test_the_text_can_be_found(bodies, page, sentence):
    assert stands_in(sentence, bodies[page])


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_line_of_code_is_printed_also_where_the_site_folds_it(bodies, page):
    for cell in nbformat.read(ROOT / f"{page}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", []):
            # Other scripts need fonts the machine may lack.
            lines = [line for line in cell.source.splitlines() if line.isascii()]
            assert [line for line in lines if line.strip() and not stands_in(line, bodies[page])] == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_answer_that_the_site_folds_is_printed(site, bodies, page):
    answers = article(site, page).select("details:not(.hide) > p")
    assert len(answers) > 2
    # Chromium draws formulas symbol by symbol, in its own order.
    assert [a for a in answers if not a.find("math") and not stands_in(a.get_text(), bodies[page])] == []


def test_nothing_of_the_site_around_the_text_is_printed(sheets):
    everything = "".join(sheets)
    hint = "The stronger the colour, the greater the surprise; it is full at 10 nats. Point at a token"
    for words in ("Skip to main content", "Back to top", "Hide code cell", "Show code cell", hint):
        assert squeezed(words) not in everything


def test_page_numbers_and_running_titles_are_printed(site, book, chapters):
    """The footer comes first in the text of a sheet."""
    page_number = 0
    for page, texts in chapters.items():
        title = squeezed(headings(site, page)[0][1])
        for text in texts:
            page_number += 1
            assert text.startswith(f"{page_number}{title}"), text[:60]
    front = len(book.pages) - page_number
    roman = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]
    assert 0 < front <= len(roman)
    assert book.page_labels == [*roman[:front], *map(str, range(1, page_number + 1))]


def test_the_contents_tell_the_true_pages(site, book):
    front = sum(label.isalpha() for label in book.page_labels)
    text = "\n".join(page.extract_text() for page in book.pages[1:front])
    printed = [(title, page) for title, page in re.findall(r"^(.+?) (\d+)$", text, re.MULTILINE)]
    wanted = [(title, level) for page in PAGES for level, title in headings(site, page) if level <= 2]
    true = {}
    for _, title, sheet in outline(book):
        true.setdefault(title, []).append(book.page_labels[sheet])
    assert [title for title, _ in printed] == [title for title, _ in wanted]
    assert [(title, page) for title, page in printed if page not in true[title]] == []
    pages = [int(page) for _, page in printed]
    assert pages == sorted(pages)


def test_links_jump_within_the_book_or_lead_to_the_web(book, sheets):
    inside, outside = [], []
    for page in book.pages:
        for link in (reference.get_object() for reference in page.get("/Annots", [])):
            if "/Dest" in link:
                goal = book.get_page_number(link["/Dest"][0].get_object())
                assert goal is not None and 0 <= link["/Dest"][3] <= 842
                inside.append(goal)
            else:
                outside.append(link["/A"]["/URI"])
    assert len(inside) > 100 and len(outside) > 50
    assert [address for address in outside if not re.match(r"https?://(?!127|localhost)|mailto:", address)] == []


def test_the_contents_jump_to_what_they_name(site, book, sheets):
    """Pages share anchors such as at-a-glance; a link must find the one of its own page."""
    front = sum(label.isalpha() for label in book.page_labels)
    goals = [link.get_object()["/Dest"] for page in book.pages[1:front] for link in page["/Annots"]]
    wanted = [title for page in PAGES for level, title in headings(site, page) if level <= 2]
    places = [book.get_page_number(goal[0].get_object()) for goal in goals]
    assert len(places) == len(wanted) and places == sorted(places)
    assert [title for title, place in zip(wanted, places, strict=True) if squeezed(title) not in sheets[place]] == []


def test_it_says_what_it_is(book, sheets):
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert (book.metadata.title, book.metadata.author) == (config["title"], config["author"])
    assert book.root_object["/Lang"] == "en"
    assert squeezed(config["title"]) in sheets[0] and "CCBY4.0" in sheets[0]


def test_the_tags_for_screen_readers_are_those_of_the_sheets(book):
    """The number of each sheet and link must lead to its own tags, or a screen reader reads another page."""
    tree = book.root_object["/StructTreeRoot"]
    entries = tree["/ParentTree"]["/Nums"]
    tags = dict(zip(entries[::2], entries[1::2], strict=True))
    assert list(tags) == sorted(tags)
    for page in book.pages:
        for tag in (reference.get_object() for reference in tags[page["/StructParents"]]):
            kids = tag["/K"] if isinstance(tag["/K"], list) else [tag["/K"]]
            # A paragraph may begin on the sheet before; then its part on this sheet names the sheet.
            pieces = [tag, *(kid.get_object() for kid in kids)]
            places = [piece.get("/Pg") for piece in pieces if isinstance(piece, dict)]
            assert page.indirect_reference in [place.indirect_reference for place in places if place]
        for reference in page.get("/Annots", []):
            link = tags[reference.get_object()["/StructParent"]].get_object()
            assert link["/S"] == "/Link"
    assert len(tree["/K"]["/K"]) == 1 + len(PAGES)
    assert book.root_object["/MarkInfo"]["/Marked"]


def test_who_reads_in_the_dark_prints_dark_on_light(site, browser):
    """Text must be dark and its background light, or a reader in dark mode prints grey pages."""
    script = """() => [...document.querySelectorAll(".bd-article *")].filter(e => e.checkVisibility()).filter(e => {
      const [red, green, blue, alpha = 1] = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
      const text = Math.max(...getComputedStyle(e).color.match(/[\\d.]+/g).slice(0, 3).map(Number));
      const says = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
      return (says && text > 150) || (alpha > 0.6 && Math.min(red, green, blue) < 150);
    }).map(e => e.outerHTML.slice(0, 120))"""
    page = browser.new_page(color_scheme="dark")
    page.goto((site / "book/perplexity/perplexity.html").as_uri())
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print")
    wrong = page.evaluate(script)
    page.close()
    assert wrong == []


def test_a_folder_that_holds_no_site_is_named(tmp_path, capsys):
    assert make_pdf.main(["--site", str(tmp_path)]) == 1
    assert "lacks book/index.html: build the site first with `make book`, or give --site" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="none of chromium, chromium-browser, google-chrome is on the PATH"):
        find_browser()


def test_an_interruption_leaves_the_last_pdf_as_it_was(site, chromium, tmp_path):
    target = tmp_path / "book.pdf"
    target.write_text("the last one")
    command = [sys.executable, str(ROOT / "tools/make_pdf.py"), "--site", str(site), "--pdf", str(target)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs start with Ctrl-C ignored
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert running.stdout.readline().startswith("[1/")
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.strip().splitlines()[-1] == "Interrupted: no PDF was written." and "Traceback" not in errors
    assert [file.name for file in tmp_path.iterdir()] == ["book.pdf"]
    assert target.read_text() == "the last one"


def test_pages_with_the_same_anchors_keep_their_own_jumps(browser, tmp_path, capsys):
    head = '<!doctype html><html lang="en"><title>t</title><body><article class="bd-article"><section id="top"><h1>'
    far = '<p style="break-before: page" id="end">The end.</p></section></article></body></html>'
    links = '<p><a href="#end">here</a> <a href="two.html#end">there</a> <a href="two.html">two</a></p>'
    lost = '<p><a href="data.csv">data</a> <a href="https://example.org/">web</a></p>'
    (tmp_path / "one.html").write_text(f"{head}One</h1>{links}{far}")
    (tmp_path / "two.html").write_text(f"{head}Two</h1>{links}{lost}{far}")
    config = {"title": "t", "author": "a", "sphinx": {"config": {"language": "en"}}}
    with served(tmp_path) as base:
        front, one, two = (make_pdf.print_page(browser, base, name, "Part", 1) for name in ("one", "one", "two"))
        book = join(front, [one, two], base, config)
    links = [[link.get_object() for link in page["/Annots"]] for page in book.pages]
    goals = [[book.get_page_number(link["/Dest"][0].get_object()) for link in on if "/Dest" in link] for on in links]
    assert goals[2:] == [[3, 5, 4], [], [5, 5, 4], []]  # sheets 2 and 3 are page one, 4 and 5 page two
    assert [link["/A"]["/URI"] for link in links[4] if "/A" in link] == ["https://example.org/"]
    assert "a link to data.csv is left out" in capsys.readouterr().out
