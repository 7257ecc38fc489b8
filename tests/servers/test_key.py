"""The key of an endpoint: a server that repeats it, in a good reply or a bad one, puts it in no file or message."""

import base64
import json
import urllib.parse
import warnings

import pytest
from scripted_server import KEY, chat, completion, entry, error_body, files, refusal

from nbhelpers.servers import Endpoint, complete
from nbhelpers.servers.redaction import Secret

ODD_KEY = "sk-/+=\"&<\\'0123456789"  # every character that some encoding escapes


def in_json(key):
    return "".join(f"\\u{ord(c):04x}" for c in key)


FORMS = {
    "plain": lambda key: key,
    "in a sentence": lambda key: f"Incorrect API key provided: Bearer {key}, sorry",
    "JSON": lambda key: json.dumps(key).replace("/", "\\/"),
    "JSON, every character": in_json,
    "JSON in JSON": lambda key: json.dumps(in_json(key)),
    "URL": lambda key: f"https://host/?key={urllib.parse.quote(key, safe='')}&x=1",
    "URL, every character": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "URL, twice": lambda key: "".join(f"%25{ord(c):02X}" for c in key),
    "HTML": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
    "HTML, names": lambda key: key.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    "hexadecimal": lambda key: key.encode().hex().upper(),
    "Python": lambda key: repr(key.encode()),
    "in capitals": str.upper,
    **{
        f"base64, {before!r} before": lambda key, before=before: base64.b64encode(f"{before}{key}:x".encode()).decode()
        for before in ("", "a", "me", "you")
    },
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"Bearer {key}".encode()).decode(),
}


@pytest.mark.parametrize("key", [KEY, ODD_KEY, "0123456789abcdef" * 4])
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_recognised_in_every_disguise(key, form):
    disguised, secret = FORMS[form](key), Secret(key)
    redacted = secret.redact(f"before {disguised} after")
    assert "[key]" in redacted and redacted.startswith("before ") and redacted.endswith(" after")
    for some in (key, key.upper(), key.encode().hex(), disguised):
        assert some not in redacted
    assert secret.stands_in(disguised)
    assert key not in repr(secret) and key not in str(secret)


@pytest.mark.parametrize("text", ["sk-...6789", "sk-not-a-real-key-", "", "key", "\\u0073\\u006b"])
def test_what_is_not_the_key_stays(text):
    assert Secret(KEY).redact(text) == text and not Secret(KEY).stands_in(text)


def everything_kept(endpoint) -> str:
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files(endpoint))


