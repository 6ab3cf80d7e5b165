"""The two loops that every backend runs: single examples, and mini-batches."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import fetch_add, load
from hogwild.engine.compiling import abstract, compiled
from hogwild.engine.contract import (
    add,
    await_turn,
    coefficient,
    component,
    coordinate,
    count,
    enter,
    exceeds_threshold,
    fetch_ahead,
    fetch_far_ahead,
    gathers,
    gradient_is_zero,
    leave,
    lock,
    support,
    unlock,
    write,
)
from hogwild.engine.delays import linger
from hogwild.engine.sampling import epoch_key, example, list_examples, position_at, scattered
from hogwild.engine.steps import scale_at, step_at

AHEAD = 8  # updates between asking for a row and using it


@compiled
def run_examples(
    problem: Any,
    policy: Any,
    sampling: Any,
    delay: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    order: Any,
    room: Any,
) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, one example each.

    ``order`` and ``room`` are this worker's scratch: integers of shape (end - begin,) or longer, and what the
    problem asks for.
    """
    examples = count(problem)
    key = epoch_key(sampling.seed, epoch)
    list_examples(sampling, examples, key, begin, end, order)
    for place in range(end - begin):
        if (scattered(sampling) or gathers(problem)) and place + 2 * AHEAD < end - begin:
            fetch_far_ahead(problem, np.uint64(order[place + 2 * AHEAD]))
            fetch_ahead(problem, np.uint64(order[place + AHEAD]), weights)
        chosen = np.uint64(order[place])
        position = position_at(sampling, begin + place)
        time = epoch + position / examples
        scale = weights.dtype.type(scale_at(step, time))
        rate = weights.dtype.type(step_at(step, time)) / scale
        first, last = support(problem, chosen)
        enter(policy)
        scalar = coefficient(problem, chosen, first, last, weights, scale, room)
        linger(delay)
        await_turn(policy)
        if not gradient_is_zero(problem, scalar):
            lock(policy, problem, chosen, first, last)
            write(problem, policy, chosen, first, last, scalar, rate, weights, room)
            unlock(policy, problem, chosen, first, last)
        leave(policy, last - first)


@compiled
def run_batches(
    problem: Any,
    policy: Any,
    sampling: Any,
    delay: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    order: Any,
    gradient: Any,
    batch_size: int,
) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, averaged over mini-batches.

    ``gradient`` is this worker's scratch, zeros of shape (n_features,) before and after. The last batch may
    be smaller.
    """
    examples = count(problem)
    key = epoch_key(sampling.seed, epoch)
    for batch in range(begin, end, batch_size):
        stop = min(batch + batch_size, end)
        time = epoch + position_at(sampling, batch) / examples
        scale = weights.dtype.type(scale_at(step, time))
        rate = weights.dtype.type(step_at(step, time)) / scale
        share = weights.dtype.type(1.0 / (stop - batch))
        touches = np.uint64(0)
        enter(policy)
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            touches += last - first
            scalar = coefficient(problem, chosen, first, last, weights, scale, gradient)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                gradient[touched] += component(problem, entry, scalar, load(weights, touched))
            linger(delay)
        await_turn(policy)
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            lock(policy, problem, chosen, first, last)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                slope = gradient[touched] * share
                gradient[touched] = (
                    0  # a coordinate that several examples share is applied at its first visit
                )
                if exceeds_threshold(problem, slope):
                    add(policy, weights, touched, load(weights, touched), -rate * slope)
            unlock(policy, problem, chosen, first, last)
        leave(policy, touches)


class Singles(NamedTuple):
    """Updates of one example each."""


class Batches(NamedTuple):
    """Updates averaged over so many examples each."""

    size: int


@abstract
def run_part(
    kind: Any,
    problem: Any,
    policy: Any,
    sampling: Any,
    delay: Any,
    step: Any,
    weights: Any,
    epoch: Any,
    begin: Any,
    end: Any,
    order: Any,
    room: Any,
) -> Any:
    """Perform updates as a part of a larger kernel."""


@run_part.of(Singles)
def _(kind, problem, policy, sampling, delay, step, weights, epoch, begin, end, order, room):
    run_examples(problem, policy, sampling, delay, step, weights, epoch, begin, end, order, room)


@run_part.of(Batches)
def _(kind, problem, policy, sampling, delay, step, weights, epoch, begin, end, order, room):
    size = kind.size
    run_batches(problem, policy, sampling, delay, step, weights, epoch, begin, end, order, room, size)


@abstract
def size_of(kind: Any) -> Any:
    """Return the number of examples of an update."""


@size_of.of(Singles)
def _(kind):
    return 1


@size_of.of(Batches)
def _(kind):
    return kind.size


@compiled
def run_pieces(
    kind: Any,
    problem: Any,
    policy: Any,
    sampling: Any,
    delay: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    order: Any,
    room: Any,
    cells: Any,
    next_cell: int,
    length: int,
) -> int:
    """Perform some of the updates at positions begin … end-1 of an epoch; return how many, 0 at the end.

    Workers take pieces as they come to them: however fast each of them is, the positions that they are at are
    as near to each other as pieces are long, and with them the time that tells how far weights have shrunk.
    """
    size, performed = size_of(kind), 0
    while performed < order.size:
        taken = max(min(length, order.size - performed) // size, 1) * size
        position = begin + fetch_add(cells, next_cell, taken)
        if position >= end:
            break
        stop = min(position + taken, end)
        run_part(kind, problem, policy, sampling, delay, step, weights, epoch, position, stop, order, room)
        performed += stop - position
    return performed
