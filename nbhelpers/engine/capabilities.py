"""What a model supports: a separable head, batches of unequal lengths, packing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .attention import IN_BLOCKS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class CannotPack(Exception):
    """Why a model's requests must be scored one beside the other. The message completes "...: its attention ..."."""


def weights_dtype(model: PreTrainedModel) -> torch.dtype:
    return model.get_input_embeddings().weight.dtype


def fingerprint(model: PreTrainedModel) -> tuple[str, ...]:
    """What a trial's result depends on. When the configuration or the precision changes, the trial is repeated."""
    attention = str(model.config.get_text_config()._attn_implementation)
    return type(model).__name__, model.config.to_json_string(use_diff=False), attention, str(weights_dtype(model))


_SEPARABLE: WeakKeyDictionary[Any, tuple[tuple[str, ...], bool]] = WeakKeyDictionary()


def separable_head(model: PreTrainedModel) -> torch.nn.Module | None:
    """The model's head, if its logits are simply head(body(ids)), so that scored positions alone can be projected.

    Tested once per model, because some scale or cap the logits afterwards (Gemma 2, Cohere), and adapters wrap the body
    (PEFT). For those, and for models without a head, this is None and the model's own forward computes the logits.

    Raises
    ------
    ValueError
        If the logits depend on later tokens (BERT): such a model has no log-probability of a text.
    """
    current = fingerprint(model)
    if _SEPARABLE.get(model, ((), False))[0] != current:
        _SEPARABLE[model] = (current, _head_is_separable(model))
    return model.get_output_embeddings() if _SEPARABLE[model][1] else None


def _head_is_separable(model: PreTrainedModel) -> bool:
    import torch

    embedding = model.get_input_embeddings().weight
    probe = (torch.arange(8, device=embedding.device) % len(embedding))[None]  # (1, 8)
    other_end = probe.clone()
    other_end[0, -1] = 0
    with torch.inference_mode():
        logits = model(input_ids=probe, use_cache=False).logits.float()  # (1, 8, vocabulary)
        changed = model(input_ids=other_end, use_cache=False).logits.float()
        # A few units in the last place of the largest logit, in the model's own precision.
        rounding = 8 * torch.finfo(weights_dtype(model)).eps * logits.abs().max().item()
        if logits.shape[1] == 8 and (logits - changed)[:, :-1].abs().max() > rounding:
            raise ValueError(
                f"{type(model).__name__} is not causal: its logits depend on tokens that come later, so it has no "
                "log-probability of a text. Load a causal language model (for BERT-like models: is_decoder=True)"
            )
        head = model.get_output_embeddings()
        hidden = getattr(model.base_model(input_ids=probe, use_cache=False), "last_hidden_state", None)
        if head is None or hidden is None:
            return False
        return torch.equal(head(hidden).float().to(logits.device), logits)


def positions_depend_on_length(model: PreTrainedModel) -> bool:
    """Whether a token's position encoding depends on the longest sequence of its batch (dynamic or long RoPE)."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return any(name in str(rope) for name in ("dynamic", "longrope", "'su'"))


def attention_span(model: PreTrainedModel) -> int | None:
    """The fewest tokens that any layer looks back, if the configuration limits it."""
    config = model.config.get_text_config()
    names = ("sliding_window", "attention_chunk_size", "window_size", "local_attention", "attention_window_size")
    limits = [getattr(config, name, None) for name in names]
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def require_tree_attention(model: PreTrainedModel, longest: int) -> None:
    """Raise CannotPack if the configuration rules out a tree of requests of up to `longest` tokens."""
    config = model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager", IN_BLOCKS):
        raise CannotPack(f"its attention ({config._attn_implementation}) takes no tree mask")
    alibi = getattr(config, "alibi", False) or getattr(config, "position_embedding_type", "") == "alibi"
    if alibi or config.model_type in ("bloom", "mpt", "gpt_neo"):
        raise CannotPack("its attention depends on places in the row, not only on depth (ALiBi, local attention)")
    if positions_depend_on_length(model):
        raise CannotPack("its positions depend on the length of the text (dynamic or long RoPE)")
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        raise CannotPack(f"not all of its layers are plain attention ({', '.join(sorted(others))})")
    span = attention_span(model)
    if span is not None and longest > span:
        raise CannotPack(f"its attention looks back {span} tokens only, and the longest request has {longest}")
