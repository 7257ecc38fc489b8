"""Which verdict a written reply holds. Knows text only: neither templates nor models."""

from .reasoning import opened_reasoning, without_reasoning
from .verdicts_in_text import parse_verdict

__all__ = ["opened_reasoning", "parse_verdict", "without_reasoning"]
