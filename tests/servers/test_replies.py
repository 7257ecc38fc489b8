"""The cache of replies: what a file holds, how damage is noticed, and where the folder lies."""

import errno
import json
import os
import signal
import socket
import stat
import sys
import time

import pytest
from scripted_server import chat, completion, files

from nbhelpers.servers import Endpoint, complete, replies


def test_a_kept_reply_can_be_read_by_a_person_and_needs_neither_server_nor_client(server, endpoint, monkeypatch):
    (reply,) = complete(endpoint, [chat("Grüß Gott")], 1)
    server.close()
    monkeypatch.setitem(sys.modules, "openai", None)  # as if it were not installed
    assert complete(endpoint, [chat("Grüß Gott")], 1) == [reply]
    with pytest.raises(ImportError, match="needs the package openai: run pip install openai"):
        complete(endpoint, [chat("new")], 1)
    (file,) = files(endpoint)
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["request"]["messages"] == chat("Grüß Gott") and record["request"]["base_url"] == endpoint.base_url
    assert record["reply"]["choices"][0]["message"]["content"] == reply.text
    assert "Grüß Gott" in file.read_text(encoding="utf-8")


def test_unicode_survives_both_ways(server, endpoint):
    texts = ["naïve café, 東京", "😀 and 🏳️‍🌈", "line\u2028separator \x00 \\", "half a character \ud83d"]
    server.answer = lambda content, before: completion(texts[int(content[-1])])
    chats = [chat(f"Grüße, 世界 {i}") for i in range(4)]
    for cached in (False, True):
        found = complete(endpoint, chats, 9)
        assert [r.text for r in found] == texts and {r.cached for r in found} == {cached}
    assert [server.asked[c[0]["content"]] for c in chats] == [1, 1, 1, 1]
    kept = b"".join(file.read_bytes() for file in files(endpoint))
    assert all(f"Grüße, 世界 {i}".encode() in kept for i in range(4)) and texts[0].encode() in kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda good, other: b"",
        lambda good, other: good[: len(good) // 2],
        lambda good, other: good.replace(b"echo a", b"echo z"),  # still JSON, but not what the server said
        lambda good, other: other,  # intact, but about another request
        lambda good, other: json.dumps({**json.loads(other), "request": json.loads(good)["request"]}).encode(),
        lambda good, other: json.dumps({**json.loads(good), "request": json.loads(other)["request"]}).encode(),
        lambda good, other: b"[]",
        lambda good, other: b"{}",
        lambda good, other: b"\xff" + good,
    ],
)
def test_a_damaged_file_is_noticed_and_replaced(server, endpoint, damage):
    for content in "ba":
        (reply,) = complete(endpoint, [chat(content)], 1)
    contents = [file.read_bytes() for file in files(endpoint)]
    good, other = sorted(contents, key=lambda c: b"echo b" in c)
    (path,) = (file for file in files(endpoint) if file.read_bytes() == good)
    path.write_bytes(damage(good, other))
    (again,) = complete(endpoint, [chat("a")], 1)
    assert again == reply and not again.cached and server.asked["a"] == 2
    assert path.read_bytes() == good and len(files(endpoint)) == 2


