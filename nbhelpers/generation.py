"""Text that a model writes: prompts or chats in batches, greedily or by seeded sampling, with log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from .chats import Chat, check_chat, render_chat
from .engine import group_by_length
from .models import LanguageModel
from .sampling import before_stop, check_sampling
from .tokens import encode_with_spans, own_prefix, tokens_text, with_context

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Generation:
    """What a model wrote after a prompt.

    Attributes
    ----------
    text : str
        Up to the stop string or the end-of-text token, without either.
    token_ids : tuple of int
        Every chosen token, including those of the stop string and the end-of-text token.
    logprobs : tuple of float
        Log-probability of each, in nats, under the model itself, whatever the temperature.
    finish_reason : "stop" or "length"
        "stop" if the model ended the text or wrote a stop string, "length" if it was cut at `max_new_tokens`.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]

    @property
    def total(self) -> float:
        """Log-probability of all tokens, in nats."""
        return math.fsum(self.logprobs)


def generate(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    token_budget: int | None = None,
    progress: bool = False,
) -> list[Generation]:
    """Let the model continue each prompt, or reply to each chat.

    Parameters
    ----------
    lm : LanguageModel
    prompts : iterable of str or chat
        A string is continued as it stands. A chat is a list of messages, ``{"role": "user", "content": "Hello"}``;
        the tokenizer's chat template renders it, up to where the reply begins.
    max_new_tokens : int
        How many tokens to write at most, 1 or more.
    temperature : float
        0 takes the most likely token each time. A positive number divides the logits, and a token is sampled.
    seed : int
        For sampling. Each prompt has its own random numbers, made from the seed and its index, so that neither the
        other prompts nor the batches change what is sampled for it.
    stop : str or sequence of str
        Generation stops when the text contains one of these, and the text ends before it.
    token_budget : int, optional
        Tokens in a finished batch, padding included.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Generation
        In the order of the prompts. A batch is computed in another order than a single prompt, so logits differ by
        rounding: where two tokens are almost equally likely, greedy texts may diverge.

    Raises
    ------
    TypeError
        If `prompts` is a single string, or an item is neither a string nor a list of messages.
    ValueError
        If a number is out of range, a stop string or a chat is empty, the tokenizer has no chat template, prompt and
        new tokens are longer than the model's context, or the model returns NaN.

    Notes
    -----
    The model's own settings for `generate` (repetition penalties, top-p) are not used.
    Used in the chapters "BLEU" and "ROUGE".
    """
    import torch

    rows, stops = _check(lm, prompts, max_new_tokens, temperature, seed, stop)
    ends = _end_tokens(lm)
    budget = token_budget or (4_096 if lm.device.type == "cpu" else 65_536)
    results: list[Generation | None] = [None] * len(rows)
    generators = [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(len(rows))]
    with torch.inference_mode(), _plain_settings(lm), tqdm(total=len(rows), disable=not progress) as bar:
        for batch in group_by_length([len(row) + max_new_tokens for row in rows], budget):
            mine = [rows[i] for i in batch]
            written = _write(lm, mine, max_new_tokens, temperature, [generators[i] for i in batch], ends, stops)
            for i, generation in zip(batch, written, strict=True):
                results[i] = generation
            bar.update(len(batch))
    return results


