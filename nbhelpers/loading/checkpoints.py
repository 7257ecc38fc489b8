"""What the files of a checkpoint say, looked at before `transformers` opens any of them.

A checkpoint comes from elsewhere. Its index may name a pickle or a file outside the folder, a file may be cut short or
a named pipe that never ends, and a configuration may ask for a billion layers. Each of these is a ValueError here,
whose message names the file and says what is wrong with it.

Symbolic links are followed: the Hub's own cache is made of them. Whoever can put a link into a folder therefore
chooses which files are read as weights, configuration or tokenizer, and nothing more.
"""

from __future__ import annotations

import json
import math
import mmap
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..reasons import one_line, reason

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
IS_ADAPTER = (
    "it is an adapter of PEFT, which names another model to load: load that one with AutoModelForCausalLM, the adapter "
    "with PeftModel.from_pretrained, and pass the result to wrap_model"
)

LARGEST_JSON = 100_000_000  # bytes; the index of the largest models has 20 million
# Building a layer takes a millisecond, so a configuration is held to its weights: each layer has at least one tensor.
MOST_LAYERS = 1_000
MOST_EXPERTS = 20_000  # those of Doge are 16,384 rows of one tensor
COUNTS = re.compile(r"(^|_)(layers?|blocks?|experts?|heads?|stages?|depths?|codebooks?|groups?)$")
AT_LEAST_ONE = re.compile(r"^(num_hidden_layers|n_layers?|num_layers|num_attention_heads|n_heads?|num_heads)$")

# The other architectures of the families that have a causal one: their body loads, and its numbers mean nothing.
OTHER_TASKS = re.compile(r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)$")
BOTH_DIRECTIONS = re.compile(r"For(MaskedLM|PreTraining)$")


class BadCheckpoint(ValueError):
    """What is wrong with a checkpoint, as a sentence that lacks only the name of the model."""


def check_folder(folder: Path) -> int:
    """Look at every file of a local checkpoint that will be read; how many numbers its weights are."""
    if (folder / ADAPTER).exists():
        raise BadCheckpoint(IS_ADAPTER)
    if not (folder / CONFIG).exists():
        raise BadCheckpoint(f"the folder has no {CONFIG}: give one that save_pretrained has written")
    for path in (*folder.glob("*"), *folder.glob("additional_chat_templates/*")):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BadCheckpoint(f"{path.name} is neither a file nor a folder: reading it could take for ever")
    if (folder / "modules.json").is_file() and "sentence_transformers" in (folder / "modules.json").read_text("utf-8"):
        raise BadCheckpoint(
            "it is a sentence-transformers model, which turns a text into one vector and predicts no token"
        )
    config = read_json(folder / CONFIG)
    check_config(config)
    weights = weight_files(folder, config)
    sizes = [size for path in weights for size in _tensor_sizes(path)]
    check_counts(config, len(sizes))
    return sum(sizes)


def weight_files(folder: Path, config: dict[str, Any]) -> list[Path]:
    """The safetensors files that will be read; an index may name no other kind, and none outside the folder."""
    chosen = config.get("transformers_weights")
    names = [chosen] if chosen else [name for name in (WEIGHTS, INDEX) if (folder / name).is_file()][:1]
    if not names:
        if any(folder.glob("shard-*-model-*.safetensors")):
            return sorted(folder.glob("*.safetensors"))
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"{pickles[0]} is a pickle, which could run code" if pickles else "there are no weights"
        raise BadCheckpoint(
            f"{WEIGHTS} is missing ({found}): save the model with save_pretrained, which writes safetensors"
        )
    return [folder / name for name in (shards(folder / names[0]) if names[0].endswith(".json") else names)]


