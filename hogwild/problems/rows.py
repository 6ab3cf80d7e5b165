"""The kernel side of a linear model on sparse rows: what an update of one example reads and writes."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import CACHE_LINE, load, prefetch
from hogwild.engine.compiling import abstract, compiled, generic, inlined
from hogwild.engine.contract import (
    add,
    coefficient,
    component,
    coordinate,
    count,
    exceeds_threshold,
    fetch_ahead,
    fetch_far_ahead,
    gradient_is_zero,
    support,
    variable,
    variables,
    write,
)
from hogwild.problems.losses import derivative, slope_is_zero

_LANES = np.uint64(4)


class NoPenalty(NamedTuple):
    """No regulariser."""


class DegreeScaled(NamedTuple):
    """λ w_u²/d_u on each touched coordinate, d_u = examples with it (Niu et al. 2011, eq. 2.3)."""

    slopes: np.ndarray  # 2 λ / d_u, shape (n_features,)


class EveryComponent(NamedTuple):
    """Every component of a gradient is applied."""


class LargeComponents(NamedTuple):
    """Only components larger than a limit are applied: the tutorial's option, with 0.01."""

    limit: np.floating[Any]


class LinearRows(NamedTuple):
    """CSR rows with targets, a loss and a penalty, as kernels see them, indices unsigned."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    loss: Any  # a record of `hogwild.problems.losses`
    penalty: NoPenalty | DegreeScaled
    threshold: EveryComponent | LargeComponents


def spread(rows: LinearRows, distance: int) -> LinearRows:
    """Return the same rows for weights that lie so many cells apart; the indices are copied."""
    penalty = rows.penalty
    if isinstance(penalty, DegreeScaled):
        penalty = DegreeScaled(np.repeat(penalty.slopes, distance))
    return rows._replace(indices=rows.indices * np.uint32(distance), penalty=penalty)


def relabelled(rows: LinearRows, places: np.ndarray) -> LinearRows:
    """Return the same rows for weights that lie at these places; the indices are copied."""
    penalty = rows.penalty
    if isinstance(penalty, DegreeScaled):
        slopes = np.empty_like(penalty.slopes)
        slopes[places] = penalty.slopes
        penalty = DegreeScaled(slopes)
    return rows._replace(indices=places[rows.indices], penalty=penalty)


@abstract
def penalty_slope(penalty: Any, coordinate: Any, weight: Any) -> Any:
    """Return the derivative of the penalty by one touched weight."""


@penalty_slope.of(NoPenalty)
def _slope_of_no_penalty(penalty, coordinate, weight):
    return 0.0 * weight


@penalty_slope.of(DegreeScaled)
def _slope_of_degree_scaled(penalty, coordinate, weight):
    return penalty.slopes[coordinate] * weight


@generic
def charges(penalty: Any) -> bool:
    """Return whether a penalty moves weights that the loss leaves alone."""
    return True


@charges.of(NoPenalty)
def _no_penalty_charges(penalty):
    return False


@generic
def exceeds(threshold: Any, slope: Any) -> Any:
    """Return whether a component of the gradient is large enough to be applied: by default any."""
    return True


@exceeds.of(LargeComponents)
def _exceeds_limit(threshold, slope):
    return abs(slope) > threshold.limit


@count.of(LinearRows)
def _count_rows(problem):
    return problem.targets.size


@support.of(LinearRows)
def _support_of_row(problem, example):
    return np.uint64(problem.indptr[example]), np.uint64(problem.indptr[example + np.uint64(1)])


@fetch_ahead.of(LinearRows)
def _fetch_row(problem, example, weights):
    start, end = np.uint64(problem.indptr[example]), np.uint64(problem.indptr[example + np.uint64(1)])
    entry = start
    while entry < end:
        prefetch(problem.indices, entry)
        entry += np.uint64(CACHE_LINE // problem.indices.itemsize)
    entry = start
    while entry < end:
        prefetch(problem.values, entry)
        entry += np.uint64(CACHE_LINE // problem.values.itemsize)


@fetch_far_ahead.of(LinearRows)
def _fetch_start_of_row(problem, example):
    prefetch(problem.indptr, example)
    prefetch(problem.targets, example)


@coefficient.of(LinearRows)
def _coefficient_of_row(problem, example, start, end, weights, scale, scratch):
    margin = scale * dot(problem.indices, problem.values, start, end, weights)
    return weights.dtype.type(derivative(problem.loss, margin, problem.targets[example]))


@gradient_is_zero.of(LinearRows)
def _gradient_of_row_is_zero(problem, scalar):
    flat, charged = slope_is_zero(problem.loss, scalar), charges(problem.penalty)
    return flat and not charged  # called on both sides of the `and`, each update counts references


@write.of(LinearRows)
def _write_row(problem, guard, example, start, end, scalar, rate, weights, scratch):
    entry = end
    while entry > start:  # backwards: what was read last is still at hand
        entry -= np.uint64(1)
        touched = coordinate(problem, entry)
        weight = load(weights, touched)
        slope = component(problem, entry, scalar, weight)
        if exceeds_threshold(problem, slope):
            add(guard, weights, touched, weight, -rate * slope)


@exceeds_threshold.of(LinearRows)
def _component_of_row_exceeds_threshold(problem, slope):
    return exceeds(problem.threshold, slope)


@variables.of(LinearRows)
def _variables_of_row(problem, start, end):
    return start, end


@variable.of(LinearRows)
def _variable_of_row(problem, example, place):
    return problem.indices[place]


@coordinate.of(LinearRows)
def _coordinate_of_row(problem, entry):
    return problem.indices[entry]


@component.of(LinearRows)
def _component_of_row(problem, entry, scalar, weight):
    return scalar * problem.values[entry] + penalty_slope(problem.penalty, problem.indices[entry], weight)


@inlined
def dot(indices: np.ndarray, values: np.ndarray, start: Any, end: Any, weights: np.ndarray) -> Any:
    """Return x·w of a row in four partial sums: as fast as fastmath, and the same bits everywhere."""
    zero = weights.dtype.type(0)
    first, second, third, fourth = zero, zero, zero, zero
    entry = start
    whole = start + (end - start) // _LANES * _LANES
    while entry < whole:
        first += values[entry] * load(weights, indices[entry])
        second += values[entry + np.uint64(1)] * load(weights, indices[entry + np.uint64(1)])
        third += values[entry + np.uint64(2)] * load(weights, indices[entry + np.uint64(2)])
        fourth += values[entry + np.uint64(3)] * load(weights, indices[entry + np.uint64(3)])
        entry += _LANES
    while entry < end:
        first += values[entry] * load(weights, indices[entry])
        entry += np.uint64(1)
    return (first + second) + (third + fourth)


@compiled
def add_squares(
    starts: np.ndarray, indices: np.ndarray, values: np.ndarray, run: int, step: int, sums: np.ndarray
) -> int:
    """Add up the squares of each feature's values, of the first ``run`` of ``step`` rows; count those."""
    looked_at = 0
    for first in range(0, starts.size - 1, step):
        last = min(first + run, starts.size - 1)
        looked_at += last - first
        for entry in range(starts[first], starts[last]):
            sums[indices[entry]] += np.float64(values[entry]) ** 2
    return looked_at
