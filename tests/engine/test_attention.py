"""Attention in blocks gives what whole attention gives."""

from types import SimpleNamespace

import pytest
import torch
from cases import matches_the_oracle, random_requests

import nbhelpers as nb
from nbhelpers.engine import attention, packed


def test_attention_in_blocks_gives_the_same_numbers_and_leaves_the_model_as_it_was(tiny, tiny64, monkeypatch):
    if tiny.device.type != "cpu":
        pytest.skip("only on a CPU does attention go block by block")
    monkeypatch.setattr(attention, "ATTENTION_BLOCK", 3)
    blocks = []
    original = attention._block_attention

    def observed(module, query, *arguments, **options):
        blocks.append(query.shape[2])
        return original(module, query, *arguments, **options)

    monkeypatch.setattr(attention, "_block_attention", observed)
    prompts, answers = random_requests(6)
    assert matches_the_oracle(tiny, tiny64, prompts, answers, engine="packed", token_budget=40)
    assert max(blocks) > 3, "rows wider than a block were read"
    assert tiny.model.config._attn_implementation == "sdpa"

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "_read_chunk", stopped)
    with pytest.raises(KeyboardInterrupt):
        nb.score_answers(tiny, prompts, answers, engine="packed")
    assert tiny.model.config._attn_implementation == "sdpa"


def test_attention_in_blocks_leaves_a_bias_of_positions_whole():
    """It has a score for each pair of tokens, which blocks would tear apart: all of it goes to transformers."""
    query, key, value = (torch.randn(1, heads, 6, 4) for heads in (4, 2, 2))
    bias, mask = torch.randn(1, 4, 6, 6), torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    grouped = SimpleNamespace(num_key_value_groups=2)
    found, _ = attention._block_attention(grouped, query, key, value, mask, position_bias=bias)
    scores = query @ key.repeat_interleave(2, 1).mT / 2 + bias
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(found, (weights @ value.repeat_interleave(2, 1)).transpose(1, 2))
