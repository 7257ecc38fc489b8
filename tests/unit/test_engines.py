"""Both engines give the oracle's numbers, on models of many kinds; where packing cannot, it is noticed."""

import os
import platform
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
import transformers
from conftest import TRAINING_TEXT, make_model, make_tokenizer
from test_scoring import ANSWERS, PROMPTS, agree, start_tokens

import nbhelpers as nb
from nbhelpers import engines, head, packed

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
WIDER = {**SIZE, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 64}
TOKENS = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}


def model_of(architecture: str, **options):
    """A small random-weight model by the name of its class in transformers."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(vocab_size=len(tokenizer), **TOKENS, **options)
    model = getattr(transformers, f"{architecture}ForCausalLM")(config)
    return nb.wrap_model(model, tokenizer, architecture)


def random_requests(seed: int, n: int = 30) -> tuple[list[str], list[str]]:
    """Prompts and answers cut from a few texts, so that they share beginnings in every way, duplicates included."""
    rng = random.Random(seed)
    prompts, answers = [], []
    for _ in range(n):
        text = rng.choice(TRAINING_TEXT)[:60]
        cut = rng.randrange(0, len(text) - 1)
        end = rng.randrange(cut + 1, min(len(text), cut + 12) + 1)
        prompts.append(text[:cut])
        answers.append(text[cut:end])
    return prompts, answers


def matches_the_oracle(lm, model64, prompts, answers, **options) -> bool:
    scores = nb.score_answers(lm, prompts, answers, **options)
    return all(
        agree(score, *oracle.answer(model64, lm.tokenizer, prompt, answer, *start_tokens(lm)))
        for prompt, answer, score in zip(prompts, answers, scores, strict=True)
    )


@pytest.mark.parametrize("engine", ["plain", "packed"])
@pytest.mark.parametrize("budget", [1, 5, 64, 100_000])
def test_both_engines_match_the_oracle(tiny, tiny64, engine, budget):
    assert matches_the_oracle(tiny, tiny64, PROMPTS, ANSWERS, engine=engine, token_budget=budget)


@pytest.mark.parametrize("seed", range(int(os.environ.get("NBHELPERS_FUZZ", "5"))))
def test_random_requests_match_the_oracle(tiny, tiny64, seed, monkeypatch):
    """`make fuzz` asks for 500 sets of requests for each of the four models."""
    prompts, answers = random_requests(seed, 12)
    rng = random.Random(seed)
    budget = rng.choice([1, 2, 3, 5, 8, 13, 30, 64, 1_000])
    sliced = rng.choice([(1, 400), (3, 37), (7, 133), (256, 2_048)])
    for device in ("SLICE_ON_CPU", "SLICE_ELSEWHERE"):
        monkeypatch.setattr(head, device, sliced)
    engine = "packed" if seed % 4 else "plain"
    assert matches_the_oracle(tiny, tiny64, prompts, answers, engine=engine, token_budget=budget)


@pytest.mark.embedded
@pytest.mark.parametrize("budget", [20, 512])
def test_the_embedded_model_packed_matches_the_oracle(embedded, embedded64, budget):
    assert matches_the_oracle(embedded, embedded64, PROMPTS, ANSWERS, engine="packed", token_budget=budget)


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("Granite", {**WIDER, "logits_scaling": 3.0}),  # logits are scaled after the head
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 64}),  # and capped
        ("Llama", {**WIDER, "attn_implementation": "eager"}),  # adds the mask instead of asking it
    ],
)
def test_other_kinds_of_models_can_be_packed(architecture, options):
    lm = model_of(architecture, **options)
    prompts, answers = random_requests(1)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed", token_budget=17)


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("Mistral", {**WIDER, "sliding_window": 8}),
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 8}),  # every other layer slides
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),  # ALiBi
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}),
    ],
)
def test_a_model_that_cannot_be_packed_is_noticed_and_still_right(architecture, options):
    lm = model_of(architecture, **options)
    prompts, answers = random_requests(2)
    with pytest.warns(UserWarning, match=f"'{architecture}' is scored request by request"):
        right = matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers)
    assert right
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one warning is enough
        nb.score_answers(lm, prompts, answers)
    with pytest.raises(ValueError, match='engine="packed" does not work with'):
        nb.score_answers(lm, prompts, answers, engine="packed")


def test_a_sliding_window_is_noticed_when_requests_grow_longer_than_it():
    """Within the window packing is exact. A trial on short requests must not vouch for long ones."""
    lm = model_of("Mistral", **{**WIDER, "sliding_window": 40, "max_position_embeddings": 128})
    model64 = oracle.in_float64(lm.model)
    short = ["The end"] * 3, [".", "?", "!"]
    assert matches_the_oracle(lm, model64, *short, engine="packed")
    long = (
        ["The capital of France is Paris, and the capital of Germany is. Is it the end? " * 3] * 3,
        [" A", " B", " C"],
    )
    assert len(lm.tokenizer.encode(long[0][0])) > 40
    with pytest.warns(UserWarning, match="looks back 40 tokens only, and the longest request has"):
        assert matches_the_oracle(lm, model64, *long)


def test_positions_that_depend_on_the_longest_row_are_never_mixed():
    """Long and dynamic RoPE choose frequencies by the longest row of a batch: the plain engine must not mix lengths."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10_000.0}
    rope["original_max_position_embeddings"] = 24
    lm = model_of("Phi3", **{**WIDER, "max_position_embeddings": 96}, rope_parameters=rope)
    long = "The capital of France is Paris, and the capital of Germany is Berlin. London, Madrid, "
    prompts = ["The capital of France is", "The end", long, long]
    with pytest.warns(UserWarning, match="positions depend on the length"):
        scores = nb.score_answers(lm, prompts + [long] * 3, [" Paris", ".", " is the", " and is", ".", "?", "!"])
    for engine in ("auto", "plain"):
        alone = [nb.score_answers(lm, s.prompt, [s.answer], engine=engine)[0] for s in scores]
        for score, truth in zip(scores, alone, strict=True):
            assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)


