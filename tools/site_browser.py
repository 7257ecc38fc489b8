"""Open the built site: a check that it is built, a local server, and Chromium."""

from __future__ import annotations

import functools
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Playwright
from playwright.sync_api import Error as BrowserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Containers and CI seldom grant the rights the sandbox needs; the pages are our own.
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def check_is_built(site: Path, pages: Iterable[str]) -> None:
    """Raise FileNotFoundError if the site lacks one of these pages."""
    for page in pages:
        if not (site / f"{page}.html").is_file():
            raise FileNotFoundError(f"{site} lacks {page}.html: build the site first with `make book`, or give --site")


def find_browser() -> str:
    """The path of Debian's, Ubuntu's or Google's Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(f"no browser was found: none of {', '.join(BROWSERS)} is on the PATH; install one")
    return found


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGUMENTS)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder on a free local port and yield its address; from `file:` URLs, browsers give pages no origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        server.handle_error = lambda *_: None  # a browser that leaves a page drops its open requests
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextmanager
def interrupts_deferred() -> Iterator[threading.Event]:
    """Defer Ctrl-C to the end of the block; until then it only sets the event. A second Ctrl-C raises at once.

    KeyboardInterrupt inside Playwright's event loop sometimes hangs there or leaves a traceback.
    """
    asked, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:  # a background job ignores Ctrl-C and keeps ignoring it
        signal.signal(signal.SIGINT, note)
    try:
        yield asked
    except BrowserError:
        if not asked.is_set():  # the terminal sends Ctrl-C to the browser too, which then fails with an error
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise KeyboardInterrupt
