"""vLLM's log-probabilities of the tokens of whole texts, or of rows of token ids: one request for each, all of it kept.

`POST /completions` with ``prompt_logprobs=0`` returns the id, the log-probability and the rank of every token of the
prompt, and nothing about other tokens. With ``echo`` and ``max_tokens=0`` no text is written. The reply to a request
is condensed before it is kept: four short lists instead of an object for every token.

What a server sends is foreign: whatever it is, it becomes the result of its one request, or a `problem`.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .asking import ask, try_to_ask
from .completions import read_logprob
from .endpoint import Endpoint, read_key
from .reading import Failure
from .redaction import Secret
from .services import Service
from .spans import Alignment, align

LARGEST_ID = 2**31
MOST_STARTS = 4  # tokens that a server may put before a text
NO_SPECIALS = {"add_special_tokens": False}
NO_LOGPROBS = (
    "the reply holds no log-probabilities of the prompt, which prompt_logprobs and return_token_ids asked for; vLLM "
    "gives them"
)


@dataclass(frozen=True)
class ScoredRow:
    """The tokens that a server read in reply to one request.

    Attributes
    ----------
    ids : array of int
        All of them, those that the server put before the text included.
    logprobs : array of float
        In nats; NaN for the first, which nothing precedes.
    ranks : array of int
        1 for the model's most likely token; 0 for the first.
    tokens : tuple of (str or None)
        As the server spells them; None for the first.
    problem : str or None
        Why there is nothing of the above.
    cached : bool
        Whether it was read from the cache.
    """

    # Arrays and interned texts: there may be 50,000 rows of 1,000 tokens.
    ids: array[int] = field(default_factory=lambda: array("q"))
    logprobs: array[float] = field(default_factory=lambda: array("d"))
    ranks: array[int] = field(default_factory=lambda: array("q"))
    tokens: tuple[str | None, ...] = ()
    problem: str | None = None
    cached: bool = field(default=False, compare=False)

    def align(self, text: str, begin: int) -> Alignment:
        """What the tokens from number `begin` on cover of the text; a `Failure` if they do not join to it."""
        return align(text, self.tokens[begin:])

    def spells(self, text: str, begin: int) -> bool:
        """Whether the tokens from number `begin` on join to the text."""
        try:
            self.align(text, begin)
        except Failure:
            return False
        return True


@dataclass(frozen=True)
class Tokenized:
    """The token ids of one text, and how many tokens the server's model reads at most."""

    ids: tuple[int, ...] = ()
    context_length: int = 0
    problem: str | None = None
    cached: bool = field(default=False, compare=False)
    tokens: tuple[str, ...] = ()


def score_rows(
    endpoint: Endpoint,
    prompts: Sequence[str | Sequence[int]],
    prefixes: Sequence[Sequence] | None = None,
    *,
    add_special_tokens: Sequence[bool] | None = None,
    progress: bool = False,
) -> list[ScoredRow]:
    """Every token of each text, or of each row of ids, with its log-probability.

    Parameters
    ----------
    endpoint : Endpoint
    prompts : sequence of str, or of sequences of int
        Rows of ids are read as they are. A server may put a BOS token before a text.
    prefixes : sequence of sequences, optional
        What is shared, to choose between replicas: the prompt's part of a text. By default all of it.
    add_special_tokens : sequence of bool, optional
        Whether the server shall put before a text what its tokenizer does. By default it shall.
    progress : bool

    Raises
    ------
    RuntimeError
        If all requests fail for one reason. What fails for one only is the `problem` of its result.
    """
    wanted = [True] * len(prompts) if add_special_tokens is None else add_special_tokens
    shared = {"base_url": endpoint.base_urls[0], "path": ROWS.path, "model": endpoint.model}
    shared |= {"echo": True, "max_tokens": 0, "temperature": 0.0, "prompt_logprobs": 0, "return_token_ids": True}
    requests = [
        {**shared, "prompt": prompt if isinstance(prompt, str) else list(prompt)} | ({} if own else NO_SPECIALS)
        for prompt, own in zip(prompts, wanted, strict=True)
    ]
    secret = _secret(endpoint, requests)
    return ask(endpoint, secret, ROWS, requests, prompts if prefixes is None else prefixes, progress)


def tokenize(endpoint: Endpoint, texts: Sequence[str]) -> list[Tokenized] | None:
    """The ids of each text without special tokens around it, from vLLM's ``/tokenize``; None if there is no such thing.

    Errors as in `score_rows`.
    """
    shared = {"base_url": endpoint.base_urls[0], "path": IDS.path, "model": endpoint.model, **NO_SPECIALS}
    requests = [{**shared, "prompt": text} for text in texts]
    found, fatal = try_to_ask(endpoint, _secret(endpoint, requests), IDS, requests, texts)
    if fatal is not None and not fatal.unknown:
        raise RuntimeError(fatal.message)
    return None if fatal is not None else found


