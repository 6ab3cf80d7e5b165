"""Minima of matrix completion: from several starts alternating least squares, then Newton's method."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from hogwild.engine.compiling import compiled
from hogwild.problems.optimum import MOST_VISITS, Optimum, check_sizes
from hogwild.problems.solvers.newton import Array, Model, Step, Work, minimise

_STARTS = 8
_SWEEPS = 20  # of alternating least squares, before Newton's method
_ROUNDING = 1e-12  # of the value at zero
_TINY = 1e-10  # of a block's trace: rows with fewer entries than the rank have many solutions


class Entries(NamedTuple):
    """Observed entries; the weights are the factors of rows, then of columns, flat."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]
    rank: int
    mu: float


class _Local(NamedTuple):
    objective: float
    weights: np.ndarray
    open: float


def solve(entries: Entries, init_scale: float, known: np.ndarray | None, precision: float) -> Optimum:
    """Return the lowest of the minima that are found from several starts.

    These are the factors that made the data, where they are known; those of the entries' singular value
    decomposition, zeros for what was not observed; and random ones within ± ``init_scale``. There are fewer
    for large data.
    """
    check_sizes("values", np.array([np.abs(entries.values).max()], float), 1e70)
    began, work = time.perf_counter(), Work(MOST_VISITS)
    sums = _Squares(entries, work)
    zero = _Local(float((entries.values.astype(np.float64) ** 2).sum()), np.zeros(sums.size), 0.0)
    best, tried = zero, 0
    for start in _starts(entries, init_scale, known):
        found = sums.descend(start, precision, zero.objective)
        best, tried = min(best, found, key=lambda local: local.objective), tried + 1
        if work.left < MOST_VISITS * (1 - 1 / 8):
            break
    count = entries.values.size
    return Optimum(
        best.objective / count,
        best.weights,
        f"best_of_{tried}_starts",
        min(best.open, best.objective) / count,
        "alternating least squares and Newton's method",
        time.perf_counter() - began,
    )


def _starts(entries: Entries, init_scale: float, known: np.ndarray | None) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    size = sum(entries.shape) * entries.rank
    left = _STARTS
    if known is not None:
        left -= 1
        yield known.astype(np.float64)
    if entries.rank < min(entries.shape) and entries.values.any():
        left -= 1
        triplets = entries.values.astype(np.float64), (entries.rows, entries.columns)
        matrix = sp.coo_array(triplets, shape=entries.shape).tocsr()
        rows, found, columns = svds(matrix, entries.rank, v0=random.random(min(entries.shape)))
        root = np.sqrt(found * math.prod(entries.shape) / entries.values.size)
        yield np.concatenate([rows * root, columns.T * root]).ravel()
    for _ in range(left):
        yield random.uniform(-init_scale, init_scale, size)


