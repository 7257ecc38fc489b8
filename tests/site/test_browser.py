"""The site as people use it: in a browser, on a phone, in dark mode, with a keyboard, on a slow connection."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from built import NOTEBOOKS, PAGES
from screenshots import load_images

OTHER_PAGES = ["search", "genindex"]
WIDTHS = (320, 360, 768, 1440)  # WCAG asks for 320: a width of 1280 zoomed to 400%
MAX_FIRST_PAGE, MAX_IMAGE = 500_000, 200_000  # bytes
AXE = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "rules": {"heading-order": {"enabled": True}, "page-has-heading-one": {"enabled": True}},
    "resultTypes": ["violations"],
    "preload": False,  # axe would fetch style sheets again, from addresses it resolves wrongly
}


@contextmanager
def opened(browser, address: str, page: str, width: int = 1440, scheme: str = "light") -> Iterator:
    """Open a page in a new window; any error, failed request or request to another server fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    # Leaving a page aborts its pending requests; requests that really fail do so in other ways.
    tab.on("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else wrong.append(f"failed: {r.url}"))
    tab.on("request", lambda request: None if is_ours(request.url, address) else wrong.append(f"asks {request.url}"))
    tab.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    tab.goto(f"{address}/{page}.html", wait_until="load")
    yield tab
    context.close()
    assert wrong == []


def is_ours(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES])
def test_no_page_is_wider_than_the_window(browser, address, page):
    with opened(browser, address, page) as tab:
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 900})
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} px wide in a window of {width}"


@pytest.mark.parametrize("page", PAGES)
def test_images_arrive_and_have_words_that_stand_for_them(browser, address, page):
    with opened(browser, address, page) as tab:
        load_images(tab)
        for image in tab.locator("img").all():
            source = image.get_attribute("src")
            assert image.evaluate("i => i.naturalWidth") > 0, f"{source} did not arrive"
            assert image.get_attribute("alt"), f"{source} has no alt text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES])
def test_the_page_is_open_to_everyone(browser, address, page, scheme):
    # Dark on a phone, light on a desktop: the width decides what scrolls or folds, the scheme what has low contrast.
    with opened(browser, address, page, width=320 if scheme == "dark" else 1440, scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.dataset.theme") == scheme
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        load_images(tab)
        found = Axe().run(tab, options=AXE).response["violations"]
    said = [
        f"{v['id']}: {v['help']}: {n['html'][:200]} {n.get('failureSummary', '')}" for v in found for n in v["nodes"]
    ]
    assert said == [], "\n".join(said[:12])


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("page", PAGES)
def test_the_page_loads_in_the_dark(browser, address, page, width):
    with opened(browser, address, page, width=width, scheme="dark") as tab:
        load_images(tab)
        assert tab.locator("article").inner_text().strip()


def test_the_button_switches_between_light_and_dark(browser, address):
    with opened(browser, address, "book/index") as tab:
        button = tab.locator(".theme-switch-button:visible").first
        seen = []
        for _ in range(3):
            button.click()
            seen.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(set(seen)) == 2, seen
        chosen = tab.evaluate("document.documentElement.dataset.theme")
        tab.reload()
        assert tab.evaluate("document.documentElement.dataset.theme") == chosen


def test_the_buttons_for_the_sidebars_open_them(browser, address):
    with opened(browser, address, "book/perplexity/perplexity", width=390) as tab:
        for side, link in (("primary", "Scoring Answers"), ("secondary", "Check yourself")):
            dialog = tab.locator(f"#pst-{side}-sidebar-modal")
            assert not dialog.is_visible()
            tab.locator(f".{side}-toggle:visible").click()
            assert dialog.get_by_role("link", name=link).first.is_visible()
            tab.keyboard.press("Escape")
            assert not dialog.is_visible()
    with opened(browser, address, "book/perplexity/perplexity") as tab:
        sidebar = tab.locator("#pst-primary-sidebar")
        tab.locator(".primary-toggle:visible").click()
        sidebar.wait_for(state="hidden")


def test_icons_are_drawn_in_high_contrast_too(browser, address):
    context = browser.new_context(forced_colors="active")
    tab = context.new_page()
    tab.goto(f"{address}/book/index.html")
    icon = tab.locator(".fa-bars:visible").first
    colours = icon.evaluate(
        "i => [getComputedStyle(i).backgroundColor, getComputedStyle(document.body).backgroundColor]"
    )
    context.close()
    assert colours[0] != colours[1]


def test_the_search_finds_perplexity_and_leads_there(browser, address):
    with opened(browser, address, "book/index") as tab:
        tab.keyboard.press("Control+k")
        tab.keyboard.type("perplexity")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/search.html?q=perplexity*")
        tab.wait_for_load_state("networkidle")  # the page fetches the results' excerpts one by one
        excerpts = tab.locator("#search-results p.context").all_inner_texts()
        assert len(excerpts) > 3
        # Text of the buttons above the article: the download menu, and the page's own contents.
        assert [text for text in excerpts if ".pdf" in text or "Contents" in text] == []
        result = tab.locator("#search-results a", has_text=re.compile("^Perplexity$")).first
        result.click()
        tab.wait_for_url("**/book/perplexity/perplexity.html*")
        assert tab.locator("h1:visible").inner_text().startswith("Perplexity")


def test_the_heat_map_can_be_read_with_the_keyboard(browser, address):
    with opened(browser, address, "book/perplexity/perplexity") as tab:
        tokens = tab.locator(".nbh-map").first.locator(".nbh-tok")
        tokens.first.focus()
        for number in range(3):
            tip = tokens.nth(number).locator(".nbh-tip")
            assert tip.is_visible()
            assert "probability" in tip.inner_text()
            tab.keyboard.press("Tab")
            assert not tip.is_visible()


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_answer_of_a_quiz_opens_with_the_keyboard(browser, address, page):
    with opened(browser, address, page) as tab:
        folded = tab.locator("article details")
        assert folded.count() > 5
        for details in folded.all():
            summary = details.locator("summary").first
            summary.focus()
            assert summary.evaluate("s => document.activeElement === s")
            before = details.evaluate("d => d.open")
            tab.keyboard.press("Enter")
            assert details.evaluate("d => d.open") != before
            tab.keyboard.press("Enter")


def test_next_walks_through_the_whole_book_and_previous_back(browser, address):
    with opened(browser, address, PAGES[0]) as tab:
        for button, pages in ((".right-next", PAGES[1:]), (".left-prev", PAGES[-2::-1])):
            for page in pages:
                tab.locator(button).click()
                tab.wait_for_url(f"**/{page}.html")
            assert tab.locator(button).count() == 0


def test_the_first_page_is_light_and_stands_still(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Network.enable")
    received: list[int] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    tab.add_init_script(
        "window.shift = 0; new PerformanceObserver(l => l.getEntries().forEach(e => window.shift += e.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    tab.goto(f"{address}/book/index.html", wait_until="networkidle")
    shift = tab.evaluate("window.shift")
    context.close()
    print(f"first page: {sum(received):,} bytes in {len(received)} files, layout shift {shift:.3f}")
    assert sum(received) < MAX_FIRST_PAGE
    assert shift < 0.01


def test_no_image_is_heavy(site):
    heavy = {path.name: path.stat().st_size for path in site.rglob("*.png") if path.stat().st_size > MAX_IMAGE}
    assert heavy == {}