def _secret(endpoint: Endpoint, requests: Sequence[Mapping[str, Any]]) -> Secret:
    """The endpoint's key, which no request may hold."""
    secret = Secret(read_key(endpoint.key_variable))
    for number, request in enumerate(requests):
        if isinstance(request["prompt"], str) and secret.stands_plainly_in(request["prompt"]):
            raise ValueError(
                f"text {number} holds the key that {endpoint.key_variable} holds, and would be kept with it: take it "
                "out"
            )
    return secret


def _condense(body: Any, request: Mapping[str, Any]) -> dict[str, list]:
    """The four lists that are kept: ids, logprobs, ranks, tokens; a `Failure` if the reply is no such reply."""
    try:
        (choice,) = body["choices"]
        entries, ids = choice["prompt_logprobs"], choice["prompt_token_ids"]
        if not isinstance(entries, list) or not isinstance(ids, list):
            raise TypeError
    except Exception:  # foreign data: a list for an object, two choices for one, whatever comes
        raise Failure(f"{NO_LOGPROBS}: {body!r:.200}", lacks_logprobs=True) from None
    if len(entries) != len(ids) or not ids:
        raise Failure(f"the reply has {len(ids)} token ids and log-probabilities of {len(entries)} tokens")
    read = [_entry(entry, token_id, number) for number, (entry, token_id) in enumerate(zip(entries, ids, strict=True))]
    logprobs, ranks, tokens = (list(column) for column in zip(*read, strict=True))
    return {"ids": ids, "logprobs": logprobs, "ranks": ranks, "tokens": tokens}


def _entry(entry: Any, token_id: Any, number: int) -> tuple[float | None, int | None, str | None]:
    """Log-probability, rank and spelling of one token of the prompt."""
    if type(token_id) is not int or not 0 <= token_id < LARGEST_ID:
        raise Failure(f"token {number} has the id {token_id!r:.50}, which is none")
    if entry is None and number == 0:
        return None, None, None
    try:
        found = entry[str(token_id)]
        logprob, rank, spelled = found["logprob"], found["rank"], found["decoded_token"]
    except Exception:  # foreign data
        raise Failure(f"token {number} of the prompt has no log-probability: {entry!r:.100}") from None
    if type(rank) is not int or not 1 <= rank < LARGEST_ID:
        raise Failure(f"token {number} has the rank {rank!r:.50}: a rank is a number from 1 on")
    if not isinstance(spelled, str):
        raise Failure(f"token {number} is spelled {spelled!r:.50}, which is no text")
    try:
        return read_logprob(logprob), rank, spelled
    except OverflowError:
        raise Failure(f"token {number} has a log-probability that is out of range") from None


def _read(kept: Any, request: Mapping[str, Any]) -> ScoredRow:
    row = ScoredRow(
        array("q", kept["ids"]),
        array("d", [math.nan if value is None else value for value in kept["logprobs"]]),
        array("q", [0 if rank is None else rank for rank in kept["ranks"]]),
        tuple(None if token is None else sys.intern(token) for token in kept["tokens"]),
    )
    if len({len(row.ids), len(row.logprobs), len(row.ranks), len(row.tokens)}) > 1:
        raise Failure("the ids of the reply hold the key: it is not kept")
    prompt = request["prompt"]
    if isinstance(prompt, list) and row.ids.tolist() != prompt:
        raise Failure(f"the server read {len(row.ids)} tokens, and not the {len(prompt)} that it was given")
    # A text that no reading finds in the reply is a fault of the reply, and is not kept.
    if isinstance(prompt, str) and not any(row.spells(prompt, begin) for begin in range(1, MOST_STARTS + 1)):
        row.align(prompt, 0)
    return row


def _condense_ids(body: Any, request: Mapping[str, Any]) -> Any:
    return {name: body.get(name) for name in ("tokens", "max_model_len")} if isinstance(body, dict) else body


def _read_ids(body: Any, request: Mapping[str, Any]) -> Tokenized:
    try:
        ids, limit = body["tokens"], body["max_model_len"]
        right = all(type(one) is int and 0 <= one < LARGEST_ID for one in ids) and type(limit) is int and limit > 0
        if not (isinstance(ids, list) and ids and right):
            raise TypeError
    except Exception:  # foreign data
        raise Failure(f"the reply holds no token ids, which /tokenize should return: {body!r:.200}") from None
    return Tokenized(tuple(ids), limit)


ROWS: Service[ScoredRow] = Service(
    "completions",
    _read,
    lambda problem: ScoredRow(problem=problem),
    lambda kept: "".join(token or "" for token in kept["tokens"]),
    _condense,
    indent=None,
)
IDS: Service[Tokenized] = Service(
    "/tokenize", _read_ids, lambda problem: Tokenized(problem=problem), lambda body: "", _condense_ids, indent=None
)
