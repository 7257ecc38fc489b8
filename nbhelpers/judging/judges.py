"""What a judge must be able to do, and the two kinds that can: a model in memory and a model behind a server."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..boundary import encode_apart, encode_items
from ..chats import Chat
from ..generation import generate
from ..models import LanguageModel, require_model
from ..prompts import Prompt, read_prompts
from ..scoring import score_items
from ..servers import Endpoint, Reply, complete
from .alternatives import tokens_needed, verdict_mass
from .parsing import opened_reasoning

ALTERNATIVES = 20  # as many as OpenAI's servers give for a token

# Of the probability of all verdicts, what may be on tokens that could not be read to their end.
MOST_UNRESOLVED = 0.01

# From a reply to the verdict in it, or None.
Finder = Callable[[str], str | None]


@dataclass(frozen=True)
class Reading:
    """What was read of one reply: log-probabilities of the verdicts in nats, or the reason why there are none."""

    logprobs: tuple[float, ...] | None = None
    outside: float | None = None
    reply: str | None = None
    problem: str | None = None
    warned: bool = False  # the server's part of the package has already reported the problem


@dataclass(frozen=True)
class Written:
    """One written reply, or the reason why there is none."""

    text: str | None
    problem: str | None = None
    warned: bool = False


class Judge(Protocol):
    """What :func:`nbhelpers.judge` asks of a judge."""

    @property
    def control_tokens(self) -> Sequence[str]:
        """Texts that the judge reads as control tokens, so that nothing under judgement may contain them."""

    def weigh(self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool) -> list[Reading]:
        """How probable each verdict is as the beginning of the reply to each chat."""

    def weigh_after_reasoning(
        self, chats: Sequence[Chat], verdicts: Sequence[str], max_new_tokens: int, find: Finder, progress: bool
    ) -> list[Reading]:
        """The same where the judge, having written what it likes, states its verdict."""

    def write(
        self, chats: Sequence[Chat], max_new_tokens: int, temperature: float, seed: int, progress: bool
    ) -> list[Written]:
        """The reply to each chat."""


def as_judge(
    model: LanguageModel | Endpoint,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> Judge:
    if isinstance(model, Endpoint):
        if chat_template_kwargs is not None:
            raise ValueError(
                "chat_template_kwargs are for a model in memory: a server renders chats itself. Many take "
                'extra_body={"chat_template_kwargs": {...}}'
            )
        return ServedJudge(model, extra_body)
    if extra_body is not None:
        raise ValueError("extra_body is for a server: give chat_template_kwargs to a model in memory")
    require_model(model)
    return LocalJudge(model, chat_template_kwargs)


@dataclass(frozen=True)
class LocalJudge:
    """A model in memory. Without a chat template it reads plain text that ends in "Verdict:"."""

    lm: LanguageModel
    chat_template_kwargs: Mapping[str, Any] | None = None

    @property
    def control_tokens(self) -> Sequence[str]:
        added = (token.content for token in self.lm.tokenizer.added_tokens_decoder.values())
        return list(dict.fromkeys([*self.lm.tokenizer.all_special_tokens, *added]))

    def weigh(self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool) -> list[Reading]:
        """One scoring call for all chats, each followed by each verdict."""
        prompts = self._prompts(chats)
        repeated = [prompt for prompt in prompts for _ in verdicts]
        if self.lm.tokenizer.chat_template:
            # A reply is a text of its own: its first token is one that begins a text.
            items = encode_apart(self.lm, repeated, list(verdicts) * len(prompts), as_written=False)
        else:
            answers = [f" {verdict}" for verdict in verdicts] * len(prompts)
            items = encode_items(self.lm, repeated, answers, "joint")
        scores = score_items(self.lm, list(items), progress=progress)
        _require_no_shared_beginning(verdicts, [score.token_ids for score in scores[: len(verdicts)]])
        totals = [score.total for score in scores]
        return [Reading(tuple(totals[i : i + len(verdicts)])) for i in range(0, len(totals), len(verdicts))]

    def weigh_after_reasoning(
        self, chats: Sequence[Chat], verdicts: Sequence[str], max_new_tokens: int, find: Finder, progress: bool
    ) -> list[Reading]:
        written = self.write(chats, max_new_tokens, 0.0, 0, progress)
        places = [_last_mention(reply.text, find(reply.text)) for reply in written]
        read = [i for i, place in enumerate(places) if place is not None]
        prompts = self._prompts(chats)
        # A tag with which the prompt opens the reasoning stands in the reply already.
        asked = [prompts[i].text.removesuffix(opened_reasoning(prompts[i].text)) for i in read]
        before = [
            Prompt(text + written[i].text[: places[i]], prompts[i].prefix) for text, i in zip(asked, read, strict=True)
        ]
        repeated = [prompt for prompt in before for _ in verdicts]
        items = encode_items(self.lm, repeated, list(verdicts) * len(before), "joint")
        totals = [score.total for score in score_items(self.lm, list(items), progress=progress)]
        readings = [Reading(reply=reply.text) for reply in written]
        for number, i in enumerate(read):
            start = number * len(verdicts)
            readings[i] = Reading(tuple(totals[start : start + len(verdicts)]), reply=written[i].text)
        return readings

    def write(
        self, chats: Sequence[Chat], max_new_tokens: int, temperature: float, seed: int, progress: bool
    ) -> list[Written]:
        replies = generate(
            self.lm,
            self._texts(chats),
            max_new_tokens,
            temperature=temperature,
            seed=seed,
            chat_template_kwargs=self.chat_template_kwargs,
            progress=progress,
        )
        # Where the template has opened the reasoning already (Qwen 3), its tag belongs to the reply.
        opened = [opened_reasoning(prompt.text) for prompt in self._prompts(chats)]
        return [Written(tag + reply.text) for tag, reply in zip(opened, replies, strict=True)]

    def _texts(self, chats: Sequence[Chat]) -> Sequence[str | Chat]:
        return chats if self.lm.tokenizer.chat_template else [_plain_text(chat) for chat in chats]

    def _prompts(self, chats: Sequence[Chat]) -> list[Prompt]:
        return read_prompts(self.lm, self._texts(chats), "item {}", self.chat_template_kwargs)


@dataclass(frozen=True)
class ServedJudge:
    """A model behind a server, which knows its own control tokens and does not tell."""

    endpoint: Endpoint
    extra_body: Mapping[str, Any] | None = None
    control_tokens: Sequence[str] = field(default=(), init=False)

    def weigh(self, chats: Sequence[Chat], verdicts: Sequence[str], progress: bool) -> list[Reading]:
        replies = self._complete(chats, tokens_needed(verdicts), progress)
        return [_reading(reply, 0, verdicts, None) for reply in replies]

    def weigh_after_reasoning(
        self, chats: Sequence[Chat], verdicts: Sequence[str], max_new_tokens: int, find: Finder, progress: bool
    ) -> list[Reading]:
        readings = []
        for reply in self._complete(chats, max_new_tokens, progress):
            place = None if reply.text is None else _last_mention(reply.text, find(reply.text))
            if place is None:
                readings.append(Reading(reply=reply.text, problem=reply.problem, warned=reply.text is None))
                continue
            first = _token_at(reply, place)
            if first is None:
                problem = "the server's tokens do not spell its reply, so that the verdict's is not to be found"
                readings.append(Reading(reply=reply.text, problem=problem))
            else:
                readings.append(_reading(reply, first, verdicts, reply.text))
        return readings

    def write(
        self, chats: Sequence[Chat], max_new_tokens: int, temperature: float, seed: int, progress: bool
    ) -> list[Written]:
        replies = complete(
            self.endpoint,
            chats,
            max_new_tokens,
            temperature=temperature,
            seed=seed,
            extra_body=self.extra_body,
            progress=progress,
        )
        return [Written(reply.text, reply.problem, warned=reply.text is None) for reply in replies]

    def _complete(self, chats: Sequence[Chat], max_new_tokens: int, progress: bool) -> list[Reply]:
        alternatives = min(ALTERNATIVES, self.endpoint.top_logprobs_limit)
        return complete(
            self.endpoint,
            chats,
            max_new_tokens,
            top_logprobs=alternatives,
            extra_body=self.extra_body,
            progress=progress,
        )


def _reading(reply: Reply, first: int, verdicts: Sequence[str], shown: str | None) -> Reading:
    """The verdicts' probabilities at token `first` of a server's reply."""
    if reply.text is None:
        return Reading(problem=reply.problem, warned=True)
    found = verdict_mass(
        reply.tokens[first:],
        reply.logprobs[first:],
        reply.alternatives[first:],
        verdicts,
        finished=reply.finish_reason == "stop",
    )
    total = math.fsum(found.probabilities)
    outside = min(1.0, max(0.0, 1 - total))
    if found.unresolved > MOST_UNRESOLVED * (total + found.unresolved):
        problem = (
            f"a probability of {found.unresolved:.2f} is on tokens such as {found.unresolved_token!r}, which begin a "
            "verdict and may begin others: use verdicts that differ from the first token on"
        )
    elif outside > total:
        problem = f"no verdict is likely: {outside:.0%} of the probability is outside of {', '.join(verdicts)}"
    else:
        logprobs = tuple(math.log(p) if p > 0 else -math.inf for p in found.probabilities)
        return Reading(logprobs, reply=shown)
    return Reading(outside=outside, reply=shown, problem=problem)


def _last_mention(text: str | None, verdict: str | None) -> int | None:
    """Where a text last names the verdict as a word of its own."""
    if text is None or verdict is None:
        return None
    case = re.IGNORECASE if len(verdict) > 1 else 0
    mentions = list(re.finditer(rf"(?<!\w){re.escape(verdict)}(?!\w)", text, case))
    return mentions[-1].start() if mentions else None


def _token_at(reply: Reply, place: int) -> int | None:
    """The index of the token that holds the character `place` of the reply's text."""
    spelled = 0
    for index, token in enumerate(reply.tokens):
        if not reply.text.startswith(token, spelled):
            return None
        spelled += len(token)
        if spelled > place:
            return index
    return None


def _plain_text(chat: Chat) -> str:
    """A chat as plain text, for a model without a chat template; the verdict follows."""
    turns = [m["content"] if m["role"] == "user" else f"Verdict: {m['content']}" for m in chat]
    return "\n\n".join([*turns, "Verdict:"])


def _require_no_shared_beginning(verdicts: Sequence[str], token_ids: Sequence[tuple[int, ...]]) -> None:
    pairs = list(zip(verdicts, token_ids, strict=False))  # no chats, no scores
    for one, ids in pairs:
        for other, longer in pairs:
            if one != other and longer[: len(ids)] == ids:
                raise ValueError(
                    f"the verdict {one!r} begins the verdict {other!r}, so that its probability holds the other's: use "
                    "verdicts that differ from the first token on"
                )
