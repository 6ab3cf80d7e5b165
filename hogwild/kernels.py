"""The two loops that every backend runs: single examples, and mini-batches."""

from typing import Any

import numpy as np

from hogwild.atomics import load
from hogwild.compiling import compiled
from hogwild.linear import (
    coefficient,
    component,
    coordinate,
    fetch_ahead,
    fetch_far_ahead,
    idle,
    passes,
    support,
)
from hogwild.policies import add, enter, leave
from hogwild.sampling import epoch_key, example, list_examples, scattered
from hogwild.steps import step_at

AHEAD = 8  # updates between asking for a row and using it


@compiled
def run_examples(
    problem: Any,
    policy: Any,
    sampling: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    order: Any,
) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, one example each.

    ``order`` is this worker's scratch, integers of shape (end - begin,) or longer.
    """
    examples = problem.targets.size
    key = epoch_key(sampling.seed, epoch)
    list_examples(sampling, examples, key, begin, end, order)
    for place in range(end - begin):
        if scattered(sampling) and place + 2 * AHEAD < end - begin:
            fetch_far_ahead(problem, np.uint64(order[place + 2 * AHEAD]))
            fetch_ahead(problem, np.uint64(order[place + AHEAD]))
        chosen = np.uint64(order[place])
        rate = weights.dtype.type(step_at(step, epoch + (begin + place) / examples))
        first, last = support(problem, chosen)
        enter(policy)
        scalar = coefficient(problem, chosen, first, last, weights)
        if not idle(problem, scalar):
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                slope = component(problem, entry, scalar, load(weights, touched))
                if passes(problem.threshold, slope):
                    add(policy, weights, touched, -rate * slope)
        leave(policy)


@compiled
def run_batches(
    problem: Any,
    policy: Any,
    sampling: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    gradient: Any,
    batch_size: int,
) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, averaged over mini-batches.

    ``gradient`` is this worker's scratch, zeros of shape (n_features,) before and after. The last batch may
    be smaller.
    """
    examples = problem.targets.size
    key = epoch_key(sampling.seed, epoch)
    for batch in range(begin, end, batch_size):
        stop = min(batch + batch_size, end)
        rate = weights.dtype.type(step_at(step, epoch + batch / examples))
        share = weights.dtype.type(1.0 / (stop - batch))
        enter(policy)
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            scalar = coefficient(problem, chosen, first, last, weights)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                gradient[touched] += component(problem, entry, scalar, load(weights, touched))
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                slope = gradient[touched] * share
                gradient[touched] = (
                    0  # a coordinate that several examples share is applied at its first visit
                )
                if passes(problem.threshold, slope):
                    add(policy, weights, touched, -rate * slope)
        leave(policy)
