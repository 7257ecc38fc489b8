"""Beginnings that are encoded once: the same tokens and spans as texts encoded whole, for tokenizers of every kind."""

import os
import random
from itertools import islice

import pytest
from tiny_models import make_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

import nbhelpers as nb
from nbhelpers import tokens
from nbhelpers.cutting import SPLITTING_BEFORE_SPACES, last_cut, splits_before_spaces
from nbhelpers.front_coding import front_code
from nbhelpers.tokens import encode_each

# Pairs of texts for each tokenizer. `NBHELPERS_PAIRS=20000` takes a few minutes.
PAIRS = int(os.environ.get("NBHELPERS_PAIRS", "400"))

# What texts are put together from: all that a pre-tokenizer, a normaliser or an added token treats in a way of its own.
PARTS = [
    *("the", "The", "end", "capital", "of", "France", "ret", "urn", "I", "don", "x", "HTTPServer", "ab"),
    *("'s", "'S", "'ll", "'", "’s", "n't", "'re"),
    *("1", "12", "123", "1234567", "½", "²", "Ⅷ", "٣"),
    *(" ", " ", " ", " ", " ", " ", "  ", "   ", "\n", "\n\n", " \n", "\t", "\r\n"),
    *("\u00a0", "\u2003", "\u3000", "\u0085", "\u1680", "\u180e", "\u200b", "\x1c", "\x1f", "\u2028", "\ufeff"),
    *(".", ",", ":", "!", "...", "-", "(", "/", "//", "_", "#", "€", "«", "▁", "Ġ", "\x00"),
    *("é", "e\u0301", "\u0301", "\u0308", "ñ", "Å", "\u212b", "ﬁ", "ß", "İ", "ǅ", "ª"),
    *("東京", "、", "मुंबई", "\u0902", "กำ", "שָׁלוֹם", "مرحبا", "한국", "\u1112\u1161\u11ab", "Москва"),
    *("😀", "🏳️\u200d🌈", "👍🏽"),
    *("<|end|>", "<|end", "|>", "<s>", "<unk>", "[MASK]", "two words", "to", "new", "  \u0301"),
]

TRAINING = [" ".join(PARTS), "The capital of France is Paris; the end of the end. I don't return 1234567 of 12."] * 3


def finished(core: Tokenizer, trainer, **options) -> PreTrainedTokenizerFast:
    core.train_from_iterator(TRAINING, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


def byte_level(
    named=None,
    *,
    before=(),
    normalizer=None,
    added=(),
    prefix_space=False,
    ignore_merges=False,
    way=("isolated", False),
):
    core = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    core.normalizer = normalizer
    if named is None:
        steps = [pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)]
    else:
        pattern = SPLITTING_BEFORE_SPACES.get(named, named)
        split = pre_tokenizers.Split(Regex(pattern), *way)
        steps = [split, pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)]
    core.pre_tokenizer = pre_tokenizers.Sequence([*before, *steps]) if len(steps) + len(before) > 1 else steps[0]
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|end|>", "<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer = finished(core, trainer, eos_token="<|end|>")
    tokenizer.add_tokens(list(added))
    return tokenizer


