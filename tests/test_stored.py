"""The file of results: what comes out is what went in, or nothing, whatever has happened to the file."""

import sqlite3
import warnings
from multiprocessing import get_context

import pytest

from nbhelpers import stored
from nbhelpers.stored import open_store

KEYS = [bytes([i]) * 16 for i in range(200)]
RESULTS = {key: b"result %d" % i * 20 for i, key in enumerate(KEYS)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.sqlite"


@pytest.fixture
def filled(path):
    store = open_store(path)
    store.save(RESULTS)
    store.close()
    return path


def load(path, keys=KEYS):
    store = open_store(path)
    try:
        return store.load(keys)
    finally:
        store.close()


def aside(path):
    return sorted(file.name for file in path.parent.glob("*damaged*"))


def test_what_was_saved_is_found_by_another_connection(filled):
    assert load(filled) == RESULTS
    assert load(filled, [b"unknown" * 2]) == {}
    assert [file.name for file in filled.parent.iterdir()] == ["results.sqlite"], "nothing else is left behind"


def test_a_result_may_be_replaced(filled):
    store = open_store(filled)
    store.save({KEYS[0]: b"other"})
    store.close()
    assert load(filled)[KEYS[0]] == b"other"


def test_more_keys_than_a_query_takes(path, monkeypatch):
    monkeypatch.setattr(stored, "AT_ONCE", 7)
    store = open_store(path)
    store.save(RESULTS)
    assert store.load(KEYS) == RESULTS
    store.close()


def test_a_folder_gets_a_file(tmp_path):
    open_store(tmp_path).close()
    assert (tmp_path / "results.sqlite").is_file()


def test_missing_folders_are_made(tmp_path):
    open_store(tmp_path / "new" / "deep" / "run").close()
    assert (tmp_path / "new" / "deep" / "run").is_file()


def truncate(path):
    path.write_bytes(path.read_bytes()[:5_000])


def overwrite(path):
    path.write_bytes(b"question,answer\n" * 100)


def other_schema(path):
    path.unlink()
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE results (a, b, c)")
    file.close()


def other_version(path):
    file = sqlite3.connect(path)
    file.execute(f"PRAGMA user_version={stored.SCHEMA + 1}")
    file.close()


def noise_in_the_middle(path):
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xa5" * (len(content) - 4_096)  # all but the page with the header
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [truncate, overwrite, other_schema, other_version, noise_in_the_middle])
def test_a_damaged_file_is_set_aside_with_a_warning_and_a_new_one_begun(filled, harm):
    harm(filled)
    damaged = filled.read_bytes()
    with pytest.warns(UserWarning, match="set aside as results.sqlite.damaged-1") as caught:
        store = open_store(filled)
        assert store.load(KEYS) == {}
    assert all(warning.filename == __file__ for warning in caught), "at the caller's line"
    store.save(RESULTS)
    assert store.load(KEYS) == RESULTS
    store.close()
    assert aside(filled) == ["results.sqlite.damaged-1"]
    assert (filled.parent / "results.sqlite.damaged-1").read_bytes()[100:] == damaged[100:]
    overwrite(filled)
    with pytest.warns(UserWarning, match="damaged-2"):
        open_store(filled).close()


def test_a_file_of_another_program_is_not_changed_before_it_is_set_aside(filled):
    other_schema(filled)
    before = filled.read_bytes()
    with pytest.warns(UserWarning, match="it holds something else"):
        open_store(filled).close()
    assert (filled.parent / "results.sqlite.damaged-1").read_bytes() == before


def test_damage_during_a_run_loses_no_result(filled):
    store = open_store(filled)
    with filled.open("r+b") as file:
        file.write(b"\xa5" * filled.stat().st_size)
    with pytest.warns(UserWarning):
        found = store.load(KEYS)
        store.save({b"new" * 5: b"result"})
        assert store.load([b"new" * 5]) == {b"new" * 5: b"result"}
    assert all(RESULTS[key] == value for key, value in found.items())
    store.close()


def test_garbage_in_rows_is_not_returned(filled):
    file = sqlite3.connect(filled)
    file.execute("UPDATE results SET value = x'00' WHERE key = ?", [KEYS[0]])
    file.execute("UPDATE results SET value = 'text' WHERE key = ?", [KEYS[1]])
    file.execute("UPDATE results SET value = 3.5 WHERE key = ?", [KEYS[2]])
    (value,) = file.execute("SELECT value FROM results WHERE key = ?", [KEYS[3]]).fetchone()
    flipped = value[:-1] + bytes([value[-1] ^ 1])
    file.execute("UPDATE results SET value = ? WHERE key = ?", [flipped, KEYS[4]])  # of another key, one bit off
    file.execute("UPDATE results SET value = ? WHERE key = ?", [value, KEYS[5]])  # whole, of another key
    file.commit()
    file.close()
    with pytest.warns(UserWarning, match="5 results in .* are damaged"):
        found = load(filled)
    assert found == {key: RESULTS[key] for key in (KEYS[3], *KEYS[6:])}


@pytest.mark.parametrize("path", ["/dev/null/run", "/proc/nothing/run", "a\0b"])
def test_a_file_that_cannot_be_made_is_a_clear_error(path):
    with pytest.raises(OSError, match="give cache the path of a file in a folder you may write"):
        open_store(path)


def test_no_path_is_a_type_error():
    with pytest.raises(TypeError, match="cache=7: give the path of a file"):
        open_store(7)


def test_a_file_that_another_process_holds_too_long_is_a_clear_error(filled, monkeypatch):
    monkeypatch.setattr(stored, "PATIENCE", 0.1)
    other = sqlite3.connect(filled, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match="database is locked"):
        open_store(filled)
    other.close()


def test_a_file_that_can_no_longer_be_written_does_not_stop_the_run(filled, monkeypatch):
    monkeypatch.setattr(stored, "PATIENCE", 0.1)
    store = open_store(filled)
    other = sqlite3.connect(filled, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(UserWarning, match=r"no longer kept in .*results.sqlite \(database is locked\); the run goes on"):
        store.save({b"new": b"result"})
    store.save({b"new": b"result"})
    assert store.load(KEYS) == {}
    store.close()
    other.close()


def write_in_turns(path, together, first, count):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together.wait(60)
        store = open_store(path)
        for i in range(first, first + count):
            store.save({KEYS[i]: RESULTS[KEYS[i]]})
        store.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_share_a_file_from_its_beginning(path, damaged):
    """And where they find a damaged one at once, it is set aside once."""
    if damaged:
        overwrite(path)
    context = get_context("fork")
    together = context.Barrier(8)
    processes = [
        context.Process(target=write_in_turns, args=(path, together, first, 25)) for first in range(0, len(KEYS), 25)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    assert load(path) == RESULTS
    assert aside(path) == ["results.sqlite.damaged-1"] * damaged
