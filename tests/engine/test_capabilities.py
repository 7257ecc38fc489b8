"""What a model supports is found out, not assumed."""

import oracle
import pytest
import torch
from cases import ANSWERS, PROMPTS, REQUESTS, agree, start_tokens
from tiny_models import make_tokenizer

import nbhelpers as nb
from nbhelpers.engine.capabilities import CannotPack, require_tree_attention, separable_head


def test_a_model_that_scales_its_logits_takes_the_long_way_and_is_right():
    from transformers import GraniteConfig, GraniteForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        logits_scaling=3.0,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    lm = nb.wrap_model(GraniteForCausalLM(config), tokenizer, "granite")
    assert not separable_head(lm.model)
    model64 = oracle.in_float64(lm.model)
    scores = nb.score_answers(lm, PROMPTS, ANSWERS, token_budget=40)
    for (prompt, answer, reason), score in zip(REQUESTS, scores, strict=True):
        assert agree(score, *oracle.answer(model64, tokenizer, prompt, answer, *start_tokens(lm))), reason


def test_ordinary_models_have_a_separable_head(tiny):
    assert separable_head(tiny.model)


def test_a_model_that_sees_later_tokens_is_refused():
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shared = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "initializer_range": 0.3, **size}
    encoder = nb.wrap_model(BertLMHeadModel(BertConfig(**shared)), tokenizer)
    with pytest.raises(ValueError, match="BertLMHeadModel is not causal"):
        nb.score_answers(encoder, "The", [" end"])
    decoder = nb.wrap_model(BertLMHeadModel(BertConfig(is_decoder=True, **shared)), tokenizer)
    assert nb.score_answers(decoder, "The", [" end"])[0].total < 0


@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2"])
def test_attention_that_takes_no_mask_of_ours_is_refused(gpt2, monkeypatch, attention):
    monkeypatch.setattr(gpt2.model.config, "_attn_implementation_internal", attention)
    with pytest.raises(CannotPack, match="takes no tree mask"):
        require_tree_attention(gpt2.model, 10)
