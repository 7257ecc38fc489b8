"""Log-probabilities of answer tokens and of text tokens: which tokens they are, and what stands before them.

All log-probabilities are natural logarithms (nats), computed in float32 as ``logit - logsumexp(logits)``.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from operator import add
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .engines import Engine, score_rows
from .forward import first_scored
from .head import log_probabilities
from .models import LanguageModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Boundary = Literal["joint", "split"]

# How many texts a tokenizer is handed at once. Together they take about a quarter less time; more save little more.
ENCODED_TOGETHER = 64


@dataclass(frozen=True)
class AnswerScore:
    """How probable a model finds one answer after one prompt.

    Attributes
    ----------
    prompt : str
        What the answer was conditioned on.
    answer : str
        What was scored.
    token_ids : tuple of int
        The answer's tokens: those that overlap its characters.
    tokens : tuple of str
        The same tokens as text. A character that is spread over several tokens shows as U+FFFD in each.
    logprobs : tuple of float
        Log-probability of each token given all before it, in nats.
    is_greedy : bool
        Whether each token is the model's most likely one, so that greedy decoding would have produced the answer.
    merged_boundary : bool
        Whether a token straddles the end of the prompt ("ret" + "urn" is one token). It was scored whole, so the
        score includes the end of the prompt. Spaces at the prompt's end belong to the answer and do not count.
    """

    prompt: str
    answer: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    is_greedy: bool
    merged_boundary: bool

    @property
    def total(self) -> float:
        """Log-probability of the whole answer, in nats."""
        return math.fsum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log-probability per token, in nats."""
        return self.total / len(self.logprobs)

    @property
    def perplexity(self) -> float:
        """Among how many equally likely tokens the model seems to choose, on average; exp(-mean)."""
        return exp(-self.mean)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of UTF-8, -total / ln 2 / bytes; comparable across tokenizers unless `merged_boundary`."""
        return -self.total / math.log(2) / len(self.answer.encode())

    @property
    def per_character(self) -> float:
        """Log-probability per character of the answer, in nats."""
        return self.total / len(self.answer)


@dataclass(frozen=True)
class TokenScore:
    """How a model saw one token of a text coming.

    Attributes
    ----------
    token : str
        The token as text. A character that is spread over several tokens shows as U+FFFD in each.
    token_id : int
    start : int
    end : int
        The token covers the characters ``text[start:end]``.
    logprob : float
        Log-probability given all tokens before it, in nats.
    rank : int
        1 for the model's most likely token.
    entropy : float
        Uncertainty of the model at this position, before it sees the token, in nats.
    alternatives : tuple of (str, float)
        The most likely tokens at this position with their log-probabilities, best first.
    """

    token: str
    token_id: int
    start: int
    end: int
    logprob: float
    rank: int
    entropy: float
    alternatives: tuple[tuple[str, float], ...]

    @property
    def probability(self) -> float:
        """Probability given all tokens before it, from 0 to 1."""
        return math.exp(self.logprob)


def score_answers(
    lm: LanguageModel,
    prompts: str | Iterable[str],
    answers: Iterable[str],
    *,
    boundary: Boundary = "joint",
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: bool = False,
) -> list[AnswerScore]:
    """Log-probability of each answer after its prompt.

    Parameters
    ----------
    lm : LanguageModel
    prompts : str or iterable of str
        One prompt per answer, or a single one for all of them. An empty prompt asks how likely the answer is
        with nothing before it; the tokenizer's BOS token (else EOS) then stands in for the missing context.
    answers : iterable of str
        As many as prompts. A leading space belongs to the answer: " Paris", not "Paris", follows "is".
    boundary : "joint" or "split"
        "joint" encodes prompt + answer at once, as the model met text in training, and scores the tokens that
        overlap the answer's characters; one that straddles the boundary is scored whole and reported in
        `merged_boundary`. "split" encodes the two separately and joins the tokens.
    engine : "auto", "packed" or "plain"
        "packed" computes every distinct prefix once, however many requests share it; "plain" runs the requests one
        beside the other. "auto" packs where it pays, after it has seen on this model that both give the same
        numbers, and warns where they do not. The choice changes results by rounding only (in float32, less than
        1e-4 nats a token).
    token_budget : int, optional
        Tokens per forward pass, padding included. It trades memory for speed and changes results by rounding only.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of AnswerScore
        In the order of the answers. Log-probabilities are in nats. Equal requests are computed once.

    Raises
    ------
    TypeError
        If `answers` is a single string, or an item is not a string.
    ValueError
        If the lengths differ, an answer is empty, prompt and answer are longer than the model's context, nothing
        precedes the answer and the tokenizer has neither BOS nor EOS, the tokenizer changes a text that is encoded
        in two parts (boundary="split"), the model is not causal, or it returns NaN.

    Notes
    -----
    Special tokens: a text gets whatever the tokenizer itself puts before a text (BOS for Llama, nothing for
    GPT-2) unless it already begins with it, as a rendered chat template may. Special tokens written out in a text,
    such as ``<|im_end|>``, are read as such.

    Spaces at a prompt's end: put them at the front of the answers instead. A space joins the token of a word that
    follows (" Paris") but often stays a token of its own before a digit, and belongs to the prompt then, so that
    the scores of "4" and "four" after "is " would be those of "4" and " four".

    Log-probabilities come from the logits as the model gives them; those of a bfloat16 model are rounded already.

    Explained in the chapter "Scoring Answers".
    """
    prompts, answers = _pair_up(prompts, answers)
    if boundary not in ("joint", "split"):
        raise ValueError(f"boundary={boundary!r} is unknown: give 'joint' or 'split'")
    if not answers:
        return []
    # Equal requests share one row; `place` maps each request to its row, `asker` each row to its first request.
    known: dict[tuple[bytes, int], int] = {}
    rows, place, asker, readings = [], [], [], []
    for number, (row, first, tokens, straddles) in enumerate(_encode_pairs(lm, prompts, answers, boundary)):
        ids = np.array(row, dtype=np.int32)
        place.append(known.setdefault((ids.tobytes(), first), len(rows)))
        readings.append((tokens, straddles))
        if place[-1] == len(rows):
            rows.append((ids, first))
            asker.append(number)
    del known  # it holds a copy of every row
    logprobs, greedy = score_rows(
        lm,
        rows,
        log_probabilities,
        lambda i: f"item {asker[i]}",
        engine=engine,
        token_budget=token_budget,
        progress=progress,
    )
    starts = first_scored(rows)
    results = []
    for prompt, answer, i, (tokens, straddles) in zip(prompts, answers, place, readings, strict=True):
        ids, first = rows[i]
        mine = slice(starts[i], starts[i + 1])
        results.append(
            AnswerScore(
                prompt=prompt,
                answer=answer,
                token_ids=tuple(ids[first:].tolist()),
                tokens=tokens,
                logprobs=tuple(logprobs[mine].tolist()),
                is_greedy=bool(greedy[mine].all()),
                merged_boundary=straddles,
            )
        )
    return results


def token_scores(lm: LanguageModel, text: str, *, top: int = 5) -> list[TokenScore]:
    """How the model saw each token of a text coming: log-probability, rank, entropy and what it expected instead.

    Parameters
    ----------
    lm : LanguageModel
    text : str
        At most `lm.context_length` tokens. The first token is conditioned on BOS (else EOS).
    top : int
        How many alternatives to keep for each token.

    Returns
    -------
    list of TokenScore
        One for each token of the text, in order. Log-probabilities and entropies are in nats.

    Raises
    ------
    TypeError, ValueError
        If the text is not a string, is empty or longer than the context, or the model returns NaN.

    Notes
    -----
    :func:`nbhelpers.token_heatmap` draws the result. Explained in the chapter "Perplexity".
    """
    require_text(text, "text")
    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top={top!r}: give the number of alternatives to keep, 1 or more")
    ids, spans = encode_with_spans(lm, text)
    row, first = with_context(lm, ids, 0, own_prefix(lm.tokenizer), "the text")
    require_fit(lm, row, "the text")
    rows = [(np.array(row), first)]
    logprobs, ranks, entropies, best, best_ids = score_rows(
        lm, rows, lambda logits, targets: _token_columns(logits, targets, top), lambda _: "the text"
    )
    scored = len(row) - first
    tokens = span_texts(lm, text, ids, spans)[-scored:]
    results = []
    for i, (token_id, token, span) in enumerate(zip(ids[-scored:], tokens, spans[-scored:], strict=True)):
        words = [token_text(lm, word_id) for word_id in best_ids[i].tolist()]
        results.append(
            TokenScore(
                token=token,
                token_id=token_id,
                start=span[0],
                end=span[1],
                logprob=logprobs[i].item(),
                rank=ranks[i].item(),
                entropy=entropies[i].item(),
                alternatives=tuple(zip(words, best[i].tolist(), strict=True)),
            )
        )
    return results


def encode_with_spans(lm: LanguageModel, text: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Token ids of a text without special tokens around it, and the characters that each token covers.

    The spans leave no gaps. Some tokenizers trim white space off them: the span of " Paris" then begins at "P", and
    that of a token which is nothing but spaces is empty, as if it covered no character at all. Where the reported
    spans have such holes, each token's own text decides how far it reaches.
    """
    return next(encode_each(lm, [text]))


