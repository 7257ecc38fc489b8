"""The example in the README prints what the README says it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.embedded
def test_the_readme_example_prints_what_it_says():
    _, shown = README.read_text("utf-8").split("<!-- example -->")
    code, printed = (re.search(rf"```{kind}\n(.*?)```", shown, re.DOTALL)[1] for kind in ("python", "text"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