def shards(index: Path) -> list[str]:
    """The files that an index names, each a safetensors file beside it."""
    content = read_json(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(content.get("metadata"), dict):
        raise BadCheckpoint(f"{index.name} lacks its 'metadata' or its 'weight_map' from tensors to files")
    names = {name if isinstance(name, str) else repr(name) for name in weight_map.values()}
    for name in sorted(names):
        if not _is_plain(name, (".safetensors",)):
            raise BadCheckpoint(
                f"{index.name} names {one_line(name, 100)!r}: it may only name safetensors files in its own folder"
            )
    return sorted(names)


def check_config(config: dict[str, Any]) -> None:
    """Refuse a configuration that names pickles or code, or belongs to another task."""
    chosen = config.get("transformers_weights")  # the file with the weights, or their index
    if chosen and not _is_plain(chosen, (".safetensors", ".safetensors.index.json")):
        raise BadCheckpoint(f"{CONFIG} names {one_line(chosen, 100)!r} as weights: only safetensors are read")
    for name, value in _leaves(config):
        if name.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise BadCheckpoint(
                f"{CONFIG} asks for the code {one_line(value, 100)!r} from the Hub ({name}), and no code is fetched: "
                "take the line out"
            )
    architectures = config.get("architectures")
    for name in architectures if isinstance(architectures, list) else []:
        if OTHER_TASKS.search(str(name)) or (BOTH_DIRECTIONS.search(str(name)) and not config.get("is_decoder")):
            raise BadCheckpoint(
                f"{CONFIG} says that it was saved as {one_line(name, 100)}, which does not predict the next token"
            )


def check_counts(config: dict[str, Any], tensors: int = 0) -> None:
    """Refuse a configuration that would take for ever to build; `tensors` is how many the weights are, if known."""
    for name, value in _leaves(config):
        if not isinstance(value, int):
            continue
        if AT_LEAST_ONE.search(name) and value < 1:
            raise BadCheckpoint(f"{CONFIG} asks for {name} = {one_line(value, 40)}: it must be 1 or more")
        if COUNTS.search(name) and value > max(MOST_EXPERTS if "expert" in name else MOST_LAYERS, tensors):
            weights = f", and the weights are {tensors} tensors" if tensors else ""
            raise BadCheckpoint(f"{CONFIG} asks for {name} = {one_line(value, 40)}{weights}")


def check_gguf(path: Path) -> int:
    """Walk through the header of a GGUF file, whose counts its readers trust; how many numbers its weights are."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadCheckpoint(f"{path.name} is no file")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _walk_gguf(path.name, data)
    except BadCheckpoint:
        raise
    except (struct.error, ValueError, LookupError) as error:
        raise BadCheckpoint(f"{path.name} is cut short or no GGUF file ({reason(error)})") from error


def _walk_gguf(name: str, data: mmap.mmap) -> int:
    from gguf import GGMLQuantizationType
    from gguf.constants import GGML_QUANT_SIZES

    magic, version, tensors, fields = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version not in (2, 3):
        raise BadCheckpoint(f"{name} is no GGUF file of version 2 or 3 for this kind of machine")
    position, alignment, layers = 24, 32, None
    for _ in range(fields):
        key, position = _gguf_string(data, position)
        (kind,) = struct.unpack_from("<I", data, position)
        if key == "general.alignment":
            (alignment,) = struct.unpack_from("<I", data, position + 4)
        if key.endswith(".block_count"):
            (layers,) = struct.unpack_from("<I", data, position + 4)
            if layers > max(MOST_LAYERS, tensors):
                raise BadCheckpoint(f"{name} claims {layers} layers and {tensors} tensors")
        position = _after_gguf_value(data, position + 4, kind)
    ends, numbers = [], 0
    for _ in range(tensors):
        key, position = _gguf_string(data, position)
        (dimensions,) = struct.unpack_from("<I", data, position)
        *shape, kind, begin = struct.unpack_from(f"<{min(dimensions, 9)}QIQ", data, position + 4)
        position += 4 + 8 * dimensions + 12
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        numbers += math.prod(shape)
        ends.append(begin + math.prod(shape) // block * size)
        if layers is not None and (block_name := re.match(r"blk\.(\d+)\.", key)) and int(block_name[1]) >= layers:
            raise BadCheckpoint(f"{name} claims {layers} layers and holds more ({key})")
    begin_of_data = -(-position // max(alignment, 1)) * alignment
    if ends and begin_of_data + max(ends) > len(data):
        raise BadCheckpoint(
            f"{name} is cut short: it has {len(data)} bytes and its tensors {begin_of_data + max(ends)}"
        )
    return numbers


def _gguf_string(data: mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, position)
    end = position + 8 + length
    if end > len(data):
        raise IndexError("a text goes beyond the end")
    return data[position + 8 : end].decode(), end


GGUF_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
GGUF_STRING, GGUF_ARRAY = 8, 9


def _after_gguf_value(data: mmap.mmap, position: int, kind: int) -> int:
    """Where the value ends. Every step goes forward or fails, so this ends with the file at the latest."""
    if kind == GGUF_STRING:
        _, position = _gguf_string(data, position)
    elif kind == GGUF_ARRAY:
        inner, count = struct.unpack_from("<IQ", data, position)
        position += 12
        if inner in GGUF_WIDTHS:
            position += GGUF_WIDTHS[inner] * count
        elif inner == GGUF_STRING:
            for _ in range(count):
                _, position = _gguf_string(data, position)
        else:
            raise BadCheckpoint(f"a field of the GGUF file is an array of type {inner}, which nobody reads")
    elif kind in GGUF_WIDTHS:
        position += GGUF_WIDTHS[kind]
    else:
        raise BadCheckpoint(f"a field of the GGUF file has the unknown type {kind}")
    if position > len(data):
        raise IndexError("a field goes beyond the end")
    return position


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise BadCheckpoint(f"{path.name} has {path.stat().st_size} bytes, too many for what it should be")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint(f"{path.name} is missing") from None
    except OSError as error:
        raise BadCheckpoint(f"{path.name} cannot be read ({reason(error)})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadCheckpoint(f"{path.name} is not valid JSON ({reason(error)})") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path.name} holds no JSON object but {one_line(content, 40)}")
    return content


def _tensor_sizes(path: Path) -> list[int]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # reads the header, and compares it with the file's length
            return [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
    except Exception as error:
        raise BadCheckpoint(f"{path.name} cannot be read as safetensors ({reason(error)})") from error


def _is_plain(name: Any, endings: tuple[str, ...]) -> bool:
    """Whether it is the name of one file, on any system, with one of these endings."""
    if not isinstance(name, str) or not name.endswith(endings) or not name.isprintable():
        return False
    return PurePosixPath(name).name == name == PureWindowsPath(name).name


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of a configuration at every depth; JSON has been parsed, so the depth is bounded."""
    pending = [(name, value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [(name, inner) for inner in value]
        else:
            yield name, value
