"""The built site: strict, complete, and holding what the sources hold."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]

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
    ("book/references", "BLEU"),
]


def article(site: Path, page: str) -> BeautifulSoup:
    path = site / f"{page}.html"
    assert path.exists(), f"{page} was not built"
    return BeautifulSoup(path.read_text("utf-8"), "html.parser").find("article")


@pytest.mark.parametrize("page, sentence", SENTENCES)
def test_the_page_is_there_and_holds_its_text(site, page, sentence):
    assert sentence in " ".join(article(site, page).get_text().split())


def test_every_page_of_the_toc_has_a_sentence_to_look_for():
    assert [page for page, _ in SENTENCES] == PAGES


def test_the_address_of_the_folder_leads_to_the_front_page(site):
    assert "book/index.html" in (site / "index.html").read_text()


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
    body = article(site, page)
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
    soup = BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser")
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
            assert BeautifulSoup(target.read_text("utf-8"), "html.parser").find(id=anchor), link["href"]
