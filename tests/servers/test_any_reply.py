"""Whatever a server sends, each chat gets a Reply, or the call its one error; and the same call works again."""

import gzip
import json
import os
import random
import warnings

import pytest
from scripted_server import KEY, chat, completion, entry, error_body, refusal

from nbhelpers.servers import Endpoint, Reply, complete

TOKENS = {"content": [entry("go", -0.5, go=-0.5, no=-1.5), entry("od", -0.25, od=-0.25)]}
GOOD = completion("good", TOKENS)
SEEDS = [
    *[GOOD] * 5,
    completion("good"),
    refusal("no"),
    completion("half", finish_reason="length"),
    {**GOOD, "choices": [GOOD["choices"][0] | {"message": {"content": "A", "reasoning_content": "good"}}]},
    {"error": {"message": "overloaded", "code": 429}},
    json.loads(error_body("context length", param="messages", code="context_length_exceeded")),
    json.loads(error_body("top_logprobs, max_completion_tokens unsupported", param="top_logprobs")),
    [],
]
JUNK = [
    *(None, True, False, 0, -1, 1e999, -1e999, float("nan"), -(10**400), 10**400, 2**63, 1e-320, "", "x", "\ud83d"),
    *("\0\x1b[2J", "\u202e", "good" * 1000, KEY, [], {}, [[]], [None], {"": None}, {"error": 1}, {"0": {}}, [1] * 50),
]


def somewhere(rng, value):
    """A random place inside JSON: the container and the key to an element of it."""
    place = None
    while isinstance(value, dict | list) and value and (place is None or rng.random() < 0.85):
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        place, value = (value, key), value[key]
    return place


def nested(rng):
    value = rng.choice(JUNK)
    for _ in range(rng.choice([1, 3, 60, 70, 150])):
        value = rng.choice([lambda v: [v], lambda v: {"a": v}])(value)
    return value


def mutated_json(rng):
    """A seed with a few of its elements replaced, removed, repeated or moved elsewhere."""
    body = json.loads(json.dumps(rng.choice(SEEDS)))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 5])):
        place = somewhere(rng, body)
        if place is None:
            break
        container, key = place
        action = rng.choice(["replace", "nest", "remove", "repeat", "wrap", "swap"])
        if action == "replace":
            container[key] = rng.choice(JUNK)
        elif action == "nest":
            container[key] = nested(rng)
        elif action == "remove":
            del container[key]
        elif action == "repeat":
            container[key] = [container[key]] * rng.choice([0, 2, 40])
        elif action == "wrap":
            container[key] = {str(key): container[key]}
        else:
            container[key] = json.loads(json.dumps(rng.choice(SEEDS)))
    return body


def mutated_bytes(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 3, 20])):
        at = rng.randrange(len(content) + 1)
        action = rng.choice(["flip", "cut", "insert", "double"])
        if action == "flip" and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif action == "cut":
            del content[at : at + rng.choice([1, 10, 1000])]
        elif action == "insert":
            content[at:at] = rng.choice(
                [b"\xff", b"\0", b"[" * 3000, b"9" * 5000, b'"', b"\\ud83d", b"{", KEY.encode()]
            )
        else:
            content[at:at] = content
    return bytes(content[:200_000])


def random_answer(rng):
    """Status, headers and bytes: mostly good ones, with something odd about them."""
    status = rng.choice([200] * 40 + [201, 204, 206, 300, 304, 307, 400, 400, 403, 413, 418, 422, 429, 500, 503, 599])
    content = json.dumps(mutated_json(rng)).encode(rng.choice(["utf-8"] * 6 + ["utf-16", "utf-32-be", "utf-8-sig"]))
    content = mutated_bytes(rng, content)
    headers = {"Content-Type": rng.choice(["application/json"] * 4 + ["text/html", "x; charset=utf-7", "", "\x7f"])}
    if rng.random() < 0.2:
        headers["Retry-After"] = rng.choice(["0", "nan", "-1", "x", "Fri, 31 Dec 9999 23:59:59 -9999", "1e400"])
    if rng.random() < 0.2:
        headers["Location"] = rng.choice(["/", "http://[", "//x:99999999/", "http://127.0.0.1:9/\xe9", ""])
    if rng.random() < 0.1:
        headers["Content-Encoding"] = encoding = rng.choice(["gzip", "gzip, gzip", "br", "deflate", "\xe9", ""])
        if encoding == "gzip" and rng.random() < 0.7:
            content = gzip.compress(content)[: rng.choice([None, None, -3, 12])]
    if status in (204, 304):
        content = b""
    if rng.random() < 0.05:
        headers["Content-Length"] = rng.choice([str(len(content) + 5), "-1", "x", "0", "9" * 30])
    return status, headers, content