def sentencepiece_bpe(split: bool):
    """Llama 2's kind: spaces as ▁, one before every text, bytes for what the vocabulary lacks."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=split)
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", *names], show_progress=False)
    return finished(core, trainer, unk_token="<unk>", bos_token="<s>")


def unigram():
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    return finished(core, trainer, unk_token="<unk>")


def word_piece():
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    return finished(core, trainer, unk_token="<unk>")


def changed(tokenizer, change):
    change(tokenizer.backend_tokenizer)
    return tokenizer


def trim_spans(core):
    core.post_processor = processors.ByteLevel(trim_offsets=True)


def put_bos(core):
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])


def drop_merges(core):
    core.model.dropout = 0.5


class OfItsOwn(PreTrainedTokenizerFast):
    """A tokenizer with some Python around it, as a few models bring one."""

    def _encode_plus(self, text, *arguments, **options):
        return super()._encode_plus([one.replace(" the end", " the beginning") for one in text], *arguments, **options)


ONE_BY_ONE = pre_tokenizers.Digits(individual_digits=True)
GAPS = [AddedToken(" " * n, normalized=True) for n in (2, 3, 4)]
CUTTABLE = {
    "GPT-2": lambda: byte_level(),
    "SmolLM": lambda: byte_level(before=[ONE_BY_ONE]),
    "spans that leave out spaces": lambda: changed(byte_level(), trim_spans),
    "BOS before every text": lambda: changed(byte_level("Llama 3"), put_bos),
    "Pythia: NFC, runs of spaces as tokens": lambda: byte_level(normalizer=normalizers.NFC(), added=GAPS),
    "Llama 3": lambda: byte_level("Llama 3", ignore_merges=True, added=["<|end|>", "to", "[MASK]"]),
    "Llama 3, written the other way": lambda: byte_level("Llama 3", way=("removed", True)),
    "Qwen 2.5": lambda: byte_level("Qwen 2", normalizer=normalizers.NFC()),
    "Qwen 3.5": lambda: byte_level("Qwen 3.5", normalizer=normalizers.NFC()),
    "Llama 4": lambda: byte_level("Llama 4"),
    "Tekken": lambda: byte_level("Tekken"),
}
WHOLE = {
    "Metaspace": lambda: sentencepiece_bpe(split=True),
    "byte fallback, no splits": lambda: sentencepiece_bpe(split=False),
    "Unigram": unigram,
    "WordPiece": word_piece,
    "compatibility forms": lambda: byte_level(normalizer=normalizers.NFKC()),
    "another expression": lambda: byte_level(r"\w+ ?|\W"),
    "an expression whose matches go": lambda: byte_level("Llama 3", way=("removed", False)),
    "a space before every text": lambda: byte_level(prefix_space=True),
    "an added token that takes the space behind it": lambda: byte_level(added=[AddedToken("[MASK]", rstrip=True)]),
    "an added token of two words": lambda: byte_level(added=["two words", "of the"]),
    "an added token that must be a word": lambda: byte_level(added=[AddedToken("to", single_word=True)]),
    "Python of its own": lambda: OfItsOwn(tokenizer_object=byte_level().backend_tokenizer),
    "dropout": lambda: changed(byte_level(), drop_merges),
}


def random_pairs(seed: int):
    """Pairs of texts with a long common beginning, now and then one that ends in the middle of a part."""
    rng = random.Random(seed)
    while True:
        trunk, *tails = ("".join(rng.choices(PARTS, k=rng.randrange(1, 12))) for _ in range(3))
        trunk = trunk[: rng.randrange(len(trunk) + 1)] if rng.random() < 0.3 else trunk
        yield [trunk + tail for tail in tails]


def wrapped(make):
    tokenizer = make()
    return nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer)


def whole(lm, texts):
    """Every text by itself: a tokenizer that is called with one text has nothing to share."""
    return [tokens.encode_with_spans(lm, text) for text in texts]


def spans_of(encoded):
    return [tuple(span) for span in encoded.spans.tolist()]


@pytest.mark.filterwarnings("ignore:.*has no token for")
@pytest.mark.parametrize("kind", [*CUTTABLE, *(kind for kind in WHOLE if kind != "dropout")])
def test_texts_encoded_together_have_the_tokens_and_spans_they_have_alone(kind):
    lm = wrapped((CUTTABLE | WHOLE)[kind])
    pairs = list(islice(random_pairs(0), PAIRS))
    texts = [text for pair in pairs for text in pair]
    together = encode_each(lm, texts, [tokens.ALL] * len(texts))
    for text, encoded, (ids, spans) in zip(texts, together, whole(lm, texts), strict=True):
        assert tuple(encoded.ids) == ids == tuple(lm.tokenizer([text], add_special_tokens=False)["input_ids"][0]), text
        assert spans_of(encoded) == spans, text


@pytest.mark.parametrize("kind", [*CUTTABLE, *WHOLE])
def test_only_what_is_proven_is_cut(kind):
    assert splits_before_spaces((CUTTABLE | WHOLE)[kind]()) == (kind in CUTTABLE)


def test_the_expressions_are_those_of_the_tokenizers():
    """Those that cannot be compared with transformers were copied from the tokenizer.json of a model."""
    assert SPLITTING_BEFORE_SPACES["Qwen 2"] == PRETOKENIZE_REGEX
    gpt2 = pre_tokenizers.Split(Regex(SPLITTING_BEFORE_SPACES["GPT-2"]), "isolated")
    built_in = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    for text, _ in islice(random_pairs(2), PAIRS):
        ends = [end for _, (_, end) in built_in.pre_tokenize_str(text)]
        assert [end for _, (_, end) in gpt2.pre_tokenize_str(text)] == ends


@pytest.mark.parametrize("kind", CUTTABLE)
def test_any_text_cut_anywhere_it_may_be_has_the_tokens_of_the_whole(kind):
    """The claim itself, at every such place of a text and not only where two texts part."""
    tokenizer, cuts = CUTTABLE[kind](), 0
    for text, _ in islice(random_pairs(1), PAIRS):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        place = len(text)
        while place := last_cut(text, place):
            apart = tokenizer([text[:place], text[place:]], add_special_tokens=False)["input_ids"]
            assert apart[0] + apart[1] == ids, (text, place)
            cuts += 1
    assert cuts > PAIRS / 2


def test_every_distinct_piece_is_encoded_once(monkeypatch):
    lm = wrapped(CUTTABLE["GPT-2"])
    read = []
    original = PreTrainedTokenizerFast._encode_plus
    monkeypatch.setattr(
        PreTrainedTokenizerFast, "_encode_plus", lambda self, text, **o: read.extend(text) or original(self, text, **o)
    )
    asked = [f"Five examples. Question {n}? Answer: {letter}" for n in "PQR" for letter in "ABCD"]
    list(encode_each(lm, asked))
    assert sorted(read) == sorted(
        ["Five examples. Question", *(f" {n}? Answer:" for n in "PQR"), *(f" {letter}" for letter in "ABCD")]
    )


def test_spans_come_from_where_they_are_wanted():
    lm = wrapped(CUTTABLE["GPT-2"])
    text = "The capital of France is the end"
    texts = [text, text + " of the end"]
    for wanted in range(len(text)):
        for one, encoded in zip(texts, encode_each(lm, texts, [wanted] * 2), strict=True):
            ids, spans = whole(lm, [one])[0]
            assert tuple(encoded.ids) == ids
            assert spans_of(encoded) == [span for span in spans if span[1] > wanted]


def first_letters(text: str, end: int) -> int:
    return max(0, text.rfind(" ", 0, end))


def test_front_coded_texts_can_be_put_together_again():
    rng = random.Random(0)
    for _ in range(1_000):
        texts = ["".join(rng.choices("ab ", k=rng.randrange(14))) for _ in range(rng.randrange(12))]
        found, path = {}, []
        for number, kept, pieces in front_code(texts, first_letters):
            assert kept <= len(path) and pieces and (all(pieces) or texts[number] == "")
            path = path[:kept] + pieces
            found[number] = "".join(path)
        assert [found[number] for number in range(len(texts))] == texts


@pytest.mark.parametrize(
    "text, cut",
    [
        ("The end", 3),
        ("The end ", 7),
        ("The  end", 3),  # before the first of two spaces, never between them
        (" end", 0),  # nothing before the space
        ("The\n end", 0),  # white space before it
        ("café é", 4),
        ("end\u1680 x", 0),  # white space here, nothing of the kind in older versions of Unicode, or the reverse
        ("e\u0301 x", 0),  # neither a letter nor ASCII: not asked any further
        ("\u1112\u1161\u11ab x", 0),  # letters that NFC makes one of
    ],
)
def test_a_cut_is_before_a_space_behind_a_character(text, cut):
    assert last_cut(text, len(text)) == cut
