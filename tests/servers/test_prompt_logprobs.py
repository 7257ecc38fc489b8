"""Scores from a server: of what vLLM answered, of a stand-in that knows the truth, and of servers that fail."""

import json
import signal
import threading

import pytest
from conformance_backends import truth_of
from scripted_server import files, wait_until
from vllm_stand_in import VllmStandIn, from_recording, from_truth, spell

import nbhelpers as nb
from nbhelpers.conformance import Request, check_backend, expected
from nbhelpers.servers import Endpoint, transport
from nbhelpers.servers.prompt_logprobs import score_rows
from nbhelpers.windows import sliding_windows

KEY = "sk-not-a-real-key-0123456789"
START = "<|endoftext|>"
TEXT = "the red king and the old queen of stone, “é日本”, " * 8


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def serve():
    """Starts stand-ins; all are closed afterwards."""
    made = []

    def start(answer):
        made.append(VllmStandIn(answer))
        return made[-1]

    yield start
    for server in made:
        server.close()


@pytest.fixture
def llama(serve):
    return serve(from_truth("llama"))


@pytest.fixture
def qwen2(serve):
    return serve(from_truth("qwen2"))


@pytest.fixture
def endpoint_of(tmp_path):
    return lambda server, **options: Endpoint(
        server.url, "known", **{"cache": tmp_path / "replies", "retries": 0, "timeout": 10} | options
    )


def true_totals(architecture, prompts, answers):
    return expected(architecture, [Request("", *pair) for pair in zip(prompts, answers, strict=True)])


# --- What vLLM answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "architecture, start, prompts, answers, merged",
    [
        ("llama", None, [" the red"], [" king"], False),
        ("llama", None, [""], [" the red king"], False),
        ("llama", None, [" bee ret"], ["urn"], True),
        ("llama", None, ["<s> the"], [" red king"], False),
        ("llama", None, [" x"], [" “日本” é😀 king"], False),
        ("llama", None, [" x "], ["“日本” é😀 king"], False),  # the space is the answer's
        ("llama", None, [" x “日"], ["本” é😀 king"], False),
        ("qwen2", None, [" the red"], [" king"], False),
        ("qwen2", START, [""], ["blue red the"], False),
    ],
)
def test_what_vllm_answered_is_the_truth(serve, endpoint_of, architecture, start, prompts, answers, merged):
    endpoint = endpoint_of(serve(from_recording(architecture)), start_token=start)
    (score,) = nb.score_answers(endpoint, prompts, answers)
    assert [score.total] == pytest.approx(true_totals(architecture, prompts, answers), abs=1e-4)
    assert (score.prompt, score.answer) == (prompts[0], answers[0]) and score.merged_boundary is merged
    assert len(score.token_ids) == len(score.tokens) == len(score.logprobs)


@pytest.mark.parametrize(
    "prompt, said",
    [
        (" red" * 199, "item 0: the server answered 400: This model's maximum context length is 128 tokens"),
        ([5] * 128, "longer than the maximum model length of 128"),
        ([1, 99999], "Token id 99999 is out of vocabulary"),
    ],
)
def test_what_vllm_refused_is_an_error_with_its_words(serve, endpoint_of, prompt, said):
    endpoint = endpoint_of(serve(from_recording("llama")))
    if isinstance(prompt, str):
        with pytest.raises(RuntimeError, match=said):
            nb.score_answers(endpoint, prompt, [" red"])
    else:
        (row,) = score_rows(endpoint, [prompt])
        assert said in row.problem


@pytest.mark.parametrize(
    "architecture, start, text", [("llama", None, " the red king"), ("qwen2", START, "blue red the")]
)
def test_perplexity_from_what_vllm_answered(serve, endpoint_of, architecture, start, text):
    found = nb.perplexity(endpoint_of(serve(from_recording(architecture)), start_token=start), text)
    assert found.nats == pytest.approx(-true_totals(architecture, [""], [text])[0], abs=1e-4)
    assert (found.tokens, found.words, found.bytes) == (3, 3, len(text)) and found.window == 126
    assert found.first_token == (start or "<s>")