def encode_each(lm: LanguageModel, texts: Iterable[str]) -> Iterator[tuple[tuple[int, ...], list[tuple[int, int]]]]:
    """:func:`encode_with_spans` of each text, some of them at a time."""
    texts = iter(texts)
    while some := list(islice(texts, ENCODED_TOGETHER)):
        encoded = lm.tokenizer(some, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, ids, reported in zip(some, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            _warn_of_unknown(lm, text, ids)
            yield tuple(ids), _without_gaps(lm, text, ids, reported)


def _without_gaps(
    lm: LanguageModel, text: str, ids: Sequence[int], reported: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """The spans that a tokenizer reports, stretched over what it left out."""
    ends = [0, *(end for _, end in reported)]
    if ends[-1] == len(text) and all(
        start <= before <= end and start < end for (start, end), before in zip(reported, ends, strict=False)
    ):
        return list(reported)
    spans, covered = [], 0
    for token_id, (start, end) in zip(ids, reported, strict=True):
        piece = token_text(lm, token_id)
        if piece and "\ufffd" not in piece and text.startswith(piece, covered):
            start, end = covered, covered + len(piece)
        spans.append((min(start, covered), max(end, covered)))
        covered = max(end, covered)
    return spans


def _warn_of_unknown(lm: LanguageModel, text: str, ids: Sequence[int]) -> None:
    unknown = lm.tokenizer.unk_token
    if unknown is not None and lm.tokenizer.unk_token_id in ids and unknown not in text:
        warnings.warn(
            f"the tokenizer of {lm.name!r} has no token for a part of {text!r:.60} and reads it as {unknown!r}: its "
            "score is that of any unknown word, and bits per byte are not comparable",
            stacklevel=2,
        )


def span_texts(lm: LanguageModel, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The text of each token: its piece of `text`, unless it is only a part of a character."""
    pieces = []
    for token_id, (start, end) in zip(ids, spans, strict=True):
        piece = text[start:end]
        if not piece.isascii() and "\ufffd" in (part := token_text(lm, token_id)):
            piece = part
        pieces.append(piece)
    return tuple(pieces)


def token_text(lm: LanguageModel, token_id: int) -> str:
    """A token as it would continue a text."""
    return tokens_text(lm, [token_id])


def tokens_text(lm: LanguageModel, token_ids: Sequence[int]) -> str:
    """Tokens as they would continue a text. Alone, some tokenizers would decode them without their leading space."""
    anchor = lm.tokenizer("a", add_special_tokens=False)["input_ids"]
    before = lm.tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
    both = lm.tokenizer.decode([*anchor, *token_ids], clean_up_tokenization_spaces=False)
    return both.removeprefix(before)


def with_context(
    lm: LanguageModel, ids: tuple[int, ...], first: int, prefix: tuple[int, ...], name: str
) -> tuple[tuple[int, ...], int]:
    """Put before `ids` what must stand there, and move the index of the first scored token along.

    That is the `prefix` which the tokenizer itself puts before any text (BOS for Llama, nothing for GPT-2). If
    this leaves nothing before the first scored token, it is BOS, else EOS. Ids that begin so already, as a rendered
    chat template does, are left alone: that first token is context and is not scored.
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


def own_prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The special tokens that the tokenizer puts before a text of its own accord."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("a")["input_ids"]
    for i in range(len(dressed) - len(bare) + 1):
        if dressed[i : i + len(bare)] == bare:
            return tuple(dressed[:i])
    return ()


def exp(nats: float) -> float:
    """The exponential, infinite where a float cannot hold it."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def require_text(text: Any, name: str) -> None:
    """Raise a clear error for anything but a string that holds at least one character and can be encoded."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}: {text!r:.60}")
    if not text:
        raise ValueError(f"{name} is empty: there is no token to score")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not valid Unicode ({error}): decode it with the right encoding first") from None


def require_fit(lm: LanguageModel, row: Sequence[int], name: str) -> None:
    """Raise if the model cannot read the row in one go. Its last token is only predicted, never read."""
    if lm.context_length is not None and len(row) - 1 > lm.context_length:
        raise ValueError(
            f"{name} is {len(row)} tokens long, and {lm.name!r} can read {lm.context_length}: shorten it, "
            "or measure long text with nbhelpers.perplexity, which slides a window over it"
        )


def _pair_up(prompts: str | Iterable[str], answers: Iterable[str]) -> tuple[list[str], list[str]]:
    if isinstance(answers, str):
        raise TypeError(f"answers is a single string: for one answer give a list of one, [{answers!r:.60}]")
    answers = list(answers)
    prompts = [prompts] * len(answers) if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(answers):
        raise ValueError(
            f"{len(prompts)} prompts and {len(answers)} answers: give as many of one as of the other, "
            "or a single string as the prompt of all"
        )
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if prompt != "":
            require_text(prompt, f"the prompt of item {number}")
        require_text(answer, f"the answer of item {number}")
    return prompts, answers


def _encode_pairs(
    lm: LanguageModel, prompts: Sequence[str], answers: Sequence[str], boundary: Boundary
) -> Iterator[tuple[tuple[int, ...], int, tuple[str, ...], bool]]:
    """Of each request the row that scores its answer, where the answer begins, its tokens, and any straddling."""
    prefix = own_prefix(lm.tokenizer)
    together = encode_each(lm, map(add, prompts, answers)) if boundary == "joint" else repeat(None)
    for number, (prompt, answer, encoded) in enumerate(zip(prompts, answers, together, strict=False)):
        name = f"item {number}"
        if encoded is None:
            ids, first, tokens = _encode_apart(lm, prompt, answer, name)
            straddles = False
        else:
            ids, spans = encoded
            first = bisect_right(spans, len(prompt), key=lambda span: span[1])
            tokens = span_texts(lm, prompt + answer, ids[first:], spans[first:])
            straddles = first < len(ids) and prompt[spans[first][0] :].strip(" ") != ""
        if first == len(ids):
            raise ValueError(f"{name}: the tokenizer of {lm.name!r} makes no token of the answer {answer!r:.60}")
        row, start = with_context(lm, ids, first, prefix, name)
        require_fit(lm, row, f"{name} (prompt and answer)")
        yield row, start, tokens[len(tokens) - (len(row) - start) :], straddles


def _encode_apart(
    lm: LanguageModel, prompt: str, answer: str, name: str
) -> tuple[tuple[int, ...], int, tuple[str, ...]]:
    """Token ids of prompt and answer encoded one by one, where the answer begins, and its tokens."""
    prompt_ids, _ = encode_with_spans(lm, prompt)
    answer_ids, spans = encode_with_spans(lm, answer)
    joined = lm.tokenizer.decode([*prompt_ids, *answer_ids], clean_up_tokenization_spaces=False)
    if prompt and joined != prompt + answer:
        raise ValueError(
            f"{name}: encoded apart and joined, prompt and answer read {joined[-60:]!r}, because the tokenizer of "
            f'{lm.name!r} changes what it encodes (many put a space before every text): use boundary="joint"'
        )
    return prompt_ids + answer_ids, len(prompt_ids), span_texts(lm, answer, answer_ids, spans)


def _token_columns(logits: torch.Tensor, targets: torch.Tensor, top: int) -> tuple[torch.Tensor, ...]:
    """Log-probability, rank, entropy, and the most likely tokens with their ids, for `token_scores`."""
    logprobs = logits - logits.logsumexp(-1, keepdim=True)
    chosen = logprobs.gather(-1, targets[:, None])
    ranks = 1 + (logprobs > chosen).sum(-1)
    # A token of probability zero adds nothing to the entropy, but 0 * log(0) would be NaN.
    entropies = -(logprobs.exp() * logprobs).nan_to_num(0.0).sum(-1)
    best, best_ids = logprobs.topk(min(top, logprobs.shape[-1]), -1)
    return chosen[:, 0], ranks, entropies, best, best_ids
