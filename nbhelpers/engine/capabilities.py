"""What a model supports: a separable head, batches of unequal lengths, packing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from ..models import ADAPTER_STATE
from .memory import is_out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


# What models raise when they cannot read what they are given.
UNREADABLE = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class CannotPack(Exception):
    """Why a model's requests must be scored one beside the other. The message completes "...: its attention ..."."""


def weights_dtype(model: PreTrainedModel) -> torch.dtype:
    return model.get_input_embeddings().weight.dtype


def drops_out(model: PreTrainedModel) -> bool:
    """Whether the model, or a part of it that has dropout, is in training mode."""
    parts = (module for module in model.modules() if module.training)
    return model.training or any("dropout" in " ".join((type(part).__name__, *vars(part))).lower() for part in parts)


Fingerprint = tuple[Any, ...]
Found = TypeVar("Found")


def fingerprint(model: PreTrainedModel) -> Fingerprint:
    """Everything that can change what a trial found: when any of it changes, the trial is repeated.

    That is the configuration, the precision, which modules there are, hooks on any of them, a `forward` of its own that
    somebody has put on one, and adapters that are switched on or off. Weights do not count: a trial is about what is
    computed from them.
    """
    from torch.nn.modules import module as torch_module

    altered = [tuple(torch_module._global_forward_hooks), tuple(torch_module._global_forward_pre_hooks)]
    modules = list(model.modules())
    for number, module in enumerate(modules):
        own = vars(module)
        hooks = (*own["_forward_hooks"], *own["_forward_pre_hooks"])
        adapter = [repr(own[name]) for name in ADAPTER_STATE if name in own]
        if hooks or adapter or "forward" in own:
            altered.append((number, hooks, id(own.get("forward")), *adapter))
    return (
        model.config.to_json_string(use_diff=False),
        str(model.config.get_text_config()._attn_implementation),
        str(weights_dtype(model)),
        tuple(map(id, modules)),
        tuple(altered),
    )


def remembered(
    memory: WeakKeyDictionary[Any, tuple[Fingerprint, Found]], model: Any, find: Callable[[], Found]
) -> Found:
    """What `find()` found out about a model, tried once, and again when the model changes."""
    current = fingerprint(model)
    if model not in memory or memory[model][0] != current:
        memory[model] = current, find()
    return memory[model][1]


_SEPARABLE: WeakKeyDictionary[Any, tuple[Fingerprint, bool]] = WeakKeyDictionary()


def separable_head(model: PreTrainedModel) -> torch.nn.Module | None:
    """The model's head, if its logits are simply head(body(ids)), so that scored positions alone can be projected.

    Tested once per model, because some scale or cap the logits afterwards (Gemma 2, Cohere), and adapters wrap the body
    (PEFT). For those, and for models without a head, this is None and the model's own forward computes the logits.

    Raises
    ------
    ValueError
        If the logits depend on later tokens (BERT): such a model has no log-probability of a text.
    """
    separable = remembered(_SEPARABLE, model, lambda: _head_is_separable(model))
    return model.get_output_embeddings() if separable else None


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
        try:
            projected = head(hidden).float().to(logits.device)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return False  # something stands between body and head, such as a projection to another width (RemBERT)
        return torch.equal(projected, logits)


def within_rounding(apart: torch.Tensor, model: PreTrainedModel) -> bool:
    """Whether log-probabilities that differ by `apart`, in nats, differ by rounding only.

    Rounding in float32 is below 1e-5. In bfloat16 it is 0.02 in the mean of many tokens and may reach 0.2 for one.
    """
    exact = weights_dtype(model).itemsize >= 4
    return apart.max().item() <= (1e-3 if exact else 0.5) and apart.mean().item() <= 0.1 * (1 + 4 / len(apart))


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
    if config._attn_implementation not in ("sdpa", "eager"):
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
