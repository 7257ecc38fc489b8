"""Exact match and token F1, against SQuAD's definition: lower case, then punctuation, then articles, then spaces."""

import math
import string
from fractions import Fraction

import pytest

from nbhelpers import exact_match, normalise_answer, token_f1


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("an apple a day", "apple day"),
        ("Theatre", "theatre"),  # begins with an article, is none
        ("a-b", "ab"),  # punctuation goes first, and leaves no space
        ("A.", ""),  # an article, once the point is gone
        ("3.5", "35"),  # the price of the definition
        ("-5", "5"),
        ("“Paris”", "“paris”"),  # only ASCII punctuation
        ("the\tend\n", "end"),
        ("", ""),
    ],
)
def test_normalise_answer(text, expected):
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(
    "answer, reference, f1",
    [
        ("Paris", "paris", 1),
        ("the city of Paris", "Paris", Fraction(1, 2)),  # "city of paris": precision 1/3, recall 1
        ("Denver Broncos", "The Denver Broncos", 1),
        ("the Broncos", "Denver Broncos", Fraction(2, 3)),  # precision 1, recall 1/2
        ("a b b c", "b b d", Fraction(2, 3)),  # "a" is an article: b b c against b b d, 2 of 3 and 2 of 3
        ("b b b", "b", Fraction(1, 2)),  # a word counts as often as both have it: precision 1/3
        ("not guilty", "guilty", Fraction(2, 3)),  # and means the opposite
        ("Rome", "Paris", 0),
        ("", "", 1),  # version 2: no answer, and none expected
        ("the", "", 1),
        ("Paris", "", 0),
        ("", "Paris", 0),
    ],
)
def test_token_f1(answer, reference, f1):
    assert math.isclose(token_f1(answer, reference).f1, f1)


def squad_f1(answer: str, reference: str) -> float:
    """The same definition, written once more with lists that are used up word by word."""

    def tokens(text):
        kept = "".join(character for character in text.lower() if character not in string.punctuation)
        return [word for word in kept.split() if word not in ("a", "an", "the")]

    said, wanted = tokens(answer), tokens(reference)
    if not said or not wanted:
        return float(said == wanted)
    left, shared = list(wanted), 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / (len(said) + len(wanted))  # 2PR / (P + R), for P = s / n and R = s / m


TEXTS = [
    "",
    "The end.",
    "a",
    "the cat sat on the mat",
    "The mat; the CAT!",
    "cat cat cat",
    "on-line",
    "line",
    "sat, sat on",
]


@pytest.mark.parametrize("answer", TEXTS)
@pytest.mark.parametrize("reference", TEXTS)
def test_token_f1_equals_a_second_writing_of_the_definition(answer, reference):
    found = token_f1(answer, reference)
    assert math.isclose(found.f1, squad_f1(answer, reference))
    assert math.isclose(found.f1, token_f1(reference, answer).f1)  # F1 is symmetric
    assert (found.precision, found.recall) == (
        token_f1(reference, answer).recall,
        token_f1(reference, answer).precision,
    )


def test_the_best_of_several_references_counts():
    best = token_f1("New York City", ["Boston", "New York", "York"])
    assert (best.reference, best.shared) == ("new york", ("new", "york")) and math.isclose(best.f1, 4 / 5)


def test_exact_match_says_which_reference():
    found = exact_match("The Paris.", ["London", "paris"])
    assert found and found.equal and (found.answer, found.reference) == ("paris", "paris")
    missed = exact_match("Paris, France", "Paris")
    assert not missed and missed.reference is None and missed.answer == "paris france"


@pytest.mark.parametrize("function", [exact_match, token_f1])
def test_a_wrong_argument_is_refused(function):
    with pytest.raises(ValueError, match="there is no reference"):
        function("x", [])
    with pytest.raises(TypeError, match="the answer must be a string, not int"):
        function(3, "3")
    with pytest.raises(TypeError, match="must be a string"):
        function("3", [3])
