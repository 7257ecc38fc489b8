"""The built site: strict, complete, and with everything that the sources contain."""

import re
from copy import copy

import nbformat
import pytest
from built import NOTEBOOKS, PAGES, PUBLISHED_AT, ROOT, SENTENCES, article, card, parsed

import nbhelpers


@pytest.mark.parametrize("page, sentence", SENTENCES)
def test_the_page_is_there_and_holds_its_text(site, page, sentence):
    assert sentence in " ".join(article(site, page).get_text().split())


def test_a_sentence_stands_on_one_page_only(site):
    texts = {page: " ".join(article(site, page).get_text().split()) for page in PAGES}
    for page, sentence in SENTENCES:
        assert [other for other, text in texts.items() if sentence in text] == [page]


def test_every_page_of_the_toc_has_a_sentence_to_look_for():
    assert [page for page, _ in SENTENCES] == PAGES


def test_the_status_page_says_that_nothing_was_run_rather_than_show_an_empty_table(site):
    page = article(site, "book/status")
    assert "without executing anything" in page.get_text() and page.table is None


def test_the_address_of_the_folder_leads_to_the_front_page(site):
    assert "book/index.html" in (site / "index.html").read_text()


def test_the_front_page_lists_every_chapter_and_adds_up_its_times(site):
    rows = [[cell.get_text().strip() for cell in row.find_all("td")] for row in article(site, PAGES[0]).table("tr")[1:]]
    assert [row[0] for row in rows[:-1]] == [article(site, page).h1.get_text().rstrip("#") for page in NOTEBOOKS]
    assert all(row[1].endswith("?") or "placeholder" in row[1] for row in rows[:-1])
    for column in (2, 3):
        *times, total = (float(row[column].replace("½", ".5")) for row in rows)
        assert total == sum(times) > 0


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_the_page_shows_a_card(site, page):
    shown = card(site, page)
    assert len(shown["og:description"]) > 20
    assert shown["og:url"] == f"{PUBLISHED_AT}{page}.html"
    assert shown["og:image"].startswith(PUBLISHED_AT), "only an absolute link works elsewhere"
    assert (site / shown["og:image"].removeprefix(PUBLISHED_AT)).is_file()


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_printed_output_is_on_the_page(site, page):
    shown = " ".join(article(site, page).get_text().split())
    for cell in nbformat.read(ROOT / f"{page}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if output.output_type == "stream":
                    assert " ".join(output.text.split()) in shown


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_figure_is_there_with_the_words_that_stand_for_it(site, page):
    body = article(site, page)
    images = body.find_all("img")
    sources = nbformat.read(ROOT / f"{page}.ipynb", as_version=4).cells
    drawn = [cell for cell in sources if "plt.show()" in cell.source]
    assert len(images) == len(drawn) > 0
    for image in images:
        assert len(image["alt"]) > 20, image["src"]
        assert (site / page).parent.joinpath(image["src"]).resolve().exists()


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_the_colab_cell_is_hidden_and_nothing_is_left_of_the_markup(site, page):
    body = copy(article(site, page))
    assert "google.colab" not in body.get_text()
    for code in body.find_all("pre"):
        code.decompose()
    prose = body.get_text()
    assert not re.search(r":::|```|\{[a-z]+\}`|\\\(|\$\$|^\([a-z_]+\)=", prose, re.MULTILINE)


def test_the_heat_map_is_drawn_without_a_script(site):
    heatmap = article(site, "book/perplexity/perplexity").find(class_="nbh-map")
    assert len(heatmap.find_all(class_="nbh-tok")) > 20
    assert heatmap.find("script") is None


def test_formulas_are_drawn_by_the_browser_itself(site):
    assert len(article(site, "book/perplexity/perplexity").find_all("math")) >= 4


@pytest.mark.parametrize("page", PAGES)
def test_the_page_asks_no_other_server_for_anything(site, page):
    soup = parsed(site / f"{page}.html")
    tags = soup.find_all(["script", "link", "img"])
    asked = [tag.get("src") or tag.get("href") for tag in tags if tag.get("rel") != ["canonical"]]
    assert [url for url in asked if url and re.match(r"(https?:)?//", url)] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_book_lead_somewhere(site, page):
    for link in article(site, page).find_all("a", href=True):
        address, _, anchor = link["href"].partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        target = ((site / page).parent / address).resolve() if address else site / f"{page}.html"
        assert target.exists(), link["href"]
        if anchor and target.suffix == ".html":
            assert parsed(target).find(id=anchor), link["href"]


@pytest.mark.parametrize("name", sorted(nbhelpers.__all__))
def test_the_api_page_has_what_the_package_exports_and_each_attribute_on_its_own(site, name):
    entry = article(site, "book/api").find(id=f"nbhelpers.{name}").parent
    assert len(entry.dd.get_text()) > 60
    for term in entry.find_all("strong"):
        following = (term.next_sibling or "").strip() if isinstance(term.next_sibling, str) else ""
        assert not (following == "(" and term.find_next("em").get_text().endswith(",")), f"{term}: names run together"
    assert "Type:" not in [term.get_text() for term in entry.find_all("dt")], (
        "a first line with a colon reads as a type"
    )
