"""Text to token ids: which characters each token covers, and what stands before the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from .models import LanguageModel, vocabulary_rows
from .warn import warn_caller

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts per call of the tokenizer. Together they take about a quarter less time; larger batches save little more.
ENCODED_TOGETHER = 64

Spans = list[tuple[int, int]]


def encode_with_spans(lm: LanguageModel, text: str) -> tuple[tuple[int, ...], Spans]:
    """Token ids of a text without special tokens around it, and the characters that each token covers.

    The spans leave no gaps. Some tokenizers trim white space: they report " Paris" from the "P" on, and an empty span
    for a token of nothing but spaces. Where the reported spans have such holes, each token's own text decides how far
    it reaches.
    """
    return next(encode_each(lm, [text]))


def encode_each(lm: LanguageModel, texts: Iterable[str]) -> Iterator[tuple[tuple[int, ...], Spans]]:
    """:func:`encode_with_spans` of each text, in batches."""
    remaining, piece_of = iter(texts), _piece_of(lm)
    while batch := list(islice(remaining, ENCODED_TOGETHER)):
        encoded = lm.tokenizer(batch, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, ids, reported in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            _warn_of_unknown(lm, text, ids)
            yield tuple(ids), _without_gaps(piece_of, text, ids, reported)


def _piece_of(lm: LanguageModel) -> Callable[[int], str]:
    """The text of a token, decoded once: a text has many tokens and few different ones."""
    return cache(lambda token_id: token_text(lm, token_id))


def _without_gaps(
    piece_of: Callable[[int], str], text: str, ids: Sequence[int], reported: Sequence[tuple[int, int]]
) -> Spans:
    """The spans that the tokenizer reports, extended over what it left out."""
    ends = [0, *(end for _, end in reported)]
    if ends[-1] == len(text) and all(
        start <= before <= end and start < end for (start, end), before in zip(reported, ends, strict=False)
    ):
        return list(reported)
    spans, covered = [], 0
    for token_id, (start, end) in zip(ids, reported, strict=True):
        piece = piece_of(token_id)
        if piece and "\ufffd" not in piece and text.startswith(piece, covered):
            start, end = covered, covered + len(piece)
        spans.append((min(start, covered), max(end, covered)))
        covered = max(end, covered)
    return spans


def _warn_of_unknown(lm: LanguageModel, text: str, ids: Sequence[int]) -> None:
    unknown = lm.tokenizer.unk_token
    if unknown is not None and lm.tokenizer.unk_token_id in ids and unknown not in text:
        warn_caller(
            f"the tokenizer of {lm.name!r} has no token for a part of {text!r:.60} and reads it as {unknown!r}: its "
            "score is that of any unknown word, and bits per byte are not comparable"
        )


def span_texts(lm: LanguageModel, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The text of each token: its piece of `text`, unless it is only a part of a character."""
    piece_of, pieces = _piece_of(lm), []
    for token_id, (start, end) in zip(ids, spans, strict=True):
        covered = text[start:end]
        is_part = not covered.isascii() and "\ufffd" in piece_of(token_id)
        pieces.append(piece_of(token_id) if is_part else covered)
    return tuple(pieces)


def token_text(lm: LanguageModel, token_id: int) -> str:
    """A token as it would continue a text."""
    return tokens_text(lm, [token_id])


def tokens_text(lm: LanguageModel, token_ids: Sequence[int]) -> str:
    """Tokens as they would continue a text. On their own, some tokenizers decode them without their leading space."""
    anchor = lm.tokenizer("a", add_special_tokens=False)["input_ids"]
    before = lm.tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
    both = lm.tokenizer.decode([*anchor, *token_ids], clean_up_tokenization_spaces=False)
    return both.removeprefix(before)


def own_prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The special tokens the tokenizer adds before a text by default."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("a")["input_ids"]
    for i in range(len(dressed) - len(bare) + 1):
        if dressed[i : i + len(bare)] == bare:
            return tuple(dressed[:i])
    return ()


def with_context(
    lm: LanguageModel, ids: tuple[int, ...], first: int, prefix: tuple[int, ...], name: str
) -> tuple[tuple[int, ...], int]:
    """Prepend what must stand before `ids`, and move the index of the first scored token along.

    That is the tokenizer's own `prefix` (BOS for Llama, nothing for GPT-2). If nothing then precedes the first scored
    token, it is BOS, else EOS. Ids that already begin with it, as a rendered chat may, are left alone: that first token
    is context and is not scored.
    """
    tokenizer = lm.tokenizer
    if not prefix and first == 0:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise ValueError(
                f"{name}: nothing precedes the first token, and the tokenizer of {lm.name!r} has neither a BOS nor an "
                "EOS token to stand in: begin with a prompt that is not empty, or set tokenizer.bos_token"
            )
        prefix = (start,)
    if not prefix or ids[: len(prefix)] != prefix:
        return prefix + ids, first + len(prefix)
    if len(ids) == len(prefix):
        raise ValueError(f"{name} holds nothing but the token that begins every text: there is nothing to score")
    return ids, max(first, len(prefix))


def require_text(text: Any, name: str) -> None:
    """A clear error for anything but a string of at least one character that can be encoded."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}: {text!r:.60}")
    if not text:
        raise ValueError(f"{name} is empty: there is no token to score")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not valid Unicode ({error}): decode it with the right encoding first") from None


def require_rows(lm: LanguageModel, ids: Sequence[int], name: str) -> None:
    """A clear error if a token has no row in the model: its neighbours' numbers would be read, or none."""
    rows = vocabulary_rows(lm)
    highest = max(ids)
    if highest >= rows:
        token = lm.tokenizer.convert_ids_to_tokens(highest)
        raise ValueError(
            f"{name} holds the token {token!r} with id {highest}, and {lm.name!r} has rows for {rows} ids while its "
            f"tokenizer has {len(lm.tokenizer)} tokens: call model.resize_token_embeddings(len(tokenizer)) and train "
            "the new rows, or leave the token out"
        )


def require_fit(lm: LanguageModel, ids: Sequence[int], name: str) -> None:
    """A clear error if the model cannot read the ids in one go. The last one is only predicted, never read."""
    if lm.context_length is not None and len(ids) - 1 > lm.context_length:
        raise ValueError(
            f"{name} is {len(ids)} tokens long, and {lm.name!r} can read {lm.context_length}: shorten it, "
            "or measure long text with nbhelpers.perplexity, which slides a window over it"
        )
