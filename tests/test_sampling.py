"""What may be asked of a generation, and where a stop string cuts."""

import math

import pytest

from nbhelpers.sampling import before_stop, check_sampling


@pytest.mark.parametrize(
    "stop, expected",
    [((), []), ("\n", ["\n"]), (["\n", "END"], ["\n", "END"]), (iter(["a"]), ["a"])],
)
def test_stop_strings_become_a_list(stop, expected):
    assert check_sampling(4, 0.0, 0, stop) == expected


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens=0: give the number of tokens"),
        ({"max_new_tokens": 1.5}, ValueError, "max_new_tokens=1.5"),
        ({"temperature": -1}, ValueError, "temperature=-1: give 0"),
        ({"temperature": math.inf}, ValueError, "temperature=inf"),
        ({"seed": "one"}, TypeError, "seed='one': give a whole number"),
        ({"stop": ["x", ""]}, ValueError, "a stop string is empty"),
        ({"stop": [7]}, ValueError, r"stop=\[7\]"),
    ],
)
def test_an_option_out_of_range_is_named(options, error, message):
    with pytest.raises(error, match=message):
        check_sampling(**{"max_new_tokens": 4, "temperature": 0.0, "seed": 0, "stop": (), **options})


@pytest.mark.parametrize(
    "text, stops, expected",
    [
        ("one two three", ["three", "two"], "one "),  # the first in the text, not in the list
        ("one two", ["four"], "one two"),
        ("one two", [], "one two"),
        ("", ["x"], ""),
    ],
)
def test_a_text_ends_before_the_first_stop_string(text, stops, expected):
    assert before_stop(text, stops) == expected
