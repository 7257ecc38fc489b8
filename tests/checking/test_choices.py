"""The option that a reply chooses, by letter, by text, or by both."""

import pytest

from nbhelpers import extract_choice

CITIES = ["Rome", "Paris", "Madrid", "New York"]


@pytest.mark.parametrize(
    "reply, letter",
    [
        ("B", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B) Paris", "B"),
        ("B. Paris", "B"),
        ("(B) Paris", "B"),
        ("B: Paris", "B"),
        ("**B) Paris**", "B"),
        ("**B** Paris", "B"),
        ("Paris", "B"),
        ("paris.", "B"),
        ('"Paris"', "B"),
        ("New  York", "D"),  # spaces do not tell options apart
        ("The answer is B.", "B"),
        ("The answer is B) Paris.", "B"),
        ("The answer is Paris.", "B"),
        ("Answer: Paris", "B"),
        ("The correct option is (B) Paris, since Rome is in Italy.", "B"),
        ("B\n\nExplanation: A is the capital of Italy.", "B"),
        (r"\boxed{B}", "B"),
        ("<think>Rome? No.</think>Paris", "B"),
        ("The answer is New York.", "D"),
    ],
)
def test_a_choice_is_read(reply, letter):
    read = extract_choice(reply, CITIES)
    assert (read.letter, read.index) == (letter, "ABCD".index(letter)), read.why


@pytest.mark.parametrize(
    "reply, why",
    [
        ("B) Rome", "the letter B stands before the text of A"),
        ("The answer is B) Rome.", "the letter B stands before the text of A"),
        ("B. The answer is Rome.", "its letter and its text say A and B"),
        ("B or C", "more than one"),
        ("Paris or Rome", "more than one"),
        ("b", "no option"),  # as in parse_verdict: "a" is an article
        ("E", "no option"),
        ("Parisian", "no option"),  # a longer word
        ("I do not know.", "no option"),
        ("The answer is B. Wait, no: C", "no option"),
        ("", "the reply is empty"),
        ("<think>B", "cut off inside its reasoning"),
        ("\u202eB", "change the order"),
    ],
)
def test_a_doubt_is_none(reply, why):
    read = extract_choice(reply, CITIES)
    assert read.letter is None and read.index is None and why in read.why


def test_a_text_that_begins_another_is_not_taken_for_it():
    options = ["York", "New York", "New York City"]
    assert [extract_choice(f"The answer is {text}.", options).letter for text in options] == ["A", "B", "C"]


def test_options_of_one_character_are_read_by_their_letters_or_alone():
    options = ["4", "3", "2", "1"]
    assert extract_choice("C) 2", options).letter == "C"
    assert extract_choice("2", options).letter == "C"
    assert extract_choice("B) 2", options).letter is None
    assert extract_choice("C", options).letter == "C"


def test_options_with_signs_of_regular_expressions():
    options = ["f(x)", "[a-z]+", "(", "$5"]
    assert [extract_choice(text, options).letter for text in options] == ["A", "B", "C", "D"]
    assert extract_choice("B) [a-z]+", options).letter == "B"


@pytest.mark.parametrize("text", ["İstanbul", "ſtreet", "Straße"])
def test_letters_whose_cases_differ_in_length(text):
    """A pattern that ignores case finds "i" in "İ"; folding gives two characters."""
    assert extract_choice(text, [text, "other"]).letter == "A"
    assert extract_choice(f"B) {text} istanbul street", ["istanbul", "street"]).letter in (None, "A", "B")


@pytest.mark.parametrize(
    "reply, options, error, message",
    [
        (None, CITIES, TypeError, "the reply must be a string"),
        ("A", "Rome", TypeError, "is one string"),
        ("A", ["Rome", 3], TypeError, "the option must be a string"),
        ("A", ["Rome"], ValueError, "give 2 to 26"),
        ("A", ["Rome", " "], ValueError, "none blank"),
        ("A", ["Rome", "rome "], ValueError, "no two the same"),
        ("A", [str(n) for n in range(27)], ValueError, "give 2 to 26"),
    ],
)
def test_a_wrong_argument_is_refused(reply, options, error, message):
    with pytest.raises(error, match=message):
        extract_choice(reply, options)


@pytest.mark.parametrize(
    "reply",
    ["B) " * 40_000, "Paris " * 20_000, "B)" + " " * 100_000 + "Paris", "(" * 100_000, "B" * 100_000, "\n" * 10**5],
)
def test_a_hostile_reply_is_no_error(reply):
    assert extract_choice(reply, CITIES).why


def test_a_long_reply_is_read_at_its_end():
    assert extract_choice("Some words on towns.\n" * 2_000 + "\nAnswer: B", CITIES).letter == "B"
