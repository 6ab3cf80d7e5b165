"""From samples to numbers: when a target was first reached; medians with intervals. Functions of arrays."""

from __future__ import annotations

import math
import warnings
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
FEWEST_FOR_BOOTSTRAP = 10
Kind = Literal["cost", "rate", "ratio"]


class Interval(NamedTuple):
    """A median with the ends of its interval, the size of the sample, and how the ends were found."""

    median: float
    low: float
    high: float
    n: int
    method: str


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


def median_interval(values: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Return the median of a sample and an interval for the median of what it was drawn from.

    ``inf`` (never reached) is a value like any other; ``nan`` (not measured) is left out. The interval is

    * the bias-corrected accelerated bootstrap (BCa) for ten or more finite values;
    * otherwise the closest pair of order statistics, equally far from both ends, that covers the median with
      at least the level's probability (exact, by the binomial distribution);
    * the smallest and the largest value where not even they do (see :func:`coverage`).
    """
    sample = np.sort(np.asarray(values, dtype=float).ravel())
    sample = sample[~np.isnan(sample)]
    n = sample.size
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, "none")
    median = float((sample[(n - 1) // 2] + sample[n // 2]) / 2)
    if sample[0] == sample[-1]:
        return Interval(median, median, median, n, "constant")
    if n >= FEWEST_FOR_BOOTSTRAP and np.isfinite(sample).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate sample warns and gives nan, on which we fall back
            random = np.random.default_rng(seed)
            found = stats.bootstrap(
                (sample,), np.median, confidence_level=level, n_resamples=4_000, rng=random
            )
        low, high = map(float, found.confidence_interval)
        if low <= median <= high:
            return Interval(median, low, high, n, "BCa")
    left_out = [k for k in range(n // 2) if 2 * stats.binom.cdf(k, n, 0.5) <= 1 - level]
    k = left_out[-1] if left_out else 0
    method = "order statistics" if left_out else "min-max"
    return Interval(median, float(sample[k]), float(sample[-1 - k]), n, method)


def coverage(n: int) -> float:
    """Return the probability that the smallest and the largest of n values have the median between them."""
    return 1 - 2.0 ** (1 - n) if n else 0.0
