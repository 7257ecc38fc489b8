"""Where a model is put, and in which precision."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


def choose_device(device: str) -> torch.device:
    import torch

    wanted = (os.environ.get("NBHELPERS_DEVICE") or "auto") if device == "auto" else device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda" and torch.cuda.device_count() > 1 and os.environ.get("LOCAL_RANK", "").isdigit():
        # Processes that torchrun or accelerate started on one machine take a GPU each.
        wanted = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    try:
        chosen = torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{wanted!r} is no device: give 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= available.get(chosen.type, 0):
        raise ValueError(f"device {wanted!r} was asked for and this machine has none: use 'auto' or 'cpu'")
    return chosen


def choose_dtype(dtype: Any, device: torch.device) -> torch.dtype:
    import torch

    if isinstance(dtype, str) and dtype == "auto":
        # A GPU that only emulates bfloat16 (such as Colab's T4) is slower with it, and less exact.
        computes = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if computes else torch.float32
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise ValueError(f"{dtype!r} is no precision for weights: give 'auto', 'float32', 'bfloat16' or 'float16'")
    return chosen


def placement(config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> Any:
    """The `device_map` for `from_pretrained`: one device, or "auto" where one GPU's free memory is too small."""
    import torch

    if device.type == "cpu":
        return None
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        # A tenth of the memory is kept for activations.
        if weight_bytes(config, dtype) > 0.9 * free:
            return "auto"
    return {"": str(device)}


def weight_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Size of a model's weights in bytes, computed without allocating them."""
    return parameter_count(config) * dtype.itemsize


def parameter_count(config: PretrainedConfig) -> int:
    """How many numbers the model of a configuration holds."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(p.numel() for p in skeleton.parameters())
