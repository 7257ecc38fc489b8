"""A server that serves one of the models, asked through ``/completions``."""

from __future__ import annotations

from collections.abc import Sequence

from ..servers.completions import echoed_logprobs
from ..servers.endpoint import Endpoint
from .asking import Score
from .vocabulary import encode, first_of_answer


def server_backend(endpoint: Endpoint) -> Score:
    """One call is one request, with as many texts as there are pairs.

    The answer's tokens are counted from the end of the text, because a server may put any number before it. So the
    boundary is drawn here: "boundary" says whether the server reads the text as the model's own tokenizer does.
    """

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        found = echoed_logprobs(endpoint, [prompt + answer for prompt, answer in pairs])
        return [_total(pair, echo.logprobs) for pair, echo in zip(pairs, found, strict=True)]

    return score


def _total(pair: tuple[str, str], logprobs: Sequence[float | None]) -> float:
    ids = encode("".join(pair))
    count = len(ids) - first_of_answer(pair[0], ids)
    answer = logprobs[-count:]
    if len(answer) < count:
        raise ValueError(f"the server read {len(logprobs)} tokens, and the answer alone has {count}")
    if None in answer:
        raise ValueError("the server gives no log-probability of the first token: nothing precedes it")
    return sum(answer)
