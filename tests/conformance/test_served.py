"""A server that serves one of the models: what it gets right, and what foreign data becomes."""

import json

import pytest
from completions_server import CompletionsServer

from nbhelpers.conformance import Request, check_backend, expected
from nbhelpers.conformance.served import server_backend
from nbhelpers.servers import Endpoint, transport

KEY = "sk-not-a-real-key-0123456789"


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server(request):
    made = CompletionsServer(getattr(request, "param", "llama"))
    yield made
    made.close()


def backend(server, **options):
    return server_backend(Endpoint(server.url, "m", cache=None, retries=0, **options))


@pytest.mark.parametrize("server", ["llama", "counts"], indirect=True)
def test_a_right_server_has_every_property(server):
    report = check_backend(backend(server), server.truth.architecture.name, longest=127)
    assert report.passed, report
    asked = server.bodies[0]
    assert asked["echo"] is True and asked["logprobs"] == 1 and asked["max_tokens"] == 1 and asked["model"] == "m"


@pytest.mark.parametrize("server", ["gpt2"], indirect=True)
def test_nothing_precedes_the_first_token_of_a_server_without_bos(server):
    report = check_backend(backend(server), "gpt2", longest=127)
    assert report.failures == ["BOS"]
    assert "the server gives no log-probability of the first token: nothing precedes it" in str(report)


def first_lost(body):
    for choice in body["choices"]:
        choice["logprobs"]["token_logprobs"].insert(0, None)
        choice["logprobs"]["token_logprobs"].pop()
    return body


def test_a_server_whose_numbers_are_one_late_is_noticed(server):
    server.spoil = first_lost
    assert "shift" in check_backend(backend(server), "llama", longest=127).failures


def without_the_written_token(body):
    for choice in body["choices"]:
        choice["logprobs"]["tokens"].pop()
        choice["logprobs"]["token_logprobs"].pop()
    return body


def test_a_server_that_writes_nothing_is_read_too(server):
    right = backend(server)([(" the red", " king")])
    server.spoil = without_the_written_token
    assert backend(server)([(" the red", " king")]) == right


# What vLLM 0.32.0 on a CPU answered about the model "llama" in float32, shortened to the fields that are read.
RECORDED = {
    "choices": [
        {
            "index": 0,
            "text": " the red kingra",
            "logprobs": {
                "text_offset": [0, 3, 7, 11, 16],
                "token_logprobs": [
                    None,
                    -7.961677074432373,
                    -13.575653076171875,
                    -10.838411331176758,
                    -2.1546101570129395,
                ],
                "tokens": ["<s>", " the", " red", " king", "ra"],
            },
            "finish_reason": "length",
        }
    ]
}


def test_what_vllm_answered_is_the_truth(server):
    server.spoil = lambda body: RECORDED
    (one,) = backend(server)([(" the red", " king")])
    (two,) = backend(server)([(" the", " red king")])
    truth = expected("llama", [Request("", " the red", " king"), Request("", " the", " red king")])
    assert [one, two] == pytest.approx(truth, abs=1e-4)


def with_logprobs(**changed):
    def spoil(body):
        body["choices"][0]["logprobs"] |= changed
        return body

    return spoil


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda body: b"<html>", "the reply is not JSON"),
        (lambda body: b"[" * 100_000, "the reply is not JSON, or half of it"),
        (lambda body: [], "no log-probabilities of the prompt"),
        (lambda body: {"choices": []}, "0 choices for 1 texts"),
        (lambda body: {"choices": body["choices"] * 2}, "2 choices for 1 texts"),
        (lambda body: {"choices": [{"index": 0, "text": "x", "logprobs": None}]}, "no log-probabilities of the prompt"),
        (with_logprobs(tokens=[1, 2]), "no log-probabilities of the prompt"),
        (with_logprobs(tokens=["a"], token_logprobs=[0.5]), "0.5 is no log-probability"),
        (with_logprobs(tokens=["a"], token_logprobs=["-1"]), "'-1' is no log-probability"),
        (with_logprobs(tokens=["a"], token_logprobs=[True]), "True is no log-probability"),
        (with_logprobs(tokens=["a"], token_logprobs=[float("nan")]), "nan is no log-probability"),
        (lambda body: b" " * (transport.LARGEST_BODY + 1), "the reply is longer than 16,777,216 bytes"),
    ],
)
def test_whatever_a_server_sends_is_one_error_with_a_sentence(server, spoil, said):
    server.spoil = spoil
    with pytest.raises(RuntimeError, match=f"^{server.url}/completions: .*{said}"):
        backend(server)([(" the red", " king")])


def test_a_reply_with_too_few_tokens_is_named(server):
    server.spoil = with_logprobs(tokens=["a", "b"], token_logprobs=[None, -1.0])
    with pytest.raises(ValueError, match="the server read 1 tokens, and the answer alone has 2"):
        backend(server)([(" the", " red king")])


def test_a_status_is_named_and_the_key_goes_nowhere(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.status = 401
    server.spoil = lambda body: json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()
    with pytest.raises(RuntimeError, match=r"the server answered 401: bad key \[key\]") as caught:
        backend(server)([(" the red", " king")])
    assert caught.value.__context__ is None or KEY not in repr(caught.value.__context__)
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    server.status = 500
    with pytest.raises(RuntimeError, match="answered 500"):
        server_backend(Endpoint(server.url, "m", cache=None, retries=2))([(" the red", " king")])
    assert len(server.bodies) == 1 + 3


def test_a_server_that_is_not_there_is_one_error_of_the_check():
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", cache=None, retries=0)
    with pytest.raises(RuntimeError, match=r"answered none of 48 requests; the first: .*the connection failed"):
        check_backend(server_backend(endpoint), "llama", longest=127)