# --- Whatever is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture, start", [("llama", None), ("counts", None), ("qwen2", START), ("gpt2", START)])
def test_scores_through_a_server_have_every_property(serve, endpoint_of, architecture, start):
    endpoint = endpoint_of(serve(from_truth(architecture)), start_token=start, concurrency=8)

    def score(pairs):
        return [found.total for found in nb.score_answers(endpoint, *zip(*pairs, strict=True))]

    report = check_backend(score, architecture, longest=127)
    assert report.passed, report


def test_each_distinct_text_is_asked_once_and_a_rerun_asks_nothing(llama, endpoint_of):
    endpoint = endpoint_of(llama, concurrency=3)
    prompts, answers = [" the", " the red", " the", " bee"], [" red king", " king", " red king", " sea"]
    first = nb.score_answers(endpoint, prompts, answers)
    assert sorted(map(str, llama.prompts)) == sorted(["a", "[1, 1]", " the red king", " bee sea"])
    assert all(body["max_tokens"] == 0 and body["prompt_logprobs"] == 0 for _, body in llama.asked)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files(endpoint)) and len(files(endpoint)) == 4
    llama.close()
    assert nb.score_answers(endpoint, prompts, answers) == first
    # Another boundary in a text that is known needs no server either.
    assert nb.score_answers(endpoint, [" the red king"[:4]], [" red king"])[0] == first[0]
    assert first[0].total != first[1].total and first[0] == first[2]


def test_is_greedy_is_the_models_own_choice_at_every_token(llama, endpoint_of):
    table = truth_of("llama")._table([1, 290])
    (word,) = spell([int(table[-1].argmax())])
    right, wrong, half = nb.score_answers(endpoint_of(llama), " the", [word, " red", f"{word} red"])
    assert right.is_greedy and not wrong.is_greedy and not half.is_greedy
    assert half.logprobs[0] == right.logprobs[0]


def test_a_start_token_is_never_doubled_nor_scored(llama, endpoint_of):
    endpoint = endpoint_of(llama)
    plain, written, whole = nb.score_answers(endpoint, [" the", "<s> the", ""], [" red", " red", "<s> the red"])
    assert plain.logprobs == written.logprobs and written.prompt == "<s> the"
    assert len(whole.logprobs) == 2 and whole.logprobs[1] == plain.logprobs[0]
    with pytest.raises(RuntimeError, match="item 0: the server makes no token of the answer '<s>'"):
        nb.score_answers(endpoint, "", ["<s>"])


def test_where_nothing_precedes_the_first_token(qwen2, endpoint_of):
    for prompt, answer in [("", "red"), ("ret", "urn")]:  # "return" is one token
        with pytest.raises(RuntimeError, match=r"1 of 2 answers .* item 1: nothing precedes .* name the start_token"):
            nb.score_answers(endpoint_of(qwen2), [" the", prompt], [" red", answer])
        found = nb.score_answers(endpoint_of(qwen2, start_token=START), [" the", prompt], [" red", answer])
        assert [one.total for one in found] == pytest.approx(
            true_totals("qwen2", [" the", prompt], [" red", answer]), abs=1e-6
        )
        assert found[1].prompt == prompt and found[1].merged_boundary is (prompt != "")
    with pytest.raises(ValueError, match="start_token=' the red' is 2 tokens"):
        nb.score_answers(endpoint_of(qwen2, start_token=" the red"), "", ["red"])
    with pytest.raises(ValueError, match=r"nothing precedes the first token, .* name the start_token"):
        nb.perplexity(endpoint_of(qwen2), "the red")


def test_no_answers_ask_nothing(llama, endpoint_of):
    assert nb.score_answers(endpoint_of(llama), "x", []) == [] and llama.asked == []


