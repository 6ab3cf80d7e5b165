"""What happens between concurrent updates: lost writes, staleness, collisions, waiting.

An instrumented policy wraps another one and tallies; a run without it compiles to the same code as if this
file did not exist. Every worker tallies in cells of its own, and reads those of the others.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import load, store, ticks
from hogwild.engine.compiling import inlined
from hogwild.engine.contract import add, await_turn, enter, leave, lock, support, unlock, variable, variables
from hogwild.sharing.guards import renew, retire, waits

_LINE = 16  # int64 cells from one worker's to the next: two cache lines
_DONE, _WRITING, _SEEN, _BEGAN, _COLLIDED, _BUSY, _WAITED = range(7)  # cells of a worker
_LAGS = 1024  # staleness is counted by its exact value up to here; the last cell counts all beyond
_SUM, _SQUARES, _TOUCHES, _TOUCH_SQUARES, _PRODUCTS, _LARGEST = range(6)


class Instrumented(NamedTuple):
    """A policy, watched."""

    inner: Any
    cells: Any  # int64, _LINE for each worker
    lags: Any  # int64 of shape (workers, _LAGS)
    moments: Any  # float64 of shape (workers, 6)
    attempted: Any  # float64 of shape (workers, n_weights): the sum of all changes
    moved: Any  # float64 of shape (workers, n_weights): the sum of their magnitudes
    writes: Any  # int64 of shape (workers, n_weights)
    workers: int
    worker: int


def instrumented(policy: Any, workers: int, weights: int) -> Instrumented:
    """Return a policy with empty tallies around it."""
    return Instrumented(
        policy,
        np.zeros((workers + 1) * _LINE, np.int64),
        np.zeros((workers, _LAGS), np.int64),
        np.zeros((workers, 6)),
        np.zeros((workers, weights)),
        np.zeros((workers, weights)),
        np.zeros((workers, weights), np.int64),
        workers,
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
        The sum of all changes that workers made to each weight, and by how much it did change. They differ by
        the writes that others overwrote (and by rounding).
    writes : ndarray of shape (n_weights,)
        How many changes there were.
    lost_share : float
        ``Σ |attempted − arrived| / Σ |change|``: at least this share of the movement was lost (losses of
        opposite sign on one weight hide each other).
    staleness : Lag
    collision_rate : float
        Share of the updates at the end of whose writes another worker was writing an example that shares a
        variable with it.
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


def observations(policy: Instrumented, start: np.ndarray, end: np.ndarray) -> Observations:
    """Put the tallies of all workers together.

    Parameters
    ----------
    policy : Instrumented
    start, end : ndarray of shape (n_weights,)
        The shared weights before the first update and after the last.
    """
    attempted, moved = policy.attempted.sum(axis=0), policy.moved.sum()
    arrived = np.asarray(end, np.float64) - start
    cells = policy.cells[: policy.workers * _LINE].reshape(-1, _LINE).sum(axis=0)
    updates = int(cells[_DONE])
    return Observations(
        attempted,
        arrived,
        policy.writes.sum(axis=0),
        float(np.abs(attempted - arrived).sum() / moved) if moved else 0.0,
        _lag(policy, updates),
        float(cells[_COLLIDED] / updates) if updates else 0.0,
        float(cells[_WAITED] / cells[_BUSY]) if cells[_BUSY] else 0.0,
    )


def _lag(policy: Instrumented, updates: int) -> Lag:
    histogram = policy.lags.sum(axis=0)
    sums = policy.moments.sum(axis=0)
    n = max(updates, 1)
    covariance = sums[_PRODUCTS] / n - sums[_SUM] / n * sums[_TOUCHES] / n
    variances = [
        sums[squares] / n - (sums[plain] / n) ** 2
        for squares, plain in ((_SQUARES, _SUM), (_TOUCH_SQUARES, _TOUCHES))
    ]
    correlation = covariance / math.sqrt(math.prod(variances)) if min(variances) > 1e-12 else math.nan
    rank = int(np.searchsorted(np.cumsum(histogram), 0.99 * updates))
    largest = int(policy.moments[:, _LARGEST].max())
    return Lag(float(sums[_SUM] / n), float(min(rank, largest)), largest, histogram, correlation)


@inlined
def _count_waiting(policy: Any, begin: Any) -> None:
    if waits(policy.inner):  # reading the clock takes time too: none where nobody waits
        policy.cells[policy.worker * _LINE + _WAITED] += np.int64(ticks() - begin)


@enter.of(Instrumented)
def _(policy):
    mine = policy.worker * _LINE
    begin = ticks()
    enter(policy.inner)
    _count_waiting(policy, begin)
    policy.cells[mine + _BEGAN] = np.int64(begin)
    seen = np.int64(0)
    for other in range(policy.workers):
        if other != policy.worker:
            seen += load(policy.cells, other * _LINE + _DONE)
    policy.cells[mine + _SEEN] = seen


@await_turn.of(Instrumented)
def _(policy):
    begin = ticks()
    await_turn(policy.inner)
    _count_waiting(policy, begin)


@lock.of(Instrumented)
def _(policy, problem, example, start, end):
    begin = ticks()
    lock(policy.inner, problem, example, start, end)
    _count_waiting(policy, begin)
    store(policy.cells, policy.worker * _LINE + _WRITING, np.int64(example) + 1)


@unlock.of(Instrumented)
def _(policy, problem, example, start, end):
    collided = False
    for worker in range(policy.workers):
        other = load(policy.cells, worker * _LINE + _WRITING)
        if worker != policy.worker and other > 0:
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
    policy.cells[policy.worker * _LINE + _COLLIDED] += np.int64(collided)
    store(policy.cells, policy.worker * _LINE + _WRITING, np.int64(0))
    unlock(policy.inner, problem, example, start, end)


@leave.of(Instrumented)
def _(policy, touches):
    mine = policy.worker * _LINE
    now = np.int64(0)
    for other in range(policy.workers):
        if other != policy.worker:
            now += load(policy.cells, other * _LINE + _DONE)
    lag = now - policy.cells[mine + _SEEN]
    policy.lags[policy.worker, min(lag, _LAGS - 1)] += 1
    moments, length = policy.moments[policy.worker], float(touches)
    moments[_SUM] += lag
    moments[_SQUARES] += lag * lag
    moments[_TOUCHES] += length
    moments[_TOUCH_SQUARES] += length * length
    moments[_PRODUCTS] += lag * length
    moments[_LARGEST] = max(moments[_LARGEST], lag)
    store(policy.cells, mine + _DONE, policy.cells[mine + _DONE] + 1)
    leave(policy.inner, touches)
    policy.cells[mine + _BUSY] += np.int64(ticks()) - policy.cells[mine + _BEGAN]


@add.of(Instrumented)
def _(policy, weights, coordinate, seen, change):
    policy.attempted[policy.worker, coordinate] += change
    policy.moved[policy.worker, coordinate] += abs(change)
    policy.writes[policy.worker, coordinate] += 1
    add(policy.inner, weights, coordinate, seen, change)


@retire.of(Instrumented)
def _(policy):
    retire(policy.inner)


@renew.of(Instrumented)
def _(policy):
    renew(policy.inner)
