"""The built site, served as a web server would serve it, and a browser that opens its pages."""

import functools
import gzip
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from built import ROOT, build

sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strict build that shows the committed outputs; nbval compares those with fresh ones, so once is enough."""
    return build(tmp_path_factory.mktemp("site"), url="")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as readers get it: that of a book that has an address, with its Colab buttons and social cards."""
    return build(tmp_path_factory.mktemp("published"), url="https://github.com/Someone/some-book")


class Compressing(SimpleHTTPRequestHandler):
    """Sends text compressed, as the servers that publish static sites do, so that transferred sizes are real ones."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in {".html", ".css", ".js", ".svg"} or not path.is_file():
            super().do_GET()
            return
        body = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests watch the requests in the browser."""


@pytest.fixture(scope="session")
def address(published: Path) -> Iterator[str]:
    """Where the site is served, on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Compressing, directory=published)) as server:
        server.handle_error = lambda *_: None  # a browser that leaves a page drops what it had asked for
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium, through Playwright."""
    from make_pdf import BROWSER_ARGUMENTS, BROWSERS
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("no Chromium here, and a run that counts must not skip the browser")
    if path is None:
        pytest.skip("no Chromium here; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()