def test_attention_that_goes_by_the_place_in_the_row_is_refused():
    """GPT-Neo's local attention counts places in the row: short requests are wrong as soon as the tree is wide."""
    options = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "initializer_range": 0.3, "window_size": 16}
    options |= {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64}
    lm = model_of("GPTNeo", **options)
    answers = [f" {a}{b}{c}" for a in "abc" for b in "def" for c in "ghi"]
    with pytest.warns(UserWarning, match="not only on depth"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), ["The capital of France is"] * 27, answers)


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2"])
def test_attention_that_takes_no_mask_of_ours_is_refused(gpt2, monkeypatch, attention):
    monkeypatch.setattr(gpt2.model.config, "_attn_implementation_internal", attention)
    assert "takes no tree mask" in engines._obstacle(gpt2.model, 10)


def test_a_trial_holds_only_for_the_model_as_it_was():
    lm = model_of("Mistral", **{**WIDER, "sliding_window": 64})
    prompts, answers = random_requests(2)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")
    lm.model.config.sliding_window = 8
    with pytest.warns(UserWarning, match="looks back 8 tokens only"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers)

    lm = model_of("Granite", **WIDER, logits_scaling=1.0)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")
    lm.model.config.logits_scaling = lm.model.logits_scaling = 3.0
    for engine in ("plain", "packed"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine=engine)


def test_requests_of_one_repeated_token_are_tried_out_too(tiny, tiny64):
    prompts, answers = [" the the the the"] * 9, [" the" * n for n in range(1, 10)]
    assert matches_the_oracle(tiny, tiny64, prompts, answers, engine="packed", token_budget=5)


def test_a_spot_check_in_every_run_notices_what_the_trial_did_not(gpt2, monkeypatch):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "moody")
    prompts, answers = random_requests(4)
    truth = nb.score_answers(lm, prompts, answers, engine="packed")
    original = engines.score_packed

    def slightly_off(*arguments):
        logprobs, *others = original(*arguments)
        return logprobs + 0.1, *others

    monkeypatch.setattr(engines, "score_packed", slightly_off)
    with pytest.warns(UserWarning, match="packed, it gives other numbers"):
        scores = nb.score_answers(lm, prompts, answers)
    for score, right in zip(scores, truth, strict=True):
        assert score.logprobs == pytest.approx(right.logprobs, abs=1e-4)
    with pytest.raises(ValueError, match="packed, it gives other numbers"):
        nb.score_answers(lm, prompts, answers, engine="packed")