def test_a_folder_that_cannot_be_made_or_written_is_an_error(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot make the folder .*: give cache another path"):
        complete(Endpoint(server.url, "m", cache=tmp_path / "file" / "replies"), [chat("a")], 1)
    monkeypatch.setattr(replies.os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    endpoint = Endpoint(server.url, "m", cache=tmp_path / "replies")
    with pytest.raises(OSError, match="disk full"):
        complete(endpoint, [chat("a")], 1)
    assert files(endpoint) == []


def test_replies_are_kept_beside_the_models_unless_told_otherwise(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path))
    assert Endpoint(server.url, "m").cache == tmp_path / "replies"
    complete(Endpoint(server.url, "m", cache=None), [chat("a")], 1)
    assert list(tmp_path.iterdir()) == []


# --- Who may read what is kept, and what is left alone ----------------------------------------------------------------


def mode(path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


@pytest.fixture
def lenient_umask():
    """As on a machine where new files are for everybody to read and for the group to write."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_conversations_are_private(server, endpoint, lenient_umask):
    complete(endpoint, [chat("a")], 1)
    (file,) = files(endpoint)
    assert (mode(endpoint.cache), mode(file)) == ("700", "600")


def test_an_existing_folder_of_replies_becomes_private(server, endpoint, lenient_umask):
    complete(endpoint, [chat("a")], 1)
    (file,) = files(endpoint)
    file.chmod(0o644)  # as earlier versions left them
    endpoint.cache.chmod(0o775)
    assert complete(endpoint, [chat("a")], 1)[0].cached
    assert (mode(endpoint.cache), mode(file)) == ("700", "600")


@pytest.mark.parametrize("found, folder_mode", [("notes.txt", 0o755), ("tmp_notes", 0o755), (None, 0o2775)])
def test_a_folder_for_other_things_or_for_a_group_keeps_its_mode(server, endpoint, found, folder_mode):
    endpoint.cache.mkdir()
    endpoint.cache.chmod(folder_mode)
    if found:
        (endpoint.cache / found).write_text("mine")
    complete(endpoint, [chat("a")], 1)
    assert mode(endpoint.cache) == f"{folder_mode:o}"
    assert [mode(file) for file in files(endpoint) if file.suffix == ".json"] == ["600"]


def test_what_killed_processes_left_is_swept_after_an_hour(server, endpoint):
    complete(endpoint, [chat("a")], 1)
    folder, old = endpoint.cache, time.time() - 7200
    for name in ("tmpaaaaaaaa", "tmpbbbbbbbb", "tmpcccccccc", "tmpnew00000"):
        (folder / name).mkdir()
        (folder / name / "reply.json").write_text("a conversation")
    (folder / "tmpcccccccc" / "mine").write_text("")  # no scratch of ours holds anything else
    (folder / "tmpbbbbbbbb" / "reply.json").unlink()
    for name in ("tmpdddddddd.part", "tmpnew00000.part", "tmp.part", "tmpdata"):
        (folder / name).write_text("a conversation")
    (folder / "tmplink0000").symlink_to(folder / "tmpcccccccc")
    for path in folder.iterdir():
        if "new" not in path.name:
            os.utime(path, (old, old), follow_symlinks=False)
    (kept,) = folder.glob("*.json")
    complete(endpoint, [chat("a")], 1)
    left = {"tmpcccccccc", "tmpnew00000", "tmpnew00000.part", "tmp.part", "tmpdata", "tmplink0000", kept.name}
    assert {path.name for path in folder.iterdir()} == left
    assert (folder / "tmpcccccccc" / "reply.json").exists()


@pytest.fixture
def alarm():
    """End a test that waits for ever."""

    def ring(*arguments):
        pytest.fail("waited in vain")  # no OSError, which a reader might take for a damaged file

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bound(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


@pytest.mark.parametrize(
    "put",
    [
        lambda path, good: os.mkfifo(path),
        lambda path, good: path.symlink_to("/dev/zero"),
        lambda path, good: path.symlink_to(path),
        lambda path, good: (
            path.with_suffix(".elsewhere").write_bytes(good),
            path.symlink_to(f"{path.stem}.elsewhere"),
        ),
        lambda path, good: os.close(os.open(path, os.O_CREAT)) or os.truncate(path, 2**40),
        lambda path, good: path.write_bytes(b"[" * 1_000_000),
        lambda path, good: path.write_bytes(
            good.replace(b'"reply": {', b'"reply": ' + b"[" * 200 + b"]" * 200 + b', "x": {')
        ),
        lambda path, good: path.write_bytes(good.replace(b'"created": 0', b'"created": ' + b"1" * 5000)),
        lambda path, good: path.write_bytes(good.replace(b"{", b'{"refused": 7,', 1)),
        lambda path, good: bound(path),
    ],
    ids=["pipe", "device", "loop", "link", "sparse", "brackets", "deep", "digits", "refused", "socket"],
)
def test_what_is_no_reply_is_not_followed_waited_for_or_read_whole(server, tmp_path, monkeypatch, alarm, put):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    endpoint = Endpoint(server.url, "m", cache="r")
    (reply,) = complete(endpoint, [chat("a")], 1)
    (path,) = files(endpoint)
    good = path.read_bytes()
    path.unlink()
    put(path, good)
    assert complete(endpoint, [chat("a")], 1) == [reply] and server.asked["a"] == 2
    assert not path.is_symlink() and path.read_bytes() == good
    assert complete(endpoint, [chat("a")], 1)[0].cached


def test_a_folder_in_a_replys_place_is_named_before_anything_is_asked(server, endpoint):
    complete(endpoint, [chat("a")], 1)
    (path,) = files(endpoint)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=f"{path} is a folder, and a reply should be kept there: remove it"):
        complete(endpoint, [chat("a"), chat("b")], 1)
    assert server.asked == {"a": 1}


@pytest.fixture
def read_only(monkeypatch):
    """Every way to write fails as on a disk that is mounted for reading; root would not notice modes."""

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    def switch_on():
        for name in ("mkdir", "chmod", "fchmod", "replace", "rename", "unlink", "remove", "rmdir", "utime"):
            monkeypatch.setattr(os, name, refuse)
        really_open = os.open

        def only_read(path, flags, *more, **options):
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY
            return refuse() if flags & writes else really_open(path, flags, *more, **options)

        monkeypatch.setattr(os, "open", only_read)

    return switch_on


def test_a_complete_cache_on_a_read_only_disk_will_do(server, endpoint, read_only):
    replies_before = complete(endpoint, [chat("a"), chat("b")], 1)
    endpoint.cache.chmod(0o755)
    for file in files(endpoint):
        file.chmod(0o644)
    (endpoint.cache / "tmpaaaaaaaa.part").write_text("old")
    os.utime(endpoint.cache / "tmpaaaaaaaa.part", (0, 0))
    read_only()
    assert complete(endpoint, [chat("a"), chat("b")], 1) == replies_before
    with pytest.raises(OSError, match=r"cannot write to the folder .*Read-only file system.*: give cache another path"):
        complete(endpoint, [chat("a"), chat("new")], 1)
    assert server.asked == {"a": 1, "b": 1}  # nothing was paid for in vain


@pytest.mark.parametrize("cache", ["nul\0", "x" * 300])
def test_a_folder_with_an_impossible_name_is_named(server, tmp_path, cache):
    with pytest.raises(OSError, match=r"cannot make the folder .*: give cache another path"):
        complete(Endpoint(server.url, "m", cache=str(tmp_path / cache)), [chat("a")], 1)


def test_a_reply_as_long_as_allowed_is_kept_and_read_again(server, endpoint, monkeypatch):
    monkeypatch.setattr(replies, "LARGEST_FILE", 2_000)  # which the indentation of many numbers would pass
    server.answer = lambda content, before: completion("good") | {"numbers": [1] * 400}
    (reply,) = complete(endpoint, [chat("a")], 1)
    assert complete(endpoint, [chat("a")], 1) == [reply] and len(server.bodies) == 1


def test_no_chats_make_no_folder(server, endpoint):
    assert complete(endpoint, [], 1) == [] and not endpoint.cache.exists()
