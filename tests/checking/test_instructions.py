"""Twelve instructions, each with a reply that follows it and one that does not, and what strict and loose mean."""

import pytest

from nbhelpers.checking import Instruction, follows, instructions, texts
from nbhelpers.checking.instructions import (
    begins_with,
    ends_with,
    forbidden_words,
    in_language,
    json_object,
    keywords,
    lower_case,
    no_commas,
    number_of_bullets,
    number_of_paragraphs,
    number_of_sentences,
    number_of_words,
)

PERSON = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}


@pytest.mark.parametrize(
    "instruction, right, wrong",
    [
        (number_of_words(2, 3), "Two words.", "It has four words."),
        (number_of_words(most=2), "Two words", "Now three words"),
        (number_of_words(3), "Well-known isn't 3.5", "Well-known isn't"),  # one word each
        (number_of_sentences(2, 2), "One. And e.g. two!", "One. Two. Three."),  # "e.g." ends none
        (number_of_sentences(1, 1), "Mr. J. Smith paid $3.50 ...", "He paid.\nNothing more"),  # a line ends one
        (number_of_paragraphs(2, 2), "One\nstill one\n\n \nTwo", "One\nstill one"),
        (number_of_bullets(2, 2), "Here:\n- one\n2. two", "-one\n* two\n3,5 three"),  # a mark needs a space
        (no_commas(), "No comma; none at all.", "One, at least."),
        (no_commas(), "None.", "一，二"),
        (lower_case(), "all of it, 3 times: ß", "All of it"),
        (lower_case(), "ok", "123"),  # nothing to be in lower case
        (begins_with("Dear Ada"), " Dear Ada, hello", "dear Ada, hello"),
        (ends_with("Goodbye."), "So: Goodbye.\n", "So: Goodbye. Really."),
        (
            keywords({"sea": 2, "red boat": 1}),
            "Sea, sea and a red\nboat",
            "sea, seas and a red boat",
        ),  # seas is another
        (forbidden_words(["very", "big ship"]), "every ship is big", "It is VERY big"),
        (json_object(PERSON), ' {"age": 3}\n', '{"age": -3}'),
        (json_object(PERSON), '{"age": 3, "name": "x"}', '{"name": "x"}'),
        (json_object({}), "{}", "[]"),  # JSON, but no object
        (json_object({}), "{}", "{'age': 3}"),
        (
            in_language("English"),
            "The cat is on the table and it is not happy.",
            "Le chat est sur la table et il dort.",
        ),
        (
            in_language("French"),
            "Le chat est sur la table et il ne dort pas.",
            "The cat is on the table and it sleeps.",
        ),
        (in_language("German"), "Die Katze ist auf dem Tisch und nicht im Bett.", "De kat ligt op de tafel en slaapt."),
        (
            in_language("Spanish"),
            "El gato está en la mesa y no en el jardín.",
            "Il gatto è sul tavolo e non nel letto.",
        ),
        (
            in_language("Italian"),
            "Il gatto è sul tavolo e non nel giardino del re.",
            "El gato está en la mesa y no en el sol.",
        ),
        (in_language("English"), "It is not in the box or on it.", "Yes."),  # too short to tell
    ],
)
def test_a_right_and_a_wrong_reply(instruction, right, wrong):
    assert follows(right, instruction) == instructions.Followed(True, True, "")
    found = follows(wrong, instruction)
    assert not found.strict and found.why


def test_the_twelve_kinds_are_all_tested():
    makers = {
        name
        for name, made in vars(instructions).items()
        if getattr(made, "__annotations__", {}).get("return") == "Instruction"
    }
    assert len(makers - {"_counted"}) == 12


@pytest.mark.parametrize(
    "instruction, reply",
    [
        (begins_with("Dear Ada"), "Sure, here is the letter:\nDear Ada, hello"),  # without the first line
        (ends_with("Goodbye."), "Goodbye.\nI hope this helps!"),  # without the last
        (json_object(PERSON), '```json\n{"age": 3}\n```'),  # without both
        (begins_with("Dear"), "**Dear** Ada"),  # without marks
        (begins_with("Dear"), "## Dear Ada"),
        (ends_with("Goodbye."), "Sure:\n*Goodbye.*"),  # both kinds of loosening at once
        (number_of_words(2, 2), "Sure, here you are:\nTwo words"),
    ],
)
def test_what_only_the_loose_reading_accepts(instruction, reply):
    found = follows(reply, instruction)
    assert (found.strict, found.loose) == (False, True)


