"""Generation is held to a loop that reads the whole text again for every token, and drawing to the softmax itself."""

import math
from collections import Counter

import oracle
import pytest
import torch
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb

PROMPTS = ["The capital of France is", "The end", "def returned(value):", "naïve café, 東京", "is"]
CHAT = [{"role": "user", "content": "What is the end?"}]


def greedy(model64, tokenizer, ids: list[int], n: int, end: int) -> tuple[list[int], list[float]]:
    """The most likely continuation, in float64, one text and one token at a time."""
    written, nats = [], []
    while len(written) < n and (not written or written[-1] != end):
        table = oracle.logprob_table(model64, ids + written)[-1]
        written.append(int(table.argmax()))
        nats.append(table.max().item())
    return written, nats


@pytest.mark.parametrize("budget", [None, 1, 40])
def test_greedy_text_is_that_of_the_slow_loop_whatever_the_batch(tiny, tiny64, budget):
    results = nb.generate(tiny, PROMPTS, 12, token_budget=budget)
    end = tiny.tokenizer.eos_token_id
    for prompt, result in zip(PROMPTS, results, strict=True):
        ids, nats = greedy(tiny64, tiny.tokenizer, tiny.tokenizer(prompt)["input_ids"], 12, end)
        assert list(result.token_ids) == ids
        assert result.logprobs == pytest.approx(nats, abs=1e-4)
        assert result.finish_reason == ("stop" if ids[-1] == end else "length")
        written = b"".join(oracle.token_bytes(tiny.tokenizer, token) for token in ids if token != end)
        assert result.text == written.decode(errors="replace")


@pytest.mark.embedded
def test_the_embedded_model_answers_a_chat_and_stops(embedded):
    chats = [[{"role": "user", "content": f"What is the capital of {c}?"}] for c in ("France", "Italy", "Germany")]
    together = nb.generate(embedded, chats, 24)
    assert [r.text for r in together] == [nb.generate(embedded, [chat], 24)[0].text for chat in chats]
    assert together[0].text == "The capital of France is Paris."
    assert {r.finish_reason for r in together} == {"stop"}
    (whole,) = nb.generate(embedded, ["The capital of France is"], 1)
    assert whole.text == " Paris" and whole.total == pytest.approx(-0.26, abs=0.01)


def test_drawing_follows_the_softmax(gpt2):
    """2,000 draws of one token, tempered: within four standard errors of the softmax of the tempered logits."""
    n, temperature = 2_000, 2.0
    drawn = nb.generate(gpt2, ["The end"] * n, 1, temperature=temperature, seed=1)
    with torch.no_grad():
        ids = torch.tensor([gpt2.tokenizer.encode("The end")], device=gpt2.device)
        logits = gpt2.model(ids).logits[0, -1].double()
    counts = Counter(result.token_ids[0] for result in drawn)
    for token, probability in enumerate((logits / temperature).softmax(-1).tolist()):
        assert abs(counts[token] / n - probability) <= 4 * math.sqrt(probability * (1 - probability) / n) + 1 / n
    untempered = logits.log_softmax(-1)
    for result in drawn[:50]:
        assert result.total == pytest.approx(untempered[result.token_ids[0]].item(), abs=1e-4)


def test_a_seed_fixes_each_draw_whatever_the_batch_and_the_global_seed(gpt2):
    torch.manual_seed(1)
    first = nb.generate(gpt2, PROMPTS, 8, temperature=1.5, seed=3)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = nb.generate(gpt2, PROMPTS, 8, temperature=1.5, seed=3, token_budget=1)
    assert [result.token_ids for result in again] == [result.token_ids for result in first]
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are left alone"
    other = nb.generate(gpt2, PROMPTS, 8, temperature=1.5, seed=4)
    assert [result.token_ids for result in other] != [result.token_ids for result in first]


def test_a_stop_string_ends_the_text_before_it_even_inside_a_token(gpt2):
    (free,) = nb.generate(gpt2, ["The end"], 12)
    assert len(free.text) > 4
    stop = free.text[2:4]
    place = free.text.index(stop)
    (stopped,) = nb.generate(gpt2, ["The end"], 12, stop=stop)
    assert stopped.text == free.text[:place] and stopped.finish_reason == "stop"
    assert stopped.token_ids == free.token_ids[: len(stopped.token_ids)] and len(stopped.token_ids) <= 12
    (other,) = nb.generate(gpt2, ["The end"], 12, stop=["never written", stop])
    assert other == stopped


def test_the_models_own_settings_do_not_count_and_are_left_as_they_were(gpt2):
    (plain,) = nb.generate(gpt2, ["The end"], 8)
    own = gpt2.model.generation_config
    own.repetition_penalty = 5.0
    try:
        assert nb.generate(gpt2, ["The end"], 8) == [plain]
        assert gpt2.model.generation_config is own
    finally:
        own.repetition_penalty = 1.0


def test_an_empty_prompt_begins_after_the_start_token(gpt2):
    end = gpt2.tokenizer.eos_token_id
    (result,) = nb.generate(gpt2, [""], 3)
    ids, _ = greedy(oracle.in_float64(gpt2.model), gpt2.tokenizer, [end], 3, end)
    assert list(result.token_ids) == ids


def test_a_chat_is_written_out_by_the_template(gpt2):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    lm = nb.wrap_model(gpt2.model, tokenizer, "chatty")
    assert nb.generate(lm, [CHAT], 5) == nb.generate(lm, ["user: What is the end?\nassistant:"], 5)
    tokenizer.chat_template = "{{ raise_exception('only robots') }}"
    with pytest.raises(ValueError, match="prompt 0: the chat template of 'chatty' refuses it: only robots"):
        nb.generate(lm, [CHAT], 5)


@pytest.mark.parametrize(
    "prompts, options, error, message",
    [
        ("The end", {}, TypeError, "single string"),
        ([7], {}, TypeError, "prompt 0 must be a string or a list of messages"),
        ([["The end"]], {}, TypeError, "prompt 0 must be a string or a list of messages"),
        ([[]], {}, ValueError, "chat without messages"),
        ([CHAT], {}, ValueError, "has no chat template"),
        (["The end"], {"max_new_tokens": 0}, ValueError, "max_new_tokens=0"),
        (["The end"], {"max_new_tokens": 63}, ValueError, "prompt 0 is 2 tokens long; with max_new_tokens=63"),
        (["The end"], {"temperature": -1}, ValueError, "temperature=-1"),
        (["The end"], {"temperature": math.nan}, ValueError, "temperature=nan"),
        (["The end"], {"seed": 0.5}, TypeError, "seed=0.5"),
        (["The end"], {"stop": ["x", ""]}, ValueError, "a stop string is empty"),
    ],
)
def test_bad_input_is_named(gpt2, prompts, options, error, message):
    with pytest.raises(error, match=message):
        nb.generate(gpt2, prompts, **{"max_new_tokens": 4, **options})


def test_nan_is_noticed(gpt2):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "damaged")
    with torch.no_grad():
        lm.model.transformer.ln_f.bias[0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity"):
        nb.generate(lm, ["The end"], 2)


def test_no_prompts_give_no_texts(gpt2):
    assert nb.generate(gpt2, [], 4) == []
