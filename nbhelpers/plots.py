"""Pictures: the token heat map (HTML without a script), and the style of the book's matplotlib figures."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .results import TokenScore

# Okabe and Ito's palette, which people with any common form of colour blindness can tell apart. Without its black,
# since the text is black already, and its yellow, which is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

# Colour saturates at this surprise, in nats: a chance of 1 in 22,000.
FULL_SURPRISE = 10.0

# Characters that show nothing, though Unicode calls them letters, marks, symbols or unassigned.
_BLANK = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
# Of the characters that show nothing, those that writing needs: joiners in Persian and Hindi, selectors in emoji.
_WRITING = re.compile(r"[\n\t\u200c\u200d\u180b-\u180f\ufe00-\ufe0f]")
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_STYLE = """
.nbh-map{position:relative;line-height:1.9;padding:.6em .8em 6.2em;border:1px solid rgba(128,128,128,.4);
border-radius:6px;color:inherit;font-size:1rem}
.nbh-tok{border-radius:3px;padding:.12em 0;white-space:pre-wrap;cursor:default;
border-bottom:2px solid rgba(213,94,0,calc(var(--s)*1));background:rgba(230,120,20,calc(var(--s)*.55))}
.nbh-tok:hover,.nbh-tok:focus{outline:2px solid #0072B2;outline-offset:1px}
.nbh-tip,.nbh-hint{position:absolute;left:.8em;right:.8em;bottom:.5em;height:5.2em;overflow:hidden;
font-size:.82rem;line-height:1.55;border-top:1px solid rgba(128,128,128,.4);padding-top:.3em;white-space:normal;
direction:ltr}
.nbh-tip{visibility:hidden}
.nbh-tok:hover>.nbh-tip,.nbh-tok:focus>.nbh-tip{visibility:visible}
.nbh-tok:hover~.nbh-hint,.nbh-tok:focus~.nbh-hint{visibility:hidden}
.nbh-map:hover .nbh-tok:focus:not(:hover)>.nbh-tip{visibility:hidden}
.nbh-map:not(:has(.nbh-tok:hover)) .nbh-tok:focus>.nbh-tip{visibility:visible}
.nbh-tip b{font-weight:600}
@media(max-width:600px){.nbh-map{padding-bottom:8.6em}.nbh-tip,.nbh-hint{height:7.6em}}
"""


@dataclass(frozen=True)
class TokenHeatmap:
    """A text with each token shaded by how much it surprised the model. A notebook displays it as HTML."""

    scores: tuple[TokenScore, ...]

    def __repr__(self) -> str:
        nats = 0 - math.fsum(score.logprob for score in self.scores)
        return f"TokenHeatmap({len(self.scores)} tokens, {nats:.1f} nats)"

    def _repr_html_(self) -> str:
        # A character made of several tokens is shown with the first of them; the others show as a dot.
        seen = [self.scores[0].start, *(b.start if b.start >= a.end else None for a, b in pairwise(self.scores))]
        tokens = "".join(
            _token_html(score, starts_here is not None) for score, starts_here in zip(self.scores, seen, strict=True)
        )
        direction = ' dir="rtl"' if _reads_from_the_right("".join(score.token for score in self.scores)) else ""
        return (
            f"<style>{_STYLE}</style>"
            f'<div class="nbh-map"{direction} role="group" aria-label="Token heat map: the stronger the colour, the '
            f'more the token surprised the model">{tokens}'
            '<span class="nbh-hint">The stronger the colour, the greater the surprise; it is full at 10 '
            "nats. Point at a token, tap it, or reach it with the Tab key, to see what the model expected.</span></div>"
        )


def token_heatmap(scores: Sequence[TokenScore]) -> TokenHeatmap:
    """Draw a text with each token shaded by its surprise. Pointing at a token, or tabbing to it, shows its numbers.

    Parameters
    ----------
    scores : sequence of TokenScore
        From :func:`nbhelpers.token_scores`.

    Returns
    -------
    TokenHeatmap
        HTML and CSS without a script, legible on light and dark pages. The same scores give the same text. A token
        cannot change how the text around it reads: each is isolated (`<bdi>`), so Arabic letters in two tokens are not
        joined, and characters that show nothing stand there by number, as ⟨U+202E⟩.

    Raises
    ------
    TypeError, ValueError
        If `scores` holds something else, or nothing.

    Notes
    -----
    The shade is proportional to the surprise, -log p, from 0 to 10 nats. Explained in the chapter "Perplexity".
    """
    scores = tuple(scores)
    if not scores:
        raise ValueError("there are no tokens to draw: scores is empty")
    for score in scores:
        if not isinstance(score, TokenScore):
            raise TypeError(f"token_heatmap draws what token_scores returns, not {type(score).__name__}: {score!r:.60}")
    return TokenHeatmap(scores)


def use_house_style() -> None:
    """Make matplotlib draw like the book: a palette safe for colour blindness, quiet axes, a light background.

    Figures keep their light background on dark pages too, so that every label stays legible.
    """
    from matplotlib import pyplot

    pyplot.rcParams.update(house_style())


def house_style() -> dict[str, Any]:
    """The settings of matplotlib that the book draws with."""
    from cycler import cycler

    return {
        "figure.figsize": (6.0, 3.2),
        "figure.dpi": 130,
        "figure.facecolor": "#fbfaf7",
        "figure.constrained_layout.use": True,
        "savefig.facecolor": "#fbfaf7",
        "axes.facecolor": "#fbfaf7",
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "grid.color": "#dddad2",
        "grid.linewidth": 0.7,
        "lines.linewidth": 2.0,
        "lines.markersize": 5,
        "legend.frameon": False,
        "font.size": 11,  # on a phone the figure shrinks to half its size, and must stay legible
    }


def _token_html(score: TokenScore, starts_here: bool) -> str:
    surprise = min((0 - score.logprob) / FULL_SURPRISE, 1.0)  # 0 - x, as -0.0 would show its sign
    shown = _isolated(_by_number(score.token, keep=_WRITING)) if starts_here else "·"
    expected = ", ".join(f"“{_isolated(_visible(token))}” {_percent(p)}" for token, p in score.alternatives)
    return (
        f'<span class="nbh-tok" tabindex="0" role="img" aria-label="“{html.escape(_visible(score.token))}”, surprise '
        f'{0 - score.logprob:.1f} nats" style="--s:{surprise:.2f}">{shown}'
        f'<span class="nbh-tip"><b>“{_isolated(_visible(score.token))}”</b> '
        f"probability {_percent(score.logprob)}, rank {score.rank:,}, surprise {0 - score.logprob:.1f} nats<br>"
        f"expected: {expected}</span></span>"
    )


def _isolated(text: str) -> str:
    """The text as HTML that cannot change the direction of what stands around it."""
    return f"<bdi>{html.escape(text)}</bdi>"


def _visible(token: str) -> str:
    """A token in which every character shows, white space included."""
    spaces = token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")
    return "".join(_number(char) if unicodedata.category(char) == "Zs" else char for char in _by_number(spaces))


def _by_number(text: str, keep: re.Pattern[str] = re.compile(r"(?!)")) -> str:
    """The text with the number of each character that shows nothing in its place."""
    return "".join(_number(char) if _is_hidden(char) and not keep.match(char) else char for char in text)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _INVISIBLE or _BLANK.match(char) is not None


def _number(char: str) -> str:
    return f"⟨U+{ord(char):04X}⟩"


def _reads_from_the_right(text: str) -> bool:
    """Whether the first letter of the text belongs to a script like Hebrew or Arabic."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((direction in ("R", "AL") for direction in directions if direction in ("L", "R", "AL")), False)


def _percent(logprob: float) -> str:
    percent = 100 * math.exp(logprob)
    return f"{percent:.1f}%" if percent >= 0.1 else "<0.1%".replace("<", "&lt;")
