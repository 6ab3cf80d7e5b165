"""Observed entries of a matrix: low-rank ones to order, twins of the paper's sets, and MovieLens files."""

import math
import os
from typing import NamedTuple

import numpy as np
from scipy import optimize

from hogwild import checks
from hogwild.datasets import patterns, record
from hogwild.datasets.lines import Source, Table, existing, read_table

_INT32 = np.iinfo(np.int32).max
_CHUNK = 1 << 20  # entries whose factors are gathered at once
_RANK = 10
_LARGEST = 20.0  # logarithm of a shift with which a million ranks are nearly uniform
_HEADER = "userId,movieId,rating"
_FORMS = {".dat": "user::item::rating::timestamp", ".csv": f"{_HEADER},timestamp"}
_TABLES = {
    ".dat": Table(rb"[ \t]*::[ \t]*", b":", (4, 3)),
    ".csv": Table(rb"[ \t]*,[ \t]*", b",", (4, 3), header=_HEADER.encode() + rb"(?:,timestamp)?"),
}


class _Published(NamedTuple):
    """A data set of the paper, and the values of its twin: mean, standard deviation and bounds."""

    shape: tuple[int, int]
    nonzeros: int
    delta: float
    rho: float
    mean: float
    deviation: float
    bounds: tuple[int, int]


_NETFLIX = _Published((17_770, 480_189), 100_198_805, 2.3e-3, 2.5e-3, 3.6, 1.08, (1, 5))
_KDD = _Published((624_961, 1_000_990), 252_800_275, 1.8e-3, 3.0e-3, 50.0, 30.0, (0, 100))


