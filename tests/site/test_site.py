"""The built site: strict, complete, and holding what the sources hold."""

import re
from copy import copy
from functools import cache
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from built import NOTEBOOKS, PAGES, ROOT

# page, a sentence that stands on it
SENTENCES = [
    ("book/index", "Is the model doing a good job?"),
    ("book/evals_benchmarks", "not an industry standard"),
    ("book/perplexity/perplexity", "effective number of choices"),
    ("book/perplexity/scoring_answers", "A transformer reads a tree as willingly as a row"),
    ("book/text_overlap/bleu", "It counts words and knows no meaning."),
    ("book/text_overlap/rouge", "ROUGE knows nothing of the source, and so nothing of truth"),
    ("book/llm_judge/judging", "A judge is a template, a model and a way to read the reply"),
    ("book/llm_judge/judge_biases", "what causes it in a given judge is another question"),
    ("book/llm_judge/trusting_a_judge", "Agreement can be had by a judge that looks at nothing"),
    ("book/instruction_tuning/gpt2", "This page is a promise, not a result."),
    ("book/instruction_tuning/olmo_1b_ift", "This page is a promise, not a result."),
    ("book/how_to_use", "Three ways, in order of effort"),
    ("book/api", "Log-probability of each answer after its prompt."),
    ("book/glossary", "The natural logarithm of a probability, at most 0."),
    ("book/references", "BLEU"),
    ("book/status", "when it was executed for the site in front of you"),
]


@cache
def parsed(path: Path) -> BeautifulSoup:
    assert path.exists(), f"{path} was not built"
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def article(site: Path, page: str) -> BeautifulSoup:
    return parsed(site / f"{page}.html").find("article")


@pytest.mark.parametrize("page, sentence", SENTENCES)
def test_the_page_is_there_and_holds_its_text(site, page, sentence):
    assert sentence in " ".join(article(site, page).get_text().split())


def test_every_page_of_the_toc_has_a_sentence_to_look_for():
    assert [page for page, _ in SENTENCES] == PAGES


def test_the_address_of_the_folder_leads_to_the_front_page(site):
    assert "book/index.html" in (site / "index.html").read_text()


MINUTES = {"half a": "½", "a": "1", "a minute and a half": "1½", "two and a half": "2½"}


def test_the_front_page_promises_the_times_that_the_pages_promise(site):
    rows = [[cell.get_text().strip() for cell in row.find_all("td")] for row in article(site, PAGES[0]).find_all("tr")]
    promised = {title: (read, run) for title, _, read, run in rows[1:]}
    total = promised.pop("All of it")
    stated = {}
    for page in NOTEBOOKS:
        body = article(site, page)
        glance = dict([cell.get_text().strip() for cell in row.find_all(["th", "td"])] for row in body.table("tr"))
        run = re.fullmatch(r"(?:about )?(.+?)(?: minutes?)? on two CPU cores", glance["Time to run"])[1]
        title = body.h1.get_text().rstrip("#")
        stated[title] = (glance["Time to read"].removesuffix(" minutes"), MINUTES[run])
    assert promised == stated
    numbers = [sum(float(time.replace("½", ".5")) for time in column) for column in zip(*stated.values(), strict=True)]
    assert [float(time.replace("½", ".5")) for time in total] == numbers


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_the_page_shows_a_card(site, page):
    soup = parsed(site / f"{page}.html")
    card = {tag["property"]: tag["content"] for tag in soup.find_all("meta", property=True)}
    assert len(card["og:description"]) > 20
    assert (site / card["og:image"]).exists()


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
    asked = [tag.get("src") or tag.get("href") for tag in soup.find_all(["script", "link", "img"])]
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
