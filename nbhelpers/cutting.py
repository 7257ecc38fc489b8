"""Where a text can be cut so that its parts, encoded apart and joined, have the tokens of the whole.

Byte-level BPE first splits a text with a regular expression and then encodes each split by itself. If one split ends
before a space and the next begins with it, whatever the text, then every such space is a place to cut. That is proven
below for the expressions that are in use; a tokenizer of any other kind has no place to cut.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from unicodedata import is_normalized

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Expressions that split at a space behind anything but white space. In each of their alternatives a space stands in one
# of two places only: at the very beginning, or in a run of white space. The character before the space is not white
# space, so no run reaches it, and a match that begins before the space ends before it. Nothing looks back, and the one
# thing that looks ahead, (?!\S) behind a run of white space, looks at a character before the space. So what stands left
# of the space is split as if the text ended there, and what begins with it as if the text began there.
SPLITTING_BEFORE_SPACES = {
    # and OLMo 2, Phi-4: GPT-4's cl100k
    "Llama 3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # to Qwen 3: digits one by one
    "Qwen 2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # marks belong to words
    "Qwen 3.5": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # GPT-4o's o200k
    "Llama 4": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # of Mistral
    "Tekken": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # the one that the step ByteLevel has built in
    "GPT-2": (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
}


def splits_before_spaces(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether :func:`last_cut` holds for a tokenizer: each step of its own is one of which that is proven.

    * It is a plain tokenizer of the library `tokenizers`, with no Python of its own around it.
    * Nothing is normalised, or characters are composed (NFC). A space composes with nothing, and what stands before a
      cut is composed already, so that its characters stay in their places.
    * The text is split by one of the expressions above; at most, digits are set apart before.
    * BPE without dropout then sees one split at a time.
    * No added token holds a space behind another character, or takes the spaces around it along.
    """
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or any(
        getattr(kind, name) is not getattr(PreTrainedTokenizerFast, name) for name in ("__call__", "_encode_plus")
    ):
        return False
    core = tokenizer.backend_tokenizer
    return (
        _state(core.normalizer).get("type") in (None, "NFC")
        and _pre_tokenizer_splits(_state(core.pre_tokenizer))
        and type(core.model).__name__ == "BPE"
        and not core.model.dropout
        and not any(
            token.lstrip or token.rstrip or token.single_word or re.search(r"\S\s", token.content)
            for token in core.get_added_tokens_decoder().values()
        )
    )


def _state(part: Any) -> dict[str, Any]:
    """What a part of a tokenizer says of itself in tokenizer.json."""
    return {} if part is None else json.loads(part.__getstate__())


def _pre_tokenizer_splits(state: dict[str, Any]) -> bool:
    steps = state["pretokenizers"] if state.get("type") == "Sequence" else [state]
    if steps and steps[0].get("type") == "Digits":
        steps = steps[1:]  # a run of digits, or each of them, becomes a split; a space ends the run
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1]["add_prefix_space"]:
        return False
    *splits, bytes_of_splits = steps
    if not splits:
        return bytes_of_splits.get("use_regex", True)
    return len(splits) == 1 and not bytes_of_splits.get("use_regex", True) and _is_proven_split(splits[0])


def _is_proven_split(state: dict[str, Any]) -> bool:
    """Whether a step keeps every match of a proven expression as a split: together they are the whole text."""
    if state.get("type") != "Split" or state["pattern"].get("Regex") not in SPLITTING_BEFORE_SPACES.values():
        return False
    return (state["behavior"], state["invert"]) in (("Isolated", False), ("Removed", True))


def last_cut(text: str, end: int) -> int:
    """The last place before `end` at which `text` can be cut, and any text that begins like it: 0 if there is none.

    That is at a space, behind a letter, a digit or a printable ASCII character. (Of others, some are white space in one
    library and not in another.) A text that NFC would change before that space is not cut at all.
    """
    place = text.rfind(" ", 0, end)
    while place > 0:
        before = text[place - 1]
        if before.isalnum() or "!" <= before <= "~":
            return place if is_normalized("NFC", text[:place]) else 0
        place = text.rfind(" ", 0, place)
    return 0
