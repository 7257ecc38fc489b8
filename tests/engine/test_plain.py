"""The plain engine refuses logits that it could not read by position."""

import pytest
import torch
from tiny_models import make_model

import nbhelpers as nb


def test_virtual_tokens_before_the_text_are_refused(gpt2, monkeypatch):
    """Prompt tuning returns logits for more positions than there are tokens; reading them by position is wrong."""
    model = make_model("gpt2", len(gpt2.tokenizer))
    plain = model.forward

    def with_virtual_tokens(input_ids, **options):
        options.pop("logits_to_keep", None)
        return plain(input_ids=torch.cat([torch.full((len(input_ids), 3), 5), input_ids], 1), **options)

    monkeypatch.setattr(model, "forward", with_virtual_tokens)
    with pytest.raises(ValueError, match=r"logits for \d+ positions where \d+ were asked for.*prompt tuning"):
        nb.score_answers(nb.wrap_model(model, gpt2.tokenizer), "The capital", [" of France"])