def test_bfloat16_is_packed_and_stays_near_float32(gpt2):
    half = nb.wrap_model(make_model("llama", len(gpt2.tokenizer)).bfloat16(), gpt2.tokenizer, "half")
    full = nb.wrap_model(make_model("llama", len(gpt2.tokenizer)), gpt2.tokenizer, "full")
    prompts, answers = random_requests(5)
    ours, theirs = (nb.score_answers(lm, prompts, answers, engine="packed") for lm in (half, full))
    apart = [abs(a.mean - b.mean) for a, b in zip(ours, theirs, strict=True)]
    assert sum(apart) / len(apart) < 0.1


def test_attention_in_blocks_gives_the_same_numbers_and_leaves_the_model_as_it_was(tiny, tiny64, monkeypatch):
    if tiny.device.type != "cpu":
        pytest.skip("only on a CPU does attention go block by block")
    monkeypatch.setattr(packed, "ATTENTION_BLOCK", 3)
    blocks = []
    original = packed._block_attention
    monkeypatch.setattr(packed, "_block_attention", lambda *a, **o: blocks.append(a[1].shape[2]) or original(*a, **o))
    prompts, answers = random_requests(6)
    assert matches_the_oracle(tiny, tiny64, prompts, answers, engine="packed", token_budget=40)
    assert max(blocks) > 3, "rows wider than a block were read"
    assert tiny.model.config._attn_implementation == "sdpa"

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "_read_row", stopped)
    with pytest.raises(KeyboardInterrupt):
        nb.score_answers(tiny, prompts, answers, engine="packed")
    assert tiny.model.config._attn_implementation == "sdpa"


def test_attention_in_blocks_leaves_a_bias_of_positions_whole():
    """It has a score for each pair of tokens, which blocks would tear apart: all of it goes to transformers."""
    query, key, value = (torch.randn(1, heads, 6, 4) for heads in (4, 2, 2))
    bias, mask = torch.randn(1, 4, 6, 6), torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    grouped = SimpleNamespace(num_key_value_groups=2)
    found, _ = packed._block_attention(grouped, query, key, value, mask, position_bias=bias)
    scores = query @ key.repeat_interleave(2, 1).mT / 2 + bias
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(found, (weights @ value.repeat_interleave(2, 1)).transpose(1, 2))


def test_two_threads_share_a_model(gpt2):
    prompts, answers = random_requests(8)
    alone = nb.score_answers(gpt2, prompts, answers, engine="packed")
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda _: nb.score_answers(gpt2, prompts, answers, engine="packed"), range(12))
        for scores in together:
            for score, truth in zip(scores, alone, strict=True):
                assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)
    assert gpt2.model.config._attn_implementation == "sdpa"


def test_tokens_that_the_model_does_not_know_yet_do_not_stop_the_trial(gpt2):
    """Added to the tokenizer and not yet to the embeddings: requests without them are scored as ever."""
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "grown")
    tokenizer.add_tokens([f"<new{i}>" for i in range(500)])
    prompts, answers = random_requests(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")


@pytest.mark.parametrize(
    "dtype, off, tokens, tolerated",
    [
        ("bfloat16", 0.3, 1, True),  # one token may be rounded so far, as one-letter answers of a real model were
        ("bfloat16", 0.3, 40, False),  # forty on average may not
        ("bfloat16", 0.6, 1, False),
        ("float32", 0.01, 1, False),
        ("float32", 1e-4, 40, True),
    ],
)
def test_how_far_the_engines_may_differ(gpt2, monkeypatch, dtype, off, tokens, tolerated):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)).to(getattr(torch, dtype)), gpt2.tokenizer, dtype)
    monkeypatch.setattr(engines, "score_plain", lambda *arguments: (torch.zeros(tokens), None))
    rows = [(np.zeros(tokens + 1, dtype=np.int32), 1)]
    assert (engines._difference(lm, rows, torch.full((tokens,), off), 64) == "") is tolerated


def test_every_distinct_prefix_is_read_once(gpt2, monkeypatch):
    read = []
    original = gpt2.model.transformer.forward
    monkeypatch.setattr(
        gpt2.model.transformer,
        "forward",
        lambda *args, **options: read.append(options.get("input_ids", *args[:1])) or original(*args, **options),
    )
    answers = [" of France", " of Germany", " of", " of France"]
    nb.score_answers(gpt2, "The capital", answers, engine="packed")  # the first call tries the engine out
    read.clear()
    nb.score_answers(gpt2, "The capital", answers, engine="packed")
    rows = [gpt2.tokenizer.encode("The capital" + answer)[:-1] for answer in answers]
    assert sum(ids.numel() for ids in read) == len({tuple(row[: i + 1]) for row in rows for i in range(len(row))})


