"""A model as judge: a verdict is a probability distribution over the replies it may give, or a reply that is parsed.

May import: everything below it that scores, writes or asks a server. Must not know: how a model is run, or how a
request travels. `templates` is what a judge is asked, `control_text` keeps the text under judgement in its place;
`judges` says what a judge must be able to do, `alternatives` reads the tokens that a server lists, `parsing` reads
written replies; `verdicts` is what comes out; `asking` puts them together; `audit` measures what pushes a judge, with
`statistics`.
"""

from .asking import judge, judge_pairs
from .audit import PADDING, PAIR_FORMS, Bias, JudgeAudit, judge_audit
from .parsing import parse_verdict
from .templates import PAIR, PAIR_OR_TIE, PAIR_REFERENCE, RUBRIC, YES_NO, YES_NO_REFERENCE, Template, fill
from .verdicts import PairVerdict, Verdict

__all__ = [
    "PADDING",
    "PAIR",
    "PAIR_FORMS",
    "PAIR_OR_TIE",
    "PAIR_REFERENCE",
    "RUBRIC",
    "YES_NO",
    "YES_NO_REFERENCE",
    "Bias",
    "JudgeAudit",
    "PairVerdict",
    "Template",
    "Verdict",
    "fill",
    "judge",
    "judge_audit",
    "judge_pairs",
    "parse_verdict",
]
