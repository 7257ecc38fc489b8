"""The reasoning that some models write before their reply, between tags."""

from __future__ import annotations

import re

NAMES = "think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|seed:think"
# <think>, </think>, <think id=1>, ◁think▷, ＜think＞, [THINK], <|begin_of_thought|>, <|end_of_thought|>
TAG = re.compile(
    rf"[<◁＜](?P<close>\s?/)?\s?(?:{NAMES})(?:\s[^<>\n]{{0,80}})?\s?[>▷＞]"
    r"|\[(?P<close_bracket>/)?think\]|<\|(?P<end>begin|start|end)_of_(?:thought|thinking)\|>",
    re.IGNORECASE,
)
# The format of gpt-oss: a channel's name, then what the model wrote on it.
CHANNEL = re.compile(r"<\|channel\|>\s*+(?P<name>\w++)[^<]{0,80}<\|message\|>")
TURN = re.compile(r"<\|(?:start|end|return|call)\|>(?:assistant)?")


def without_reasoning(reply: str) -> str | None:
    """The reply without what the model wrote to itself, or None if that was cut off before the reply began.

    Removed is what stands between ``<think>`` and ``</think>``, the same with thinking, thought, reasoning, reflection,
    analysis or scratchpad, in any case, with attributes, ``[THINK]`` and ``◁think▷``, and all channels but "final" of
    gpt-oss. A closing tag without an opening one ends reasoning that the prompt began. Reasoning that was begun by the
    prompt *and* cut off bears no tag, so a caller who knows the prompt puts what it `opened_reasoning` with before the
    reply. Reasoning without tags is part of the reply.
    """
    if CHANNEL.search(reply):
        return _final_channel(reply)
    kept, depth, end = [], 0, 0
    for tag in TAG.finditer(reply):
        closes = _closes(tag)
        if depth and not closes and not reply[end : tag.start()].strip():
            end = tag.end()  # a second tag right after the first: the prompt's and the model's own
            continue
        if depth == 0:
            kept.append(reply[end : tag.start()])
        if closes and depth == 0:
            kept.clear()  # the prompt opened it
        depth = max(depth - 1, 0) if closes else depth + 1
        end = tag.end()
    if depth:
        return None
    return "\n".join([*kept, reply[end:]]) if end else reply


def opened_reasoning(prompt: str) -> str:
    """The end of a prompt that begins the reply's reasoning, such as "<think>" and a newline; "" if it begins none."""
    tags = list(TAG.finditer(prompt, max(0, len(prompt) - 200)))
    if not tags or _closes(tags[-1]) or prompt[tags[-1].end() :].strip():
        return ""
    return prompt[tags[-1].start() :]


def _closes(tag: re.Match[str]) -> bool:
    return bool(tag["close"] or tag["close_bracket"] or (tag["end"] or "").lower() == "end")


def _final_channel(reply: str) -> str | None:
    channels = list(CHANNEL.finditer(reply))
    last = channels[-1]
    return TURN.sub("", reply[last.end() :]) if last["name"].lower() == "final" else None
