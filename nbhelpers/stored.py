"""A file of results, so that a run that was killed can go on: bytes under keys, in SQLite.

Processes may share a file. Whatever happens to it, a run that computes its results itself comes to an end: a damaged
file is set aside, and one that can no longer be written is given up, each with a warning.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from pathlib import Path

from filelock import FileLock

from .reasons import one_line, reason
from .warn import warn_caller

APPLICATION = 0x6E62_7273  # "nbrs", in the header of the file: whose it is
SCHEMA = 1  # raise it, and older files are set aside
PATIENCE = 60.0  # seconds for which another process may hold the file
AT_ONCE = 500  # keys per query
CHECK = 8  # bytes of checksum before each result
IN_A_FOLDER = "results.sqlite"

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _Foreign(Exception):
    """The file is in order, and not one of ours."""


class Store:
    """Results under keys, in a file. Made by :func:`open_store`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: sqlite3.Connection | None = _open_or_set_aside(path)

    def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What is kept under each key, where something is, and where it is as it was written."""
        found: dict[bytes, bytes] = {}
        damaged = 0
        try:
            for begin in range(0, len(keys) if self._file else 0, AT_ONCE):
                some = keys[begin : begin + AT_ONCE]
                query = f"SELECT key, value FROM results WHERE key IN ({','.join('?' * len(some))})"
                for key, value in self._file.execute(query, some):
                    if isinstance(value, bytes) and value[:CHECK] == _check(key, value[CHECK:]):
                        found[key] = value[CHECK:]
                    else:
                        damaged += 1
        except sqlite3.Error as error:
            self._mend(error)
        if damaged:
            warn_caller(f"{damaged} results in {self.path} are damaged: they are computed again")
        return found

    def save(self, results: Mapping[bytes, bytes]) -> None:
        """Keep these results: all of them, or none if the process is killed meanwhile."""
        rows = [(key, _check(key, value) + value) for key, value in results.items()]
        for _ in range(2):  # once more where a new file was begun
            if self._file is None:
                return
            try:
                with self._file:  # a transaction
                    self._file.execute("BEGIN IMMEDIATE")
                    self._file.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", rows)
                return
            except sqlite3.Error as error:
                self._mend(error)

    def close(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()

    def _mend(self, error: sqlite3.Error) -> None:
        """Begin a new file in the place of a damaged one; give up one that cannot be read or written."""
        self.close()
        self._file = None
        if _code(error) in _DAMAGED:
            with suppress(OSError, sqlite3.Error):
                self._file = _open_or_set_aside(self.path, thoroughly=True)
                return
        warn_caller(f"the results of this run are no longer kept in {self.path} ({reason(error)}); the run goes on")


def open_store(path: str | os.PathLike[str]) -> Store:
    """The store in the file `path`, made if it is missing; in a folder, the file ``results.sqlite``. To be closed.

    Raises
    ------
    OSError
        If the file cannot be made or written, or another process holds it for a minute.
    TypeError
        If `path` is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"cache={path!r:.60}: give the path of a file that keeps the results")
    place = Path(os.fsdecode(path))
    try:
        place = place.expanduser()
        place = place / IN_A_FOLDER if place.is_dir() else place
        place.parent.mkdir(parents=True, exist_ok=True)
        return Store(place)
    except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:  # a NUL in the name, no home, no right to write
        raise OSError(
            f"cannot keep results in {place} ({reason(error)}): give cache the path of a file in a folder you may write"
        ) from error


def _open_or_set_aside(path: Path, thoroughly: bool = False) -> sqlite3.Connection:
    try:
        return _open(path, thoroughly)
    except (_Foreign, sqlite3.Error) as error:
        if not isinstance(error, _Foreign) and _code(error) not in _DAMAGED:
            raise
    # One process at a time: the other one may have begun a new file while we waited.
    with FileLock(f"{path}.lock", timeout=PATIENCE):
        try:
            return _open(path, thoroughly=True)
        except (_Foreign, sqlite3.Error) as error:
            if not isinstance(error, _Foreign) and _code(error) not in _DAMAGED:
                raise
            problem = one_line(error)
        aside = next(free for i in count(1) if not (free := Path(f"{path}.damaged-{i}")).exists())
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{aside}{suffix}")
        warn_caller(
            f"{path} cannot be read as results ({problem}): it is set aside as {aside.name}, and a new one begun"
        )
        return _open(path)


def _open(path: Path, thoroughly: bool = False) -> sqlite3.Connection:
    """A connection to a file of ours that can be written, or the reason why not."""
    given_up = time.monotonic() + PATIENCE
    while True:
        file = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            _prepare(file, thoroughly)
            return file
        except BaseException as error:
            file.close()
            # Where two processes begin a file at once, SQLite tells one of them at once that it is locked.
            if not isinstance(error, sqlite3.Error) or _code(error) not in _BUSY or time.monotonic() > given_up:
                raise
        time.sleep(0.02)


def _prepare(file: sqlite3.Connection, thoroughly: bool) -> None:
    _require_ours(file)  # before anything is changed
    # After a kill, SQLite finishes or takes back what was being written; a power failure may cost the last results.
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=NORMAL")
    with file:
        file.execute("BEGIN IMMEDIATE")
        file.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        file.execute(f"PRAGMA application_id={APPLICATION}")
        file.execute(f"PRAGMA user_version={SCHEMA}")
    _require_ours(file)
    if thoroughly and (found := file.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _Foreign(found)


def _require_ours(file: sqlite3.Connection) -> None:
    """A new file, or one with our mark and our table."""
    with file:
        file.execute("BEGIN")  # all of it as it is at one moment: another process may be making the file
        owner, version = (file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        columns = [row[1] for row in file.execute("PRAGMA table_info(results)")]
        empty = not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not (empty and owner == version == 0) and (owner, version, columns) != (APPLICATION, SCHEMA, ["key", "value"]):
        raise _Foreign("it holds something else, or results of another version")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; errors of Python's own module have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _check(key: bytes, value: bytes) -> bytes:
    return blake2b(value, key=key[:64], digest_size=CHECK).digest()