def raw_answer(rng):
    """Bytes in place of HTTP."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    good = json.dumps(GOOD).encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    written = rng.choice(
        [
            b"",
            b"\0" * 100,
            head,
            b"HTTP/9.9 200 OK\r\n\r\n",
            b"HTTP/1.1 99 Odd\r\n\r\n",
            b"HTTP/1.1 999 Odd\r\n\r\nodd",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + head + b"\r\n" + good,
            head + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
            head + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            chunked + b"ffffffffffffffffffff\r\n",
            chunked + b"zz\r\n\r\n",
            chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(good), good),
            head + b"Bad Header\r\n\r\n" + good,
            mutated_bytes(rng, head + b"\r\n" + good),
        ]
    )
    return lambda file: file.write(written)


@pytest.mark.parametrize("seed", range(int(os.environ.get("NBHELPERS_FUZZ", "1"))))
def test_any_reply_is_a_reply_or_the_one_error(server, tmp_path, monkeypatch, seed):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rng = random.Random(seed)
    answers = {str(i): random_answer(rng) if rng.random() < 0.9 else raw_answer(rng) for i in range(80)}
    server.answer = lambda content, before: answers[content]
    endpoint = Endpoint(server.url, "m", retries=1, timeout=2, cache=tmp_path / "replies")
    problems = good = errors = 0
    for content in answers:
        options = rng.choice([{}, {"top_logprobs": 2}, {"stop": "d"}, {"top_logprobs": 2, "stop": ["od", "x"]}])
        first, again = (outcome_of(endpoint, content, options) for _ in range(2))
        assert KEY not in str(first) and first == again
        errors += isinstance(first, str)
        problems += isinstance(first, Reply) and first.text is None
        good += isinstance(first, Reply) and first.text is not None
    assert min(problems, good, errors) > 5  # the mutations are neither all harmless nor all fatal
    kept = b"".join(file.read_bytes() for file in endpoint.cache.glob("*"))
    assert KEY.encode() not in kept and not list(endpoint.cache.glob("tmp*"))


def outcome_of(endpoint, content, options):
    """The Reply to one chat, whose parts are what they are said to be; or the message of the one error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            (reply,) = complete(endpoint, [chat(content)], 5, **options)
        except RuntimeError as error:
            assert type(error) is RuntimeError and str(error).startswith("1 of 1 requests to "), error
            return str(error)
    assert (reply.text is None) == (reply.problem is not None) == (len(caught) == 1)
    assert isinstance(reply.finish_reason, str) and isinstance(reply.text, str | None)
    assert isinstance(reply.reasoning, str | None) and len(reply.tokens) == len(reply.logprobs) == len(
        reply.alternatives
    )
    assert all(isinstance(token, str) for token in reply.tokens)
    assert all(type(logprob) is float and logprob < 0.01 for logprob in reply.logprobs)
    for pairs in reply.alternatives:
        assert pairs and list(pairs) == sorted(pairs, key=lambda pair: -pair[1])
        assert all(isinstance(token, str) and type(logprob) is float for token, logprob in pairs)
    if reply.problem is not None:
        assert reply.problem.isprintable() and 0 < len(reply.problem) <= 300
    hash(reply)
    return reply


def test_good_and_bad_replies_in_one_call(server, tmp_path):
    """As many chats as there are, one call: the good ones are there, whatever the others got."""
    rng = random.Random(99)
    odd = {f"odd {i}": (200, {}, mutated_bytes(rng, json.dumps(mutated_json(rng)).encode())) for i in range(200)}
    server.answer = lambda content, before: odd.get(content) or completion(f"echo {content}")
    endpoint = Endpoint(server.url, "m", retries=0, concurrency=8, cache=tmp_path / "replies")
    contents = [*odd, *map(str, range(50))]
    rng.shuffle(contents)
    for cached in (False, True):
        with pytest.warns(UserWarning, match="of 250 requests got no usable reply"):
            replies = dict(zip(contents, complete(endpoint, map(chat, contents), 5), strict=True))
        for i in range(50):
            assert replies[str(i)] == Reply(f"echo {i}", "stop") and replies[str(i)].cached == cached