class _Squares:
    """``Σ (L_u·R_v − Z_uv)² + µ/2 (Σ_u ‖L_u‖² + Σ_v ‖R_v‖²)`` over rows and columns with entries."""

    def __init__(self, entries: Entries, work: Work) -> None:
        self.entries, self.work = entries, work
        self.ends = entries.rows, entries.shape[0] + entries.columns
        self.variables = sum(entries.shape)
        self.size = self.variables * entries.rank
        degrees = sum(np.bincount(end, minlength=self.variables) for end in self.ends)
        self.penalty = np.repeat(np.where(degrees > 0, entries.mu, 0.0), entries.rank)

    def value(self, weights: np.ndarray) -> float:
        errors = self._errors(weights)
        return float(np.square(errors).sum() + (self.penalty * np.square(weights)).sum() / 2)

    def descend(self, start: np.ndarray, precision: float, zero: float) -> _Local:
        """Return the minimum below a start, to a share of what lies between it and the value at zero."""
        weights, side = start.copy(), self.entries.shape[0] * self.entries.rank
        for _ in range(_SWEEPS):
            for part in (slice(0, side), slice(side, self.size)):
                weights[part] = self._least_squares(weights)[part]
        size = float(weights @ weights)
        left = [math.inf]

        def enough(point: np.ndarray, model: Model, step: Step) -> bool:
            left[0] = 2 * step.predicted
            return left[0] <= precision * max(zero - self.value(point), _ROUNDING * zero)

        if size > 0:
            radius = math.sqrt(abs(float(weights @ self.model_at(weights).product(weights))))
            weights = minimise(self.value, self.model_at, weights, enough, self.work, radius=radius)
        return _Local(self.value(weights), weights, left[0])

    def model_at(self, weights: np.ndarray) -> Model:
        errors, zeros = self._errors(weights), np.zeros(self.size)
        gradient = self._images(errors, weights, weights, 0.0) + self.penalty * weights
        inverses = np.linalg.inv(self._blocks(weights))

        def product(direction: np.ndarray) -> np.ndarray:
            return self._images(errors, weights, direction, 1.0) + self.penalty * direction

        def inverse(vector: np.ndarray) -> np.ndarray:
            pieces = vector.reshape(self.variables, -1, 1)
            return np.asarray((inverses @ pieces).ravel()) + zeros

        return Model(gradient, product, inverse)

    def _least_squares(self, weights: np.ndarray) -> np.ndarray:
        """Return what all factors would be, given the others, where there are entries."""
        right = self._images(self.entries.values, weights, weights, 0.0).reshape(self.variables, -1, 1)
        found = np.linalg.solve(self._blocks(weights), right).ravel()
        return np.where(np.repeat(right.any(axis=(1, 2)), self.entries.rank), found, weights)

    def _errors(self, weights: np.ndarray) -> np.ndarray:
        self.work.spend(2 * self.entries.values.size * self.entries.rank)
        errors = np.empty(self.entries.values.size)
        _subtract(*self.ends, self.entries.values, weights, self.entries.rank, errors)
        return errors

    def _images(
        self, errors: np.ndarray, weights: np.ndarray, direction: np.ndarray, curved: float
    ) -> np.ndarray:
        self.work.spend(4 * errors.size * self.entries.rank)
        images = np.zeros(self.size)
        _add_images(*self.ends, errors, weights, direction, curved, self.entries.rank, images)
        return images

    def _blocks(self, weights: np.ndarray) -> np.ndarray:
        """Return the Hessian's blocks of single rows and columns, shape (n_variables, rank, rank)."""
        rank = self.entries.rank
        self.work.spend(self.entries.values.size * rank**2)
        blocks = np.zeros((self.variables, rank, rank))
        _add_blocks(*self.ends, weights, rank, blocks)
        trace = np.trace(blocks, axis1=1, axis2=2)
        ridge = self.penalty[::rank] + _TINY * trace
        blocks[:, range(rank), range(rank)] += np.where(ridge > 0, ridge, 1.0)[:, None]
        return blocks


@compiled
def _subtract(left: Array, right: Array, values: Array, weights: Array, rank: int, errors: Array) -> None:
    """Set the errors to ``L_u·R_v − Z_uv``."""
    for example in range(values.size):
        product, row, column = 0.0, left[example] * rank, right[example] * rank
        for place in range(rank):
            product += weights[row + place] * weights[column + place]
        errors[example] = product - values[example]


@compiled
def _add_images(
    left: Array,
    right: Array,
    errors: Array,
    weights: Array,
    direction: Array,
    curved: float,
    rank: int,
    images: Array,
) -> None:
    """Add the Hessian of the squares times a direction; not curved, and along the weights, the gradient."""
    for example in range(errors.size):
        row, column = left[example] * rank, right[example] * rank
        change = 0.0
        for place in range(rank):
            change += direction[row + place] * weights[column + place]
            change += weights[row + place] * direction[column + place]
        error, change = 2 * errors[example], 2 * curved * change
        for place in range(rank):
            images[row + place] += change * weights[column + place] + error * direction[column + place]
            images[column + place] += change * weights[row + place] + error * direction[row + place]


@compiled
def _add_blocks(left: Array, right: Array, weights: Array, rank: int, blocks: Array) -> None:
    """Add ``2 R_v R_vᵀ`` to each row's block, and ``2 L_u L_uᵀ`` to each column's."""
    for example in range(left.size):
        row, column = left[example], right[example]
        for i in range(rank):
            one, other = 2 * weights[column * rank + i], 2 * weights[row * rank + i]
            for j in range(rank):
                blocks[row, i, j] += one * weights[column * rank + j]
                blocks[column, i, j] += other * weights[row * rank + j]
