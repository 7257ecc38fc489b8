"""Text to token ids: spans without gaps, and tokens that keep their spaces."""

import pytest
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb
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