def test_a_boundary_that_the_server_does_not_show_is_an_error(llama, endpoint_of):
    """Two characters over six tokens, spelled at the last: which tokens make up the first one cannot be told."""

    def spoil(path, body, status, reply):
        if body["prompt"] == "日本 red":
            entries = [entry for entry in reply["choices"][0]["prompt_logprobs"][1:7] for entry in entry.values()]
            for entry, spelled in zip(entries, ["", "", "", "", "", "日本"], strict=True):
                entry["decoded_token"] = spelled
        return status, reply

    llama.spoil = spoil
    with pytest.raises(
        RuntimeError, match=r"item 1: the prompt ends within characters that share tokens.*\('日本 red'\)"
    ):
        nb.score_answers(endpoint_of(llama), ["日本", "日", ""], [" red", "本 red", "日本 red"])
    found = nb.score_answers(endpoint_of(llama), ["日本", ""], [" red", "日本 red"])  # the boundary lies elsewhere
    assert [one.total for one in found] == pytest.approx(
        true_totals("llama", ["日本", ""], [" red", "日本 red"]), abs=1e-6
    )


# --- Perplexity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture, start", [("llama", None), ("qwen2", START)])
@pytest.mark.parametrize("window, stride", [(None, None), (30, 30), (30, 7)])
def test_perplexity_over_windows(serve, endpoint_of, architecture, start, window, stride):
    server, truth = serve(from_truth(architecture)), truth_of(architecture)
    texts = [TEXT, "a red"]
    found = nb.perplexity(endpoint_of(server, start_token=start), texts, window, stride)
    window, stride = window or 126, stride or 63
    nats = tokens = 0
    for text in texts:
        ids = server.answer("/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]
        row = [truth.architecture.start_id, *ids]
        for begin, scored, end in sliding_windows(len(ids), window, stride):
            table = truth._table(row[begin:end])
            nats -= sum(table[i - begin, row[i + 1]] for i in range(scored, end))
            tokens += end - scored
    assert found.nats == pytest.approx(nats, abs=1e-6) and found.tokens == tokens
    assert (found.window, found.stride, found.first_token) == (window, stride, start or "<s>")
    joined = "".join(texts)
    assert (found.characters, found.bytes) == (len(joined), len(joined.encode()))
    assert found.words == sum(len(text.split()) for text in texts)


def test_a_start_token_in_the_text_is_context(llama, endpoint_of):
    endpoint = endpoint_of(llama)
    assert nb.perplexity(endpoint, "<s>the red", 9) == nb.perplexity(endpoint, "the red", 9)
    with pytest.raises(ValueError, match="text 0 holds nothing but the token that begins every text"):
        nb.perplexity(endpoint, "<s>")


def test_a_server_without_tokenize_scores_what_fits(llama, endpoint_of):
    def without(path, body, status, reply):
        return (404, {"error": "no such path"}) if path == "/tokenize" else (status, reply)

    llama.spoil = without
    whole = nb.perplexity(endpoint_of(llama, cache=None), ["the red king", "a sea"])
    assert whole.nats == pytest.approx(-sum(true_totals("llama", [""] * 2, ["the red king", "a sea"])), abs=1e-6)
    assert whole.window == whole.stride == max(whole.window, 2) and whole.first_token == "<s>"
    with pytest.raises(ValueError, match=r"window=1 and a text of \d+ tokens: the server has no /tokenize"):
        nb.perplexity(endpoint_of(llama, cache=None), "the red king", 1)
    with pytest.raises(RuntimeError, match=r"maximum context length .* so each text must fit its context"):
        nb.perplexity(endpoint_of(llama, cache=None), TEXT * 2)


# --- What means nothing to a server -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ({"boundary": "split"}, ValueError, "boundary='split' with an Endpoint: the server encodes"),
        ({"engine": "packed"}, ValueError, "engine='packed' with an Endpoint: the server computes with its own engine"),
        ({"token_budget": 100}, ValueError, "token_budget=100 with an Endpoint: .* Leave token_budget out"),
        ({"chat_template_kwargs": {"x": 1}}, ValueError, "chat_template_kwargs=.* chats must be rendered"),
        ({"prompts": [[{"role": "user", "content": "Hi"}]]}, ValueError, r"item 0 is a chat, .*apply_chat_template"),
        ({"prompts": [3]}, TypeError, "the prompt of item 0 must be a string"),
        ({"prompts": ["\ud800"]}, ValueError, "not valid Unicode"),
        ({"answers": [""]}, ValueError, "the answer of item 0 is empty"),
        ({"answers": " red"}, TypeError, "answers is a single string"),
        ({"prompts": ["a", "b"]}, ValueError, "2 prompts and 1 answers"),
    ],
)
def test_refused_arguments(llama, endpoint_of, arguments, error, said):
    with pytest.raises(error, match=said):
        nb.score_answers(endpoint_of(llama), **{"prompts": "x", "answers": [" red"], **arguments})
    assert llama.asked == []


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ({"token_budget": 100}, ValueError, "token_budget=100 with an Endpoint"),
        ({"window": 127}, ValueError, "window=127: 'known' reads from 1 to 126 tokens at once"),
        ({"window": 8, "stride": 9}, ValueError, "stride=9 with window=8"),
        ({"text": []}, ValueError, "there is no text"),
        ({"text": [3]}, TypeError, "text 0 must be a string"),
    ],
)
def test_refused_arguments_of_perplexity(llama, endpoint_of, arguments, error, said):
    with pytest.raises(error, match=said):
        nb.perplexity(endpoint_of(llama), **{"text": "a red", **arguments})


