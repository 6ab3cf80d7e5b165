"""Stochastic dual coordinate ascent on a linear model: what an update of one example reads and writes.

The dual of ``min_w Σ_i φ_i(x_i·w) + λ ‖w‖²`` is ``max_α Σ_i −φ_i*(−α_i) − λ ‖w(α)‖²`` with ``w(α) =
Σ_i α_i x_i / (2λ)``, and at the optimum ``α_i = −φ_i'(x_i·w)`` (Shalev-Shwartz & Zhang 2013, JMLR 14, whose
λn is our 2λ). An update maximises over one α_i and keeps w at w(α); its only step size is 1/λ, in w(α).

Workers share w without a guard or with one, each at examples of its own: PASSCoDe-Wild and -Atomic (Hsieh,
Yu & Dhillon, ICML 2015). A write to w that another one overwrites is lost for good, as α knows nothing of it:
Wild ends where the objective with a perturbed regulariser is least (their backward error analysis), and w,
not w(α), is what counts.
"""

from typing import Any, NamedTuple

import numpy as np

from hogwild.atomics import load, prefetch
from hogwild.compiling import compiled, generic
from hogwild.linear import LinearRows, NoPenalty, dot
from hogwild.losses import HingeLoss, LogisticLoss, SquaredLoss
from hogwild.policies import add
from hogwild.updates import (
    coefficient,
    constant,
    count,
    fetch_ahead,
    fetch_far_ahead,
    gathers,
    idle,
    support,
    variable,
    variables,
    write,
)

_CLOSE, _MOST_STEPS = 1e-6, 100  # of Newton's method: an error is about half the square of the last step


class DualRows(NamedTuple):
    """Rows with a dual variable each, which only the worker at that row touches."""

    rows: LinearRows
    duals: Any  # α, shape (n_examples,)
    curvatures: Any  # of the dual along each α_i: ‖x_i‖² / (2λ), shape (n_examples,)
    scale: Any  # 1 / (2λ)


def dual_rows(rows: LinearRows, l2: float) -> DualRows:
    """Return the record at α = 0, for λ = ``l2`` on the sum over the examples."""
    dtype = rows.values.dtype
    # an example without features, or nearly so, has an optimal α all the same
    curvatures = np.maximum(row_squares(rows.indptr, rows.values) / (2 * l2), np.finfo(dtype).eps)
    curvatures = curvatures.astype(dtype)
    rows = rows._replace(penalty=NoPenalty())
    return DualRows(rows, np.zeros_like(curvatures), curvatures, dtype.type(1 / (2 * l2)))


@compiled
def row_squares(indptr: Any, values: Any) -> Any:
    """Return ‖x_i‖² of every row, in float64."""
    squares = np.empty(indptr.size - 1)
    for row in range(squares.size):
        even, odd = 0.0, 0.0  # an addition need not wait for the one before
        entry, end = np.uint64(indptr[row]), np.uint64(indptr[row + 1])
        while entry + np.uint64(1) < end:
            even += np.float64(values[entry]) ** 2
            odd += np.float64(values[entry + np.uint64(1)]) ** 2
            entry += np.uint64(2)
        if entry < end:
            even += np.float64(values[entry]) ** 2
        squares[row] = even + odd
    return squares


@generic
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


@constant.of(DualRows)
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
def _(problem, example, start, end, weights, scale, room):
    rows = problem.rows
    margin = dot(rows.indices, rows.values, start, end, weights)
    before = problem.duals[example]
    after = weights.dtype.type(
        dual_step(rows.loss, before, margin, rows.targets[example], problem.curvatures[example])
    )
    problem.duals[example] = after
    return (after - before) * problem.scale


@idle.of(DualRows)
def _(problem, scalar):
    return scalar == 0


@write.of(DualRows)
def _(problem, policy, example, start, end, scalar, rate, weights, room):
    indices, values = problem.rows.indices, problem.rows.values
    entry = end
    while entry > start:  # backwards, as in `hogwild.linear`
        entry -= np.uint64(1)
        touched = indices[entry]
        add(policy, weights, touched, load(weights, touched), scalar * values[entry])
