"""What happens between concurrent updates: lost writes, staleness, collisions, waiting.

An instrumented guard wraps another one and tallies; a run without it compiles to the same code as if this
file did not exist. Every worker tallies in cells of its own, and reads those of the others.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import load, store, ticks
from hogwild.engine.cells import rows_apart
from hogwild.engine.compiling import inlined
from hogwild.engine.contract import (
    add,
    await_turn,
    enter,
    leave,
    lock,
    support,
    unlock,
    variable,
    variables,
)
from hogwild.sharing.guards import (
    of_lone_worker,
    of_worker,
    open_all,
    renew,
    retire,
    waits,
)

_LAGS = 1024  # staleness is counted by its exact value up to here; the last cell counts all beyond
_TALLIES = dict.fromkeys(("done", "writing", "seen", "began", "collided", "busy", "waited"), np.int64)
_SUMS = dict.fromkeys(("lags", "squares", "touches", "touch_squares", "products", "largest"), np.float64)


class Instrumented(NamedTuple):
    """A guard, watched.

    The cells of a worker: updates ``done``, of which ``collided``; the example that it is ``writing``, plus
    1; how many updates of others it had ``seen`` when its own ``began``; ticks that it was ``busy``, of which
    it ``waited``.
    """

    inner: Any
    cells: np.ndarray  # of shape (workers,)
    sums: np.ndarray  # of shape (workers,): over updates, of their staleness and of the entries they touch
    lags: np.ndarray  # int64 of shape (workers, _LAGS)
    attempted: np.ndarray  # float64 of shape (workers, n_weights): the sum of all changes
    moved: np.ndarray  # float64 of shape (workers, n_weights): the sum of their magnitudes
    writes: np.ndarray  # int64 of shape (workers, n_weights)
    worker: int


def instrumented(guard: Any, workers: int, weights: int) -> Instrumented:
    """Return a guard with empty tallies around it."""
    return Instrumented(
        guard,
        rows_apart(workers, **_TALLIES),
        rows_apart(workers, **_SUMS),
        np.zeros((workers, _LAGS), np.int64),
        np.zeros((workers, weights)),
        np.zeros((workers, weights)),
        np.zeros((workers, weights), np.int64),
        0,
    )


class Lag(NamedTuple):
    """Staleness: finished updates of other workers between an update's first read and its last write.

    Attributes
    ----------
    mean, percentile_99, largest : float
    histogram : ndarray of shape (1024,)
        How many updates had each staleness; the last entry counts that one and all beyond.
    length_correlation : float
        Pearson's, of an update's staleness with the number of its entries; nan if one of them is constant.
    """

    mean: float
    percentile_99: float
    largest: int
    histogram: np.ndarray
    length_correlation: float


class Observations(NamedTuple):
    """What an instrumented run saw.

    Attributes
    ----------
    attempted, arrived : ndarray of shape (n_weights,)
        The sum of all changes that workers made to each weight, and its actual change. They differ by the
        writes that others overwrote (and by rounding).
    writes : ndarray of shape (n_weights,)
        How many changes there were.
    lost_share : float
        ``Σ |attempted − arrived| / Σ |change|``: at least this share of the movement was lost (losses of
        opposite sign on one weight cancel).
    staleness : Lag
    collision_rate : float
        Share of the updates that, at the end of their writes, found another worker writing an example with a
        variable in common.
    wait_share : float
        Share of the time within updates spent on waiting for locks or turns.
    """

    attempted: np.ndarray
    arrived: np.ndarray
    writes: np.ndarray
    lost_share: float
    staleness: Lag
    collision_rate: float
    wait_share: float


def observations(guard: Instrumented, start: np.ndarray, end: np.ndarray) -> Observations:
    """Put the tallies of all workers together.

    Parameters
    ----------
    guard : Instrumented
    start, end : ndarray of shape (n_weights,)
        The shared weights before the first update and after the last.
    """
    attempted, moved = guard.attempted.sum(axis=0), guard.moved.sum()
    arrived = np.asarray(end, np.float64) - start
    tallies = {name: int(guard.cells[name].sum()) for name in _TALLIES}
    updates = tallies["done"]
    return Observations(
        attempted,
        arrived,
        guard.writes.sum(axis=0),
        float(np.abs(attempted - arrived).sum() / moved) if moved else 0.0,
        _lag(guard, updates),
        tallies["collided"] / updates if updates else 0.0,
        tallies["waited"] / tallies["busy"] if tallies["busy"] else 0.0,
    )


def _lag(guard: Instrumented, updates: int) -> Lag:
    histogram = guard.lags.sum(axis=0)
    sums = {name: float(guard.sums[name].sum()) for name in _SUMS}
    n = max(updates, 1)
    covariance = sums["products"] / n - sums["lags"] / n * sums["touches"] / n
    variances = [
        sums[squares] / n - (sums[plain] / n) ** 2
        for squares, plain in (("squares", "lags"), ("touch_squares", "touches"))
    ]
    correlation = covariance / math.sqrt(math.prod(variances)) if min(variances) > 1e-12 else math.nan
    rank = int(np.searchsorted(np.cumsum(histogram), 0.99 * updates))
    largest = int(guard.sums["largest"].max())
    return Lag(sums["lags"] / n, float(min(rank, largest)), largest, histogram, correlation)


@of_worker.of(Instrumented)
def _instrument_of_worker(guard: Instrumented, worker: int) -> Instrumented:
    return guard._replace(inner=of_worker(guard.inner, worker), worker=worker)


@of_lone_worker.of(Instrumented)
def _lone_instrument(guard: Instrumented) -> Instrumented:
    return guard._replace(inner=of_lone_worker(guard.inner))


@open_all.of(Instrumented)
def _open_all_watched(guard: Instrumented) -> None:
    open_all(guard.inner)


@inlined
def _count_waiting(guard: Any, begin: Any) -> None:
    if waits(guard.inner):  # reading the clock takes time: not where nobody waits
        guard.cells[guard.worker]["waited"] += np.int64(ticks() - begin)


@inlined
def _done_by_others(guard: Any) -> Any:
    """Return the number of updates that other workers have finished."""
    done = np.int64(0)
    for other in range(guard.cells.size):
        if other != guard.worker:
            done += load(guard.cells, other, "done")
    return done


@enter.of(Instrumented)
def _enter_watched(guard):
    begin = ticks()
    enter(guard.inner)
    _count_waiting(guard, begin)
    mine = guard.cells[guard.worker]
    mine["began"] = np.int64(begin)
    mine["seen"] = _done_by_others(guard)


@await_turn.of(Instrumented)
def _await_turn_watched(guard):
    begin = ticks()
    await_turn(guard.inner)
    _count_waiting(guard, begin)


@lock.of(Instrumented)
def _lock_watched(guard, problem, example, start, end):
    begin = ticks()
    lock(guard.inner, problem, example, start, end)
    _count_waiting(guard, begin)
    store(guard.cells, guard.worker, np.int64(example) + 1, "writing")


@unlock.of(Instrumented)
def _unlock_watched(guard, problem, example, start, end):
    collided = False
    for worker in range(guard.cells.size):
        other = load(guard.cells, worker, "writing")
        if worker != guard.worker and other > 0:
            theirs_start, theirs_end = support(problem, np.uint64(other - 1))
            place, last = variables(problem, start, end)
            theirs, theirs_last = variables(problem, theirs_start, theirs_end)
            while place < last and theirs < theirs_last and not collided:
                here = variable(problem, example, place)
                there = variable(problem, np.uint64(other - 1), theirs)
                collided = here == there
                if here < there:
                    place += np.uint64(1)
                else:
                    theirs += np.uint64(1)
    guard.cells[guard.worker]["collided"] += np.int64(collided)
    store(guard.cells, guard.worker, np.int64(0), "writing")
    unlock(guard.inner, problem, example, start, end)


@leave.of(Instrumented)
def _leave_watched(guard, touches):
    mine, sums, length = guard.cells[guard.worker], guard.sums[guard.worker], float(touches)
    lag = _done_by_others(guard) - mine["seen"]
    guard.lags[guard.worker, min(lag, _LAGS - 1)] += 1
    sums["lags"] += lag
    sums["squares"] += lag * lag
    sums["touches"] += length
    sums["touch_squares"] += length * length
    sums["products"] += lag * length
    sums["largest"] = max(sums["largest"], lag)
    store(guard.cells, guard.worker, mine["done"] + 1, "done")
    leave(guard.inner, touches)
    mine["busy"] += np.int64(ticks()) - mine["began"]


@add.of(Instrumented)
def _add_watched(guard, weights, coordinate, seen, change):
    guard.attempted[guard.worker, coordinate] += change
    guard.moved[guard.worker, coordinate] += abs(change)
    guard.writes[guard.worker, coordinate] += 1
    add(guard.inner, weights, coordinate, seen, change)


@retire.of(Instrumented)
def _retire_watched(guard):
    retire(guard.inner)


@renew.of(Instrumented)
def _renew_watched(guard):
    renew(guard.inner)
