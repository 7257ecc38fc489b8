"""What scoring returns: one object for an answer, for a token of a text, and for the perplexity of texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .units import bits_per_byte_of, perplexity_of


@dataclass(frozen=True)
class AnswerScore:
    """How probable a model finds one answer after one prompt.

    Attributes
    ----------
    prompt : str
        What the answer was conditioned on; a chat as its template renders it.
    answer : str
        What was scored.
    token_ids : tuple of int
        The answer's tokens: those that overlap its characters.
    tokens : tuple of str
        The same tokens as text. A character spread over several tokens shows as U+FFFD in each.
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
        """The effective number of equally likely choices per token, exp(-mean)."""
        return perplexity_of(-self.total, len(self.logprobs))

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of UTF-8, -total / ln 2 / bytes; comparable across tokenizers unless `merged_boundary`."""
        return bits_per_byte_of(-self.total, len(self.answer.encode()))

    @property
    def per_character(self) -> float:
        """Log-probability per character of the answer, in nats."""
        return self.total / len(self.answer)


@dataclass(frozen=True)
class TokenScore:
    """How well the model predicted one token.

    Attributes
    ----------
    token : str
        The token as text. A character spread over several tokens shows as U+FFFD in each.
    token_id : int
    start : int
    end : int
        The token covers the characters ``text[start:end]``.
    logprob : float
        Log-probability given all tokens before it, in nats.
    rank : int
        1 for the model's most likely token.
    entropy : float
        The model's uncertainty at this position, before it sees the token, in nats.
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


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text, or several texts taken together.

    Attributes
    ----------
    nats : float
        Negative log-likelihood of all tokens, summed, in nats: the measurement itself.
    tokens : int
        Scored tokens, as this model's tokenizer cuts them.
    words : int
        Scored words, separated by white space.
    characters : int
        Scored Unicode characters.
    bytes : int
        Scored bytes of UTF-8.
    window : int
        How many tokens the model read at once, at most.
    stride : int
        How many new tokens each window scored.
    first_token : str
        What stood before the text, so that its first token could be scored.
    """

    nats: float
    tokens: int
    words: int
    characters: int
    bytes: int
    window: int
    stride: int
    first_token: str

    @property
    def perplexity(self) -> float:
        """The effective number of choices per token, exp(nats / tokens). Depends on the tokenizer."""
        return perplexity_of(self.nats, self.tokens)

    @property
    def word_perplexity(self) -> float:
        """exp(nats / words). Comparable between models with different tokenizers."""
        return perplexity_of(self.nats, self.words) if self.words else math.inf

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 / bytes. Comparable between tokenizers, provided that none of them loses a part of the text."""
        return bits_per_byte_of(self.nats, self.bytes)

    def __repr__(self) -> str:
        return (
            f"Perplexity({self.perplexity:.2f} per token; {self.nats:.1f} nats over {self.tokens} tokens, "
            f"{self.words} words, {self.bytes} bytes; {self.bits_per_byte:.3f} bits per byte; "
            f"window {self.window}, stride {self.stride}, after {self.first_token!r})"
        )