def test_many_answers_after_one_prompt_ask_for_its_logits_once(gpt2, monkeypatch):
    seen = []
    original = gpt2.model.lm_head.forward
    letters = [f" {letter}" for letter in "ABCDEFGHIJ"]
    nb.score_answers(gpt2, "The end", letters, engine="packed")
    monkeypatch.setattr(gpt2.model.lm_head, "forward", lambda x: seen.append(len(x)) or original(x))
    monkeypatch.setattr(engines, "SPOT_CHECK_FROM", 100)  # or one row is read a second time
    monkeypatch.setattr(head, "LOGIT_ROWS", 3)  # fewer than the answers: the pairs of one node are split, too
    scores = nb.score_answers(gpt2, "The end", letters, engine="packed")
    distinct = {
        tuple(gpt2.tokenizer.encode("The end" + a)[: -len(s.token_ids) + i])
        for a, s in zip(letters, scores, strict=True)
        for i in range(len(s.token_ids))
    }
    assert sum(seen) == len(distinct)


MAPPED = """
import ctypes, torch
from nbhelpers.engines import _reuse_freed_memory

class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
held = []

def from_the_system():
    before = mallinfo2().hblks
    held.append(torch.empty(31 * 2**20, dtype=torch.uint8))
    return mallinfo2().hblks - before

first = from_the_system()
_reuse_freed_memory()
print(first, from_the_system())
"""


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="glibc's rule, asked with a function of 2.33")
def test_large_blocks_stay_with_the_allocator():
    """One of 31 MB is mapped by the system, which takes it back when it is freed; the next one no longer is.

    In a process of its own, as nothing large may have been freed there before.
    """
    run = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "0"]


def test_progress_counts_the_tokens_that_are_read(gpt2, capsys):
    nb.score_answers(gpt2, "The end", [".", "?"], engine="plain", progress=True)
    assert "4.00/4.00" in capsys.readouterr().err  # two tokens, twice
    nb.score_answers(gpt2, "The end", [".", "?"], engine="packed", progress=True)
    assert "2.00/2.00" in capsys.readouterr().err


def test_nan_is_noticed_in_either_engine(gpt2):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "damaged")
    nb.score_answers(lm, "The end", [".", "?"], engine="packed")  # tried out while it was well
    with torch.no_grad():
        lm.model.transformer.ln_f.bias[0] = float("nan")
    for engine in ("plain", "packed"):
        with pytest.raises(ValueError, match="NaN or infinity for item 0"):
            nb.score_answers(lm, "The end", [".", "?"], engine=engine)


def test_a_model_that_never_was_well_is_named_too(gpt2):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "ill")
    with torch.no_grad():
        lm.model.transformer.ln_f.bias[0] = float("nan")
    with pytest.warns(UserWarning, match="returns NaN"), pytest.raises(ValueError, match="infinity for item 0"):
        nb.score_answers(lm, "The end", [".", "?"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        RuntimeError("MPS backend out of memory"),
    ],
)
@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_out_of_memory_halves_the_budget_and_loses_nothing(gpt2, monkeypatch, engine, error):
    prompts, answers = random_requests(3)
    expected = nb.score_answers(gpt2, prompts, answers, engine=engine)
    original = gpt2.model.transformer.forward

    def with_little_memory(*args, **options):
        if options["input_ids"].numel() > 20:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(gpt2.model.transformer, "forward", with_little_memory)
    with pytest.warns(UserWarning, match="out of memory: starting again with token_budget=") as notices:
        scores = nb.score_answers(gpt2, prompts, answers, engine=engine, token_budget=320)
    assert [notice.message.args[0].split("=")[1] for notice in notices][:2] == ["160", "80"]
    for score, truth in zip(scores, expected, strict=True):
        assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)
    monkeypatch.setattr(gpt2.model.transformer, "forward", lambda *a, **o: (_ for _ in ()).throw(error))
    with pytest.warns(UserWarning), pytest.raises(type(error), match="memory"):
        nb.score_answers(gpt2, prompts, answers, engine=engine, token_budget=2)


def test_an_unknown_engine_is_named(gpt2):
    with pytest.raises(ValueError, match="engine='fast' is unknown: give 'auto', 'packed' or 'plain'"):
        nb.score_answers(gpt2, "The end", ["."], engine="fast")