class Ratings(NamedTuple):
    """Observed entries of a matrix, for `hogwild.problems.matrix_completion.MatrixCompletion`.

    Parameters
    ----------
    rows, columns : ndarray of int32, shape (n_entries,)
    values : ndarray of float64, shape (n_entries,)
    shape : (int, int)
        Rows and columns of the matrix, those without entries included.
    true_weights : ndarray of float64, shape ((n_rows + n_columns) * rank,), or None
        The factors that made the values, where there are such: L row by row, then R row by row.
    name, description : str
        What to call the data and, in a sentence, how they were made.
    row_ids, column_ids : ndarray of int64, shape (n_rows,) and (n_columns,), or None
        What a file calls the rows and the columns.
    """

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]
    true_weights: np.ndarray | None
    name: str
    description: str
    row_ids: np.ndarray | None = None
    column_ids: np.ndarray | None = None

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of the entries, in their order, and of the shape, computed at each access."""
        return record.arrays_hash(self.shape, self.rows, self.columns, self.values)

    def split(self, test_fraction: float = 0.1, seed: int = 0) -> tuple["Ratings", "Ratings"]:
        """Return the entries in two random parts, (train, test), of the same shape and in the same order.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the entries that go to the test part, rounded to whole entries.
        seed : int

        Raises
        ------
        ValueError
            If a part would be empty.
        """
        test = record.held_out(self.values.size, test_fraction, seed)
        return self._part(~test, "train"), self._part(test, "test")

    def _part(self, chosen: np.ndarray, part: str) -> "Ratings":
        rows, columns, values = self.rows[chosen], self.columns[chosen], self.values[chosen]
        description = f"{self.description} The {part} part, {chosen.sum():,} of {chosen.size:,} entries."
        return self._replace(rows=rows, columns=columns, values=values, description=description)


def low_rank(
    n_rows: int,
    n_columns: int,
    nonzeros: int,
    rank: int = 10,
    noise: float = 0.0,
    row_exponent: float = 0.0,
    column_exponent: float = 0.0,
    seed: int = 0,
) -> Ratings:
    """Return distinct entries of ``L R^T`` plus noise, for normal factors such that it has unit variance.

    Rows are drawn by popularity, none more than ``n_columns`` times; each row then takes as many distinct
    columns, by their popularity. A row holds a column once, so popular columns have fewer entries than
    probability times number: see `hogwild.datasets.patterns.distinct_columns`. Entries are in the order of
    rows, then columns.

    Parameters
    ----------
    n_rows, n_columns : int
    nonzeros : int
        Number of entries, at most ``n_rows * n_columns``.
    rank : int
        Columns of L and of R.
    noise : float >= 0
        Standard deviation of the Gaussian noise (the signal has 1).
    row_exponent, column_exponent : float >= 0
        Popularity is proportional to ``rank**-exponent`` (Zipf), ranks dealt at random; 0 is uniform.
    seed : int

    Returns
    -------
    Ratings

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, with its name and value.
    """
    shape = checks.integer("n_rows", n_rows, 1, _INT32), checks.integer("n_columns", n_columns, 1, _INT32)
    nonzeros = checks.integer("nonzeros", nonzeros, 1, math.prod(shape))
    rank = checks.integer("rank", rank, 1)
    noise = checks.real("noise", noise, "a number >= 0")
    row_exponent = checks.real("row_exponent", row_exponent, "a number >= 0")
    column_exponent = checks.real("column_exponent", column_exponent, "a number >= 0")
    rng = np.random.default_rng(checks.integer("seed", seed))
    by_row = patterns.zipf(rng, shape[0], row_exponent)
    by_column = patterns.zipf(rng, shape[1], column_exponent)
    rows, columns = _entries(rng, by_row, by_column, nonzeros)
    values, true_weights = _values(rng, rows, columns, shape, rank, noise)
    description = (
        f"Low rank: {shape[0]:,} x {shape[1]:,}, {nonzeros:,} entries of rank {rank}, "
        f"Zipf exponents {row_exponent:g} and {column_exponent:g}, noise {noise:g}; seed {seed}."
    )
    return Ratings(rows, columns, values, shape, true_weights, "low_rank", description)


def jumbo_twin(n_rows: int = 20_000, seed: int = 0) -> Ratings:
    """Return the Jumbo data of Niu et al. (2011), scaled down: square, uniform, rank 10, without noise.

    Theirs are 10,000,000 x 10,000,000 with 2,000,000,000 entries; the mean of 200 entries a row is kept.

    Parameters
    ----------
    n_rows : int >= 200
        And of columns.
    seed : int

    Returns
    -------
    Ratings
    """
    n_rows = checks.integer("n_rows", n_rows, 200, _INT32)
    return low_rank(n_rows, n_rows, 200 * n_rows, _RANK, seed=seed)._replace(name="jumbo_twin")


def netflix_twin(scale: float = 0.01, seed: int = 0) -> Ratings:
    """Return a stand-in for the Netflix prize's ratings: 1 to 5, at full scale 17,770 x 480,189.

    Δ, ρ (Niu et al. 2011, figure 2: 0.0023 and 0.0025, of 100,198,805 entries) and the observed share of the
    cells are nearly preserved at each scale. For that, both sides shrink by the square root of the scale, and
    popularity is Zipf's with exponent 1 and Mandelbrot's shift, such that the most popular row is drawn with
    probability Δ and the most popular column with ρ − Δ. Chance adds to both, at the smallest scales up to a
    fifth to Δ. The mean entries of a row or column are not preserved: they shrink by the square root of the
    scale, too. Nor is the rest of popularity's distribution, which is flatter at smaller scales. Who rated
    what is drawn without regard to the factors. Values are a rank-10 matrix and noise of the same variance,
    together of mean 3.6 and standard deviation 1.08, rounded and clipped.

    Parameters
    ----------
    scale : float in [0.001, 1]
        Multiplies the number of entries.
    seed : int

    Returns
    -------
    Ratings
        Without true weights: the values are rounded.
    """
    return _twin("netflix_twin", _NETFLIX, scale, seed)


def kdd_twin(scale: float = 0.01, seed: int = 0) -> Ratings:
    """Return a stand-in for the ratings of the KDD Cup 2011: 0 to 100, at full scale 624,961 x 1,000,990.

    Made as `netflix_twin` is, with the same parameters, for Δ = 0.0018 and ρ = 0.0030 of 252,800,275 entries
    (Niu et al. 2011, figure 2), with values of mean 50 and standard deviation 30 before they are rounded and
    clipped.
    """
    return _twin("kdd_twin", _KDD, scale, seed)


def load_ratings(path: str | os.PathLike[str]) -> Ratings:
    """Read MovieLens ratings: users are rows, items are columns, both numbered in the order of their ids.

    Parameters
    ----------
    path : str or os.PathLike
        A ``.dat`` file of lines ``user::item::rating::timestamp``, or a ``.csv`` file with the header
        ``userId,movieId,rating,timestamp``. Ids are whole numbers below 2**53. Timestamps are not kept, and
        may be missing from all lines.

    Returns
    -------
    Ratings
        With the ids.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or if its name, its header or a line (named with the column) is not as
        above or it has no ratings.
    """
    file = existing("path", path, "MovieLens ratings")
    form = _FORMS.get(file.suffix)
    if form is None:
        raise ValueError(f"path is {str(path)!r}; it must end in {' or '.join(_FORMS)}")
    table = read_table(Source("path", file, form), _TABLES[file.suffix])
    row_ids, rows = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    column_ids, columns = np.unique(table[:, 1].astype(np.int64), return_inverse=True)
    shape = row_ids.size, column_ids.size
    rows, columns, values = rows.astype(np.int32), columns.astype(np.int32), table[:, 2].copy()
    description = f"The ratings of {file.name}: {shape[0]:,} x {shape[1]:,}, {rows.size:,} entries."
    return Ratings(rows, columns, values, shape, None, file.stem, description, row_ids, column_ids)


def _twin(name: str, published: _Published, scale: float, seed: int) -> Ratings:
    scale = checks.real("scale", scale, "a number in [0.001, 1]", 0.001, 1.0)
    rng = np.random.default_rng(checks.integer("seed", seed))
    n_rows, n_columns = (round(side * math.sqrt(scale)) for side in published.shape)
    nonzeros = round(published.nonzeros * scale)
    by_row = _capped(rng, n_rows, published.delta)
    by_column = _capped(rng, n_columns, published.rho - published.delta)
    rows, columns = _entries(rng, by_row, by_column, nonzeros)
    values, _ = _values(rng, rows, columns, (n_rows, n_columns), _RANK, 1.0)
    values *= published.deviation / math.sqrt(2)
    values = np.clip(np.rint(values + published.mean), *published.bounds)
    most = [np.bincount(side).max() / nonzeros for side in (rows, columns)]
    description = (
        f"{name}: {n_rows:,} x {n_columns:,}, {nonzeros:,} entries, the most popular row with "
        f"{most[0]:.2%} and column with {most[1]:.3%} of them; scale {scale:g}, seed {seed}."
    )
    return Ratings(rows, columns, values, (n_rows, n_columns), None, name, description)


def _capped(rng: np.random.Generator, size: int, share: float) -> patterns.Popularity:
    """Return Zipf's popularity of exponent 1, with the shift that gives the most popular a share."""
    ranks = np.arange(size)
    # with Mandelbrot's shift plus one as exp(x), the first one's share is 1 / Σ (1 + rank exp(-x))^-1
    found = optimize.brentq(lambda x: 1 / (1 / (1 + ranks * math.exp(-x))).sum() - share, 0.0, _LARGEST)
    return patterns.zipf(rng, size, 1.0, math.expm1(found))


