"""Which weights from where, safely: a model and its tokenizer from the Hub, a folder or a GGUF file.

Whatever is wrong with what lies there, and whichever error another library makes of it, comes out as one ValueError.
Code that comes with a model is never run, and nothing but safetensors and GGUF is read as weights. The files are looked
at before they are opened; somebody who can change them in between is not held off.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..embedded import EMBEDDED_NAME, embedded_folder
from ..reasons import one_line, reason
from .checkpoints import (
    ADAPTER,
    CONFIG,
    INDEX,
    IS_ADAPTER,
    BadCheckpoint,
    check_config,
    check_counts,
    check_folder,
    check_gguf,
    read_json,
    shards,
)
from .placement import parameter_count, placement

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

GGUF_NAME = "model.gguf"
OURS = "load it yourself and pass it to wrap_model(model, tokenizer)"


@dataclass(frozen=True)
class Source:
    """Where a model lies: a folder, a GGUF file or a Hub id."""

    name: str
    location: str
    local: bool = True
    is_gguf: bool = False

    @property
    def shown(self) -> str:
        """The name as it stands in messages."""
        return repr(one_line(self.name, 100))


def locate(name: str | os.PathLike[str] | None) -> Source:
    """Tell a folder from a GGUF file and from the id of a model on the Hub."""
    if name is None:
        return Source(EMBEDDED_NAME, str(embedded_folder()))
    path = os.path.expanduser(name)  # these functions of os.path answer whatever they are asked, unlike Path's
    shown = one_line(path, 100)
    if os.path.isdir(path):
        return Source(str(name), path)
    if path.lower().endswith(".gguf"):
        if not os.path.isfile(path):
            raise ValueError(f"there is no file {shown}: give the path of a .gguf file that exists")
        return Source(str(name), os.path.abspath(path), is_gguf=True)
    if os.path.exists(path):
        raise ValueError(f"{shown} is a single file, and not GGUF: give the folder that it lies in, or a .gguf file")
    return Source(str(name), str(name), local=False)


def read(
    source: Source, dtype: torch.dtype, device: torch.device, quiet: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read model and tokenizer, complete and as the files say, or raise a ValueError."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with _promised(source), _no_progress_bar() if quiet else nullcontext(), ExitStack() as until_read:
        numbers, revision = _check(source)
        options: dict[str, Any] = {"trust_remote_code": False, **revision}
        location = source.location
        if source.is_gguf:
            location = until_read.enter_context(_alone(location))
            options["gguf_file"] = os.path.join(location, GGUF_NAME)
        config = AutoConfig.from_pretrained(location, **options)
        _check_kind(config)
        if numbers is not None:
            _check_size(config, numbers)
        tokenizer = AutoTokenizer.from_pretrained(location, **options)
        model, report = AutoModelForCausalLM.from_pretrained(
            location,
            dtype=dtype,
            device_map=placement(config, dtype, device),
            use_safetensors=None if source.is_gguf else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
        _check_complete(model, report)
        _check_tokenizer(tokenizer)
    model.name_or_path = tokenizer.name_or_path = source.location
    return model, tokenizer


@contextmanager
def _alone(gguf: str) -> Iterator[str]:
    """A folder that holds nothing but the GGUF file.

    `transformers` would also read what lies beside it, such as another model's tokenizer in a folder of downloads, and
    given a bare name it would rather take a file of that name in the current folder.
    """
    with tempfile.TemporaryDirectory(prefix="nbhelpers-") as folder:
        os.symlink(gguf, os.path.join(folder, GGUF_NAME))
        yield folder


@contextmanager
def _promised(source: Source) -> Iterator[None]:
    """Make one ValueError of anything that comes from foreign files, but for a want of memory and the user's Ctrl-C."""
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        # A panic of a library written in Rust is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = reason(error)
        if source.local or isinstance(error, BadCheckpoint):
            message = f"cannot load {source.shown}: {said}"
        else:
            message = (
                f"cannot load {source.shown}: it is no local folder or .gguf file, and the Hub did not deliver a "
                "causal language model in safetensors. Check the spelling, the network, and that HF_HUB_OFFLINE is "
                f"unset (it is {os.environ.get('HF_HUB_OFFLINE')!r}). In its words: {said}"
            )
        raise ValueError(message) from error


def _check(source: Source) -> tuple[int | None, dict[str, str]]:
    """Look at the files before they are opened.

    Returns how many numbers the weights are, where they are here already, and the options that hold the rest to the
    version that was looked at.
    """
    if source.is_gguf:
        return check_gguf(Path(source.location)), {}
    if source.local:
        return check_folder(Path(source.location)), {}
    return None, _check_hub(source.location)


def _check_hub(name: str) -> dict[str, str]:
    """Fetch the configuration and the index alone, and look at them."""
    from transformers.utils import cached_file

    if cached_file(name, ADAPTER, _raise_exceptions_for_missing_entries=False):
        raise BadCheckpoint(IS_ADAPTER)
    config = read_json(Path(cached_file(name, CONFIG)))
    check_config(config)
    check_counts(config)
    index = cached_file(name, INDEX, _raise_exceptions_for_missing_entries=False)
    if index is None:
        return {}
    shards(Path(index))
    commit = Path(index).parent.name  # .../snapshots/<commit>/model.safetensors.index.json
    return {"revision": commit} if re.fullmatch(r"[0-9a-f]{40}", commit) else {}


def _check_kind(config: PretrainedConfig) -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind = one_line(config.model_type, 60)
    if config.is_encoder_decoder:
        raise BadCheckpoint(
            f"{kind} is an encoder-decoder, which reads one text and writes another: nbhelpers scores causal (decoder-"
            "only) language models, such as GPT-2, Llama or OLMo"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BadCheckpoint(
            f"{kind} is no causal language model: give one that predicts the next token, such as GPT-2 or Llama"
        )


def _check_size(config: PretrainedConfig, numbers: int) -> None:
    """Refuse a model much larger than its weights: `transformers` would allocate what is missing before it says so."""
    packed = 32 if getattr(config, "quantization_config", None) is not None else 2  # several numbers in one
    asked = parameter_count(config)
    if asked > packed * numbers + 10_000_000:
        raise BadCheckpoint(f"its configuration asks for {asked:,} parameters, and the weights hold {numbers:,}")


def _check_complete(model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse a model part of which is random, or part of whose layers were left in the file."""
    kind = type(model).__name__
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if missing:
        raise BadCheckpoint(
            f"the weights of {len(missing)} of its tensors are missing or of another shape ({_few(missing)}) and would "
            f"be random: it was saved without its head, in part, or as something else than {kind}"
        )
    expected = {_pattern(key) for key in model.state_dict()}
    surplus = sorted(key for key in report["unexpected_keys"] if _pattern(key) in expected)
    if surplus and not getattr(model.config, "num_nextn_predict_layers", None):
        raise BadCheckpoint(f"its weights hold more layers than its configuration asks for ({_few(surplus)})")


def _pattern(key: str) -> str:
    return re.sub(r"\d+", "0", key)


def _few(names: list[str]) -> str:
    return one_line(", ".join(names[:3]), 160) + (", ..." if len(names) > 3 else "")


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """`transformers` makes an empty tokenizer where the files of one are missing."""
    if not tokenizer.get_vocab() or not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise BadCheckpoint(
            f"its tokenizer ({type(tokenizer).__name__}) makes no tokens of a text: its files are missing"
        )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Hide the progress bar of the embedded model, which loads in a moment: every notebook would show it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
