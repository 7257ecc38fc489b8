"""Text to token ids: which characters each token covers, and what stands before the first one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, tee
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from .cutting import last_cut, splits_before_spaces
from .front_coding import FrontCoded, front_code
from .models import LanguageModel, vocabulary_rows
from .warn import warn_caller

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts that are compared with each other, to encode once what they share. More of them would share hardly more.
COMPARED_TOGETHER = 4_096

# Texts and characters per call of the tokenizer. A call takes some hundredths of a second at most, then an interruption
# is noticed; and the tuples that it returns are gone again before Python's garbage collector gets to know them.
ENCODED_TOGETHER = 128, 65_536

Spans = list[tuple[int, int]]
ALL = -1
NO_SPANS = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as token ids, without special tokens around it.

    Attributes
    ----------
    ids : int32 array [tokens]
    spans : int array [tokens that were asked for, 2]
        The characters ``text[start:end]`` that each of the last tokens covers.
    """

    ids: np.ndarray
    spans: np.ndarray


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a text, with the ids of everything up to its end; its own ids and spans count from its beginning."""

    text: str
    end: int
    ids_so_far: np.ndarray
    ids: Sequence[int]
    reported: Sequence[tuple[int, int]]

    def spans_beyond(self, characters: int, piece_of: Callable[[int], str]) -> np.ndarray:
        begin = self.end - len(self.text)
        own = _without_gaps(piece_of, self.text, self.ids, self.reported)
        own = own[bisect_right(own, characters - begin, key=itemgetter(1)) :]
        return np.array(own, dtype=np.int64).reshape(-1, 2) + begin


def encode_with_spans(lm: LanguageModel, text: str) -> tuple[tuple[int, ...], Spans]:
    """Token ids of a text without special tokens around it, and the characters that each token covers.

    The spans leave no gaps. Some tokenizers trim white space: they report " Paris" from the "P" on, and an empty span
    for a token of nothing but spaces. Where the reported spans have such holes, each token's own text decides how far
    it reaches.
    """
    encoded = next(encode_each(lm, [text], [ALL]))
    return tuple(encoded.ids.tolist()), [(start, end) for start, end in encoded.spans.tolist()]


def encode_each(lm: LanguageModel, texts: Iterable[str], spans_from: Iterable[int] | None = None) -> Iterator[Encoded]:
    """Each text as its tokens. What texts share at their beginning is encoded once, where that is sure to be exact.

    With `spans_from`, a number of characters for each text, come the spans of the tokens that reach beyond so many
    (`ALL`: of every token); without, none.
    """
    texts, characters, piece_of = iter(texts), None if spans_from is None else iter(spans_from), _piece_of(lm)
    can_cut = splits_before_spaces(lm.tokenizer)
    while block := list(islice(texts, COMPARED_TOGETHER)):
        coded = front_code(block, last_cut) if can_cut else (FrontCoded(i, 0, [text]) for i, text in enumerate(block))
        begins = None if characters is None else list(islice(characters, len(block)))
        found: dict[int, Encoded] = {}
        for number, path in _encode_coded(lm, block, coded, with_spans=begins is not None):
            spans = [NO_SPANS]
            if begins is not None:
                beyond = begins[number]
                spans += [piece.spans_beyond(beyond, piece_of) for piece in path if piece.end > beyond]
            found[number] = Encoded(path[-1].ids_so_far, np.concatenate(spans))
        yield from (found[number] for number in range(len(block)))


def _encode_coded(
    lm: LanguageModel, texts: Sequence[str], coded: Iterator[FrontCoded], with_spans: bool
) -> Iterator[tuple[int, list[_Piece]]]:
    """The number of each text and its pieces, encoded: one list, which changes from one text to the next."""
    coded, ahead = tee(coded)
    encoded = _encode_pieces(lm, chain.from_iterable(pieces for _, _, pieces in ahead), with_spans)
    unknown, unknown_id = lm.tokenizer.unk_token, lm.tokenizer.unk_token_id
    path: list[_Piece] = []
    for number, kept, pieces in coded:
        del path[kept:]
        for piece, (ids, reported) in zip(pieces, encoded, strict=False):  # `encoded` goes on with the next text
            if unknown is not None and unknown_id in ids and unknown not in piece:
                _warn_of_unknown(lm, texts[number], unknown)
            own = np.array(ids, dtype=np.int32)
            end = path[-1].end + len(piece) if path else len(piece)
            so_far = np.concatenate([path[-1].ids_so_far, own]) if path else own
            path.append(_Piece(piece, end, so_far, ids, reported))
        yield number, path


def _encode_pieces(
    lm: LanguageModel, pieces: Iterable[str], with_spans: bool
) -> Iterator[tuple[list[int], Sequence[tuple[int, int]]]]:
    """Ids of each piece, and with `with_spans` the spans that the tokenizer reports; equal neighbours are done once."""
    for batch in _batches(pieces, *ENCODED_TOGETHER):
        distinct = list(dict.fromkeys(batch))
        encoded = lm.tokenizer(
            distinct,
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=with_spans,
            verbose=False,
        )
        reported = encoded["offset_mapping"] if with_spans else [()] * len(distinct)
        found = dict(zip(distinct, zip(encoded["input_ids"], reported, strict=True), strict=True))
        yield from (found[piece] for piece in batch)


def _batches(texts: Iterable[str], most: int, characters: int) -> Iterator[list[str]]:
    """Texts in order, `most` together, or fewer as soon as they have this many characters."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == most or size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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


