"""score_answers and token_scores: closed forms, then the float64 oracle, then every way to misuse them."""

import dataclasses
import math
from itertools import pairwise

import oracle
import pytest
import torch
from cases import ANSWERS, PROMPTS, REQUESTS, TOLERANCE, agree, start_tokens
from tiny_models import constant_model, make_model, make_tokenizer

import nbhelpers as nb
from nbhelpers.engine import plain

# --- closed forms -------------------------------------------------------------------------------------------


def test_uniform_model_gives_every_token_one_over_v():
    lm = constant_model(torch.zeros(400))
    (score,) = nb.score_answers(lm, "The capital", [" of France"])
    assert score.logprobs == pytest.approx([-math.log(400)] * len(score.token_ids), abs=1e-6)
    assert score.perplexity == pytest.approx(400)
    for token in nb.token_scores(lm, "The capital"):
        assert token.entropy == pytest.approx(math.log(400), abs=1e-5)
        assert token.rank == 1  # nothing is more likely than anything else


def test_known_distribution_is_read_back():
    logits = torch.linspace(-3, 3, 400)
    lm = constant_model(logits + 100)  # a constant added to all logits changes no probability
    p = logits.double().softmax(-1)
    for token in nb.token_scores(lm, "The capital of France", top=3):
        assert token.logprob == pytest.approx(p[token.token_id].log().item(), abs=TOLERANCE)
        assert token.rank == 400 - token.token_id  # the logits rise with the id
        assert token.entropy == pytest.approx(-(p * p.log()).sum().item(), abs=TOLERANCE)
        best = [p_best for _, p_best in token.alternatives]
        assert best == pytest.approx(p.log()[[399, 398, 397]].tolist(), abs=TOLERANCE)


def test_derived_quantities_of_a_score_made_by_hand():
    score = nb.AnswerScore("p", "né", (1, 2), ("n", "é"), (-1.0, -2.0), False, False)
    assert score.total == -3.0
    assert score.mean == -1.5
    assert score.perplexity == pytest.approx(math.exp(1.5))
    assert score.per_character == -1.5  # two characters
    assert score.bits_per_byte == pytest.approx(3.0 / math.log(2) / 3)  # three bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.answer = "other"


# --- the oracle ---------------------------------------------------------------------------------------------


def test_answers_match_the_oracle(tiny, tiny64):
    scores = nb.score_answers(tiny, PROMPTS, ANSWERS)
    for (prompt, answer, reason), score in zip(REQUESTS, scores, strict=True):
        truth = oracle.answer(tiny64, tiny.tokenizer, prompt, answer, *start_tokens(tiny))
        assert (score.prompt, score.answer) == (prompt, answer)
        assert agree(score, *truth), f"{reason}: {score} against {truth}"


@pytest.mark.embedded
def test_answers_of_the_embedded_model_match_the_oracle(embedded, embedded64):
    scores = nb.score_answers(embedded, PROMPTS, ANSWERS)
    for (prompt, answer, reason), score in zip(REQUESTS, scores, strict=True):
        truth = oracle.answer(embedded64, embedded.tokenizer, prompt, answer, *start_tokens(embedded))
        assert agree(score, *truth), f"{reason}: {score} against {truth}"


@pytest.mark.parametrize("budget", [1, 17, 64, 100_000])
def test_no_result_depends_on_batches_or_order(tiny, budget):
    plain = nb.score_answers(tiny, PROMPTS, ANSWERS)
    backwards = nb.score_answers(tiny, PROMPTS[::-1], ANSWERS[::-1], token_budget=budget)
    for score, again in zip(plain, reversed(backwards), strict=True):
        assert agree(again, list(score.token_ids), list(score.logprobs), score.is_greedy, score.merged_boundary)


def test_duplicates_are_computed_once(gpt2, monkeypatch):
    seen = []
    original = plain._score_batch
    monkeypatch.setattr(
        plain, "_score_batch", lambda lm, head, some, how: seen.extend(some) or original(lm, head, some, how)
    )
    scores = nb.score_answers(gpt2, "The end", [".", "?", ".", "."], engine="plain")
    assert len(seen) == 2
    assert scores[0] == scores[2] == scores[3] != scores[1]


