"""What may be asked of a generation, and where a stop string cuts."""

import math

import numpy as np
import pytest

from nbhelpers.sampling import before_stop, check_sampling, generator_of


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


@pytest.mark.parametrize("seed", [0, np.int64(3), np.uint64(2**63), 1_795_766_400_000_000_000, 10**40, -1, True])
def test_any_whole_number_is_a_seed(seed):
    assert check_sampling(np.int32(4), np.float32(0.5), seed, ()) == []
    assert generator_of(seed, 0).random() == generator_of(int(seed), 0).random()


def test_no_two_items_share_their_random_numbers():
    seeds = [0, 1, 2, 1_000_003, 2**32, 2**32 + 1, 2**64, -1, -(2**32)]
    drawn = {(seed, index): generator_of(seed, index).random() for seed in seeds for index in (0, 1, 2, 1_000_003)}
    assert len(set(drawn.values())) == len(drawn)
