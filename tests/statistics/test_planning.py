"""How many items it takes: statsmodels and sums by hand as oracles, simulated power, errors."""

import math

import numpy as np
import pytest
from scipy import stats
from statistics_cases import NAN, limits

from nbhelpers import statistics as st


@pytest.mark.parametrize("difference", [0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_items_needed_is_what_the_t_test_needs(difference, power, confidence):
    from statsmodels.stats.power import TTestPower

    exact = TTestPower().solve_power(difference / 2, alpha=1 - confidence, power=power)
    result = st.items_needed(difference, 2.0, power, confidence)
    assert isinstance(result.estimate, int)
    assert result.estimate == pytest.approx(math.ceil(exact), abs=1)
    assert limits(result) == (result.estimate, result.estimate)


@pytest.mark.parametrize(
    "difference, sd, expected",
    [
        (0.5, 1, 34),  # (1.959964 + 0.841621)^2 / 0.25 = 31.40, and 1.96^2 / 2 = 1.92 for t
        (0.1, 0.5, 199),  # 196.22 + 1.92
        (100, 1, 2),  # 1.92, but one item shows no variation
    ],
)
def test_items_needed_by_hand(difference, sd, expected):
    assert st.items_needed(difference, sd).estimate == expected


def test_a_pilot_says_how_rough_the_count_is():
    """21 items give the variance to within a factor of 20 / chi2: 34.17 and 9.591 (tables, 20 degrees of freedom)."""
    result, plain = st.items_needed(0.02, 1, pilot_items=21), st.items_needed(0.02, 1)
    assert result.estimate == plain.estimate
    assert result.low / plain.estimate == pytest.approx(20 / 34.170, rel=1e-3)
    assert result.high / plain.estimate == pytest.approx(20 / 9.591, rel=1e-3)


@pytest.mark.parametrize(
    "difference, expected", [(0.2, 119), (0.1, 493), (0.05, 1_988), (0.01, 49_829)]
)  # ((1.960 + 0.842)^2 (40/63 - d^2) / d^2) + 1.92
def test_items_needed_at_a_disagreement(difference, expected):
    assert st.items_needed(difference, disagreement=40 / 63).estimate == expected
    sd = math.sqrt(40 / 63 - difference**2)
    assert st.items_needed(difference, sd).estimate == expected


def test_a_measured_spread_has_the_measured_difference_taken_out():
    """40 of 63 items differ, 39 of them in favour of one model. The spread of such a pilot promises half the items."""
    pilot = np.array([1] * 39 + [-1] + [0] * 23)
    trap = st.items_needed(0.1, pilot.std(ddof=1)).estimate
    right = st.items_needed(0.1, disagreement=np.abs(pilot).mean()).estimate
    assert (trap, right) == (219, 493)


def test_power_at_the_items_needed_for_a_disagreement():
    """Simulated: with so many items, the difference is seen four times in five; with the trap's 219, not even half."""
    rng = np.random.default_rng(40)
    found = {}
    for items in (493, 219):
        cells = rng.choice([1, -1, 0], p=[(40 / 63 + 0.1) / 2, (40 / 63 - 0.1) / 2, 23 / 63], size=(4_000, items))
        statistic = cells.mean(axis=1) / (cells.std(axis=1, ddof=1) / math.sqrt(items))
        found[items] = np.mean(np.abs(statistic) > stats.t.ppf(0.975, items - 1))
    assert found[493] == pytest.approx(0.8, abs=0.02) and found[219] < 0.5


def test_a_pilot_of_disagreement_has_wilsons_limits():
    result = st.items_needed(0.1, disagreement=40 / 63, pilot_items=63)
    low, high = limits(st.wilson_interval(40, 63))
    assert result.estimate == 493
    assert limits(result) == tuple(st.items_needed(0.1, disagreement=share).estimate for share in (low, high))
    certain = st.items_needed(0.6, disagreement=40 / 63, pilot_items=63)  # Wilson's lower limit is less than 0.6
    assert certain.low == st.items_needed(0.6, disagreement=0.6).estimate <= certain.estimate


def test_items_needed_has_no_unit():
    assert {st.items_needed(0.5 * unit, unit).estimate for unit in (1e-250, 1.0, 1e250)} == {34}


BAD_INPUT = [
    (lambda: st.items_needed(0.1), ValueError, "give exactly one of .* not neither"),
    (lambda: st.items_needed(0.1, 0.5, disagreement=0.3), ValueError, "give exactly one of .* not both"),
    (lambda: st.items_needed(0.4, disagreement=0.3), ValueError, "difference=0.4 is greater than disagreement=0.3"),
    (lambda: st.items_needed(0.1, disagreement=0), ValueError, "difference=0.1 is greater than disagreement=0:"),
    (lambda: st.items_needed(-0.1, disagreement=0.3), ValueError, "difference=-0.1: give a number greater than 0"),
    (lambda: st.items_needed(0.1, disagreement=40), ValueError, "disagreement=40: give a number between 0 and 1"),
    (lambda: st.items_needed(0.1, disagreement=NAN), ValueError, "disagreement=nan"),
    (lambda: st.items_needed(0.1, disagreement="0.3"), TypeError, "disagreement must be a number, not str"),
    (lambda: st.items_needed(0.1, disagreement=0.3, pilot_items=1), ValueError, "pilot_items=1: give 2 or more"),
    (lambda: st.items_needed(1e-200, 1), ValueError, "difference=1e-200 is too small beside the spread"),
    (lambda: st.items_needed(1e-9, 1e290), ValueError, "is too small beside the spread"),
    (lambda: st.items_needed(10**400, 1), ValueError, "difference=1000.* greater than 0 and less than 1e.300"),
    (lambda: st.items_needed(0, 1), ValueError, "difference=0: give a number greater than 0"),
    (lambda: st.items_needed(NAN, 1), ValueError, "difference=nan"),
    (lambda: st.items_needed("0.1", 1), TypeError, "difference must be a number, not str"),
    (lambda: st.items_needed(0.1, -1), ValueError, "standard_deviation=-1"),
    (lambda: st.items_needed(0.1, math.inf), ValueError, "standard_deviation=inf"),
    (lambda: st.items_needed(0.1, 1, power=80), ValueError, "power=80: give a number between 0 and 1"),
    (lambda: st.items_needed(0.1, 1, power=0.01), ValueError, "power=0.01 is no more than chance"),
    (lambda: st.items_needed(0.1, 1, pilot_items=1), ValueError, "pilot_items=1: give 2 or more"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