def test_the_loose_reading_accepts_a_wrong_reply_too():
    """Its price, which the documentation names: the forbidden word stands in the first line."""
    assert follows("This is very good:\nAll is well.", forbidden_words(["very"])).loose


@pytest.mark.parametrize(
    "instruction, reply",
    [
        (number_of_words(5), "One\ntwo"),
        (no_commas(), "a, b\nc, d\ne, f"),  # a comma in the middle stays
        (lower_case(), "**All**"),
    ],
)
def test_what_the_loose_reading_refuses(instruction, reply):
    assert follows(reply, instruction).loose is False


def test_strict_implies_loose():
    """Taking something off can only add ways to follow."""
    for reply in ("One, two.", "one\n\ntwo", "- one\n- two\n- three", "{}", "the and of to in"):
        for instruction in (no_commas(), lower_case(), number_of_bullets(3, 3), number_of_words(1), json_object({})):
            found = follows(reply, instruction)
            assert found.loose or not found.strict


@pytest.mark.parametrize(
    "reply, why",
    [
        ("", "the reply is empty"),
        ("<think>I must not use commas", "cut off"),
        ("a" * 10_001, "more than 10,000 characters"),
    ],
)
def test_some_replies_follow_nothing(reply, why):
    found = follows(reply, no_commas())
    assert (found.strict, found.loose) == (False, False) and why in found.why


def test_reasoning_does_not_count():
    assert follows("<think>One, two, three.</think>None.", no_commas()).strict


@pytest.mark.parametrize(
    "reply", ["[" * 9_000, '{"age":' * 1_400, "9" * 10_000, '{"age": ' + "9" * 9_000 + "}", '"\\ud800"']
)
def test_hostile_json_is_no_json(reply):
    assert not follows(reply, json_object(PERSON)).strict


@pytest.mark.parametrize(
    "piece", ["a", ".", "\n", "- ", "a-", "a'", "*", "_", "1.", "the ", " ", "e.g. ", "(", "`", "#"]
)
def test_a_hostile_reply_of_the_greatest_length_ends(piece):
    """Patterns that are quadratic would take minutes for 10,000 characters in each of 16 variants."""
    reply = (piece * 10_000)[:10_000]
    for instruction in (
        number_of_words(1), number_of_sentences(1), number_of_paragraphs(1), number_of_bullets(1), keywords({"a a": 1}),
        in_language("English"), no_commas(), lower_case(), ends_with("x"),
    ):  # fmt: skip
        assert isinstance(follows(reply, instruction).strict, bool)


def test_the_wording_says_what_is_checked():
    assert number_of_words(20, 20).text == "Write exactly 20 words."
    assert number_of_words(20, 30).text == "Write 20 to 30 words."
    assert number_of_words(most=30).text == "Write at most 30 words."
    assert number_of_bullets(1).text == "Use at least 1 bullet points."
    assert keywords({"sea": 1, "boat": 3}).text == 'Use the words "sea" at least once, "boat" at least 3 times.'
    assert '"minimum": 0' in json_object(PERSON).text


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: number_of_words(), ValueError, "there is no limit"),
        (lambda: number_of_words(-1), ValueError, "least=-1"),
        (lambda: number_of_words(5, 4), ValueError, "most=4"),
        (lambda: number_of_words(True), ValueError, "least=True"),
        (lambda: begins_with(" "), ValueError, "the start is blank"),
        (lambda: ends_with(3), TypeError, "the end must be a string"),
        (lambda: keywords({}), ValueError, "there are no keywords"),
        (lambda: keywords({"sea": 0}), ValueError, "count=0"),
        (lambda: forbidden_words("very"), TypeError, "is one string"),
        (lambda: forbidden_words([]), ValueError, "there are no forbidden words"),
        (lambda: in_language("Klingon"), ValueError, "language 'Klingon' is not known"),
        (lambda: follows("x", no_commas), TypeError, "is no Instruction"),
        (lambda: follows(None, no_commas()), TypeError, "the reply must be a string"),
    ],
)
def test_a_wrong_argument_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_instruction_of_ones_own():
    vowels = Instruction("Use no vowel e.", "no_e", lambda text: "e" * text.count("e"))
    assert follows("nothing", vowels).strict and follows("here", vowels).why == "ee"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("One. Two? Three!", 3),
        ("He said: “No.” Then he left.", 2),
        ("Wait... what?!", 2),
        ("It is 3.5 m, i.e. long.", 1),
        ("1. First\n2. Second", 2),
        ("***", 0),
    ],
)
def test_sentences(text, expected):
    assert len(texts.sentences(text)) == expected
