"""Where the answer begins: joint and split encoding, tokens that straddle the boundary."""

import oracle
import pytest
from cases import ANSWERS, PROMPTS, REQUESTS, TOLERANCE, agree, start_tokens

import nbhelpers as nb


def test_split_answers_match_the_oracle(tiny, tiny64):
    scores = nb.score_answers(tiny, PROMPTS, ANSWERS, boundary="split")
    for (prompt, answer, reason), score in zip(REQUESTS, scores, strict=True):
        truth = oracle.split_answer(tiny64, tiny.tokenizer, prompt, answer, *start_tokens(tiny))
        assert agree(score, *truth), f"{reason}: {score} against {truth}"


def test_the_cases_really_hold_a_merge_and_a_fragmented_character(gpt2):
    """Guards the table above: with another training text these cases could silently become plain ones."""
    scores = nb.score_answers(gpt2, PROMPTS, ANSWERS)
    assert scores[5].merged_boundary and scores[5].tokens == ("return",)
    assert not scores[7].merged_boundary and scores[7].tokens[0].startswith(" ")
    assert len(scores[16].token_ids) > 2 and "\ufffd" in scores[16].tokens[0]


def test_encoding_in_two_parts_is_refused_where_it_would_add_a_space(sentencepiece_like):
    with pytest.raises(ValueError, match=r"read 'ret urn', .* use boundary=\"joint\""):
        nb.score_answers(sentencepiece_like, "ret", ["urn"], boundary="split")
    assert nb.score_answers(sentencepiece_like, "ret", ["urn"])[0].merged_boundary
    # With a space at the front there is nothing to add, and both ways agree.
    apart, joint = (
        nb.score_answers(sentencepiece_like, "the capital of France is", [" Paris"], boundary=how)[0]
        for how in ("split", "joint")
    )
    assert apart.token_ids == joint.token_ids and apart.total == pytest.approx(joint.total, abs=TOLERANCE)


@pytest.mark.embedded
def test_a_straddling_token_is_never_dropped(embedded):
    whole, cut = nb.score_answers(embedded, "x = 5\nret", ["urn the value", "urn"])
    assert whole.tokens == ("return", " the", " value")
    assert whole.logprobs[0] == pytest.approx(cut.total, abs=TOLERANCE)
    assert whole.merged_boundary
