"""The default model's GGUF file, written out as the folder that `transformers` and other tools read.

Every byte of the folder follows from the GGUF file and the constants below, so that `embedded` can know the hash of
each file beforehand: no version of ``transformers`` has a say. The de-quantised weights are the same on every machine,
because each is a product that float32 holds exactly, plus at most one number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader

# What the file's metadata say, under the names that configurations of Llama have in every version of `transformers`.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "dtype": "float32",
    "eos_token_id": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "rms_norm_eps": 9.999999747378752e-06,  # 1e-5 in float32
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},  # read by version 5
    "rope_theta": 100000.0,  # read by version 4 and by other tools
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "use_cache": True,
    "vocab_size": 49152,
}
GENERATION_CONFIG = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "use_cache": True}
TOKENIZER_CONFIG = {
    "add_bos_token": False,
    "bos_token": "<|im_start|>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "<|endoftext|>",
}
BYTE_LEVEL = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
CONTROL = 3  # the type of a control token in GGUF

MODULES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE_THE_LAYERS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def convert(gguf: Path, folder: Path) -> None:
    """Write configuration, tokenizer and de-quantised weights of the default model into the empty `folder`."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf)
    for name, content in [
        ("config.json", CONFIG),
        ("generation_config.json", GENERATION_CONFIG),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
        ("tokenizer.json", _tokenizer(reader)),
    ]:
        (folder / name).write_bytes(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    (folder / "chat_template.jinja").write_bytes(_field(reader, "tokenizer.chat_template").encode())
    # The head is the embedding (`tie_word_embeddings`), stored once under the embedding's name, as every Llama has it.
    save_file(dict(_weights(reader)), folder / "model.safetensors", metadata={"format": "pt"})


def _weights(reader: GGUFReader) -> Iterator[tuple[str, np.ndarray]]:
    """Names as in checkpoints of Llama, and the weights in float32."""
    import numpy as np
    from gguf.quants import dequantize

    for tensor in reader.tensors:
        weights = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        name = OUTSIDE_THE_LAYERS.get(tensor.name)
        if name is None:
            _blk, layer, module, _weight = tensor.name.split(".")
            name = f"model.layers.{layer}.{MODULES[module]}.weight"
            heads = {"attn_q": CONFIG["num_attention_heads"], "attn_k": CONFIG["num_key_value_heads"]}.get(module)
            if heads is not None:
                weights = _halves(weights, heads)
        yield name, weights


def _halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head in the order of `transformers`.

    Rotary positions turn pairs of rows. GGUF keeps the two of a pair side by side, `transformers` in two halves.
    """
    rows, width = weights.shape
    pairs = weights.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width).copy()


def _tokenizer(reader: GGUFReader) -> dict[str, Any]:
    """The byte-level BPE of the file, in the format of the library `tokenizers`; no token is put before a text."""
    tokens = _field(reader, "tokenizer.ggml.tokens")
    types = _field(reader, "tokenizer.ggml.token_type")
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, **plain}
            for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind == CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first],
            "pair": [first, second],
            "special_tokens": {},
        },
        "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in _field(reader, "tokenizer.ggml.merges")],
        },
    }


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise ValueError(f"the GGUF file has no field {name}")
    return field.contents()
