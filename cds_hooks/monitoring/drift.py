"""How far a distribution has moved: the population stability index and Kolmogorov and Smirnov's distance.

PSI = Σ (a − e)·ln(a / e) over bins, `e` the share of the reference and `a` of what is seen now. Coded
inputs have a bin for each code, numbers the reference's tenths. It is read as credit scoring has read it:
below 0.1 little, above 0.25 another population.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats

SMALLEST_SHARE = 1e-4
"""What an empty bin counts as: its logarithm would be infinite."""


def psi(reference: Mapping[str, Any], values: Floats) -> float:
    """Return the population stability index of known values against a column of a reference.

    >>> reference = {"counts": {"0.0": 50, "1.0": 50}}
    >>> psi(reference, np.array([0.0, 1.0])), round(psi(reference, np.array([0.0] * 3 + [1.0])), 3)
    (0.0, 0.275)
    """
    expected, actual = _shares(reference, values)
    expected, actual = np.maximum(expected, SMALLEST_SHARE), np.maximum(actual, SMALLEST_SHARE)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def _shares(reference: Mapping[str, Any], values: Floats) -> tuple[Floats, Floats]:
    if "counts" in reference:
        counts = {float(code): count for code, count in reference["counts"].items()}
        codes = sorted(counts.keys() | set(values.tolist()))
        whole = max(sum(counts.values()), 1)
        expected = np.array([counts.get(code, 0) / whole for code in codes])
        return expected, np.array([np.mean(values == code) for code in codes])
    grid = np.asarray(reference["quantiles"], dtype=np.float64)
    edges = np.unique(grid[10:-10:10])  # nine cuts, fewer where tenths coincide
    return _binned(grid, edges), _binned(values, edges)


def _binned(values: Floats, edges: Floats) -> Floats:
    places = np.searchsorted(edges, values, side="left")
    return np.bincount(places, minlength=len(edges) + 1) / max(len(values), 1)


def ks(quantiles: Sequence[float], values: Floats) -> tuple[float, float]:
    """Return Kolmogorov and Smirnov's distance to a reference given by its quantiles, and its p value.

    The reference is taken as known: its sample is large. The asymptotic distribution is used.

    >>> distance, p = ks([0.0, 1.0, 2.0, 3.0, 4.0], np.array([3.9, 4.0, 3.8, 3.95, 4.0, 4.0]))
    >>> round(distance, 2), p < 0.001
    (0.95, True)
    """
    ordered = np.sort(values)
    grid = np.asarray(quantiles, dtype=np.float64)
    shares = np.linspace(0, 1, len(grid))
    points, first = np.unique(grid, return_index=True)
    # where quantiles coincide the distribution jumps: just below a value it is the first of them
    below = np.interp(ordered, points, shares[first])
    last = len(grid) - 1 - np.unique(grid[::-1], return_index=True)[1]
    upto = np.interp(ordered, points, shares[last])
    n = len(ordered)
    share_upto = np.searchsorted(ordered, ordered, side="right") / n
    share_below = np.searchsorted(ordered, ordered, side="left") / n
    distance = float(max(np.max(share_upto - upto, initial=0.0), np.max(below - share_below, initial=0.0)))
    root = math.sqrt(n)
    return distance, _kolmogorov((root + 0.12 + 0.11 / root) * distance)


def _kolmogorov(value: float) -> float:
    """Return the chance of a scaled distance above `value`."""
    if value < 0.2:
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * value) ** 2) for k in range(1, 101))
    return min(max(float(sum(terms)), 0.0), 1.0)


def difference_of_shares(now: int, of_now: int, then: int, of_then: int) -> float:
    """Return z of the difference of two shares, 0 where it is not defined.

    >>> round(difference_of_shares(30, 100, 50, 100), 2)
    -2.89
    """
    if not of_now or not of_then:
        return 0.0
    pooled = (now + then) / (of_now + of_then)
    error = math.sqrt(pooled * (1 - pooled) * (1 / of_now + 1 / of_then))
    return (now / of_now - then / of_then) / error if error else 0.0
