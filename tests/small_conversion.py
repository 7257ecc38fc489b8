"""Prepare the embedded model's cache with a tiny model, as reading the real one from GGUF takes about 20 s.

Everything around the reading is real: locks, hashes, the manifest and the files that are written. The conversion waits
until the file $GO exists, so that a test decides when it ends. Run as a script, this prints the folder.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nbhelpers import embedded


def small_model(*_: object, **__: object) -> LlamaForCausalLM:
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.01)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=2, tie_word_embeddings=True, **sizes)
    config.quantization_config = {"quant_method": "gguf"}  # as after reading GGUF; it must not be saved
    return LlamaForCausalLM(config)


def small_tokenizer(*_: object, **__: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))


def install(replace: Callable[[object, str, object], None]) -> None:
    """Put the tiny model in place of the real one, by `setattr` or a function like it."""
    replace(AutoModelForCausalLM, "from_pretrained", small_model)
    replace(AutoTokenizer, "from_pretrained", small_tokenizer)
    replace(embedded, "_check", lambda model, tokenizer: None)  # it knows the real model's numbers


if __name__ == "__main__":
    install(setattr)
    embedded.PATIENCE = 0.1  # seconds until a process says that it waits
    print(embedded.embedded_folder())
