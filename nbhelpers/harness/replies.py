"""Chats as contexts, and the texts that the harness's tasks let a model write, each as lm-eval's `hf` makes them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ..chats import Chat, check_chat
from ..generation import Generation, continue_rows
from ..models import LanguageModel
from ..runs import Run
from ..sampling import generator_of
from ..tokens import encode_each, own_prefix, require_rows, with_context
from .options import Writing, writing_of

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)


def render_history(lm: LanguageModel, chat: Chat, add_generation_prompt: bool, options: Mapping[str, Any]) -> str:
    """A chat as the tokenizer's template renders it; one that refuses system messages gets the chat without them."""
    from jinja2.exceptions import TemplateError

    check_chat(chat, "the chat")
    if not lm.tokenizer.chat_template:
        raise ValueError(f"the tokenizer of {lm.name!r} has no chat template: run without --apply_chat_template")
    settings = {
        "tokenize": False,
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": not add_generation_prompt,
        **options,
    }
    try:
        return lm.tokenizer.apply_chat_template(chat, **settings)
    except TemplateError as error:
        rest = [message for message in chat if message["role"] != "system"]
        if len(rest) == len(chat):
            raise
        log.warning("the chat template refuses a system message (%s): it is left out", error)
        return lm.tokenizer.apply_chat_template(rest, **settings)


def write_replies(
    lm: LanguageModel,
    requests: Sequence[Instance],
    limit: int | None,
    *,
    piece: int | None = None,
    think_end_token: str | None = None,
    token_budget: int | None = None,
    progress: bool = False,
    run: Run | None = None,
) -> Iterator[tuple[int, str]]:
    """The index of each request with its text; requests that want the same settings run together, `piece` at a time.

    Where a task samples, each occurrence of a context has random numbers of its own, made from the seed that the
    harness gave torch: neither the other requests nor their order change what is drawn.
    """
    import torch

    groups: dict[Writing, list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(writing_of(request), []).append(number)
    drawn: Counter[str] = Counter()
    for writing, numbers in _pieces(groups, piece):
        contexts = [requests[number].args[0] for number in numbers]
        generators = []
        for context in contexts:
            index = int.from_bytes(sha256(context.encode()).digest())
            generators.append(generator_of(torch.initial_seed(), index, drawn[context]))
            drawn[context] += 1
        written = continue_rows(
            lm,
            encode_contexts(lm, contexts, limit, writing.new_tokens),
            writing.new_tokens,
            stops=writing.stops,
            temperature=writing.temperature,
            generators=generators,
            token_budget=token_budget,
            progress=progress,
            run=run,
        )
        for number, found in zip(numbers, written, strict=True):
            yield number, _reply(lm, found, writing, think_end_token)


def _pieces(groups: dict[Writing, list[int]], piece: int | None) -> Iterator[tuple[Writing, list[int]]]:
    for writing, numbers in groups.items():
        size = piece or len(numbers)
        for first in range(0, len(numbers), size):
            yield writing, numbers[first : first + size]


def _reply(lm: LanguageModel, found: Generation, writing: Writing, think_end_token: str | None) -> str:
    """The text without special tokens, reasoning and stop strings, decoded on its own: what lm-eval's `hf` returns."""
    from lm_eval.models.utils import postprocess_generated_text

    text = lm.tokenizer.decode(found.token_ids, skip_special_tokens=True)
    return postprocess_generated_text(text, list(writing.stops), think_end_token)


def encode_contexts(
    lm: LanguageModel, contexts: Sequence[str], limit: int | None, new_tokens: int
) -> list[tuple[int, ...]]:
    """Contexts as token ids, shortened on the left so that there is room to write."""
    room = None if limit is None else limit - new_tokens
    if room is not None and room < 1:
        raise ValueError(
            f"max_gen_toks={new_tokens} leaves no room for a context: {lm.name!r} reads {limit} tokens; ask for fewer, "
            "--gen_kwargs max_gen_toks=..."
        )
    prefix, rows, shortened = own_prefix(lm.tokenizer), [], 0
    for number, encoded in enumerate(encode_each(lm, contexts)):
        ids = tuple(encoded.ids.tolist())
        row = ids if ids[: len(prefix)] == prefix else prefix + ids
        row = row or with_context(lm, (), 0, prefix, f"request {number}")[0]
        require_rows(lm, row, f"request {number}")
        shortened += room is not None and len(row) > room
        rows.append(row if room is None else row[-room:])
    if shortened:
        log.warning("%d of %d contexts are longer than %d tokens: shortened on the left", shortened, len(rows), room)
    return rows
