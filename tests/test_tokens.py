"""Text to token ids: spans without gaps, and tokens that keep their spaces."""

import pytest
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb
from nbhelpers import tokens
from nbhelpers.tokens import encode_with_spans


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_spans_cover_the_text_whether_or_not_the_tokenizer_trims_them(trim_offsets):
    tokenizer = make_tokenizer(trim_offsets=trim_offsets)
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer)
    _, spans = encode_with_spans(lm, "The   end \n is")
    assert "".join("The   end \n is"[start:end] for start, end in spans) == "The   end \n is"


def test_leading_spaces_survive_in_the_tokens(sentencepiece_like):
    (score,) = nb.score_answers(sentencepiece_like, "the capital of France is", [" Paris return"])
    assert "".join(score.tokens) == " Paris return"
    scores = nb.token_scores(sentencepiece_like, "the capital of France")
    assert "".join(s.token for s in scores) == "the capital of France"
    assert any(word.startswith(" ") for s in scores for word, _ in s.alternatives)


def test_an_unknown_token_warns(sentencepiece_like):
    with pytest.warns(UserWarning, match="has no token for a part of 'the Ω'"):
        nb.token_scores(sentencepiece_like, "the Ω")


@pytest.fixture
def grown():
    """A tokenizer with tokens that the model has no rows for."""
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "grown")
    tokenizer.add_tokens(["<new>", "<newer>"])
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    return lm


@pytest.mark.parametrize(
    "call",
    [
        lambda lm: nb.score_answers(lm, "The end", [" is <newer>"]),  # it would only be predicted
        lambda lm: nb.score_answers(lm, "The <newer> end", [" is"]),
        lambda lm: nb.score_answers(lm, "The", ["<newer>"], boundary="split"),
        lambda lm: nb.score_answers(lm, [{"role": "user", "content": "The <newer>"}], [" is"]),
        lambda lm: nb.token_scores(lm, "The end <newer>"),
        lambda lm: nb.perplexity(lm, ["The end", "The <newer> end"]),
        lambda lm: nb.generate(lm, ["The end", "The <newer>"], 2),
        lambda lm: nb.judge(lm, nb.Template("{x}", ("<newer>", "No"), (1, 0)), [{"x": "The end"}]),
    ],
)
def test_a_token_without_a_row_is_named_before_anything_is_computed(grown, call, monkeypatch):
    monkeypatch.setattr(type(grown.model), "forward", lambda *a, **o: pytest.fail("a forward pass"))
    with pytest.raises(ValueError, match=r"the token '<newer>' with id 381, and 'grown' has rows for 380 ids"):
        call(grown)


def test_rows_that_are_added_later_count(grown):
    grown.model.resize_token_embeddings(382)
    assert nb.score_answers(grown, "The end", [" is <newer>"])[0].total < 0


def test_spans_with_holes_cost_no_more_tokens_than_there_are_different_ones(monkeypatch):
    """Each token of a trimming tokenizer is decoded once, however often it occurs."""
    tokenizer = make_tokenizer(trim_offsets=True)
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer)
    decoded = []
    original = tokens.token_text
    monkeypatch.setattr(tokens, "token_text", lambda lm, token_id: decoded.append(token_id) or original(lm, token_id))
    texts = ["The capital of France is Paris. " * 20] * 50
    for encoded in tokens.encode_each(lm, texts, [tokens.ALL] * len(texts)):
        assert encoded.spans[-1, 1] == len(texts[0]) and len(encoded.ids) == len(encoded.spans)
    assert len(decoded) == len(set(decoded)) < 40
