"""What a judge must be able to do, and the two kinds that can: a model in memory and a model behind a server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .chats import Chat, render_chat
from .generation import generate
from .models import LanguageModel
from .scoring import score_answers
from .servers import Endpoint, complete

ALTERNATIVES = 20  # as many as OpenAI's servers give for a token


class Judge(Protocol):
    """What :func:`nbhelpers.judge` asks of a judge."""

    @property
    def control_tokens(self) -> Sequence[str]:
        """Texts that the judge reads as special tokens, so that nothing under judgement may contain them."""

    def verdict_log_probabilities(
        self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool
    ) -> list[list[float]]:
        """For each chat, the log-probability of each verdict as the beginning of the reply, in nats."""

    def write(self, chats: Sequence[Chat], max_new_tokens: int, progress: bool) -> list[str]:
        """The reply to each chat, decoded greedily."""


def as_judge(model: LanguageModel | Endpoint) -> Judge:
    return ServedJudge(model) if isinstance(model, Endpoint) else LocalJudge(model)


@dataclass(frozen=True)
class LocalJudge:
    """A model in memory. Without a chat template it reads plain text that ends in "Verdict:"."""

    lm: LanguageModel

    @property
    def control_tokens(self) -> Sequence[str]:
        return self.lm.tokenizer.all_special_tokens

    def verdict_log_probabilities(
        self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool
    ) -> list[list[float]]:
        """One scoring call for all chats, each followed by each verdict."""
        if self.lm.tokenizer.chat_template:
            prompts = [render_chat(self.lm, chat, f"item {number}") for number, chat in enumerate(chats)]
            answers = list(verdicts)
        else:
            prompts = [_plain_text(chat) for chat in chats]
            answers = [f" {verdict}" for verdict in verdicts]
        scores = score_answers(
            self.lm,
            [prompt for prompt in prompts for _ in answers],
            [answer for _ in prompts for answer in answers],
            boundary="split",
            progress=progress,
        )
        per_chat = [scores[start : start + len(answers)] for start in range(0, len(scores), len(answers))]
        if per_chat:
            _require_no_shared_beginning(verdicts, [score.token_ids for score in per_chat[0]])
        return [[score.total for score in some] for some in per_chat]

    def write(self, chats: Sequence[Chat], max_new_tokens: int, progress: bool) -> list[str]:
        prompts = chats if self.lm.tokenizer.chat_template else [_plain_text(chat) for chat in chats]
        return [reply.text for reply in generate(self.lm, prompts, max_new_tokens, progress=progress)]


@dataclass(frozen=True)
class ServedJudge:
    """A model behind a server, which knows its own special tokens and does not tell."""

    endpoint: Endpoint

    @property
    def control_tokens(self) -> Sequence[str]:
        return ()

    def verdict_log_probabilities(
        self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool
    ) -> list[list[float]]:
        """From the most likely first tokens of the replies; " A" and "A" both count as "A", others as impossible."""
        results = []
        for reply in complete(self.endpoint, chats, 1, top_logprobs=ALTERNATIVES, progress=progress):
            mass = dict.fromkeys(verdicts, 0.0)
            for token, logprob in reply.alternatives[0] if reply.alternatives else ():
                if token.strip() in mass:
                    mass[token.strip()] += math.exp(logprob)
            results.append([math.log(m) if m else -math.inf for m in mass.values()])
        return results

    def write(self, chats: Sequence[Chat], max_new_tokens: int, progress: bool) -> list[str]:
        return [reply.text for reply in complete(self.endpoint, chats, max_new_tokens, progress=progress)]


def _plain_text(chat: Chat) -> str:
    """A chat as plain text, for a model without a chat template; the verdict follows."""
    turns = [m["content"] if m["role"] == "user" else f"Verdict: {m['content']}" for m in chat]
    return "\n\n".join([*turns, "Verdict:"])


def _require_no_shared_beginning(verdicts: Sequence[str], token_ids: Sequence[tuple[int, ...]]) -> None:
    for one, ids in zip(verdicts, token_ids, strict=True):
        for other, longer in zip(verdicts, token_ids, strict=True):
            if one != other and longer[: len(ids)] == ids:
                raise ValueError(
                    f"the verdict {one!r} begins the verdict {other!r}, so that its probability holds the other's: use "
                    "verdicts that differ from the first token on"
                )
