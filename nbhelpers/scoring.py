"""Log-probabilities of answers after prompts, and of the tokens of a text.

All log-probabilities are natural logarithms (nats), computed in float32 as ``logit - logsumexp(logits)``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from .boundary import Boundary, Item, encode_items, pair_up
from .chats import Chat
from .engine import Engine, Reduction, Request, score_requests
from .models import LanguageModel, require_model
from .request_scores import score_each
from .results import AnswerScore, TokenScore
from .runs import Run, open_run
from .served import refuse_local, served_answers
from .servers import Endpoint
from .tokens import (
    encode_with_spans,
    own_prefix,
    require_fit,
    require_rows,
    require_text,
    span_texts,
    token_text,
    with_context,
)

if TYPE_CHECKING:
    import torch


def score_answers(
    lm: LanguageModel | Endpoint,
    prompts: str | Chat | Iterable[str | Chat],
    answers: Iterable[str],
    *,
    boundary: Boundary = "joint",
    chat_template_kwargs: Mapping[str, Any] | None = None,
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> list[AnswerScore]:
    """Log-probability of each answer after its prompt.

    Parameters
    ----------
    lm : LanguageModel or Endpoint
        An endpoint is a vLLM server, see the notes.
    prompts : str, chat, or iterable of them
        One prompt per answer, or a single one for all of them. A chat is a list of messages,
        ``{"role": "user", "content": "Hello"}``; the tokenizer's chat template renders it, up to where the reply
        begins. An empty prompt asks how likely the answer is with nothing before it; the tokenizer's BOS token (else
        EOS) then stands in for the missing context.
    answers : iterable of str
        As many as prompts. A leading space belongs to the answer: " Paris", not "Paris", follows "is".
    boundary : "joint" or "split"
        "joint" encodes prompt + answer at once, as the model met text in training, and scores the tokens that
        overlap the answer's characters; one that straddles the boundary is scored whole and reported in
        `merged_boundary`. "split" encodes the two separately and joins the tokens.
    chat_template_kwargs : mapping, optional
        For the chat template: ``{"enable_thinking": False}``.
    engine : "auto", "packed" or "plain"
        "packed" computes every distinct prefix once, however many requests share it. "plain" runs the requests beside
        each other. "auto" packs where it pays, once it has seen on this model that both give the same numbers, and
        warns where they do not. The choice changes results by rounding only (in float32, less than 1e-4 nats a token).
    token_budget : int, optional
        Tokens per forward pass, padding included. It trades memory for speed and changes results by rounding only.
    progress : bool
        Show a progress bar.
    cache : path, optional
        A file that keeps results as they are computed. A run that was killed goes on from there, and loses what it was
        computing at the time: usually some 8,000 tokens, more where thousands of tokens are shared. Several runs, of
        several models, may use one file at once, on a disk of this machine: SQLite's log is not made for network file
        systems.

    Returns
    -------
    list of AnswerScore
        In the order of the answers. Log-probabilities are in nats. Equal requests are computed once.

    Raises
    ------
    TypeError
        If `answers` is a single string, an answer is not a string, or a prompt is neither a string nor a chat.
    ValueError
        If the lengths differ, an answer is empty, prompt and answer are longer than the model's context, a token has no
        row in the model, nothing precedes the answer and the tokenizer has neither BOS nor EOS, the tokenizer changes a
        text that is encoded in two parts (boundary="split"), there is a chat and no template for it, the model is not
        causal, or it returns NaN.
    RuntimeError
        If a server does not give what is needed; the message says which item, why, and what is kept.
    OSError
        If the file `cache` cannot be written, before anything is computed.

    Notes
    -----
    A result in the `cache` is found again only for the same weights, configuration, precision, tokenizer, kind of
    device, `engine`, token ids, and versions of torch and transformers; a model with hooks is refused there. Under
    ``torchrun`` or ``accelerate launch``, the processes share the work: see :func:`split_between_processes`.

    Of an :class:`nbhelpers.Endpoint`, every distinct text is one request to vLLM's ``/completions``, kept on disk as
    soon as it comes: after an error or a Ctrl-C, the same call asks only for what is missing. `boundary="split"`,
    `engine` and `token_budget` are refused, because the server encodes the texts and makes its batches itself. So are
    chats: render one with the model's tokenizer first. A start token written in a prompt is not doubled. Where nothing
    precedes the answer's first token and the server adds no BOS, name the endpoint's `start_token`.

    Special tokens: a text gets the special tokens the tokenizer adds by default (BOS for Llama, none for GPT-2), unless
    it already begins with them. A chat gets those that its template writes, and no others. Special tokens written out
    in a text, such as ``<|im_end|>``, are read as such.

    Spaces at a prompt's end: put them at the front of the answers instead. A space joins the token of a following word
    (" Paris") but often stays a token of its own before a digit. There it belongs to the prompt, so that after "is "
    the scores would be those of "4" and " four".

    Log-probabilities come from the logits as the model gives them; those of a bfloat16 model are already rounded.

    Explained in the chapter "Scoring Answers".
    """
    if isinstance(lm, Endpoint):
        refuse_local(chat_template_kwargs=chat_template_kwargs, engine=engine, token_budget=token_budget, cache=cache)
        return served_answers(lm, prompts, answers, boundary, progress=progress)
    require_model(lm)
    with open_run(lm, "score_answers", cache) as run:
        prompts, answers = pair_up(lm, prompts, answers, chat_template_kwargs)
        items = list(encode_items(lm, prompts, answers, boundary))
        return score_items(lm, items, engine=engine, token_budget=token_budget, progress=progress, run=run)


def score_items(
    lm: LanguageModel,
    items: Sequence[Item],
    *,
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: bool = False,
    run: Run | None = None,
) -> list[AnswerScore]:
    """:func:`score_answers` of items that are encoded already."""
    requests = [item.request for item in items]
    results = score_each(lm, requests, engine=engine, token_budget=token_budget, progress=progress, run=run)
    return [_answer_score(item, *columns) for item, columns in zip(items, results, strict=True)]


def _answer_score(item: Item, logprobs: torch.Tensor, greedy: torch.Tensor) -> AnswerScore:
    return AnswerScore(
        prompt=item.prompt,
        answer=item.answer,
        token_ids=tuple(item.request.ids[item.request.first :].tolist()),
        tokens=item.tokens,
        logprobs=tuple(logprobs.tolist()),
        is_greedy=bool(greedy.all()),
        merged_boundary=item.merged_boundary,
    )


def token_scores(lm: LanguageModel, text: str, *, top: int = 5) -> list[TokenScore]:
    """How well the model predicted each token of a text: log-probability, rank, entropy and what it expected instead.

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
    require_model(lm)
    require_text(text, "text")
    if not isinstance(top, Integral) or top < 1:
        raise ValueError(f"top={top!r}: give the number of alternatives to keep, 1 or more")
    ids, spans = encode_with_spans(lm, text)
    row, first = with_context(lm, ids, 0, own_prefix(lm.tokenizer), "the text")
    require_rows(lm, row, "the text")
    require_fit(lm, row, "the text")
    request = Request(np.array(row, dtype=np.int32), first)
    reduction = Reduction(lambda logits, targets: _token_columns(logits, targets, int(top)))
    columns = score_requests(lm, [request], reduction, lambda _: "the text")
    logprobs, ranks, entropies, best, best_ids = (column.tolist() for column in columns)
    # A start token that the text itself brings is context: it has no score.
    unscored = len(ids) - request.scored
    ids, spans, tokens = ids[unscored:], spans[unscored:], span_texts(lm, text, ids, spans)[unscored:]
    results = []
    for i, (start, end) in enumerate(spans):
        words = [token_text(lm, word_id) for word_id in best_ids[i]]
        results.append(
            TokenScore(
                token=tokens[i],
                token_id=ids[i],
                start=start,
                end=end,
                logprob=logprobs[i],
                rank=ranks[i],
                entropy=entropies[i],
                alternatives=tuple(zip(words, best[i], strict=True)),
            )
        )
    return results


def _token_columns(logits: torch.Tensor, targets: torch.Tensor, top: int) -> tuple[torch.Tensor, ...]:
    """Log-probability, rank, entropy, and the most likely tokens with their ids, for `token_scores`."""
    logprobs = logits - logits.logsumexp(-1, keepdim=True)  # (positions, vocabulary)
    chosen = logprobs.gather(-1, targets[:, None])  # (positions, 1)
    ranks = 1 + (logprobs > chosen).sum(-1)
    # A token of probability zero adds nothing to the entropy, but 0 * log(0) would be NaN.
    entropies = -(logprobs.exp() * logprobs).nan_to_num(0.0).sum(-1)
    best, best_ids = logprobs.topk(min(top, logprobs.shape[-1]), -1)
    return chosen[:, 0], ranks, entropies, best, best_ids
