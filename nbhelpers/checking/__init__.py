"""Is the answer right? Reads answers out of replies, compares them, and checks whether instructions were followed.

May import: `judging.parsing`, which reads a written verdict. Must not know: models, prompts, servers.

Whatever was read says so itself: each result holds what was read and why, and None where a reply leaves a doubt.
`plain` makes a reply plain text of bounded length, `numerals` finds the numbers in it, `numbers` and `choices` say
which is the answer; `overlap` compares words, `expressions` formulas (in a process of its own, `formula_worker`, that
is ended by the clock); `instructions` holds the twelve checks of instructions, `texts` what they count.
"""

from .choices import ChoiceRead, extract_choice
from .expressions import Equality, same_expressions
from .instructions import Followed, Instruction, follows
from .numbers import NumberRead, extract_number
from .overlap import ExactMatch, TokenOverlap, exact_match, normalise_answer, token_f1

__all__ = [
    "ChoiceRead",
    "Equality",
    "ExactMatch",
    "Followed",
    "Instruction",
    "NumberRead",
    "TokenOverlap",
    "exact_match",
    "extract_choice",
    "extract_number",
    "follows",
    "normalise_answer",
    "same_expressions",
    "token_f1",
]
