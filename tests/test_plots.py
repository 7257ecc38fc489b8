"""The token heat map is plain HTML: no script, everything escaped, the same text for the same scores."""

import math
import re
from html.parser import HTMLParser

import pytest

import nbhelpers as nb
from nbhelpers import plots


def score(token, start, end, probability=0.5, **others):
    fields = {"token_id": 1, "rank": 1, "entropy": 1.0, "alternatives": ((" the", math.log(0.25)),), **others}
    return nb.TokenScore(token=token, start=start, end=end, logprob=math.log(probability), **fields)


class Reader(HTMLParser):
    """Collects the classes and the visible text of each element, and checks that every tag closes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.tips, self.shown = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "br":
            self.open.append(dict(attributes).get("class", tag))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        if "nbh-tip" in self.open:
            self.tips.append(data)
        elif "nbh-tok" in self.open:
            self.shown.append(data)


def test_each_token_shows_itself_and_its_numbers():
    page = Reader(nb.token_heatmap([score("The", 0, 3), score(" end", 3, 7, 0.031, rank=4)])._repr_html_())
    assert page.shown == ["The", " end"]
    tips = "".join(page.tips)
    assert "probability 50.0%, rank 1, surprise 0.7 nats" in tips
    assert "“␣end” probability 3.1%, rank 4, surprise 3.5 nats" in tips
    assert "expected: “␣the” 25.0%" in tips


def test_every_token_can_be_reached_with_the_keyboard_and_there_is_no_script():
    page = Reader(nb.token_heatmap([score("a", 0, 1), score("b", 1, 2)])._repr_html_())
    assert sum(attributes.get("tabindex") == "0" for _, attributes in page.tags) == 2
    assert "script" not in [tag for tag, _ in page.tags]
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]


def test_text_is_escaped_everywhere():
    hostile = "<script>alert(1)</script>&\n"
    page = nb.token_heatmap([score(hostile, 0, 27, alternatives=((hostile, -1.0),))])._repr_html_()
    assert "<script" not in page
    assert Reader(page).shown == [hostile]


# (a token, how it is drawn, how it stands in quotes, why)
HIDDEN = [
    ("\u202eevil", "⟨U+202E⟩evil", "⟨U+202E⟩evil", "turns what follows around"),
    ("\u2067x", "⟨U+2067⟩x", "⟨U+2067⟩x", "an isolate that does not end"),
    ("\u2069\u202c", "⟨U+2069⟩⟨U+202C⟩", "⟨U+2069⟩⟨U+202C⟩", "ends what another token began"),
    ("\u200f\u061c", "⟨U+200F⟩⟨U+061C⟩", "⟨U+200F⟩⟨U+061C⟩", "marks of direction"),
    ("a\u200bb", "a⟨U+200B⟩b", "a⟨U+200B⟩b", "a space without width"),
    ("\ufeff\u2060\u00ad", "⟨U+FEFF⟩⟨U+2060⟩⟨U+00AD⟩", "⟨U+FEFF⟩⟨U+2060⟩⟨U+00AD⟩", "other shapes of nothing"),
    ("\U000e0080", "⟨U+E0080⟩", "⟨U+E0080⟩", "means nothing yet, and shows nothing already"),
    ("\U000e0041", "⟨U+E0041⟩", "⟨U+E0041⟩", "a tag, in which text is smuggled"),
    ("\U000e0100", "⟨U+E0100⟩", "⟨U+E0100⟩", "a selector, in which bytes are"),
    ("\u3164\u115f", "⟨U+3164⟩⟨U+115F⟩", "⟨U+3164⟩⟨U+115F⟩", "letters that are empty"),
    ("\u2028\u2029", "⟨U+2028⟩⟨U+2029⟩", "⟨U+2028⟩⟨U+2029⟩", "line breaks of another kind"),
    ("\0\x1b\r", "⟨U+0000⟩⟨U+001B⟩⟨U+000D⟩", "⟨U+0000⟩⟨U+001B⟩⟨U+000D⟩", "HTML has no such characters"),
    ("\ud800", "⟨U+D800⟩", "⟨U+D800⟩", "half a character, which no file can hold"),
    ("a\u00a0b", "a\u00a0b", "a⟨U+00A0⟩b", "drawn as a space, but not the space"),
    ("می\u200cخواهم", "می\u200cخواهم", "می⟨U+200C⟩خواهم", "Persian is written with it"),
    ("❤\ufe0f", "❤\ufe0f", "❤⟨U+FE0F⟩", "so is a red heart"),
    (" a\n\t", " a\n\t", "␣a⏎⇥", "white space"),
    ("é日本", "é日本", "é日本", "letters"),
]


@pytest.mark.parametrize(("token", "drawn", "quoted", "reason"), HIDDEN)
def test_what_shows_nothing_stands_there_by_number(token, drawn, quoted, reason):
    html = nb.token_heatmap([score(token, 0, 1, alternatives=((token, -1.0),))])._repr_html_()
    page = Reader(html)
    assert page.shown == [drawn], reason
    assert "".join(page.tips).count(f"“{quoted}”") == 2, reason
    (label,) = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("class") == "nbh-tok"]
    assert label.startswith(f"“{quoted}”, surprise"), reason
    html.encode()  # or it could not be written to a file


def test_no_token_can_change_the_direction_of_what_stands_around_it():
    scores = [
        score(token, at, at + 1, alternatives=((token, -1.0),)) for at, token in enumerate(("a", "אב", "\u202eb"))
    ]
    html = nb.token_heatmap(scores)._repr_html_()
    isolated = re.findall(r"<bdi>([^<]*)</bdi>", html)
    assert isolated == ["a"] * 3 + ["אב"] * 3 + ["⟨U+202E⟩b"] * 3, "drawn, in the tip, and among the expected"
    outside = re.sub(r"<bdi>[^<]*</bdi>|<[^>]*>", "", html)
    assert "א" not in outside and "\u202e" not in html


@pytest.mark.parametrize(
    ("tokens", "from_the_right", "reason"),
    [
        (["The", " end"], False, "English"),
        (["של", "ום"], True, "Hebrew: or its tokens would stand in the wrong order"),
        (["1. ", "سلام"], True, "Arabic behind a digit, which has no direction"),
        (["He said ", "שלום"], False, "begins with English"),
        (["12", "."], False, "no letter"),
    ],
)
def test_tokens_stand_in_the_order_in_which_the_text_is_read(tokens, from_the_right, reason):
    html = nb.token_heatmap([score(token, at, at + 1) for at, token in enumerate(tokens)])._repr_html_()
    (direction,) = [a.get("dir") for _, a in Reader(html).tags if a.get("class") == "nbh-map"]
    assert direction == ("rtl" if from_the_right else None), reason
    assert re.search(r"\.nbh-tip,\.nbh-hint\{[^}]*direction:ltr\}", html), "what is said about the tokens is English"


def test_a_character_of_several_tokens_is_drawn_once():
    page = Reader(nb.token_heatmap([score("\ufffd", 0, 1), score("\ufffd", 0, 1), score("a", 1, 2)])._repr_html_())
    assert page.shown == ["\ufffd", "·", "a"]


@pytest.mark.parametrize(
    "probability, shade",
    [
        (1.0, "0.00"),  # no surprise, no colour
        (math.exp(-5), "0.50"),  # half of the ten nats at which the colour is full
        (math.exp(-30), "1.00"),  # never more than full
    ],
)
def test_the_shade_is_the_surprise(probability, shade):
    assert f"--s:{shade}" in nb.token_heatmap([score("a", 0, 1, probability)])._repr_html_()


def test_the_same_scores_give_the_same_text_and_a_short_repr():
    scores = [score("The", 0, 3), score(" end", 3, 7)]
    assert nb.token_heatmap(scores)._repr_html_() == nb.token_heatmap(iter(scores))._repr_html_()
    assert repr(nb.token_heatmap(scores)) == "TokenHeatmap(2 tokens, 1.4 nats)"


@pytest.mark.parametrize(
    "scores, error, message",
    [([], ValueError, "scores is empty"), (["The"], TypeError, "draws what token_scores returns, not str: 'The'")],
)
def test_bad_input(scores, error, message):
    with pytest.raises(error, match=message):
        nb.token_heatmap(scores)


def test_the_house_style_is_legible_without_colour_vision():
    import matplotlib

    with matplotlib.rc_context():
        nb.use_house_style()
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(plots.COLOURS)
        assert matplotlib.rcParams["figure.facecolor"] == "#fbfaf7"
