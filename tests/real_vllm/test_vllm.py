"""Scoring through a real vLLM, which `make test-vllm` installs and each test starts (most of a minute)."""

import math

import pytest
from vllm_recording import RECORD, ask_all, record, recorded
from vllm_server import NAME, PYTHON, serving

import nbhelpers as nb
from nbhelpers.conformance import check_backend, write_model
from nbhelpers.embedded import embedded_folder

pytestmark = [pytest.mark.vllm, pytest.mark.skipif(not PYTHON, reason="run make test-vllm")]

START = {"llama": None, "counts": None, "qwen2": "<|endoftext|>", "qwen3": "<|endoftext|>"}
TEXT = "the red king and the old queen of stone, “é日本”, " * 12


def backend(endpoint: nb.Endpoint):
    """`score_answers` as the check of conformance asks it. Nothing is kept, so that each number is computed anew."""

    def score(pairs):
        prompts, answers = zip(*pairs, strict=True)
        return [found.total for found in nb.score_answers(endpoint, prompts, answers)]

    return score


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_known_model_has_every_property(tmp_path, architecture):
    folder = write_model(tmp_path / "model", architecture)
    with serving(folder, tmp_path / "log") as server:
        endpoint = nb.Endpoint(server.url, NAME, cache=None, retries=0, concurrency=16, start_token=START[architecture])
        answers = ask_all(server.url.removesuffix("/v1"), architecture, NAME)
        report = check_backend(backend(endpoint), architecture, longest=127)
        print(f"score_answers through vLLM on {report}")
        assert report.passed, report
        same_as_ours(endpoint, nb.load_model(folder, dtype="float32"))
    if RECORD:
        record(architecture, answers)
    assert_alike(answers, recorded()[architecture])


def same_as_ours(endpoint, lm):
    asked = [" the", " “", "x “é", "", " bee ret", "the "], [" red king", "日本", "日本", " red", "urn", "red"]
    for served, ours in zip(nb.score_answers(endpoint, *asked), nb.score_answers(lm, *asked), strict=True):
        assert (served.token_ids, served.tokens) == (ours.token_ids, ours.tokens)
        assert served.merged_boundary == ours.merged_boundary and served.is_greedy == ours.is_greedy
        assert served.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
    for window, stride in ((126, 126), (50, 20)):
        served, ours = (nb.perplexity(model, [TEXT, "a red"], window, stride) for model in (endpoint, lm))
        assert served.nats == pytest.approx(ours.nats, abs=1e-4 * ours.tokens)
        counts = [name for name in vars(ours) if name != "nats"]
        assert [getattr(served, name) for name in counts] == [getattr(ours, name) for name in counts]


def assert_alike(got, want, place=""):
    """Equal, but for rounding."""
    if isinstance(want, float) or isinstance(got, float):
        assert math.isclose(got, want, abs_tol=1e-4), f"{place}: {got}, recorded {want}"
    elif isinstance(want, dict):
        assert set(got) == set(want), place
        for name in want:
            assert_alike(got[name], want[name], f"{place}/{name}")
    elif isinstance(want, list):
        assert len(got) == len(want), place
        for number, (one, other) in enumerate(zip(got, want, strict=True)):
            assert_alike(one, other, f"{place}/{number}")
    else:
        assert got == want, f"{place}: {got!r}, recorded {want!r}"


@pytest.mark.embedded
def test_the_embedded_model_gives_our_numbers(embedded, tmp_path):
    with serving(embedded_folder(), tmp_path / "log", "--max-model-len", "512") as server:
        endpoint = nb.Endpoint(server.url, NAME, cache=tmp_path / "replies", timeout=120, start_token="<|im_start|>")
        asked = ["The capital of France is"] * 2 + ["x = 5\nret", ""], [" Paris", " London", "urn", "Paris"]
        served, ours = nb.score_answers(endpoint, *asked), nb.score_answers(embedded, *asked)
        for one, other in zip(served, ours, strict=True):
            assert one.token_ids == other.token_ids and one.is_greedy == other.is_greedy
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
        measured = nb.perplexity(endpoint, "Paris is the capital of France and lies on the Seine.", 8, 4)
        expected = nb.perplexity(embedded, "Paris is the capital of France and lies on the Seine.", 8, 4)
        assert measured.nats == pytest.approx(expected.nats, abs=1e-2) and measured.tokens == expected.tokens
    assert nb.score_answers(endpoint, *asked) == served  # the server is gone
