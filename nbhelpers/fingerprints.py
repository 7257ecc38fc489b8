"""What tells one model from another, in this process and in any other: a digest of its content.

Two models with the same fingerprint give the same numbers, up to rounding. It covers weights and buffers, the
configuration, the classes of the modules and the settings on them, the precision, the kind of device, the tokenizer,
and the versions of torch and transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from .models import ADAPTER_STATE, LanguageModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# 32-bit words per checksum: with the products, what fits a CPU's cache. Changing it changes every fingerprint.
BLOCK = 2**15
# Checksums at once where the weights are not on a CPU: 64 MB of weights, 128 MB of products.
BLOCKS_ELSEWHERE = 512

# Entries of a configuration that say where a model came from, not what it computes; saving a model changes them.
_ORIGIN = ("_name_or_path", "transformers_version", "architectures", "dtype")


def fingerprint(lm: LanguageModel) -> bytes:
    """32 bytes that name a model and its tokenizer.

    It is computed anew each time, because weights may be changed in place, and reads every weight once, on its device:
    5 GB a second on one core of a CPU.

    Raises
    ------
    ValueError
        If weights have no bytes to look at: those that wait on a disk, or of an unknown kind.
    """
    import torch
    import transformers

    digest = sha256(f"torch {torch.__version__} transformers {transformers.__version__}".encode())
    for part in (lm.device.type, str(lm.dtype), _settings(lm.model), _tokenizer(lm.tokenizer)):
        digest.update(sha256(part.encode("utf-8", "surrogatepass")).digest())
    for name, tensor in _tensors(lm.model):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_checksums(_in_memory(tensor, name), name))
    return digest.digest()


def sketch(lm: LanguageModel) -> bytes:
    """A fingerprint in a few milliseconds: the settings, and the beginning of each tensor.

    It tells models apart that were loaded from different places, or filled with different random numbers.
    """
    digest = sha256(f"{lm.dtype} {_settings(lm.model)}".encode("utf-8", "surrogatepass"))
    for name, tensor in _tensors(lm.model):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        with suppress(ValueError):  # it need not have bytes to look at
            digest.update(_checksums(_in_memory(tensor, name).flatten()[:BLOCK], name))
    return digest.digest()


def require_no_hooks(model: PreTrainedModel) -> None:
    """A clear error for a model with code of the user's in it, which no fingerprint can tell from other code."""
    from torch.nn.modules import module as torch_module

    altered = ["every module"] if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks else []
    for name, module in model.named_modules():
        own = vars(module)
        # accelerate puts a `forward` on modules too, where a model is spread over devices.
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or ("forward" in own and "_hf_hook" not in own):
            altered.append(repr(name or "the model"))
    if altered:
        raise ValueError(
            f"cache= cannot be used while hooks, or a forward of its own, change {', '.join(altered[:3])}: another run "
            "could not tell what they do, and would be given this one's numbers. Leave cache out, or remove them"
        )


def _settings(model: PreTrainedModel) -> str:
    """The configuration, and what stands on the modules themselves: their classes, numbers and switches."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    described = [{name: value for name, value in config.items() if name not in _ORIGIN}]
    described.append(str(model.config.get_text_config()._attn_implementation))
    for name, module in model.named_modules():
        own = vars(module)
        switches = {
            key: repr(value)
            for key, value in own.items()
            if key in ADAPTER_STATE
            or (isinstance(value, float | bool) and key != "training" and not key.startswith("_"))
        }
        described.append([name, f"{type(module).__module__}.{type(module).__qualname__}", switches])
    return json.dumps(described, sort_keys=True, default=str)


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's own description of itself, and which tokens are special."""
    return f"{tokenizer.backend_tokenizer.to_str()} {tokenizer.special_tokens_map}"


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer once, those of quantised layers and those that are not saved among them."""
    seen: dict[Any, str] = {}
    for name, tensor in chain(model.state_dict().items(), model.named_buffers()):
        for inner, part in _plain_parts(name, tensor):
            place = (part.data_ptr(), part.device, part.shape, part.stride(), part.dtype)
            if part.numel() and (part.is_meta or seen.setdefault(place, inner) == inner):
                yield inner, part


def _plain_parts(name: str, tensor: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A tensor, or the tensors that a quantised one is made of."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        return  # the extra state of a module
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield name, tensor.detach()
        return
    for inner in flatten()[0]:
        yield from _plain_parts(f"{name}.{inner}", getattr(tensor, inner))


def _in_memory(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.is_meta:
        raise ValueError(
            f"the weights {name!r} are not in memory (they wait on a disk, or were never loaded), so that the model "
            "cannot be told from others: load it onto one device, or leave cache out"
        )
    return tensor


def _checksums(tensor: torch.Tensor, name: str) -> bytes:
    """Sums of the tensor's 32-bit words, each times a random odd number of 64 bits, modulo 2^64; a sum per block.

    Multilinear hashing (Carter and Wegman, 1979; Lemire and Kaser, 2014): whatever two different blocks hold, their
    sums are equal with a probability of less than 2^-31. Whole numbers add up to the same on any device, in any order.
    """
    import torch

    try:
        data = tensor.contiguous().reshape(-1).view(torch.uint8)
        tail = data[data.numel() // (4 * BLOCK) * 4 * BLOCK :]
        padded = torch.nn.functional.pad(tail, (0, -tail.numel() % (4 * BLOCK)))
        whole = data[: data.numel() - tail.numel()]
        if whole.storage_offset() % 4:
            whole = whole.clone()
        words = [part.view(torch.int32).view(-1, BLOCK) for part in (whole, padded) if part.numel()]
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"the weights {name!r} ({type(tensor).__name__}, {tensor.dtype}) have no bytes to look at, so that the "
            f"model cannot be told from others ({error}): leave cache out"
        ) from error
    factors = torch.from_numpy(_factors()).to(tensor.device)
    at_once = 1 if tensor.device.type == "cpu" else BLOCKS_ELSEWHERE
    sums = [(few * factors).sum(-1) for part in words for few in part.split(at_once)]
    return torch.cat(sums).cpu().numpy().astype("<i8").tobytes()


@cache
def _factors() -> np.ndarray:
    """The same on every machine: the raw numbers of this generator are guaranteed not to change."""
    return (np.random.PCG64(0).random_raw(BLOCK) | np.uint64(1)).view(np.int64)
