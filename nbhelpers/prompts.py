"""What a model reads before it answers: a text or a chat, and the special tokens before it. Settled here, for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .chats import Chat, check_chat, is_chat, render_chat
from .models import LanguageModel
from .tokens import own_prefix, require_text

TEXT_OR_CHAT = "a string or a list of messages"


@dataclass(frozen=True)
class Prompt:
    """A prompt as text.

    Attributes
    ----------
    text : str
    prefix : tuple of int
        Special tokens that belong before it: for a plain text, those the tokenizer adds by default. A chat template
        writes its own, so a rendered chat gets no more.
    """

    text: str
    prefix: tuple[int, ...]


def read_prompts(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    name: str,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[Prompt]:
    """Check each prompt and render the chats among them. ``name.format(number)`` is what errors call a prompt."""
    prefix = own_prefix(lm.tokenizer)
    found = []
    for number, prompt in enumerate(prompts):
        called = name.format(number)
        if isinstance(prompt, str):
            if prompt != "":
                require_text(prompt, called)
            found.append(Prompt(prompt, prefix))
        else:
            check_chat(prompt, called, TEXT_OR_CHAT)
            found.append(Prompt(render_chat(lm, prompt, called, chat_template_kwargs), ()))
    return found


def one_for_each(prompts: str | Chat | Iterable[str | Chat], answers: int) -> Sequence[str | Chat]:
    """The prompts as a list; a single text or a single chat is repeated for every answer."""
    if isinstance(prompts, str):
        return [prompts] * answers
    prompts = list(prompts)
    return [prompts] * answers if is_chat(prompts) else prompts
