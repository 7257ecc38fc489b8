"""Kappa of items that belong together: whole clusters are resampled; coverage, too few clusters, errors."""

import math

import numpy as np
import pytest
from statistics_cases import A, B, covered, limits, warned_at, written_at

from nbhelpers import statistics as st

CLUSTERS = np.arange(160) // 4


def ratings(rng, clusters, size=4):
    """Two raters who agree on 70% of items, more in some clusters; the share of 1 varies between clusters, too."""
    share, agreement = rng.beta(2, 2, (clusters, 1)), rng.beta(4, 1.5, (clusters, 1))
    a = rng.random((clusters, size)) < share
    b = np.where(rng.random((clusters, size)) < agreement, a, rng.random((clusters, size)) < share)
    return a.ravel().astype(int), b.ravel().astype(int)


def plain_kappa(a, b):
    chance = sum(np.mean(a == label) * np.mean(b == label) for label in np.union1d(a, b))
    return (np.mean(a == b) - chance) / (1 - chance)


def test_whole_clusters_are_resampled():
    rng = np.random.default_rng(80)
    a, b = ratings(rng, 40)
    result = st.cohen_kappa(a, b, clusters=CLUSTERS)
    assert result.estimate == st.cohen_kappa(a, b).estimate == pytest.approx(plain_kappa(a, b))
    members = np.arange(160).reshape(40, 4)
    resampled = []
    for _ in range(4_000):  # as one would write it down, with another seed
        drawn = members[rng.integers(40, size=40)].ravel()
        resampled.append(plain_kappa(a[drawn], b[drawn]))
    assert result.standard_error == pytest.approx(np.std(resampled), rel=0.05)
    reach = 2.0227 * result.standard_error  # t with 39 degrees of freedom
    assert limits(result) == pytest.approx((result.estimate - reach, min(1, result.estimate + reach)), abs=1e-4)


def test_clusters_of_one_item_are_no_clusters():
    a, b = ratings(np.random.default_rng(81), 400)
    alone, plain = st.cohen_kappa(a, b, clusters=range(1_600)), st.cohen_kappa(a, b)
    assert alone.standard_error == pytest.approx(plain.standard_error, rel=0.06)


def test_copies_of_an_item_tell_nothing_new():
    a, b = ratings(np.random.default_rng(82), 100, size=1)
    once, ten_times = st.cohen_kappa(a, b), st.cohen_kappa(a.repeat(10), b.repeat(10), clusters=np.arange(1_000) // 10)
    assert ten_times.standard_error == pytest.approx(once.standard_error, rel=0.1)
    assert st.cohen_kappa(a.repeat(10), b.repeat(10)).standard_error < 0.4 * once.standard_error


def test_coverage_with_clusters_and_without():
    rng = np.random.default_rng(83)
    naive, clustered = [], []
    for i in range(1_000):
        a, b = ratings(rng, 40, size=12)
        if i < 400:
            naive.append(st.cohen_kappa(a, b))
        clustered.append(st.cohen_kappa(a, b, clusters=np.arange(480) // 12, resamples=200))
    truth = plain_kappa(*ratings(rng, 100_000, size=12))
    assert 0.93 <= covered(clustered, truth) <= 0.97
    assert covered(naive, truth) < 0.9


def test_labels_and_clusters_of_any_kind():
    a, b = ratings(np.random.default_rng(84), 40)
    names = np.array(["no", "yes"])
    words = st.cohen_kappa(names[a], names[b], clusters=[f"question {i}" for i in CLUSTERS])
    assert words == st.cohen_kappa(a, b, clusters=CLUSTERS)


def test_equal_seeds_give_equal_limits():
    a, b = ratings(np.random.default_rng(85), 40)
    one, other = (st.cohen_kappa(a, b, clusters=CLUSTERS, seed=seed) for seed in (0, 1))
    assert one == st.cohen_kappa(a, b, clusters=CLUSTERS) and limits(one) != limits(other)


@pytest.mark.filterwarnings("ignore:10 clusters are few")
def test_no_width_is_warned_of():
    with pytest.warns(UserWarning, match="no width, because nearly all resamples of the clusters give it"):
        result = st.cohen_kappa([0, 1] * 20, [0, 1] * 20, clusters=np.arange(40) // 4)
    assert limits(result) == (1, 1)


FEW = "ababababab"


@pytest.mark.parametrize("call", [lambda: st.cohen_kappa(A, B, clusters=list(FEW))])
def test_few_clusters_are_warned_of_at_the_caller(call):
    assert warned_at(call) == [written_at(call)]
    with pytest.warns(UserWarning, match="2 clusters are few: the interval around kappa is too narrow below 30"):
        call()


def test_enough_clusters_are_not(recwarn):
    a, b = ratings(np.random.default_rng(86), 40)
    result = st.cohen_kappa(a, b, clusters=CLUSTERS)
    assert not recwarn and not math.isnan(result.low)


BAD_INPUT = [
    (lambda: st.cohen_kappa(A, B, clusters=["a"] * 10), ValueError, "all items are in one cluster"),
    (lambda: st.cohen_kappa(A, B, clusters=list("aab")), ValueError, "clusters has 3 items, and there are 10 scores"),
    (lambda: st.cohen_kappa(A, B, clusters=FEW), TypeError, "clusters must be a list"),
    (lambda: st.cohen_kappa(A, B, clusters=[*FEW[:9], None]), ValueError, "item 9 of clusters has no label"),
    (lambda: st.cohen_kappa(A, B, clusters=list(FEW), resamples=99), ValueError, "resamples=99: give 100 or more"),
    (lambda: st.cohen_kappa(A, B, clusters=list(FEW), seed=-1), ValueError, "seed=-1"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
