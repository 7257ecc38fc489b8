"""The built site, its PDF, a web server that serves the site as a host would, and a browser that opens its pages."""

import functools
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from built import REPOSITORY, ROOT, build, once_per_run
from playwright.sync_api import Browser, sync_playwright
from site_browser import find_browser, launch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests by what they need, so that `make check` can leave them out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            fixtures = {*getattr(item, "fixturenames", ())}
            if fixtures & {"site", "unpublished"}:
                item.add_marker("site")
            if "chromium" in fixtures:
                item.add_marker("browser")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as readers get it, with an address, and with the committed outputs, which nbval checks."""
    built = once_per_run(tmp_path_factory, "site", lambda folder: build(ROOT, folder, REPOSITORY))
    return built / "_build" / "html"


class Compressing(SimpleHTTPRequestHandler):
    """Sends text compressed, as hosts of static sites do, so that transfer sizes are realistic."""

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
        """Log nothing: the tests watch the requests in the browser."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, on a free local port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Compressing, directory=site)) as server:
        server.handle_error = lambda *_: None  # a browser that leaves a page drops its open requests
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one, tests are skipped, except in CI, where that would hide a failure."""
    try:
        return find_browser()
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error}: CI must not skip the browser tests")
        pytest.skip(f"{error}; on Debian: apt install chromium")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, through Playwright."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def printed(chromium: str, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as one PDF, printed by the command in a process of its own, as Playwright allows one loop per thread."""

    def print_it(folder: Path) -> None:
        command = [sys.executable, str(ROOT / "tools" / "make_pdf.py"), "--site", str(site)]
        done = subprocess.run([*command, "--pdf", str(folder / "book.pdf")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert [file.name for file in folder.iterdir()] == ["book.pdf"], "nothing unfinished is left behind"

    return once_per_run(tmp_path_factory, "pdf", print_it) / "book.pdf"