def _entries(
    rng: np.random.Generator, by_row: patterns.Popularity, by_column: patterns.Popularity, nonzeros: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows by popularity, and distinct columns in each by theirs; both int32, in order."""
    most = by_column.n_features
    chances = np.ones(by_row.n_features) if by_row.probabilities is None else by_row.probabilities
    lengths = np.zeros(by_row.n_features, np.int64)
    while missing := nonzeros - int(lengths.sum()):
        left = np.where(lengths < most, chances, 0.0)
        lengths = np.minimum(lengths + rng.multinomial(missing, left / left.sum()), most)
    # One long row decides how all rows drawn with it are drawn: so draw like with like.
    size = np.frexp(lengths)[1]
    order = np.argsort(size, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(size[order])) + 1)
    columns = np.concatenate([patterns.distinct_columns(rng, lengths[group], by_column) for group in groups])
    rows = np.repeat(order.astype(np.int32), lengths[order])
    return np.sort(rows), columns[np.argsort(rows, kind="stable")]


def _values(
    rng: np.random.Generator,
    rows: np.ndarray,
    columns: np.ndarray,
    shape: tuple[int, int],
    rank: int,
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of a random low-rank matrix of unit variance plus noise, and its factors, flat."""
    factors = rng.standard_normal((sum(shape), rank)) / rank**0.25
    values = np.empty(rows.size)
    for begin in range(0, rows.size, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        values[part] = (factors[rows[part]] * factors[shape[0] + columns[part]]).sum(axis=1)
    if noise:
        values += noise * rng.standard_normal(values.size)
    return values, factors.ravel()
