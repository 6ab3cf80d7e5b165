"""Stochastic dual coordinate ascent on a linear model: what an update of one example reads and writes.

The dual of ``min_w Σ_i φ_i(x_i·w) + λ ‖w‖²`` is ``max_α Σ_i −φ_i*(−α_i) − λ ‖w(α)‖²`` with ``w(α) =
Σ_i α_i x_i / (2λ)``, and at the optimum ``α_i = −φ_i'(x_i·w)`` (Shalev-Shwartz & Zhang 2013, JMLR 14, whose
λn is our 2λ). An update maximises over one α_i and keeps w at w(α); its only step size is 1/λ, in w(α).

Workers share w without a guard or with one, each at examples of its own: PASSCoDe-Wild and -Atomic (Hsieh,
Yu & Dhillon, ICML 2015). A write to w that another one overwrites is lost for good, as α knows nothing of it:
Wild ends where the objective with a perturbed regulariser is least (their backward error analysis), and w,
not w(α), is what counts. How near that is to the optimum depends on the race: suboptimalities from 1e-11 to
1e-5 were seen. Any accuracy is for serial and for workers that lose nothing.

Replicas of w add the workers' moves, and workers that move alike overshoot together. As in CoCoA+
(Ma et al. 2015, ICML; 2017, Optimization Methods and Software 32), each of K workers therefore sees its own
moves σ' times as far, up to K, and maximises for that; what is merged are the moves themselves, so that w
stays w(α). Here each coordinate has its own σ', near 1 where few updates of a period meet (`multiplied`).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import load, prefetch
from hogwild.engine.compiling import compiled, extends
from hogwild.engine.contract import add, coefficient, fetch_far_ahead, gradient_is_zero, write
from hogwild.problems.base import square_sum
from hogwild.problems.linear import CURVED_EXAMPLES, RUN, LinearProblem
from hogwild.problems.losses import dual_step, least_dual_curvature
from hogwild.problems.rows import LinearRows, dot
from hogwild.sharing.moves import AsMade, Multiplied, shown
from hogwild.sharing.replicas import FIRST, SHORTEST, Merging, longest_period

_MARGIN = 1.4  # of the damping of what a period settles: less oscillates, more needs more epochs
_READ_AGAIN = 2  # times the entries of a period that a merge may go through, at most
_POWER_STEPS = 20


@extends(LinearRows)
class DualRows(NamedTuple):
    """Rows with a dual variable each, which only the worker at that row touches. Not for mini-batches."""

    indptr: np.ndarray  # these four and the loss as in `LinearRows`
    indices: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    loss: Any
    duals: np.ndarray  # α, shape (n_examples,)
    curvatures: np.ndarray  # of the dual along each α_i: ‖x_i‖² / (2λ), as shown, shape (n_examples,)
    scale: np.floating[Any]  # 1 / (2λ)
    moves: Any  # as w shows them to the worker that makes them: see `hogwild.sharing.moves.shown`


def dual_rows(rows: LinearRows, l2: float, moves: Any) -> DualRows:
    """Return the record at α = 0, for λ = ``l2`` on the sum over the examples."""
    dtype = rows.values.dtype
    # an example without features, or nearly so, has an optimal α all the same
    squares = row_squares(moves, rows.indptr, rows.indices, rows.values)
    curvatures = np.maximum(squares / (2 * l2), np.finfo(dtype).eps).astype(dtype)
    duals, scale = np.zeros_like(curvatures), dtype.type(1 / (2 * l2))
    arrays = rows.indptr, rows.indices, rows.values, rows.targets
    return DualRows(*arrays, rows.loss, duals, curvatures, scale, moves)


def merging(problem: LinearProblem, workers: int, merge_every: int | None, merged: int) -> Merging:
    """Return how replicas are merged in dual coordinate ascent: their moves are added.

    Parameters
    ----------
    merge_every : int or None
        A worker's updates from merge to merge, if they are given.
    merged : int
        How many weights a merge goes through.
    """
    longest = min(longest_period(problem, workers), worthwhile_period(problem, merged))
    longest = merge_every or max(SHORTEST, longest)
    moves = AsMade() if workers == 1 else Multiplied(move_factors(problem, workers, longest))
    return Merging(np.zeros(problem.n_weights), moves, merge_every or min(FIRST, longest), longest)


def worthwhile_period(problem: LinearProblem, merged: int) -> int:
    """Return after how many updates to merge at the latest, if a merge goes through so many weights.

    Moves that stay apart for long must be small, so periods are as short as merging is worth.
    """
    return _READ_AGAIN * merged * problem.n_examples // max(problem.nonzeros, 1)


def move_factors(problem: LinearProblem, workers: int, period: int) -> np.ndarray:
    """Return σ' of each coordinate, in the problem's precision, for replicas merged every so many updates."""
    share = -(-problem.n_examples // workers)
    return multiplied(settling(problem, workers), workers, min(period, share)).astype(problem.dtype)


def multiplied(settling: np.ndarray, workers: int, period: int) -> np.ndarray:
    """Return σ' of each coordinate, from 1 to at most the number of workers.

    Where a period of updates hardly touches a coordinate, moves add up. Where it settles it, each worker goes
    all the way, K - 1 merges late: gradient steps with such a delay converge on a parabola while they are
    shorter than ``2 sin(π / (4K - 2))`` of the way (Levin & May 1976, Theoretical Population Biology 9): 1
    for two workers, about π / 2K for many. A move meets two periods of every other worker: one that is merged
    while it is made, and one that is being made when it is merged.
    """
    most = max(_MARGIN / (2 * math.sin(math.pi / (4 * workers - 2))), 1.0)
    return 1 + (most - 1) * -np.expm1(-2 * period * settling)


def settling(problem: LinearProblem, workers: int) -> np.ndarray:
    """Return the share of each coordinate's way to its optimum that an update goes, on average.

    That is the diagonal of ``(1/m) Σ_i x_i x_iᵀ / (‖x_i‖² + 2λβ/K)``, with the least curvature β of a dual
    loss and K workers. Features that go together settle sooner than each of them alone would: the diagonal is
    multiplied so that its largest element is the matrix's largest eigenvalue. From at most 5,000 examples.
    """
    step = RUN * -(-problem.n_examples // CURVED_EXAMPLES)
    some = np.flatnonzero(np.arange(problem.n_examples) % step < RUN)
    X = problem.X[some].astype(np.float64)
    squares = X.multiply(X)
    damping = 2 * problem.l2 * least_dual_curvature(problem.loss) / workers
    shares = 1 / (np.maximum(squares.sum(axis=1), np.finfo(float).tiny) + damping) / some.size
    diagonal = squares.T @ shares
    vector, largest = np.sqrt(diagonal), 0.0
    for _ in range(_POWER_STEPS):
        size = float(np.sqrt(square_sum(vector)))
        if size == 0:
            return diagonal
        vector = X.T @ (shares * (X @ (vector / size)))
        largest = float(np.sqrt(square_sum(vector)))
    return diagonal * (largest / diagonal.max())


@compiled
def row_squares(moves: Any, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ‖x_i‖² of every row in float64, each square as far as its coordinate is `shown` to move."""
    squares = np.empty(indptr.size - 1)
    for row in range(squares.size):
        even, odd = 0.0, 0.0  # an addition need not wait for the one before
        entry, end = np.uint64(indptr[row]), np.uint64(indptr[row + 1])
        while entry + np.uint64(1) < end:
            even += shown(moves, indices[entry], np.float64(values[entry]) ** 2)
            odd += shown(moves, indices[entry + np.uint64(1)], np.float64(values[entry + np.uint64(1)]) ** 2)
            entry += np.uint64(2)
        if entry < end:
            even += shown(moves, indices[entry], np.float64(values[entry]) ** 2)
        squares[row] = even + odd
    return squares


@fetch_far_ahead.of(DualRows)
def _fetch_start_and_dual(problem, example):
    prefetch(problem.indptr, example)
    prefetch(problem.targets, example)
    prefetch(problem.duals, example)
    prefetch(problem.curvatures, example)


@coefficient.of(DualRows)
def _ascend(problem, example, start, end, weights, scale, scratch):
    margin = dot(problem.indices, problem.values, start, end, weights)
    before = problem.duals[example]
    after = weights.dtype.type(
        dual_step(problem.loss, before, margin, problem.targets[example], problem.curvatures[example])
    )
    problem.duals[example] = after
    return (after - before) * problem.scale


@gradient_is_zero.of(DualRows)
def _dual_has_not_moved(problem, scalar):
    return scalar == 0


@write.of(DualRows)
def _write_move(problem, guard, example, start, end, scalar, rate, weights, scratch):
    indices, values = problem.indices, problem.values
    entry = end
    while entry > start:  # backwards, as in `hogwild.problems.rows`
        entry -= np.uint64(1)
        touched = indices[entry]
        change = shown(problem.moves, touched, scalar * values[entry])
        add(guard, weights, touched, load(weights, touched), change)
