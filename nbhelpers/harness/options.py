"""What may be asked of the harness's model: its arguments, and what a task wants generated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..models import LanguageModel, load_model
from ..sampling import check_sampling

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

NEW_TOKENS = 256  # lm-eval's default of `max_gen_toks`
# What an argument of lm-eval's own models has as its counterpart here.
INSTEAD = {
    "add_bos_token": "the tokenizer's own special tokens are used",
    "gguf_file": "give pretrained=FILE.gguf",
    "logits_cache": "every common beginning is computed once, and nothing is shared that must not be",
    "parallelize": "a model that does not fit one GPU is spread by itself",
    "peft": "merge the adapter into the model, save it, and give the folder as pretrained=",
    "revision": "download that revision and give its folder as pretrained=",
    "softmax_dtype": "the softmax is always taken in float32",
    "tokenizer": "the model's own is used; from Python, pass nbhelpers.wrap_model(model, tokenizer)",
    "trust_remote_code": "code that comes with a model is never run",
}


@dataclass(frozen=True)
class Writing:
    """How a task wants a text generated.

    Attributes
    ----------
    new_tokens : int
    stops : tuple of str
    temperature : float
        0 is greedy.
    """

    new_tokens: int
    stops: tuple[str, ...]
    temperature: float


def refuse_unknown(unknown: Mapping[str, Any]) -> None:
    """An error that names arguments we do not have, and what there is instead."""
    if not unknown:
        return
    hints = [f"{name} ({INSTEAD[name]})" if name in INSTEAD else name for name in unknown]
    raise TypeError(
        f"nbhelpers does not know the model argument {', '.join(hints)}: it takes pretrained, dtype, device, boundary, "
        "token_budget, cache, max_length, chat_template_args, enable_thinking, think_end_token and difference_report"
    )


def check_arguments(boundary: Any, think_end_token: Any, chat_template_args: Any) -> None:
    """An error for an argument that is out of range, or for several processes."""
    if boundary not in ("joint", "lm_eval"):
        raise ValueError(f"boundary={boundary!r} is unknown: give 'joint' or 'lm_eval'")
    if think_end_token is not None and not (isinstance(think_end_token, str) and think_end_token):
        raise TypeError(f"think_end_token={think_end_token!r}: give the text of the token, such as '</think>'")
    if chat_template_args is not None and not isinstance(chat_template_args, Mapping):
        raise TypeError(
            f"chat_template_args={chat_template_args!r}: give a mapping. On the command line, write all model "
            """arguments as JSON: --model_args '{"pretrained": "...", "chat_template_args": {"name": "value"}}'"""
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(
            f"the harness was started in {os.environ['WORLD_SIZE']} processes, and each would do the whole work: start "
            "one, without accelerate launch or torchrun; it uses all GPUs that the model needs"
        )


def as_model(pretrained: Any, device: str | None, dtype: Any) -> LanguageModel:
    """The model that `pretrained` names, or is."""
    if isinstance(pretrained, LanguageModel):
        return pretrained
    if pretrained is not None and not isinstance(pretrained, str | os.PathLike):
        raise TypeError(
            f"pretrained is of type {type(pretrained).__name__}: give a name, a folder, or "
            "nbhelpers.wrap_model(model, tokenizer)"
        )
    return load_model(pretrained, device=device or "auto", dtype=dtype)


def window_of(lm: LanguageModel, max_length: int | None) -> int | None:
    """How many tokens the model reads at once; None where it has no limit."""
    limit = lm.context_length
    if max_length is None:
        return limit
    whole = isinstance(max_length, int) and not isinstance(max_length, bool)
    if not whole or not 1 <= max_length <= (limit or max_length):
        allowed = "1 or more" if limit is None else f"1 to {limit}"
        raise ValueError(f"max_length={max_length!r}: {lm.name!r} reads {allowed} tokens at once")
    return max_length


def name_of(request: Instance) -> str:
    """What errors call a request."""
    return f"task {getattr(request, 'task_name', None)!r}, document {getattr(request, 'doc_id', None)}"


def writing_of(request: Instance) -> Writing:
    """How the task wants a text generated; an error for what we cannot do."""
    from lm_eval.models.utils import normalize_gen_kwargs

    options = dict(normalize_gen_kwargs(request.args[1] or {}, NEW_TOKENS))
    new_tokens, until = options.pop("max_gen_toks"), options.pop("until")
    sampled, temperature = options.pop("do_sample"), float(options.pop("temperature", 0.0) or 0.0)
    neutral = {"top_p": (None, 1), "top_k": (None, 0, -1), "num_beams": (None, 1)}
    if not sampled:  # nothing is drawn
        temperature = 0.0
        neutral |= {name: (options.get(name),) for name in ("top_p", "top_k")}
    elif temperature == 0:
        raise ValueError(f"{name_of(request)}: do_sample=True needs a temperature above 0, such as temperature=0.7")
    for name, value in options.items():
        if name not in neutral or value not in neutral[name]:
            raise ValueError(
                f"{name_of(request)}: nbhelpers does not generate with {name}={value!r}; it knows until, max_gen_toks, "
                "do_sample and temperature. Change others with --gen_kwargs, or run this task with --model hf"
            )
    stops = check_sampling(new_tokens, temperature, 0, [stop for stop in until if stop])
    return Writing(new_tokens, tuple(stops), temperature)
