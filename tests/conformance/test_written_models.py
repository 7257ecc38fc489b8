"""The checkpoints are the same bytes everywhere, and in them everything that was read matters."""

import hashlib

import numpy as np
import pytest

import nbhelpers as nb
from nbhelpers.conformance import ARCHITECTURES, write_model
from nbhelpers.conformance.forward import logprob_table
from nbhelpers.conformance.models import CONTEXT, config_of, files_of, written_architecture

# The first 16 digits of the SHA-256 of each file. A change here is another model: old reports are about the old one.
HASHES = {
    "llama": {
        "config.json": "ede5e8492164e8d0",
        "tokenizer.json": "e7ba420e4875df37",
        "tokenizer_config.json": "9ac4a925b7434a05",
        "model.safetensors": "3c9041a5f4cbee0c",
    },
    "qwen2": {
        "config.json": "073d4699defc94a8",
        "tokenizer.json": "e96962ca1d9c29c9",
        "tokenizer_config.json": "65d047cd3d9be442",
        "model.safetensors": "8ffbcf9df6c04d13",
    },
    "qwen3": {
        "config.json": "9011beea4098c86b",
        "tokenizer.json": "e96962ca1d9c29c9",
        "tokenizer_config.json": "65d047cd3d9be442",
        "model.safetensors": "7ed9875e27624244",
    },
    "gpt2": {
        "config.json": "21e78877d8ec63d7",
        "tokenizer.json": "e96962ca1d9c29c9",
        "tokenizer_config.json": "f0b2401f8c16fdfb",
        "model.safetensors": "e8f75438c2340ed7",
    },
    "counts": {
        "config.json": "c136c61103d8cf4e",
        "tokenizer.json": "e7ba420e4875df37",
        "tokenizer_config.json": "9ac4a925b7434a05",
        "model.safetensors": "02750d3e6c0255d0",
    },
}
RANDOM = [name for name in ARCHITECTURES if name != "counts"]


def short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_files_have_the_same_bytes_everywhere(name):
    assert {file: short_hash(content) for file, content in files_of(ARCHITECTURES[name]).items()} == HASHES[name]


@pytest.mark.parametrize("name", RANDOM)
def test_there_are_few_weights_and_bfloat16_cannot_hold_them(name):
    weights = ARCHITECTURES[name].weights(config_of(ARCHITECTURES[name]))
    assert 44_000 < sum(w.size for w in weights.values()) < 61_000
    assert {array.dtype.name for array in weights.values()} == {"float32"}
    beyond = [(array.view(np.uint32) & 0xFFFF != 0).ravel() for array in weights.values()]
    assert np.concatenate(beyond).mean() > 0.9


@pytest.mark.parametrize("name", RANDOM)
def test_every_earlier_token_and_its_place_matter(name):
    """Changed, or swapped with its neighbour: at the end of the longest text, a hundred times the tolerance."""
    config = config_of(ARCHITECTURES[name])
    weights = ARCHITECTURES[name].weights(config)
    ids = np.random.default_rng(0).permutation(config["vocab_size"])[:CONTEXT]
    last = logprob_table(config, weights, ids)[-1]

    def change(other) -> float:
        return np.abs(logprob_table(config, weights, other)[-1] - last).max()

    for place in range(CONTEXT - 1):
        other = ids.copy()
        other[place] = (other[place] + 50) % config["vocab_size"]
        assert change(other) > 0.01, place
    for place in range(CONTEXT - 2):
        other = ids.copy()
        other[[place, place + 1]] = other[[place + 1, place]]
        assert change(other) > 0.003, place


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_written_model_loads_whole_and_is_recognised(name, tmp_path):
    folder = write_model(tmp_path / "new" / "folder", name)
    assert write_model(str(folder), name) == folder  # again
    assert written_architecture(folder) == name
    lm = nb.load_model(folder, device="cpu", dtype="float32")
    assert lm.context_length == CONTEXT and lm.model.config.model_type in (name, "llama")


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match="architecture='gpt3' is unknown: give one of llama, qwen2"):
        write_model(tmp_path, "gpt3")
    (tmp_path / "thesis.md").write_text("")
    with pytest.raises(ValueError, match=r"holds 'thesis.md', which is no part of such a model"):
        write_model(tmp_path, "llama")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.md"]
    folder = write_model(tmp_path / "model", "gpt2")
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b" ")
    with pytest.raises(ValueError, match="holds no model whose answers are known, or a changed one"):
        written_architecture(folder)