def test_one_prompt_serves_all_answers_and_generators_do(gpt2):
    listed = nb.score_answers(gpt2, ["The end"] * 2, [".", "?"])
    assert nb.score_answers(gpt2, "The end", (a for a in ".?")) == listed
    assert nb.score_answers(gpt2, "The end", []) == []


def test_token_scores_match_the_oracle(tiny, tiny64):
    text = "The naïve capital of 東京 is 😀, return"
    scores = nb.token_scores(tiny, text, top=4)
    ids = tiny.tokenizer.encode(text, add_special_tokens=False)
    table = oracle.logprob_table(tiny64, [start_tokens(tiny)[1], *ids])
    assert [s.token_id for s in scores] == ids
    for i, (score, token_id) in enumerate(zip(scores, ids, strict=True)):
        row = table[i]
        assert score.logprob == pytest.approx(row[token_id].item(), abs=TOLERANCE)
        assert score.probability == pytest.approx(math.exp(score.logprob))
        assert score.rank == 1 + sorted(row.tolist(), reverse=True).index(row[token_id].item())
        assert score.entropy == pytest.approx(-(row.exp() * row).sum().item(), abs=TOLERANCE)
        best = row.topk(4)
        assert [p for _, p in score.alternatives] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
        assert [w for w, _ in score.alternatives] == [tiny.tokenizer.decode([i]) for i in best.indices.tolist()]
    assert scores[0].start == 0 and scores[-1].end == len(text)
    assert all(b.start <= a.end for a, b in pairwise(scores)), "the spans leave no gap"


# --- what precedes the first token ----------------------------------------------------------------------------


def test_a_prompt_that_brings_its_own_bos_gets_no_second_one():
    tokenizer = make_tokenizer(bos=True)
    lm = nb.wrap_model(make_model("llama", len(tokenizer)), tokenizer)
    bare, dressed = nb.score_answers(lm, ["The end", "<s>The end"], [".", "."])
    assert dressed.logprobs == pytest.approx(bare.logprobs, abs=TOLERANCE)


def test_a_text_that_brings_its_own_bos_is_scored_after_it():
    tokenizer = make_tokenizer(bos=True)
    lm = nb.wrap_model(make_model("llama", len(tokenizer)), tokenizer)
    bare, dressed = nb.token_scores(lm, "The end"), nb.token_scores(lm, "<s>The end")
    assert [s.token for s in dressed] == [s.token for s in bare]
    assert [s.logprob for s in dressed] == pytest.approx([s.logprob for s in bare], abs=TOLERANCE)
    assert dressed[0].start == len("<s>")


def test_without_bos_and_eos_an_empty_prompt_is_an_error_and_another_is_not():
    tokenizer = make_tokenizer(eos=False)
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "orphan")
    with pytest.raises(ValueError, match=r"'orphan' has neither a BOS nor an EOS token"):
        nb.score_answers(lm, "", ["Paris"])
    assert nb.score_answers(lm, "The", [" end"])[0].total < 0


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompts, answers, options, error, message",
    [
        ("The", "end", {}, TypeError, r"single string: for one answer give a list of one, \['end'\]"),
        (["The"], ["a", "b"], {}, ValueError, "1 prompts and 2 answers"),
        ("The", ["a", ""], {}, ValueError, "the answer of item 1 is empty"),
        ("The", ["a", None], {}, TypeError, "the answer of item 1 must be a string, not NoneType"),
        (["The", 7], ["a", "b"], {}, TypeError, "the prompt of item 1 must be a string or a list of messages"),
        ("The", ["a\ud800"], {}, ValueError, "the answer of item 0 is not valid Unicode"),
        ("The", ["a"], {"boundary": "loose"}, ValueError, "boundary='loose' is unknown: give 'joint' or 'split'"),
        ("The", ["a"], {"token_budget": 0}, ValueError, "token_budget=0"),
        ("The", ["a", "is " * 70], {}, ValueError, r"item 1 \(prompt and answer\) is \d+ tokens long, .* can read 64"),
    ],
)
def test_bad_requests_say_what_was_given_and_how_to_mend_it(gpt2, prompts, answers, options, error, message):
    with pytest.raises(error, match=message):
        nb.score_answers(gpt2, prompts, answers, **options)


