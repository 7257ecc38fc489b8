"""Pages tried on another device: what fails and what differs is said, and no file changes."""

import nbformat
import pytest
import try_pages
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytestmark = pytest.mark.kernel


def write(folder, name, source, printed):
    cell = new_code_cell(source, outputs=[new_output("stream", name="stdout", text=printed)])
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[cell], metadata=kernel), folder / name)
    return folder / name


def test_what_passes_what_differs_and_what_fails(tmp_path, monkeypatch, capsys):
    same = write(tmp_path, "same.ipynb", "print('one')\nprint('two')", "one\ntwo\n")
    other = write(tmp_path, "other.ipynb", "print('-- 0.25')\nprint('two')", "-- 0.24\ntwo\n")
    broken = write(tmp_path, "broken.ipynb", "1 / 0", "")
    before = [path.read_bytes() for path in (same, other, broken)]
    monkeypatch.setenv("NBHELPERS_DEVICE", "abacus")
    monkeypatch.setattr("sys.argv", ["try_pages.py", str(same), str(other), str(broken)])
    assert try_pages.main() == 1
    said = capsys.readouterr().out
    assert "same.ipynb on abacus: passed in" in said and ", 0 lines differ" in said
    assert "other.ipynb on abacus: passed in" in said and "2 lines differ\n    --- 0.24\n    +-- 0.25" in said
    assert "broken.ipynb on abacus: FAILED" in said and "ZeroDivisionError" in said
    assert said.rstrip().endswith("2 of 3 pages passed on abacus")
    assert [path.read_bytes() for path in (same, other, broken)] == before


def test_a_page_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["try_pages.py", "nowhere.ipynb"])
    with pytest.raises(SystemExit):
        try_pages.main()
    assert "there is no notebook nowhere.ipynb" in capsys.readouterr().err
