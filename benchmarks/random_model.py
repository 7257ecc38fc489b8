"""Models with random weights in the shapes of well-known ones, for timing: `random_model.py {135M,1B,8B} FOLDER`.

The time of a forward pass depends on a model's shape, not on its weights. The shapes are those of the embedded model
(SmolLM2-135M), of Llama 3.2 1B and of Llama 3.1 8B, vocabularies included. The tokenizer is the embedded model's, or
one trained on the spot where that model is not cached: both have fewer tokens than Llama's vocabulary has rows.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import workloads
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nbhelpers.cache import cache_folder
from nbhelpers.embedded import FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Width, inner width, layers, heads, key heads, vocabulary, whether the head is the embedding.
SHAPES = {
    "tiny": (64, 128, 2, 4, 2, 4_096, True),
    "135M": (576, 1_536, 30, 9, 3, 49_152, True),
    "1B": (2_048, 8_192, 16, 32, 8, 128_256, True),
    "8B": (4_096, 14_336, 32, 32, 8, 128_256, False),
}

# Where Llama 3's tokenizer cuts a text before it looks for tokens (its tokenizer.json).
LLAMA_3_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# This many tokens of our own give the workloads about as many tokens a word as the embedded model's tokenizer does.
OWN_TOKENS = 2_500


def make_model(shape: str, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A model with random weights, made where it is to run: 8 billion weights would take minutes to move."""
    width, inner, layers, heads, key_heads, vocabulary, tied = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=8_192,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return LlamaForCausalLM._from_config(config, dtype=dtype).eval()


def make_tokenizer(vocabulary: int, folder: str | os.PathLike[str] | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer of at most `vocabulary` tokens: the folder's, the embedded model's if it is cached, or our own."""
    embedded = cache_folder() / FOLDER
    if folder is None and (embedded / "tokenizer.json").exists() and SHAPES["135M"][5] <= vocabulary:
        folder = embedded
    tokenizer = own_tokenizer() if folder is None else AutoTokenizer.from_pretrained(Path(folder))
    if len(tokenizer) > vocabulary:
        raise ValueError(f"{folder} has {len(tokenizer)} tokens, and the model's vocabulary has {vocabulary} rows")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def own_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with Llama 3's rule for pieces, trained on the book's passages in a second."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_3_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=OWN_TOKENS,
        special_tokens=["<|end_of_text|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([workloads.long_text()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end_of_text|>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder")
    parser.add_argument("--tokenizer", help="a folder with a tokenizer (default: the embedded model's, or our own)")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    make_model(options.shape, torch.bfloat16, device).save_pretrained(options.folder)
    make_tokenizer(SHAPES[options.shape][5], options.tokenizer).save_pretrained(options.folder)


if __name__ == "__main__":
    main()
