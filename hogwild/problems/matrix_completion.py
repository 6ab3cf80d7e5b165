"""Low-rank matrix completion on observed entries: one row vector and one column vector for each."""

import functools
import math
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hogwild import checks
from hogwild.datasets.ratings import Ratings
from hogwild.datasets.record import arrays_hash
from hogwild.engine import contract
from hogwild.engine.atomics import CACHE_LINE, load, prefetch
from hogwild.engine.compiling import abstract, generic, inlined
from hogwild.engine.contract import add
from hogwild.problems.base import Problem, square_sum
from hogwild.problems.optimum import Optimum
from hogwild.problems.solvers import factorisation
from hogwild.problems.sparsity import Sparsity, sparsity_of_pairs

_MOST = 2**31 - 1
_CHUNK = 1_000_000  # observed entries whose factors are gathered at once


class NoShrinkage(NamedTuple):
    """µ is 0."""


class DegreeShrinkage(NamedTuple):
    """The penalty's slopes over the factors."""

    row_slopes: np.ndarray  # µ / |E_u|, shape (n_rows,)
    column_slopes: np.ndarray  # µ / |E_v|, shape (n_columns,)


class ObservedEntries(NamedTuple):
    """Observed entries and the penalty's slopes, for kernels; the weights are the rows of L, then of R."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    rank: int
    n_rows: int
    penalty: NoShrinkage | DegreeShrinkage


@abstract
def shrunk(penalty: Any, slope: Any, which: Any, side: Any, factor: Any) -> Any:
    """Add the penalty's slope of one factor, of a row (side 0) or a column (side 1)."""


@shrunk.of(NoShrinkage)
def _without_shrinkage(penalty, slope, which, side, factor):
    return slope


@shrunk.of(DegreeShrinkage)
def _with_degree_shrinkage(penalty, slope, which, side, factor):
    slopes = penalty.row_slopes if side == 0 else penalty.column_slopes
    return slope + slopes[which] * factor


@generic
def fetch_shrinkage(penalty: Any, row: Any, column: Any) -> Any:
    """Prefetch what `shrunk` will read."""


@fetch_shrinkage.of(DegreeShrinkage)
def _fetch_degree_shrinkage(penalty, row, column):
    prefetch(penalty.row_slopes, row)
    prefetch(penalty.column_slopes, column)


@inlined
def factor_starts(problem: Any, example: Any) -> Any:
    """Return the coordinates at which the row's and the column's factors begin."""
    rank, rows = np.uint64(problem.rank), np.uint64(problem.n_rows)
    return problem.rows[example] * rank, (rows + problem.columns[example]) * rank


@contract.count.of(ObservedEntries)
def _count_entries(problem):
    return problem.values.size


@contract.support.of(ObservedEntries)
def _support_of_entry(problem, example):
    touched = np.uint64(2 * problem.rank)
    return example * touched, (example + np.uint64(1)) * touched


@contract.fetch_far_ahead.of(ObservedEntries)
def _fetch_entry(problem, example):
    prefetch(problem.rows, example)
    prefetch(problem.columns, example)
    prefetch(problem.values, example)


@contract.gathers.of(ObservedEntries)
def _entries_gather(problem):
    return True


