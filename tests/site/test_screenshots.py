"""Screenshots for a person to look at: one page on two devices in two schemes, and a clear error without a site."""

import struct
import subprocess
import sys
from pathlib import Path

from built import ROOT


def take(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "screenshots.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def width(png: Path) -> int:
    return struct.unpack(">I", png.read_bytes()[16:20])[0]


def test_a_page_is_taken_wide_and_narrow_light_and_dark(chromium, tmp_path):
    page = tmp_path / "site" / "book" / "perplexity" / "perplexity.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><html lang=en><meta name=color-scheme content='light dark'><title>t</title>Text.")
    done = take("--site", tmp_path / "site", "--output", tmp_path / "shots", "book/perplexity/perplexity")
    assert done.returncode == 0, done.stderr
    shots = {path.name: path for path in (tmp_path / "shots").iterdir()}
    names = [f"perplexity-perplexity-{device}.png" for device in ("desktop-dark", "desktop-light", "phone-dark")]
    assert sorted(shots) == [*names, "perplexity-perplexity-phone-light.png"]
    assert [width(shots[name]) for name in sorted(shots)] == [1440, 1440, 390, 390]
    assert len({path.read_bytes() for path in shots.values()}) == 4, "dark must look different from light"


def test_a_folder_without_the_site_is_named(tmp_path):
    done = take("--site", tmp_path, "--output", tmp_path / "shots")
    assert done.returncode == 1
    assert "lacks book/index.html: build the site first with `make book`, or give --site" in done.stderr
    assert list(tmp_path.iterdir()) == []
