"""The site, built once for all tests that look at it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A strict build that shows the committed outputs; nbval compares those with fresh ones, so once is enough."""
    folder = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]  # relative to the configuration file, which moves
    config["sphinx"]["local_extensions"] = {name: str(ROOT / place) for name, place in extensions.items()}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT), "-n", "-W", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--path-output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[:4000]
    return folder / "_build" / "html"
