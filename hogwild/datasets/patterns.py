"""Which features occur in which rows: distinct columns, drawn by popularity."""

import numpy as np

# Entries (or cells) handled at a time: large enough for NumPy, small enough to stay near the caches.
_BLOCK = 1 << 20


class Popularity:
    """How often each of some features is drawn.

    Parameters
    ----------
    n_features : int
    probabilities : ndarray of shape (n_features,), or None
        Probability of each feature in a single draw, summing to one; ``None`` means uniform.
    """

    def __init__(self, n_features: int, probabilities: np.ndarray | None = None):
        self.n_features = n_features
        self.probabilities = probabilities
        if probabilities is not None:
            self._cumulative = np.cumsum(probabilities)
            self._cumulative /= self._cumulative[-1]
            # The inverse of the cumulative distribution, tabulated (Chen & Asau 1974): most draws need one
            # look-up, not a binary search. A power of two keeps the bucket of a draw free of rounding.
            self._buckets = 1 << ((n_features - 1).bit_length() + 2)
            edges = np.arange(self._buckets) / self._buckets
            self._first = np.searchsorted(self._cumulative, edges, side="right")

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return independent features, int64."""
        if self.probabilities is None:
            return rng.integers(self.n_features, size=size)
        uniform = rng.random(size)
        features = self._first[(uniform * self._buckets).astype(np.int64)]
        beyond = np.flatnonzero(self._cumulative[features] <= uniform)
        features[beyond] = np.searchsorted(self._cumulative, uniform[beyond], side="right")
        return features

    def outside(self, count: int) -> float:
        """Return the probability of a draw outside the ``count`` most popular features."""
        if count >= self.n_features:
            return 0.0
        if count == 0:
            return 1.0
        if self.probabilities is None:
            return 1 - count / self.n_features
        rest = self.n_features - count
        return float(np.partition(self.probabilities, rest)[:rest].sum())


def zipf(rng: np.random.Generator, n_features: int, exponent: float, shift: float = 0.0) -> Popularity:
    """Return a popularity proportional to ``(rank + shift)**-exponent`` (Zipf; with a shift, Mandelbrot).

    Ranks are dealt to the columns by a random permutation: vocabularies are not sorted by popularity either,
    and popular features in neighbouring columns would share cache lines, an effect of its own.
    """
    if exponent == 0:
        return Popularity(n_features)
    ranked = ((np.arange(n_features) + 1 + shift) / (1 + shift)) ** -exponent
    ranked = np.maximum(ranked, 1e-200)  # a large exponent must not leave features that can never be drawn
    return Popularity(n_features, rng.permutation(ranked / ranked.sum()))


def distinct_columns(rng: np.random.Generator, lengths: np.ndarray, popularity: Popularity) -> np.ndarray:
    """Draw the columns of sparse rows one after another by popularity, passing over those that a row has.

    So a row of k entries holds feature j with a probability below k p_j where p_j is large (a feature counts
    once a row) and above it where p_j is small; it is close to 1 - exp(-p_j t) with t such that these sum to
    k (Rosén 1972, successive sampling).

    Parameters
    ----------
    rng : numpy.random.Generator
    lengths : ndarray of int, shape (n_rows,)
        Number of entries of each row, none above ``popularity.n_features``.
    popularity : Popularity

    Returns
    -------
    ndarray of int32, shape (lengths.sum(),)
        The columns of all rows, row after row, sorted and distinct within each.
    """
    n_features, longest = popularity.n_features, int(lengths.max(initial=0))
    # The last entry of the longest row takes up to 1 / outside draws; a race takes a number per feature.
    race = longest > n_features * popularity.outside(longest)
    width = n_features if race else max(longest, 1)
    n_rows = max(1, _BLOCK // width)
    columns = np.empty(lengths.sum(), np.int32)
    end = 0
    for first in range(0, lengths.size, n_rows):
        block = lengths[first : first + n_rows]
        start, end = end, end + int(block.sum())
        columns[start:end] = _race(rng, block, popularity) if race else _redraw(rng, block, popularity)
    return columns


def _redraw(rng: np.random.Generator, lengths: np.ndarray, popularity: Popularity) -> np.ndarray:
    """Draw all entries at once and replace repeated ones until there are none; good for sparse rows.

    A round never draws more than the missing entries, so that no new column is ever dropped: the result has
    exactly the distribution of drawing one by one.
    """
    rows = np.repeat(np.arange(lengths.size), lengths)
    keys = rows * popularity.n_features + popularity.draw(rng, rows.size)
    todo = np.arange(keys.size)  # entries of the rows that may hold a repetition
    while True:
        part = np.sort(keys[todo])
        keys[todo] = part
        repeated = np.zeros(part.size, bool)
        np.equal(part[1:], part[:-1], out=repeated[1:])
        if not repeated.any():
            return keys - rows * popularity.n_features
        replaced = todo[repeated]
        keys[replaced] = rows[replaced] * popularity.n_features + popularity.draw(rng, replaced.size)
        unfinished = np.zeros(lengths.size, bool)
        unfinished[rows[replaced]] = True
        todo = todo[unfinished[rows[todo]]]


def _race(rng: np.random.Generator, lengths: np.ndarray, popularity: Popularity) -> np.ndarray:
    """Let features arrive at exponential times, popularity the rate, and take the first; good for dense rows.

    The order of arrival has the distribution of drawing one by one (Efraimidis & Spirakis 2006).
    """
    times = rng.standard_exponential((lengths.size, popularity.n_features))
    if popularity.probabilities is not None:
        times /= popularity.probabilities
    arrived = np.argsort(times, axis=1)[:, : lengths.max(initial=0)]
    too_late = np.arange(arrived.shape[1]) >= lengths[:, None]
    arrived[too_late] = popularity.n_features  # sorts to the end
    arrived.sort(axis=1)
    return arrived[arrived < popularity.n_features]
