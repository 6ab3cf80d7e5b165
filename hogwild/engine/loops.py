"""The two loops that every backend runs: single examples, and mini-batches."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import load
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
from hogwild.engine.delays import busy_wait
from hogwild.engine.sampling import epoch_key, example, list_examples, position_at, scattered
from hogwild.engine.steps import scale_at, step_at

AHEAD = 8  # updates between asking for a row and using it


class Job(NamedTuple):
    """What one worker needs to perform updates of an epoch: records, its view of the weights, its scratch."""

    problem: Any
    guard: Any
    sampling: Any
    delay: Any
    weights: Any
    epoch: int
    order: Any  # uint32: the examples of the updates that one call performs
    scratch: Any  # what the problem asks for; for mini-batches a gradient, zeros before and after


@compiled
def run_examples(job: Any, step: Any, begin: int, end: int) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, one example each."""
    problem, guard, sampling, delay, weights, epoch, order, scratch = job
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
        enter(guard)
        scalar = coefficient(problem, chosen, first, last, weights, scale, scratch)
        busy_wait(delay)
        await_turn(guard)
        if not gradient_is_zero(problem, scalar):
            lock(guard, problem, chosen, first, last)
            write(problem, guard, chosen, first, last, scalar, rate, weights, scratch)
            unlock(guard, problem, chosen, first, last)
        leave(guard, last - first)


@compiled
def run_batches(job: Any, step: Any, begin: int, end: int, batch_size: int) -> None:
    """Perform the updates at positions begin … end-1 of an epoch, averaged over mini-batches.

    The last batch may be smaller.
    """
    problem, guard, sampling, delay, weights, epoch, _, gradient = job
    examples = count(problem)
    key = epoch_key(sampling.seed, epoch)
    for batch in range(begin, end, batch_size):
        stop = min(batch + batch_size, end)
        time = epoch + position_at(sampling, batch) / examples
        scale = weights.dtype.type(scale_at(step, time))
        rate = weights.dtype.type(step_at(step, time)) / scale
        share = weights.dtype.type(1.0 / (stop - batch))
        touches = np.uint64(0)
        enter(guard)
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            touches += last - first
            scalar = coefficient(problem, chosen, first, last, weights, scale, gradient)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                gradient[touched] += component(problem, entry, scalar, load(weights, touched))
            busy_wait(delay)
        await_turn(guard)
        for position in range(batch, stop):
            chosen = np.uint64(example(sampling, examples, key, position))
            first, last = support(problem, chosen)
            lock(guard, problem, chosen, first, last)
            for entry in range(first, last):
                touched = coordinate(problem, entry)
                slope = gradient[touched] * share
                gradient[touched] = 0  # what several examples share is applied at its first visit
                if exceeds_threshold(problem, slope):
                    add(guard, weights, touched, load(weights, touched), -rate * slope)
            unlock(guard, problem, chosen, first, last)
        leave(guard, touches)


class Singles(NamedTuple):
    """Updates of one example each."""


class Batches(NamedTuple):
    """Updates averaged over so many examples each."""

    size: int


@abstract
def run_part(updates: Any, job: Any, step: Any, begin: Any, end: Any) -> Any:
    """Perform the updates at positions begin … end-1, as a part of a larger kernel."""


@run_part.of(Singles)
def _run_part_of_singles(updates, job, step, begin, end):
    run_examples(job, step, begin, end)


@run_part.of(Batches)
def _run_part_of_batches(updates, job, step, begin, end):
    run_batches(job, step, begin, end, updates.size)


@abstract
def size_of(updates: Any) -> Any:
    """Return the number of examples of an update."""


@size_of.of(Singles)
def _size_of_singles(updates):
    return 1


@size_of.of(Batches)
def _size_of_batches(updates):
    return updates.size


@compiled
def run(updates: Any, job: Any, step: Any, begin: int, end: int) -> None:
    """Perform the updates at positions begin … end-1 of an epoch."""
    run_part(updates, job, step, begin, end)