def _warn_of_unknown(lm: LanguageModel, text: str, unknown: str) -> None:
    warn_caller(
        f"the tokenizer of {lm.name!r} has no token for a part of {text!r:.60} and reads it as {unknown!r}: its "
        "score is that of any unknown word, and bits per byte are not comparable"
    )


def span_texts(lm: LanguageModel, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The text of each token: its piece of `text`, unless it is only a part of a character."""
    pieces = [text[start:end] for start, end in spans]
    if not all(map(str.isascii, pieces)):
        piece_of = _piece_of(lm)
        for i, token_id in enumerate(ids):
            if not pieces[i].isascii() and "\ufffd" in piece_of(token_id):
                pieces[i] = piece_of(token_id)
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
    """Prepend what must stand before `ids`, and move the index of the first scored token along."""
    missing, first = missing_context(lm, ids, first, prefix, name)
    return missing + ids, first


def missing_context(
    lm: LanguageModel, ids: Sequence[int] | np.ndarray, first: int, prefix: tuple[int, ...], name: str
) -> tuple[tuple[int, ...], int]:
    """What must stand before `ids` and does not yet, and the index of the first scored token behind it.

    That is the tokenizer's own `prefix` (BOS for Llama, nothing for GPT-2). If nothing then precedes the first scored
    token, it is BOS, else EOS. Ids that already begin with it, as a rendered chat may, are left alone: that first token
    is context and is not scored.
    """
    if not prefix and first == 0:
        tokenizer = lm.tokenizer
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise ValueError(
                f"{name}: nothing precedes the first token, and the tokenizer of {lm.name!r} has neither a BOS nor an "
                "EOS token to stand in: begin with a prompt that is not empty, or set tokenizer.bos_token"
            )
        prefix = (start,)
    if not prefix or tuple(ids[: len(prefix)]) != prefix:
        return prefix, first + len(prefix)
    if len(ids) == len(prefix):
        raise ValueError(f"{name} holds nothing but the token that begins every text: there is nothing to score")
    return (), max(first, len(prefix))


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


def require_rows(lm: LanguageModel, ids: Sequence[int] | np.ndarray, name: str) -> None:
    """A clear error if a token has no row in the model: its neighbours' numbers would be read, or none."""
    rows = vocabulary_rows(lm)
    highest = int(np.max(ids))
    if highest >= rows:
        token = lm.tokenizer.convert_ids_to_tokens(highest)
        raise ValueError(
            f"{name} holds the token {token!r} with id {highest}, and {lm.name!r} has rows for {rows} ids while its "
            f"tokenizer has {len(lm.tokenizer)} tokens: call model.resize_token_embeddings(len(tokenizer)) and train "
            "the new rows, or leave the token out"
        )


def require_fit(lm: LanguageModel, ids: Sequence[int] | np.ndarray, name: str) -> None:
    """A clear error if the model cannot read the ids in one go. The last one is only predicted, never read."""
    if lm.context_length is not None and len(ids) - 1 > lm.context_length:
        raise ValueError(
            f"{name} is {len(ids)} tokens long, and {lm.name!r} can read {lm.context_length}: shorten it, "
            "or measure long text with nbhelpers.perplexity, which slides a window over it"
        )
