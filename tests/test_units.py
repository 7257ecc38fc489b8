"""Nats in the units that people report."""

import math

import pytest

from nbhelpers.units import bits_per_byte_of, perplexity_of


@pytest.mark.parametrize(
    "nats, count, expected",
    [
        (3 * math.log(400), 3, 400),  # a uniform model over 400 tokens
        (0.0, 5, 1.0),  # no surprise: one choice
        (2_000.0, 1, math.inf),  # more than a float can hold
    ],
)
def test_perplexity(nats, count, expected):
    assert perplexity_of(nats, count) == pytest.approx(expected)


def test_bits_per_byte():
    assert bits_per_byte_of(8 * math.log(2), 4) == pytest.approx(2)  # eight bits over four bytes