ECHOES = {
    "text": completion(f"your key is {KEY}."),
    "base64": completion(base64.b64encode(f"me:{KEY}".encode()).decode()),
    "reasoning": {
        **completion("A"),
        "choices": [completion("A")["choices"][0] | {"message": {"content": "A", "reasoning": KEY}}],
    },
    "elsewhere": {**completion("A"), "headers": {"authorization": [f"Bearer {KEY}"]}, KEY: {"a": {"b": KEY}}},
    "bytes": {**completion("A"), "odd": list(KEY.encode())},
    "refusal": refusal(f"no {KEY}"),
    "finish_reason": completion("A", finish_reason=KEY),
    "null": completion(None, finish_reason=KEY),
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
@pytest.mark.filterwarnings("ignore:1 of 1 requests")
def test_a_key_in_a_good_reply_is_neither_kept_nor_returned(server, endpoint, monkeypatch, answer):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answer = lambda content, before: answer
    (reply,) = complete(endpoint, [chat("?")], 1)
    (again,) = complete(endpoint, [chat("?")], 1)
    assert reply == again and again.cached
    for place in (everything_kept(endpoint), repr(reply)):
        assert KEY not in place and str(list(KEY.encode())) not in place.replace("\n", "").replace("  ", " ")
        assert base64.b64encode(f"me:{KEY}".encode()).decode() not in place
    if answer is ECHOES["text"]:
        assert reply.text == "your key is [key]."


def test_a_key_that_tokens_spell_is_a_problem_of_one_item(server, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pieces = [KEY[i : i + 3] for i in range(0, len(KEY), 3)]
    whole = completion(f"it is {KEY}", {"content": [entry(f"it is {KEY}", -0.1, **{KEY: -0.1})]})
    spelled = completion("it is", {"content": [entry(p, -0.1, x=-0.1) for p in ["it is", " ", *pieces]]})
    fine = completion("x", {"content": [entry("x", -0.1, x=-0.1)]})
    server.answer = lambda content, before: {"whole": whole, "spelled": spelled}.get(content, fine)
    with pytest.warns(UserWarning, match="1 of 3 requests .* request 1: the tokens of the reply spell the key"):
        one, two, three = complete(endpoint, [chat("whole"), chat("spelled"), chat("fine")], 1, top_logprobs=2)
    assert (one.text, one.tokens, one.alternatives) == ("it is [key]", ("it is [key]",), ((("[key]", -0.1),),))
    assert two.text is None and three.text == "x"
    assert len(files(endpoint)) == 2 and KEY not in everything_kept(endpoint)
    assert str(KEY.encode()[0:5]) not in everything_kept(endpoint)


WRAPS = [
    str.encode,
    error_body,
    lambda text: json.dumps({"choices": text}).encode(),
    lambda text: text.encode().rjust(10_001),  # the cut of a long body takes the last character
    lambda text: json.dumps([" " * 985, text]).encode(),
]


@pytest.mark.parametrize("status", [200, 307, 400, 401, 418, 500])
def test_a_key_in_a_bad_reply_stands_in_no_message(server, endpoint, monkeypatch, status):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = Endpoint(server.url, "m", retries=0, cache=endpoint.cache)
    headers = {"Location": f"http://{KEY}:{KEY}@127.0.0.1/{KEY}"}
    for name, form in FORMS.items():
        for wrap in WRAPS:
            answer = status, headers, wrap(f"no: {form(KEY)}")
            server.answer = lambda content, before, answer=answer: answer
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    told = complete(endpoint, [chat("?")], 1)[0].problem
                except RuntimeError as error:
                    told = str(error)
            told += "".join(str(one.message) for one in caught)
            for some in (KEY, KEY.upper(), KEY[:-1], form(KEY)):
                assert some not in told, (name, wrap)
    assert everything_kept(endpoint) == ""


@pytest.mark.parametrize("key", ["EMPTY", "none", "not-needed", "x"])
def test_a_word_in_place_of_a_key_may_stand_in_a_reply(server, endpoint, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.answer = lambda content, before: completion(f"the set is {key}")
    assert complete(endpoint, [chat(f"is it {key}?")], 1)[0].text == f"the set is {key}"


@pytest.mark.parametrize(
    "chats, options, place",
    [
        ([chat("a"), chat(f"my key is {KEY}")], {}, "chat 1 holds"),
        ([chat("a")], {"stop": KEY}, "the request's options hold"),
        ([chat("a")], {"extra_body": {"api_key": KEY}}, "the request's options hold"),
    ],
)
def test_a_request_that_holds_the_key_is_refused(server, endpoint, monkeypatch, chats, options, place):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ValueError, match=f"{place} the key that OPENAI_API_KEY holds") as caught:
        complete(endpoint, chats, 1, **options)
    assert KEY not in str(caught.value) and server.bodies == [] and not endpoint.cache.exists()


def test_a_password_of_a_proxy_stands_in_no_message(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "gopher://me:pass-word@127.0.0.1:9")
    with pytest.raises(ValueError, match=r"the HTTP client cannot be set up .*: look at HTTP_PROXY") as caught:
        complete(Endpoint("https://api.example.org/v1", "m", cache=None), [chat("?")], 1)
    assert "pass-word" not in str(caught.value) and caught.value.__context__ is None
