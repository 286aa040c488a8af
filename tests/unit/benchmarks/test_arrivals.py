"""Due times of open loops, and percentiles."""

from __future__ import annotations

import itertools

import pytest

from tests.support.load.arrivals import percentile, poisson, spaced


def test_percentiles_are_values() -> None:
    """A percentile is one of the values: the smallest that at least the share of them does not exceed."""
    hundred = list(map(float, range(100, 0, -1)))

    assert [percentile(hundred, share) for share in (0.0, 0.5, 0.99, 0.991, 1.0)] == [1, 50, 99, 100, 100]
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([7.0], 0.99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_spaced() -> None:
    """Evenly spaced requests keep half of the space between them at least, and their number is the rate's."""
    due = spaced(50.0, 4.0, seed=1)

    assert len(due) == 200
    assert all(0.5 * 0.02 <= later - earlier <= 1.5 * 0.02 for earlier, later in itertools.pairwise([0.0, *due]))
    assert len({round(later - earlier, 6) for earlier, later in itertools.pairwise(due)}) > 100


def test_poisson() -> None:
    """Independent requests come at the rate on average; about the share exp(-1) of the gaps is above the mean."""
    due = poisson(1_000.0, 20.0, seed=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]

    assert 19_000 < len(due) < 21_000
    assert due[-1] < 20.0
    assert min(gaps) >= 0
    assert 0.35 < sum(gap > 0.001 for gap in gaps) / len(gaps) < 0.39


def test_seeds() -> None:
    """A seed determines the due times."""
    assert poisson(100.0, 2.0, seed=1) == poisson(100.0, 2.0, seed=1) != poisson(100.0, 2.0, seed=2)
    assert spaced(100.0, 2.0, seed=1) == spaced(100.0, 2.0, seed=1) != spaced(100.0, 2.0, seed=2)
