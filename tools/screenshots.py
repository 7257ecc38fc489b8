"""Take a full-page screenshot of every page of the built site, on a desktop and on a phone, light and dark.

The files are named after the page, as in perplexity-scoring_answers-phone-dark.png.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import yaml
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright
from site_browser import check_is_built, interrupts_deferred, launch, served
from toc import toc_entries, without_suffix

ROOT = Path(__file__).parents[1]
WIDTHS = {"desktop": 1440, "phone": 390}
SCHEMES = ("light", "dark")


def load_images(page: Page) -> None:
    """Load all images, including those that wait until they are scrolled into view."""
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")


def take_screenshots(site: Path, output: Path, names: list[str]) -> None:
    """Write four screenshots of each page into `output`, over those of an earlier run."""
    check_is_built(site, names)
    output.mkdir(parents=True, exist_ok=True)
    with interrupts_deferred() as interrupted, served(site) as base, sync_playwright() as playwright:
        browser = launch(playwright)
        for number, name in enumerate(names, start=1):
            print(f"[{number}/{len(names)}] {name}", flush=True)
            for (device, width), scheme in product(WIDTHS.items(), SCHEMES):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.goto(f"{base}{name}.html")
                load_images(page)
                file = f"{name.removeprefix('book/').replace('/', '-')}-{device}-{scheme}.png"
                page.screenshot(path=output / file, full_page=True)
                page.close()
            if interrupted.is_set():
                raise KeyboardInterrupt
        browser.close()
    print(f"{output}: {len(names) * len(WIDTHS) * len(SCHEMES)} screenshots")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    built, images = ROOT / "_build" / "html", ROOT / "_build" / "screenshots"
    parser.add_argument(
        "pages", nargs="*", metavar="PAGE", help="as _toc.yml names it: book/index (default: all pages)"
    )
    parser.add_argument("--site", type=Path, default=built, help="the built site (default: _build/html)")
    parser.add_argument("--output", type=Path, default=images, help="a folder (default: _build/screenshots)")
    options = parser.parse_args(arguments)
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    try:
        take_screenshots(options.site, options.output, options.pages or [*map(without_suffix, toc_entries(toc))])
    except (OSError, BrowserError) as error:
        print(f"No screenshots were taken: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: some screenshots are missing.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