@contract.fetch_ahead.of(ObservedEntries)
def _fetch_factors(problem, example, weights):
    line, length = np.uint64(CACHE_LINE // weights.itemsize), np.uint64(problem.rank)
    row, column = factor_starts(problem, example)
    place = np.uint64(0)
    while place < length:
        prefetch(weights, row + place)
        prefetch(weights, column + place)
        place += line
    prefetch(weights, row + length - np.uint64(1))
    prefetch(weights, column + length - np.uint64(1))
    fetch_shrinkage(problem.penalty, problem.rows[example], problem.columns[example])


@contract.coefficient.of(ObservedEntries)
def _coefficient_of_entry(problem, example, start, end, weights, scale, scratch):
    row, column = factor_starts(problem, example)
    even, odd = weights.dtype.type(0), weights.dtype.type(0)
    place, rank = np.uint64(0), np.uint64(problem.rank)
    while place + np.uint64(1) < rank:
        even += load(weights, row + place) * load(weights, column + place)
        odd += load(weights, row + place + np.uint64(1)) * load(weights, column + place + np.uint64(1))
        place += np.uint64(2)
    if place < rank:
        even += load(weights, row + place) * load(weights, column + place)
    return weights.dtype.type(2) * (even + odd - problem.values[example])


@contract.write.of(ObservedEntries)
def _write_factors(problem, guard, example, start, end, scalar, rate, weights, scratch):
    row, column = factor_starts(problem, example)
    which, where = problem.rows[example], problem.columns[example]
    for place in range(np.uint64(problem.rank)):
        left, right = load(weights, row + place), load(weights, column + place)
        row_slope = shrunk(problem.penalty, scalar * right, which, 0, left)
        column_slope = shrunk(problem.penalty, scalar * left, where, 1, right)
        add(guard, weights, row + place, left, -rate * row_slope)
        add(guard, weights, column + place, right, -rate * column_slope)


@contract.variables.of(ObservedEntries)
def _variables_of_entry(problem, start, end):
    return np.uint64(0), np.uint64(2)


@contract.variable.of(ObservedEntries)
def _variable_of_entry(problem, example, place):
    if place == np.uint64(0):
        return np.uint64(problem.rows[example])
    return np.uint64(problem.n_rows) + np.uint64(problem.columns[example])


class MatrixCompletion(Problem):
    """``min_{L,R} (1/|E|) Σ_{(u,v)∈E} [ (L_u·R_v − Z_uv)² + µ/(2|E_u|) ‖L_u‖² + µ/(2|E_v|) ‖R_v‖² ]``.

    E are the observed entries, |E_u| and |E_v| those in row u and in column v (Niu et al. 2011, section 2).
    The weights are L of shape (n_rows, rank) and then R of shape (n_columns, rank), flat; a row's or a
    column's factors are one variable. Not convex: the optimum that `solve` finds is the lowest of the minima
    that several starts lead to, and a run may end below it, at suboptimality 0. Make one with `from_data`.

    Attributes
    ----------
    rows, columns : ndarray of shape (n_examples,)
    values : ndarray of shape (n_examples,)
        The observed entries, in the given order.
    rank : int
    mu : float
    n_rows, n_columns : int
    """

    name, merges = "matrix_completion", 4  # moves of a row's factors and of its columns' meet in products
    convex, precision = False, 1e-5
    takes, error_names, held_out_errors = Ratings, ("rmse",), ("rmse",)

    def __init__(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        values: np.ndarray,
        shape: tuple[int, int],
        rank: int,
        mu: float,
        init_scale: float,
    ) -> None:
        self.rows, self.columns, self.values = rows, columns, values
        self.n_rows, self.n_columns = shape
        self.rank, self.mu, self.init_scale = rank, mu, init_scale
        self.n_examples, self.dtype = values.size, values.dtype
        self.n_variables = self.n_rows + self.n_columns
        self.n_weights = self.n_variables * rank
        self.nonzeros = values.size * 2 * rank

    @classmethod
    def from_data(
        cls,
        rows: npt.ArrayLike,
        columns: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        shape: tuple[int, int] | None = None,
        rank: int = 10,
        mu: float = 0.0,
        init_scale: float | None = None,
        true_weights: npt.ArrayLike | None = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> Self:
        """Check the triplets and make a problem of them.

        Parameters
        ----------
        rows, columns : array_like of int, of shape (n_examples,)
        values : array_like of shape (n_examples,)
        shape : (int, int), optional
            Of the matrix. Default: as large as the indices ask for.
        rank : int, default 10
        mu : float, default 0
            µ of the penalty.
        init_scale : float, optional
            Factors start uniformly within ± this. Default: such that products are of the size of the values,
            ``(rms(values) / √rank) ** ½ · √3``.
        true_weights : array_like of shape (n_weights,), optional
        dtype : float32 or float64

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was given and what is allowed.
        """
        precision = checks.floating(dtype)
        values = checks.vector("values", values, "(n_examples,), at least one")
        if shape is not None and (not isinstance(shape, tuple) or len(shape) != 2):
            raise TypeError(f"shape is {shape!r}; it must be two integers")
        limits = (
            [None, None] if shape is None else [checks.integer("shape", side, 1, _MOST) for side in shape]
        )
        rows = checks.indices("rows", rows, values.size, (limits[0] or _MOST) - 1)
        columns = checks.indices("columns", columns, values.size, (limits[1] or _MOST) - 1)
        sides = int(rows.max()) + 1, int(columns.max()) + 1
        sides = (limits[0] or sides[0], limits[1] or sides[1])
        if sum(sides) > _MOST:
            raise ValueError(f"shape is {sides}; rows and columns together can be at most {_MOST}")
        rank = checks.integer("rank", rank, minimum=1)
        mu = checks.real("mu", mu, "a number of at least 0")
        if init_scale is None:
            size = math.sqrt(float(square_sum(values.astype(np.float64))) / values.size)
            init_scale = math.sqrt(3 * size / math.sqrt(rank)) or 1.0
        values = np.array(checks.vector("values", values, "(n_examples,)", values.size, precision))
        init_scale = checks.positive("init_scale", init_scale)
        problem = cls(rows, columns, values, sides, rank, mu, init_scale)
        if true_weights is not None:
            size = problem.n_weights
            given = checks.vector("true_weights", true_weights, f"({size},)", size, np.dtype(np.float64))
            problem.true_weights = given
        return problem

    @classmethod
    def from_dataset(
        cls, data: Any, *, l2: float = 0.0, dtype: Any = np.float64, rank: int = 10, **settings: Any
    ) -> Self:
        """Make the problem of `Ratings`, with ``l2`` as µ; true factors are kept if they have the rank."""
        data = cls._of_its_kind(data)
        known = data.true_weights
        fits = known is not None and known.size == rank * sum(data.shape)
        settings = {"shape": data.shape, "rank": rank, "mu": l2, "dtype": dtype, **settings}
        triplets = data.rows, data.columns, data.values
        return cls.from_data(*triplets, true_weights=known if fits else None, **settings)

    def facts(self) -> dict[str, Any]:
        """Return the rank."""
        return {"rank": self.rank}

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the entries, in their order, and of the matrix's shape, hexadecimal."""
        return arrays_hash((self.n_rows, self.n_columns), self.rows, self.columns, self.values)

    def factors(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return L of shape (n_rows, rank) and R of shape (n_columns, rank), views of the weights."""
        both = weights.reshape(-1, self.rank)
        return both[: self.n_rows], both[self.n_rows :]

    def predict(self, weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return ``L_u·R_v`` for each pair of a row and a column, in float64."""
        left, right = self.factors(weights)
        found = np.empty(rows.size)
        for begin in range(0, rows.size, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            found[part] = (left[rows[part]].astype(np.float64) * right[columns[part]]).sum(axis=1)
        return found

    def objective(self, weights: np.ndarray) -> float:
        """Return the objective at weights of shape (n_weights,), summed in float64."""
        with np.errstate(over="ignore", invalid="ignore"):
            residuals = self.predict(weights, self.rows, self.columns) - self.values
            total = square_sum(residuals)
            if self.mu:
                left, right = self.factors(weights.astype(np.float64))
                seen = square_sum(left[self.row_degrees > 0]) + square_sum(right[self.column_degrees > 0])
                total += self.mu / 2 * seen
            return float(total / self.n_examples)

    @functools.cached_property
    def row_degrees(self) -> np.ndarray:
        """|E_u|: the observed entries in each row."""
        return np.bincount(self.rows, minlength=self.n_rows)

    @functools.cached_property
    def column_degrees(self) -> np.ndarray:
        """|E_v|: the observed entries in each column."""
        return np.bincount(self.columns, minlength=self.n_columns)

    @functools.cached_property
    def objective_at_zero(self) -> float:
        """The mean of the squared entries."""
        return float(square_sum(self.values.astype(np.float64)) / self.n_examples)

    def errors(self, weights: np.ndarray) -> dict[str, float]:
        """Return the root mean squared error on the observed entries."""
        residuals = self.predict(weights, self.rows, self.columns) - self.values
        return {"rmse": float(np.sqrt(square_sum(residuals) / self.n_examples))}

    def start(self, random: np.random.Generator) -> np.ndarray:
        """Return factors uniform within ± `init_scale`: zero factors have a zero gradient."""
        return random.uniform(-self.init_scale, self.init_scale, self.n_weights).astype(self.dtype)

    def sparsity(self) -> Sparsity:
        """Return Ω, Δ and ρ of the entries, with rows and columns as variables: Ω is 2."""
        return sparsity_of_pairs(self.rows, self.n_rows + self.columns, self.n_variables)

    def curvature(self) -> np.ndarray:
        """Return ``2 mean|Z|`` times the share of the entries that a row or column has.

        ``2 |R_v|²`` is the second derivative along L_u, and at a good fit ``|R_v|² ≈ |L_u| |R_v| ≈ |Z_uv|``.
        """
        degrees = np.concatenate([self.row_degrees, self.column_degrees])
        per_row = (2 * np.abs(self.values).mean(dtype=np.float64) * degrees + self.mu) / self.n_examples
        return np.repeat(per_row, self.rank)

    def kernel_record(self, threshold: float = 0.0, order: np.ndarray | None = None) -> ObservedEntries:
        """Return the entries as kernels see them, laid out in an order if one is given."""
        arrays = self.rows, self.columns, self.values
        if order is not None:
            arrays = tuple(array[order] for array in arrays)
        rows, columns, values = arrays
        penalty: NoShrinkage | DegreeShrinkage = NoShrinkage()
        if self.mu:
            sides = self.row_degrees, self.column_degrees
            penalty = DegreeShrinkage(*((self.mu / np.maximum(side, 1)).astype(self.dtype) for side in sides))
        ends = rows.view(np.uint32), columns.view(np.uint32)
        return ObservedEntries(*ends, values, self.rank, self.n_rows, penalty)

    def _settings(self) -> tuple[Any, ...]:
        return self.mu, self.rank, self.init_scale, self.true_weights  # the solver starts from them

    def _find_optimum(self, precision: float) -> Optimum:
        shape = self.n_rows, self.n_columns
        entries = factorisation.Entries(self.rows, self.columns, self.values, shape, self.rank, self.mu)
        return factorisation.solve(entries, self.init_scale, self.true_weights, precision)
