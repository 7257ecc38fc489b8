"""Write a model with random weights to a folder, for timing: `random_model.py {135M,1B} FOLDER`.

The time of a forward pass depends on a model's shape, not on its weights. The shapes are those of the embedded model
and of Llama 3.2 1B, each with the embedded model's tokenizer and vocabulary.
"""

from __future__ import annotations

import argparse

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from nbhelpers.embedded import embedded_folder

SHAPES = {
    "135M": (576, 1_536, 30, 9, 3),
    "1B": (2_048, 8_192, 16, 32, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder")
    parser.add_argument("--tokenizer", help="a folder with a tokenizer (default: the embedded model's)")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer or embedded_folder())
    width, inner, layers, heads, key_heads = SHAPES[options.shape]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=8_192,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(options.folder)
    tokenizer.save_pretrained(options.folder)


if __name__ == "__main__":
    main()
