"""One bar for several calls, each of which believes to have one of its own."""

import pytest
from tqdm import tqdm

from nbhelpers.engine import Stretch, bar_of


@pytest.fixture
def bar():
    with tqdm(total=100, disable=False, leave=False) as shown:
        yield shown


def test_a_stretch_takes_its_length_of_the_bar_whatever_its_own_total(bar):
    for length, total in ((30, 60), (70, 7)):
        begun = bar.n
        with bar_of(Stretch(bar, length)) as part:
            part.reset(total=total)
            for _ in range(total):
                part.update(1)
        assert bar.n == pytest.approx(begun + length)
    assert bar.n == pytest.approx(100)


def test_a_stretch_that_begins_again_goes_back_to_its_beginning(bar):
    bar.update(20)
    part = Stretch(bar, 50)
    part.reset(total=10)
    part.update(7)
    part.reset(total=5)
    assert bar.n == pytest.approx(20)
    part.update(5)
    assert bar.n == pytest.approx(70)


def test_without_a_total_steps_are_those_of_the_bar(bar):
    Stretch(bar, 40).update(3)
    assert bar.n == 3
