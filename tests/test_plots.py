"""The token heat map is plain HTML: no script, everything escaped, the same text for the same scores."""

import math
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
