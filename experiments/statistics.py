"""From samples to numbers: when a target was first reached; medians with intervals. Functions of arrays."""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
LOOKS = 2  # that a run may take at its intervals before it ends: see `precision.choose`
Kind = Literal["cost", "rate", "ratio"]


class Interval(NamedTuple):
    """A median with the ends of its interval, and the size of the sample."""

    median: float
    low: float
    high: float
    n: int


def time_to_target(history: ArrayLike, target: float) -> float:
    """Return when the suboptimality first reached the (positive) target, ``inf`` if it never did.

    ``history`` holds rows of (train_seconds, suboptimality) in order of time; rows with unknown suboptimality
    are left out. Between two checkpoints the time is read off the straight line through both in the logarithm
    of the suboptimality (in the suboptimality itself where the later one is not positive; where the earlier
    one is infinite, the later checkpoint's time counts). Only the first crossing counts.
    """
    if not target > 0:
        raise ValueError(f"target must be positive, not {target}")
    rows = np.asarray(history, dtype=float).reshape(-1, 2)
    rows = rows[~np.isnan(rows[:, 1])]
    reached = np.flatnonzero(rows[:, 1] <= target)
    if not reached.size:
        return math.inf
    later, end = map(float, rows[reached[0]])
    if reached[0] == 0:
        return later
    earlier, start = map(float, rows[reached[0] - 1])
    if math.isinf(start):
        return later
    if end > 0:
        fraction = (math.log(start) - math.log(target)) / (math.log(start) - math.log(end))
    else:
        fraction = (start - target) / (start - end)
    return min(earlier + fraction * (later - earlier), later)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """Divide pairwise; ``inf`` is "never": never / 2 s = inf, 2 s / never = 0, never / never = nan."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numerator, dtype=float) / np.asarray(denominator, dtype=float)


def summary(values: ArrayLike, kind: Kind) -> np.ndarray:
    """Average over the first axis by the mean that fits: what it says of two sides is their ratio of totals.

    Costs have an arithmetic mean and rates a harmonic one; the geometric mean is for ratios of things that
    cannot be added up. ``inf`` is a value like any other; 0 and ``inf`` together have no geometric mean.
    """
    found = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "cost":
            return found.mean(axis=0)
        return 1 / (1 / found).mean(axis=0) if kind == "rate" else np.exp(np.log(found).mean(axis=0))


def median_interval(values: ArrayLike) -> Interval:
    """Return the median of a sample and an interval for the median of what it was drawn from.

    Its ends are order statistics, equally far from both ends of the sample (see `beyond`): whatever the
    distribution, they have its median between them with a probability that the binomial distribution gives
    exactly, or with a higher one where values are tied. `coverage` says what of it holds. ``inf`` (never
    reached) is a value like any other; ``nan`` (not measured) is left out.
    """
    sample = np.sort(np.asarray(values, dtype=float).ravel())
    sample = sample[~np.isnan(sample)]
    n = sample.size
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    median, k = (sample[(n - 1) // 2] + sample[n // 2]) / 2, beyond(n)
    return Interval(float(median), float(sample[k]), float(sample[-1 - k]), n)


def beyond(n: int) -> int:
    """Return how many of n values lie beyond each end of the interval for their median.

    As many as still cover the median at each of the looks that a run may take at its intervals with
    ``1 - (1 - LEVEL) / LOOKS``, so that with ``LEVEL`` none of them misses it, wherever the run ends
    (Bonferroni). None where that is too much to ask: the interval is all of the sample, min-max.
    """
    tails = itertools.accumulate(math.comb(n, k) for k in range(n // 2))
    return max(sum(2 * tail / 2**n <= (1 - LEVEL) / LOOKS for tail in tails) - 1, 0)


def coverage(n: int) -> float:
    """Return the probability with which the interval of n values covers the median, at most ``LEVEL``.

    Below six values that is less: the smallest and the largest have the median between them with
    ``1 - 2**(1 - n)``.
    """
    return min(LEVEL, 1 - 2.0 ** min(1 - n, 0))