def _write(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    generators: Sequence[torch.Generator],
    ends: Sequence[int],
    stops: Sequence[str],
) -> list[Generation]:
    """One batch, padded on the left, so that every row continues at the same position."""
    import torch

    length = max(map(len, rows))
    pad = ends[0] if ends else 0
    ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])  # (batch, positions)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    chosen: list[torch.Tensor] = []
    logprobs: list[torch.Tensor] = []
    done: list[Literal["stop"] | None] = [None] * len(rows)
    sizes = [max_new_tokens] * len(rows)

    def choose(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits = scores.float()  # (batch, vocabulary)
        if not logits.isfinite().any(-1).all() or logits.isnan().any():
            raise ValueError(
                f"the model returned NaN or infinity: its weights are damaged, or {lm.dtype} is too narrow for it "
                '(try load_model(..., dtype="float32"))'
            )
        wanted = logits
        if temperature > 0:
            # The argmax of the logits plus Gumbel noise is a sample from their softmax (Gumbel, 1954).
            noise = torch.stack([torch.rand(logits.shape[1], generator=g, dtype=torch.float64) for g in generators])
            wanted = logits.double() / temperature - (-noise.log()).log().to(logits.device)
        token = wanted.argmax(-1)
        logprobs.append((logits.gather(-1, token[:, None])[:, 0] - logits.logsumexp(-1)).cpu())
        chosen.append(token.cpu())
        # `generate` takes the argmax of what it gets back: the token chosen here.
        return torch.zeros_like(scores).scatter_(-1, token[:, None], 1.0)

    def finished(input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        written = torch.stack(chosen, 1).tolist()
        for i, tokens in enumerate(written):
            if done[i] is None and (tokens[-1] in ends or any(s in tokens_text(lm, tokens) for s in stops)):
                done[i], sizes[i] = "stop", len(tokens)
        return torch.tensor([reason is not None for reason in done], device=input_ids.device)

    lm.model.generate(
        ids.to(lm.device),
        attention_mask=mask.to(lm.device),
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        logits_processor=[choose],
        stopping_criteria=[finished],
    )
    tokens, nats = torch.stack(chosen, 1).tolist(), torch.stack(logprobs, 1).tolist()
    results = []
    for i, size in enumerate(sizes):
        mine = tokens[i][:size]
        text = tokens_text(lm, mine[:-1] if mine[-1] in ends else mine)
        results.append(Generation(before_stop(text, stops), tuple(mine), tuple(nats[i][:size]), done[i] or "length"))
    return results


@contextmanager
def _plain_settings(lm: LanguageModel) -> Iterator[None]:
    """Within this context, the model's own settings for `generate` do not apply."""
    from transformers import GenerationConfig

    own = lm.model.generation_config
    lm.model.generation_config = GenerationConfig(do_sample=False, use_cache=True)
    try:
        yield
    finally:
        lm.model.generation_config = own


def _end_tokens(lm: LanguageModel) -> list[int]:
    """The tokens that end a text: the tokenizer's EOS, and any that the model's settings name."""
    named = getattr(lm.model.generation_config, "eos_token_id", None)
    ends = [lm.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return sorted({end for end in ends if end is not None})


def _check(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: str | Sequence[str],
) -> tuple[list[tuple[int, ...]], list[str]]:
    """The token ids of every prompt and the stop strings, or a clear error."""
    if isinstance(prompts, str):
        raise TypeError(f"prompts is a single string: for one prompt give a list of one, [{prompts!r:.60}]")
    stops = check_sampling(max_new_tokens, temperature, seed, stop)
    prefix = own_prefix(lm.tokenizer)
    rows = []
    for number, prompt in enumerate(prompts):
        name = f"prompt {number}"
        if isinstance(prompt, str):
            ids, _ = encode_with_spans(lm, prompt)
            row = ids if prefix and ids[: len(prefix)] == prefix else prefix + ids
            row = row or with_context(lm, (), 0, prefix, name)[0]  # nothing at all: begin after BOS, else EOS
        else:
            check_chat(prompt, name, "a string or a list of messages")
            row = tuple(lm.tokenizer(render_chat(lm, prompt, name), add_special_tokens=False)["input_ids"])
        limit = lm.context_length
        if limit is not None and len(row) + max_new_tokens > limit:
            raise ValueError(
                f"{name} is {len(row)} tokens long; with max_new_tokens={max_new_tokens} that is more than the {limit} "
                f"which {lm.name!r} can read: shorten either"
            )
        rows.append(row)
    return rows, stops
