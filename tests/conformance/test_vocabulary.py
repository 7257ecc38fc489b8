"""The plain encoder is the library's, on every text that is asked and on texts that are not."""

import random

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from nbhelpers.conformance import ARCHITECTURES, requests, write_model
from nbhelpers.conformance.models import files_of
from nbhelpers.conformance.vocabulary import COUNTED, WORDS, encode, first_of_answer, vocabulary


@pytest.fixture(scope="module", params=ARCHITECTURES)
def library(request):
    """The tokenizer of an architecture in the library `tokenizers`, and how many tokens it puts before a text."""
    architecture = ARCHITECTURES[request.param]
    files = files_of(architecture)
    return Tokenizer.from_str(files["tokenizer.json"].decode()), architecture


def test_the_encoders_agree_on_every_request(library):
    tokenizer, architecture = library
    for request in requests(architecture.name):
        text = request.prompt + request.answer
        starts = [architecture.start_id] * architecture.puts_start
        assert tokenizer.encode(text).ids == starts + encode(text), request
        assert tokenizer.encode(text, add_special_tokens=False).ids == encode(text)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_transformers_makes_of_the_tokenizer_agrees_too(name, tmp_path):
    """transformers 5 gives a qwen2 model a tokenizer of its own, which cuts and normalises by other rules."""
    tokenizer = AutoTokenizer.from_pretrained(write_model(tmp_path, name))
    for request in requests(name):
        text = request.prompt + request.answer
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == encode(text), request
    assert len(tokenizer("red")["input_ids"]) == 1 + ARCHITECTURES[name].puts_start


@pytest.mark.parametrize("seed", range(20))
def test_the_encoders_agree_on_random_texts(seed):
    tokenizer = Tokenizer.from_str(files_of(ARCHITECTURES["gpt2"])["tokenizer.json"].decode())
    rng = random.Random(seed)
    parts = [
        *WORDS,
        " ",
        "  ",
        "\n",
        "\t",
        "é",
        "東",
        "😀",
        "4",
        "42",
        ".",
        "_",
        "'s",
        "'ll",
        "!?",
        "<s>",
        "<|endoftext|>",
    ]
    for _ in range(50):
        text = "".join(rng.choices(parts, k=rng.randrange(12)))
        assert tokenizer.encode(text).ids == encode(text), text


def test_the_answer_begins_where_the_offsets_say():
    tokenizer = Tokenizer.from_str(files_of(ARCHITECTURES["gpt2"])["tokenizer.json"].decode())
    for request in requests("gpt2"):
        encoding = tokenizer.encode(request.prompt + request.answer)
        first = next(i for i, (_, end) in enumerate(encoding.offsets) if end > len(request.prompt))
        assert first_of_answer(request.prompt, encoding.ids) == first, request


def test_every_word_is_one_token_bare_and_after_a_space():
    assert all(len(encode(text)) == 1 for word in WORDS for text in (word, f" {word}"))
    assert set(COUNTED) < set(WORDS) and len(vocabulary()) == 461
    assert encode(" ret") + encode("urn") != encode(" return")  # two words that merge across a boundary
    with pytest.raises(ValueError, match="the answer is empty"):
        first_of_answer(" red", encode(" red"))


def test_there_are_a_few_hundred_requests_and_none_is_empty():
    for name in ARCHITECTURES:
        asked = requests(name)
        assert 200 < len(asked) < 400 and len({request.kind for request in asked}) == 11
        assert all(request.answer for request in asked)
        starts = ARCHITECTURES[name].puts_start
        assert max(r.tokens for r in asked if r.kind != "over") + starts == 128
        assert len({r.tokens for r in asked if r.kind in ("even", "cuts", "answers")}) == 1  # these need no padding
    assert max(r.tokens for r in requests("llama", 127) if r.kind != "over") == 126
    with pytest.raises(ValueError, match="longest=50: give the longest row in tokens, from 99 to 128"):
        requests("llama", 50)