# --- Servers that fail ------------------------------------------------------------------------------------------------


def about(prompt, change):
    """Change the reply to one text; `change` gets its JSON."""

    def spoil(path, body, status, reply):
        return change(reply) if body["prompt"] == prompt else (status, reply)

    return spoil


def entry(**fields):
    """Change the last token's entry."""

    def change(reply):
        (found,) = reply["choices"][0]["prompt_logprobs"][-1].values()
        found |= fields
        return 200, reply

    return change


def choice(**fields):
    def change(reply):
        reply["choices"][0] |= fields
        return 200, reply

    return change


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda reply: (500, b"oops"), "the server answered 500: oops"),
        (lambda reply: (200, b"<html>"), "the reply is not JSON"),
        (lambda reply: (200, b"[" * 100_000), "the reply is not JSON, or half of it"),
        (lambda reply: (200, []), "no log-probabilities of the prompt"),
        (lambda reply: (200, {"choices": []}), "no log-probabilities of the prompt"),
        (lambda reply: (200, {"choices": reply["choices"] * 2}), "no log-probabilities of the prompt"),
        (choice(prompt_logprobs=None), "no log-probabilities of the prompt"),
        (choice(prompt_token_ids="abc"), "no log-probabilities of the prompt"),
        (choice(prompt_token_ids=[]), "0 token ids and log-probabilities of 4 tokens"),
        (choice(prompt_token_ids=[1, 2, 3, 4]), "token 1 of the prompt has no log-probability"),
        (choice(prompt_token_ids=[1, True, 3, 4]), "token 1 has the id True"),
        (choice(prompt_token_ids=[-1, 290, 260, 438]), "token 0 has the id -1"),
        (choice(prompt_logprobs=[None] * 4), "token 1 of the prompt has no log-probability: None"),
        (entry(logprob=0.5), "0.5 is no log-probability"),
        (entry(logprob="-1"), "'-1' is no log-probability"),
        (entry(logprob=True), "True is no log-probability"),
        (entry(logprob=None), "None is no log-probability"),
        (entry(logprob=float("nan")), "nan is no log-probability"),
        (entry(logprob=float("-inf")), "-inf is no log-probability"),
        (entry(logprob=-(10**400)), "out of range"),
        (entry(rank=0), "token 3 has the rank 0"),
        (entry(rank=None), "token 3 has the rank None"),
        (entry(decoded_token=None), "token 3 is spelled None"),
        (entry(decoded_token=" kong"), "the server's tokens read ' the red kong', which is not the text"),
        (entry(decoded_token="\x1b[31m king"), "the server's tokens read"),
        (lambda reply: (200, b" " * (transport.LARGEST_BODY + 1)), "the reply is longer than 16,777,216 bytes"),
    ],
)
def test_whatever_a_server_sends_is_one_error_with_a_sentence(llama, endpoint_of, change, said):
    llama.spoil = about(" the red king", change)
    endpoint = endpoint_of(llama)
    with pytest.raises(RuntimeError) as caught:
        nb.score_answers(endpoint, [" the red", " bee"], [" king", " sea"])
    message = str(caught.value)
    assert type(caught.value) is RuntimeError and said in message and "\x1b" not in message
    assert message.startswith(f"1 of 2 answers have no score from {llama.url}; the first is item 0: ")
    assert len(message) < 900 and caught.value.__context__ is None
    llama.spoil = lambda path, body, status, reply: (status, reply)
    asked = len(llama.asked)
    assert len(nb.score_answers(endpoint, [" the red", " bee"], [" king", " sea"])) == 2
    assert set(llama.prompts[asked:]) <= {" the red king"}  # the rest was kept


