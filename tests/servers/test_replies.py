"""The cache of replies: what a file holds, how damage is noticed, and where the folder lies."""

import json
import sys

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
