"""Stochastic dual coordinate ascent on a linear model: what an update of one example reads and writes.

The dual of ``min_w Σ_i φ_i(x_i·w) + λ ‖w‖²`` is ``max_α Σ_i −φ_i*(−α_i) − λ ‖w(α)‖²`` with ``w(α) =
Σ_i α_i x_i / (2λ)``, and at the optimum ``α_i = −φ_i'(x_i·w)`` (Shalev-Shwartz & Zhang 2013, JMLR 14, whose
λn is our 2λ). An update maximises over one α_i and keeps w at w(α); its only step size is 1/λ, in w(α).

Workers share w without a guard or with one, each at examples of its own: PASSCoDe-Wild and -Atomic (Hsieh,
Yu & Dhillon, ICML 2015). A write to w that another one overwrites is lost for good, as α knows nothing of it:
Wild ends where the objective with a perturbed regulariser is least (their backward error analysis), and w,
not w(α), is what counts. How near that is to the optimum depends on the race: suboptimalities from 1e-11 to
1e-5 were seen. Any accuracy is for serial and for workers that lose nothing.

Replicas of w add what the workers have moved, and workers that move alike overshoot together. As in CoCoA+
(Ma et al. 2015, ICML; 2017, Optimization Methods and Software 32), each of K workers therefore sees its own
moves σ' times as far, up to K, and maximises for that; what is merged are the moves themselves, so that w
stays w(α). Here each coordinate has its own σ', near 1 where few updates of a period meet (`multiplied`).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import load, prefetch
from hogwild.engine.compiling import abstract, compiled
from hogwild.engine.contract import (
    add,
    coefficient,
    count,
    fetch_ahead,
    fetch_far_ahead,
    gathers,
    gradient_is_zero,
    is_fixed,
    support,
    variable,
    variables,
    write,
)
from hogwild.problems.base import square_sum
from hogwild.problems.linear import CURVED_EXAMPLES, RUN, LinearProblem
from hogwild.problems.losses import HingeLoss, LogisticLoss, SquaredLoss, least_dual_curvature
from hogwild.problems.rows import LinearRows, NoPenalty, dot
from hogwild.sharing.moves import AsMade, Multiplied, shown
from hogwild.sharing.replicas import FIRST, SHORTEST, Merging, longest_period

_MARGIN = 1.4  # of the damping of what a period settles: less oscillates, more needs more epochs
_READ_AGAIN = 2  # times the entries of a period that a merge may go through, at most
_POWER_STEPS = 20
_CLOSE, _MOST_STEPS = 1e-6, 100  # of Newton's method: an error is about half the square of the last step


class DualRows(NamedTuple):
    """Rows with a dual variable each, which only the worker at that row touches."""

    rows: LinearRows
    duals: Any  # α, shape (n_examples,)
    curvatures: Any  # of the dual along each α_i: ‖x_i‖² / (2λ), as shown, shape (n_examples,)
    scale: Any  # 1 / (2λ)
    moves: AsMade | Multiplied  # as w shows them to the worker that makes them


def dual_rows(rows: LinearRows, l2: float, moves: AsMade | Multiplied) -> DualRows:
    """Return the record at α = 0, for λ = ``l2`` on the sum over the examples."""
    dtype = rows.values.dtype
    # an example without features, or nearly so, has an optimal α all the same
    squares = row_squares(moves, rows.indptr, rows.indices, rows.values)
    curvatures = np.maximum(squares / (2 * l2), np.finfo(dtype).eps).astype(dtype)
    rows = rows._replace(penalty=NoPenalty())
    return DualRows(rows, np.zeros_like(curvatures), curvatures, dtype.type(1 / (2 * l2)), moves)


def merging(problem: LinearProblem, workers: int, merge_every: int | None, merged: int) -> Merging:
    """Return how replicas are merged in dual coordinate ascent: their moves are added.

    Periods are short, for moves that are apart for long must be small.

    Parameters
    ----------
    merge_every : int or None
        A worker's updates from merge to merge, if they are given.
    merged : int
        How many weights a merge goes through.
    """
    updates = _READ_AGAIN * merged * problem.n_examples // max(problem.nonzeros, 1)
    longest = merge_every or max(SHORTEST, min(longest_period(problem, workers), updates))
    moves: AsMade | Multiplied = AsMade()
    if workers > 1:
        period = min(longest, -(-problem.n_examples // workers))
        factors = multiplied(settling(problem, workers), workers, period)
        moves = Multiplied(factors.astype(problem.dtype))
    return Merging(np.zeros(problem.n_weights), moves, merge_every or min(FIRST, longest), longest)


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
def row_squares(moves: Any, indptr: Any, indices: Any, values: Any) -> Any:
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


@abstract
def dual_step(loss: Any, dual: Any, margin: Any, target: Any, curvature: Any) -> Any:
    """Return the α that maximises ``−φ*(−α) − (α − dual) margin − (α − dual)² curvature / 2``."""


@dual_step.of(SquaredLoss)
def _(loss, dual, margin, target, curvature):
    return dual + (target - margin - 0.5 * dual) / (0.5 + curvature)


@dual_step.of(HingeLoss)
def _(loss, dual, margin, target, curvature):
    # Hsieh et al. 2008, ICML, Algorithm 1, with their α = target · dual in [0, 1]
    return target * min(max(target * dual + (1.0 - target * margin) / curvature, 0.0), 1.0)


@dual_step.of(LogisticLoss)
def _(loss, dual, margin, target, curvature):
    # The target times the margin after the step, z, solves z = target · margin + curvature (σ(−z) − share),
    # and the new share is σ(−z): one equation without limits, where Yu, Huang & Lin (2011, Machine Learning
    # 85) have two with limits. It is concave above 0 and convex below, so on the root's side of 0 Newton
    # converges from anywhere, and all steps but the first have the same sign.
    curvature = np.float64(curvature)
    share = np.float64(target * dual)
    constant = np.float64(target * margin) - curvature * share
    z, above = np.float64(target * margin), constant + 0.5 * curvature > 0
    new, step, steps = np.float64(0.0), np.float64(1.0), 0
    while abs(step) > _CLOSE and steps < _MOST_STEPS:
        if (z > 0) != above:
            z = np.float64(0.0)
        new = 1.0 / (1.0 + np.exp(z))
        step = (z - constant - curvature * new) / (1.0 + curvature * new * (1.0 - new))
        z -= step
        steps += 1
    return target * (new + new * (1.0 - new) * step)  # what new becomes by the last step, to first order


@count.of(DualRows)
def _(problem):
    return count(problem.rows)


@support.of(DualRows)
def _(problem, example):
    return support(problem.rows, example)


@variables.of(DualRows)
def _(problem, start, end):
    return variables(problem.rows, start, end)


@is_fixed.of(DualRows)
def _(problem, variable):
    return False


@variable.of(DualRows)
def _(problem, example, place):
    return variable(problem.rows, example, place)


@gathers.of(DualRows)
def _(problem):
    return gathers(problem.rows)


@fetch_ahead.of(DualRows)
def _(problem, example, weights):
    fetch_ahead(problem.rows, example, weights)


@fetch_far_ahead.of(DualRows)
def _(problem, example):
    fetch_far_ahead(problem.rows, example)
    prefetch(problem.duals, example)
    prefetch(problem.curvatures, example)


@coefficient.of(DualRows)
def _(problem, example, start, end, weights, scale, scratch):
    rows = problem.rows
    margin = dot(rows.indices, rows.values, start, end, weights)
    before = problem.duals[example]
    after = weights.dtype.type(
        dual_step(rows.loss, before, margin, rows.targets[example], problem.curvatures[example])
    )
    problem.duals[example] = after
    return (after - before) * problem.scale


@gradient_is_zero.of(DualRows)
def _(problem, scalar):
    return scalar == 0


@write.of(DualRows)
def _(problem, guard, example, start, end, scalar, rate, weights, scratch):
    indices, values = problem.rows.indices, problem.rows.values
    entry = end
    while entry > start:  # backwards, as in `hogwild.problems.rows`
        entry -= np.uint64(1)
        touched = indices[entry]
        change = shown(problem.moves, touched, scalar * values[entry])
        add(guard, weights, touched, load(weights, touched), change)