def test_a_server_that_cannot_score_ends_the_call_at_once(serve, endpoint_of):
    plain = {"choices": [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "length"}]}
    server = serve(lambda path, body: (200, plain))
    with pytest.raises(RuntimeError, match=r"no log-probabilities of the prompt, which .*vLLM gives them"):
        nb.score_answers(endpoint_of(server), "x", [f" {i}" for i in range(50)])
    assert len(server.asked) == 1


def test_a_server_whose_start_changes_is_an_error(llama, endpoint_of):
    """It reads other texts with other tokens before them than it read "a" with."""

    def spoil(path, body, status, reply):
        if body["prompt"] == " the red":
            reply["choices"][0]["prompt_token_ids"][0] = 5
        return status, reply

    llama.spoil = spoil
    with pytest.raises(RuntimeError, match=r"item 0: the text begins with the tokens \(5,\), and another text with"):
        nb.score_answers(endpoint_of(llama), " the", [" red"])


def test_what_may_pass_is_asked_again(llama, endpoint_of):
    failures = iter([(503, b"busy"), (200, b"{"), (429, b"slow")])
    llama.spoil = lambda path, body, status, reply: next(failures, (status, reply))
    assert len(nb.score_answers(endpoint_of(llama, retries=3, concurrency=1), " the", [" red"])) == 1
    assert len(llama.asked) == 3 + 3


def test_nothing_is_lost_on_ctrl_c(llama, endpoint_of):
    endpoint = endpoint_of(llama, concurrency=1)
    answers = [f" {word}" for word in ("red", "blue", "green", "gold", "black", "white")]
    nb.score_answers(endpoint, " bee", [" sea"])  # what the server puts before a text is known
    before = len(llama.asked)

    def interrupt():
        wait_until(lambda: len(files(endpoint)) >= 3 + 3)
        llama.gate.clear()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    llama.spoil = lambda path, body, status, reply: (threading.Event().wait(0.1), (status, reply))[1]
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        nb.score_answers(endpoint, " the", answers)
    llama.gate.set()
    thread.join()
    # The one under way comes to its end and is kept as well.
    wait_until(lambda: not any("(work)" in running.name for running in threading.enumerate()))
    assert len(files(endpoint)) == len(llama.asked)
    sent = len(llama.asked) - before
    assert 3 <= sent < len(answers)
    assert [one.answer for one in nb.score_answers(endpoint, " the", answers)] == answers
    assert len(llama.asked) - before == len(answers)


