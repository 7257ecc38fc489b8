"""Chats: checked and rendered in one place, for everything that hands one to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .models import LanguageModel

Chat = Sequence[Mapping[str, str]]


def check_chat(chat: Any, name: str, expected: str = "a list of messages") -> None:
    """A clear error for anything but a list of messages that each have a role and a content.

    `name` is what errors call the chat, `expected` what they say it must be.
    """
    well_formed = isinstance(chat, Sequence) and all(
        isinstance(message, Mapping)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        for message in chat
    )
    if not well_formed:
        raise TypeError(f"{name} must be {expected} such as {{'role': 'user', 'content': 'Hello'}}, not {chat!r:.80}")
    if not chat:
        raise ValueError(f"{name} is a chat without messages: there is nothing to reply to")


def is_chat(value: Any) -> bool:
    """Whether a value looks like one chat, rather than like a list of prompts."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def render_chat(lm: LanguageModel, chat: Chat, name: str, chat_template_kwargs: Mapping[str, Any] | None = None) -> str:
    """The text that the tokenizer's chat template makes of a chat, up to where the reply begins.

    `chat_template_kwargs` are handed to the template: ``{"enable_thinking": False}`` for Qwen 3, for one.
    """
    if not lm.tokenizer.chat_template:
        raise ValueError(
            f"{name} is a chat, and the tokenizer of {lm.name!r} has no chat template: give a plain string, or set "
            "tokenizer.chat_template if the model was trained for chats"
        )
    options = {} if chat_template_kwargs is None else chat_template_kwargs
    reserved = {"add_generation_prompt", "tokenize", "conversation", "return_dict", "return_tensors"}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options) or reserved & set(options):
        raise TypeError(
            f"chat_template_kwargs must be a mapping from names of the template's options to values, without "
            f"{', '.join(sorted(reserved))}: {options!r:.80}"
        )
    try:
        return lm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False, **options)
    except Exception as error:  # templates raise errors of their own, of many types
        raise ValueError(f"{name}: the chat template of {lm.name!r} refuses it: {error}") from error
