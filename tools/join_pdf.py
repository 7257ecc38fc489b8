"""Join pages that Chromium printed one by one into one PDF.

Besides the sheets, the book gets links that jump within the file, one outline, and one tree of tags for screen readers,
made from what Chromium wrote for each page alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag

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

TOP = 842.0  # the height of A4 in points


@dataclass(frozen=True)
class Heading:
    """A heading and where it was printed; `page` is the sheet, counted from 0 within its page of the site."""

    level: int
    text: str
    anchor: str
    page: int
    top: float


@dataclass(frozen=True)
class Printed:
    """One page of the site as Chromium printed it; `start` is the page number on its first sheet."""

    name: str
    part: str | None
    reader: PdfReader
    headings: list[Heading]
    opening: str
    start: int


def destinations(reader: PdfReader) -> dict[str, tuple[int, float]]:
    """For each anchor its sheet, from 0, and its height on it in points, which may be above the top of the paper."""
    named = reader.named_destinations.items()
    return {name[1:]: (reader.get_destination_page_number(place), float(place["/Top"])) for name, place in named}


def pdf(**entries: object) -> DictionaryObject:
    """A PDF dictionary; plain strings become names."""
    values = {key: NameObject(value) if type(value) is str else value for key, value in entries.items()}
    return DictionaryObject({NameObject(f"/{key}"): value for key, value in values.items()})


def elements(node: object) -> Iterator[DictionaryObject]:
    """The tags at and below a node of the tree."""
    node = node.get_object()
    if isinstance(node, DictionaryObject) and "/S" in node:
        yield node
        node = node.get("/K", [])
    for child in node if isinstance(node, ArrayObject) else []:
        yield from elements(child)


def join_tags(writer: PdfWriter, firsts: list[tuple[int, Printed]]) -> None:
    """Merge the pages' trees of tags into one, shifting each page's numbers past those of the pages before it."""
    document, root = DictionaryObject(), DictionaryObject()
    here, above = writer._add_object(document), writer._add_object(root)
    parts, numbers, shift = ArrayObject(), ArrayObject(), 0
    for first, printed in firsts:
        tree = printed.reader.root_object["/StructTreeRoot"]
        part = tree.raw_get("/K").clone(writer)
        part.get_object().update({NameObject("/S"): NameObject("/Sect"), NameObject("/P"): here})
        parts.append(part)
        for element in elements(part):
            # Chromium's IDs restart on every page. They only tie table cells to headers, which /Scope does too.
            element.pop("/ID", None)
            if isinstance(element.get("/A"), ArrayObject):
                element[NameObject("/A")] = ArrayObject(a for a in element["/A"] if "/Headers" not in a.get_object())
        entries = tree["/ParentTree"]["/Nums"]
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            numbers += [NumberObject(shift + key), value.clone(writer)]
        for page, source in zip(writer.pages[first:], printed.reader.pages, strict=False):
            page[NameObject("/StructParents")] = NumberObject(source["/StructParents"] + shift)  # pypdf drops it
            for link in (reference.get_object() for reference in page.get("/Annots", [])):
                link[NameObject("/StructParent")] = NumberObject(link["/StructParent"] + shift)
        shift += tree["/ParentTreeNextKey"]
    document.update(pdf(Type="/StructElem", S="/Document", P=above, K=parts))
    tree = pdf(Nums=numbers)
    root.update(pdf(Type="/StructTreeRoot", K=here, ParentTree=tree, ParentTreeNextKey=NumberObject(shift)))
    writer.root_object.update(pdf(StructTreeRoot=above, MarkInfo=pdf(Marked=BooleanObject(True))))


def spell_out(printed: Printed, base: str) -> None:
    """Turn jumps within a page into full addresses: names such as at-a-glance repeat on every page."""
    for page in printed.reader.pages:
        for link in page.get("/Annots", []):
            link = link.get_object()
            if "/Dest" in link:
                goal = f"{base}{printed.name}.html#{link.pop('/Dest')[1:]}"
                link[NameObject("/A")] = pdf(S="/URI", URI=TextStringObject(goal))
    printed.reader.root_object.pop("/Dests", None)


def let_jump(writer: PdfWriter, goals: dict[tuple[str, str], tuple[int, float]], base: str) -> None:
    """Turn links into the site into jumps to sheets; links to the web stay as they are."""
    for page in writer.pages:
        kept = ArrayObject()
        for reference in page.get("/Annots", []):
            link = reference.get_object()
            address, anchor = urldefrag(str(link.get("/A", {}).get("/URI", "")))
            if address.startswith(base):
                goal = goals.get((unquote(address.removeprefix(base)), unquote(anchor)))
                if goal is None:  # a file to download from the site is not in the book
                    print(f"a link to {address.removeprefix(base)} is left out: it is not in the PDF")
                    continue
                del link["/A"]
                where = [writer.pages[goal[0]].indirect_reference, NameObject("/XYZ"), NullObject()]
                link[NameObject("/Dest")] = ArrayObject([*where, NumberObject(round(goal[1])), NullObject()])
            kept.append(reference)
        page[NameObject("/Annots")] = kept


def add_outline(writer: PdfWriter, firsts: list[tuple[int, Printed]]) -> None:
    """Add parts, pages and sections, expanded down to the pages. Chromium's own outline garbles wrapped headings."""
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
    """The whole book: all sheets, with links that jump, an outline, tags, page labels and metadata."""
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