def test_the_key_goes_to_the_server_and_nowhere_else(llama, endpoint_of, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = endpoint_of(llama)
    llama.spoil = about(" the red king", entry(decoded_token=KEY))
    with pytest.raises(RuntimeError, match=r"the server's tokens read ' the red\[key\]'") as caught:
        nb.score_answers(endpoint, " the red", [" king"])
    assert KEY not in repr(caught.value) and llama.headers[-1]["Authorization"] == f"Bearer {KEY}"
    llama.spoil = about(" the red king", lambda reply: (401, json.dumps({"error": f"no {KEY}"}).encode()))
    with pytest.raises(RuntimeError, match=r"1 of 1 requests to .* failed; .* answered 401: no \[key\]"):
        nb.score_answers(endpoint, " the red", [" king"])
    half = len(KEY) // 2
    words = choice(
        prompt_logprobs=[
            None,
            *({"5": {"logprob": -1.0, "rank": 2, "decoded_token": t}} for t in (KEY[:half], KEY[half:])),
        ],
        prompt_token_ids=[1, 5, 5],
    )
    llama.spoil = about(" the red king", words)
    with pytest.raises(RuntimeError, match="the tokens of the reply spell the key: it is not kept"):
        nb.score_answers(endpoint, " the red", [" king"])
    asked = len(llama.asked)
    with pytest.raises(ValueError, match="text 0 holds the key that OPENAI_API_KEY holds"):
        nb.score_answers(endpoint, f" {KEY}", [" king"])
    assert len(llama.asked) == asked
    assert not any(KEY in path.read_text() for path in files(endpoint))


# --- Several addresses ------------------------------------------------------------------------------------------------


def test_each_prefix_meets_one_replica(serve, tmp_path):
    first, second = serve(from_truth("llama")), serve(from_truth("llama"))
    prompts = [f" {one} {two}" for one in ("the", "bee") for two in ("red", "blue", "green", "gold")]
    answers = [" king", " queen", " sea", " stone"]
    pairs = [(prompt, answer) for answer in answers for prompt in prompts]  # no prompt beside its like
    endpoint = Endpoint([first.url, second.url], "known", cache=tmp_path / "replies", concurrency=2)
    found = nb.score_answers(endpoint, *zip(*pairs, strict=True))
    assert [one.total for one in found] == pytest.approx(true_totals("llama", *zip(*pairs, strict=True)), abs=1e-6)
    met = [
        {text.removesuffix(answer) for text in server.prompts for answer in answers if str(text).endswith(answer)}
        for server in (first, second)
    ]
    assert set.union(*met) == set(prompts) and not set.intersection(*met)
    # The words that begin the prompts share less than the prompts do, so the cut lies between them.
    assert {frozenset(prompt.split()[0] for prompt in one) for one in met} == {frozenset({"the"}), frozenset({"bee"})}
    asked = len(first.asked) + len(second.asked)
    # The cache knows the model by the first address: another replica more changes nothing.
    assert nb.score_answers(Endpoint(first.url, "known", cache=endpoint.cache), *zip(*pairs, strict=True)) == found
    assert len(first.asked) + len(second.asked) == asked


def test_a_replica_that_is_gone_is_named_and_the_rest_is_kept(serve, tmp_path):
    first, second = serve(from_truth("llama")), serve(from_truth("llama"))
    endpoint = Endpoint((first.url, second.url), "known", cache=tmp_path / "replies", retries=0)
    nb.score_answers(endpoint, " the", [" red"])
    second.close()
    prompts = [f" {word}" for word in ("red", "blue", "green", "gold")]
    with pytest.raises(RuntimeError, match=f"requests to {first.url} and {second.url} failed.* connection failed"):
        nb.score_answers(endpoint, prompts, [" sea"] * 4)
    alone = Endpoint(first.url, "known", cache=endpoint.cache)
    assert len(nb.score_answers(alone, prompts, [" sea"] * 4)) == 4
