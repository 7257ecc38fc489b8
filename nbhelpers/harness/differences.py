"""Where lm-evaluation-harness cuts a text into context and continuation elsewhere than we do, and why."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..boundary import Item, encode_items, pair_up
from ..engine import Request
from ..models import LanguageModel
from ..request_scores import score_each
from ..tokens import require_rows, token_text

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

# Token ids of a context and of its continuation.
Cut = tuple[list[int], list[int]]


@dataclass(frozen=True)
class BoundaryDifference:
    """One request whose score depends on where the continuation is taken to begin.

    Attributes
    ----------
    request : int
        Index of the request.
    context, continuation : str
        What the task asked for; of the context, the last 60 characters.
    joint_tokens, lm_eval_tokens : tuple of str
        What ``boundary="joint"`` scores, and what lm-eval scores. The second is empty where lm-eval's cut leaves
        nothing; there it stops with an `AssertionError`.
    joint, lm_eval : float or None
        The two log-likelihoods, in nats; None where nothing is scored, or the text is longer than the model's context.
    reason : str
        Why they differ, in a sentence.
    """

    request: int
    context: str
    continuation: str
    joint_tokens: tuple[str, ...]
    lm_eval_tokens: tuple[str, ...]
    joint: float | None
    lm_eval: float | None
    reason: str


def encode_joint(lm: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[Item]:
    """Contexts with their continuations, cut at the characters where the continuation begins; none is too long yet."""
    if not pairs:
        return []
    unlimited = replace(lm, context_length=None)  # the harness shortens contexts: see `shorten`
    contexts, continuations = zip(*pairs, strict=True)
    return list(encode_items(unlimited, *pair_up(unlimited, contexts, continuations), "joint"))


def joined(before: Sequence[int], after: Sequence[int]) -> Request:
    """The token ids of a context and of its continuation, as the engine takes them."""
    return Request(np.array([*before, *after], dtype=np.int32), len(before))


def shorten(lm: LanguageModel, row: Request, limit: int | None, name: str) -> Request:
    """What the model reads of a request: its last `limit` tokens, then the one it predicts last, as in lm-eval.

    An error if a token has no row in the model, or if no token of the context fits.
    """
    require_rows(lm, [int(row.ids.max())], name)
    if limit is None or row.read <= limit:
        return row
    dropped = row.read - limit
    if row.first <= dropped:
        raise ValueError(
            f"{name}: the continuation alone is {row.scored} tokens long, and {lm.name!r} reads {limit}: shorten "
            "it, or measure long text as a rolling log-likelihood"
        )
    return Request(row.ids[dropped:], row.first - dropped)


def find_differences(
    lm: LanguageModel,
    pairs: Sequence[tuple[str, str]],
    joint: Sequence[Item],
    cut: Callable[[str, str], Cut],
    limit: int | None,
) -> list[BoundaryDifference]:
    """The requests among `pairs` that `cut` encodes otherwise than `joint` did, with both scores."""
    found = []
    for number, ((context, continuation), item) in enumerate(zip(pairs, joint, strict=True)):
        theirs = joined(*cut(context, continuation))
        if theirs != item.request:
            found.append((number, item, theirs))
    totals = _totals(lm, found, limit)
    return [
        BoundaryDifference(
            request=number,
            context=item.prompt[-60:],
            continuation=item.answer,
            joint_tokens=item.tokens,
            lm_eval_tokens=tuple(token_text(lm, token) for token in scored_ids(theirs)),
            joint=next(totals),
            lm_eval=next(totals),
            reason=_reason(lm, item, theirs),
        )
        for number, item, theirs in found
    ]


def write_differences(
    path: str | os.PathLike[str], requests: Sequence[Instance], differences: Sequence[BoundaryDifference]
) -> None:
    """Append the differences to a report, one line of JSON for each, with the task and the document it belongs to."""
    with Path(path).open("a", encoding="utf-8") as file:
        for difference in differences:
            request = requests[difference.request]
            where = {"task": request.task_name, "doc_id": request.doc_id, "choice": request.idx}
            file.write(json.dumps(where | asdict(difference), ensure_ascii=False) + "\n")
    log.warning("lm-eval cuts %d of %d requests differently: see %s", len(differences), len(requests), path)


def scored_ids(row: Request) -> list[int]:
    """The tokens of the continuation."""
    return row.ids[row.first :].tolist()


def _totals(lm: LanguageModel, found: Iterable[tuple[int, Item, Request]], limit: int | None) -> Iterator[float | None]:
    """Two log-likelihoods for each request: ours, then lm-eval's."""
    rows: list[Request | None] = []
    for _, item, theirs in found:
        for row in (item.request, theirs):
            fits = row.scored and (limit is None or row.scored <= limit)
            rows.append(shorten(lm, row, limit, "a request") if fits else None)
    scored = iter(score_each(lm, [row for row in rows if row is not None]))
    return (None if row is None else next(scored)[0].double().sum().item() for row in rows)


def _reason(lm: LanguageModel, item: Item, theirs: Request) -> str:
    """Why the two cuts differ. The order matters: the first that holds is the cause of the others."""
    ours, after = item.request, scored_ids(theirs)
    if item.merged_boundary and not after:
        return f"the token {item.tokens[0]!r} straddles the boundary, and lm-eval's cut leaves nothing to score"
    if item.merged_boundary:
        return (
            f"the token {item.tokens[0]!r} straddles the boundary: joint scores it whole; lm-eval encodes the context "
            f"alone, gets {theirs.first} tokens, and begins after as many, at {token_text(lm, after[0])!r}"
        )
    if not np.array_equal(ours.ids, theirs.ids):
        return "the special tokens differ: lm-eval takes all that the tokenizer adds, before the text and after it"
    spaces = item.prompt[len(item.prompt.rstrip()) :]
    if spaces and theirs.first < ours.first:
        return f"the context ends in {spaces!r}, which lm-eval moves to the continuation and scores with it"
    return (
        f"the context alone makes {theirs.first} tokens; within the whole text the continuation begins at token "
        f"{ours.first}"
    )