@pytest.mark.parametrize(
    "text, options, error, message",
    [
        ("", {}, ValueError, "text is empty"),
        (None, {}, TypeError, "text must be a string, not NoneType"),
        ("is " * 70, {}, ValueError, "the text is .* tokens long"),
        ("The end", {"top": 0}, ValueError, "top=0"),
        ("<|endoftext|>", {}, ValueError, "nothing but the token that begins every text"),
    ],
)
def test_bad_texts_say_what_was_given(gpt2, text, options, error, message):
    with pytest.raises(error, match=message):
        nb.token_scores(gpt2, text, **options)


def test_the_longest_input_that_fits_is_scored(gpt2):
    ids = gpt2.tokenizer.encode("a" * 64, add_special_tokens=False)
    assert len(ids) == 64, "each 'a' is a token of its own"
    assert len(nb.token_scores(gpt2, "a" * 64)) == 64  # the start token and 63 letters are read, 64 predicted
    with pytest.raises(ValueError, match="66 tokens long"):
        nb.token_scores(gpt2, "a" * 65)


def test_nan_is_an_error_that_names_the_item():
    lm = constant_model(torch.full((400,), float("nan")))
    with pytest.raises(ValueError, match="NaN or infinity for item 0"):
        nb.score_answers(lm, "The", [" end"])


def test_training_mode_is_an_error():
    lm = constant_model(torch.zeros(400))
    lm.model.train()
    with pytest.raises(ValueError, match=r"call lm.model.eval\(\)"):
        nb.score_answers(lm, "The", [" end"])


# --- golden values ----------------------------------------------------------------------------------------------


@pytest.mark.embedded
@pytest.mark.parametrize(
    "prompt, answer, total, straddles",
    [
        # The three requests share a text; a popular harness with its cache on returns -30.521 and -14.184 for the
        # second and third, because it looks logits up by the text and not by where the answer begins in it.
        ("The capital of France is", " a city called Paris", -11.009, False),
        ("The capital of France is a", " city called Paris", -5.481, False),
        ("The capital of France is a city", " called Paris", -2.938, False),
        # "return" is one token: other tools raise, or return 0.0 over no tokens at all.
        ("x = 5\nret", "urn", -7.547, True),
        # What a popular harness returns for "urn the value": the straddling token dropped, the rest read after "ret".
        ("x = 5\nret", " the value", -14.301, False),
    ],
)
def test_golden_answers_of_the_embedded_model(embedded, prompt, answer, total, straddles):
    (score,) = nb.score_answers(embedded, prompt, [answer])
    assert score.total == pytest.approx(total, abs=1e-3)
    assert score.merged_boundary == straddles


@pytest.mark.embedded
def test_the_embedded_model_knows_the_capital_of_france(embedded):
    (score,) = nb.score_answers(embedded, "The capital of France is", [" Paris"])
    assert math.exp(score.total) == pytest.approx(0.77, abs=0.005)
    assert score.is_greedy


def test_subtracting_the_unconditional_likelihood_can_flip_a_choice():
    """lm-evaluation-harness's own example: log-likelihoods (-1, -2, -3), unconditional (-.5, -2, -3), gold 1."""

    def scores(prompt, *totals):
        return [nb.AnswerScore(prompt, a, (7,), (a,), (t,), False, False) for a, t in zip("abc", totals, strict=True)]

    asked, unasked = scores("question", -1.0, -2.0, -3.0), scores("", -0.5, -2.0, -3.0)
    gained = [a.total - u.total for a, u in zip(asked, unasked, strict=True)]
    assert max(range(3), key=lambda i: asked[i].total) == 0
    assert gained == [-0.5, 0.0, 0.0]
    assert gained.index(max(gained)) == 1  # a tie, and the first of the best wins
