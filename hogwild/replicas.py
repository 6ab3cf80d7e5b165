"""A replica of the weights for each worker, merged into the shared ones every so many updates.

Workers that write the same few popular coordinates take each other's cache lines away at every update;
replicas meet only when they are merged.
"""

from typing import Any, NamedTuple

import numpy as np

from hogwild.atomics import store, ticks
from hogwild.compiling import compiled
from hogwild.policies import (
    LINE,
    acquire,
    add,
    await_turn,
    combined,
    enter,
    laid_out,
    leave,
    lock,
    paced,
    placed,
    release,
    renew,
    retire,
    unlock,
    waits,
)

SHORTEST, LONGEST = 16, 65_536  # updates from merge to merge
MERGE_SHARE = 0.1  # of a worker's time, for merges, where the period adapts
MERGES = 8  # of a worker in an epoch, at least
_LEFT, _PERIOD, _SINCE = range(3)  # cells of a worker


class Replicated(NamedTuple):
    """Updates go to the worker's own replica, which is merged into the shared weights every so many of them.

    A merge composes what this worker and the others have done as if it had been done in turn. Along a
    coordinate with curvature q, k steps of size γ shrink a distance by ``s = exp(-γ k q)``, so what the
    others moved meanwhile counts s times: ``own + s (shared − base)``. Where s is 1, that is the sum of the
    moves; where the replicas have settled within a period, s is 0, and what both corrected is corrected once.
    What this worker has not touched is as the others left it.
    """

    shared: Any  # of shape (n_weights,), these four
    own: Any
    base: Any  # the shared weights as this worker last saw them
    curvature: Any  # of the objective along each coordinate
    cells: Any  # int64: the lock of the shared weights, then the cells of each worker
    rates: Any  # float64: the step size of each worker
    adapts: bool  # the period, so that merges take their share of the time
    longest: int  # period
    worker: int

    @property
    def retiring(self) -> bool:
        """A worker that ends its share must `retire`."""
        return True


def replicated(workers: int, problem: Any) -> Replicated:
    """Return the policy; `placed` gives it its weights."""
    nothing = np.empty(0, problem.dtype)
    cells, rates = np.zeros((workers + 1) * LINE, np.int64), np.zeros(workers * LINE)
    curvature = problem.curvature().astype(problem.dtype)
    longest = max(SHORTEST, min(LONGEST, problem.n_examples // (MERGES * workers)))
    policy = Replicated(nothing, nothing, nothing, curvature, cells, rates, True, longest, 0)
    return every(policy, SHORTEST)._replace(adapts=True)


def every(policy: Replicated, updates: int) -> Replicated:
    """Return the policy with a fixed number of a worker's updates from merge to merge."""
    cells = np.array(policy.cells)
    cells[LINE + _LEFT :: LINE] = cells[LINE + _PERIOD :: LINE] = updates
    return policy._replace(cells=cells, adapts=False)


def adding(policy: Replicated) -> Replicated:
    """Return the policy for updates whose sum counts, however far each went: dual coordinate ascent."""
    return policy._replace(curvature=np.zeros_like(policy.curvature))


@laid_out.register
def _(policy: Replicated, weights: np.ndarray, workers: int) -> np.ndarray:
    return np.tile(weights, (1 + 2 * workers, 1))


@placed.register
def _(policy: Replicated, weights: Any, worker: int) -> tuple[Any, Any]:
    own = weights[1 + 2 * worker]
    policy = policy._replace(shared=weights[0], own=own, base=weights[2 + 2 * worker], worker=worker)
    return policy, own


@combined.register
def _(policy: Replicated, weights: np.ndarray) -> np.ndarray:
    return weights[0]


@paced.register
def _(policy: Replicated, rate: float) -> None:
    policy.rates[policy.worker * LINE] = rate


@enter.of(Replicated)
@await_turn.of(Replicated)
@renew.of(Replicated)
def _(policy):
    pass


@lock.of(Replicated)
@unlock.of(Replicated)
def _(policy, problem, example, start, end):
    pass


@waits.of(Replicated)
def _(policy):
    return False


@add.of(Replicated)
def _(policy, weights, coordinate, seen, change):
    store(weights, coordinate, seen + change)


@leave.of(Replicated)
def _(policy, touches):
    at = (policy.worker + 1) * LINE
    policy.cells[at + _LEFT] -= 1
    if policy.cells[at + _LEFT] <= 0:
        merge_in_time(policy, at)


@retire.of(Replicated)
def _(policy):
    merge(policy)
    policy.cells[(policy.worker + 1) * LINE + _SINCE] = 0  # what lies between two segments is not work


@compiled
def merge(policy: Any) -> None:
    """Merge a worker's replica and the shared weights."""
    at = (policy.worker + 1) * LINE
    updates = policy.cells[at + _PERIOD] - policy.cells[at + _LEFT]
    shared, own, base, curvature = policy.shared, policy.own, policy.base, policy.curvature
    one = shared.dtype.type(1)
    quarter = shared.dtype.type(policy.rates[policy.worker * LINE] * updates / 4)
    acquire(policy.cells, 0)
    for coordinate in range(shared.size):
        # (1 - x/4)^4 is at most exp(-x), close to it, and a few instructions that vectorise
        left = max(one - quarter * curvature[coordinate], one - one)
        left *= left
        ours, before = own[coordinate], base[coordinate]
        now = ours + (one if ours == before else left * left) * (shared[coordinate] - before)
        shared[coordinate] = now
        own[coordinate] = now
        base[coordinate] = now
    release(policy.cells, 0)
    policy.cells[at + _LEFT] = policy.cells[at + _PERIOD]


@compiled
def merge_in_time(policy: Any, at: int) -> None:
    """Merge, and decide after how many updates to do so again."""
    cells = policy.cells
    began = np.int64(ticks())
    merge(policy)
    ended = np.int64(ticks())
    if policy.adapts and cells[at + _SINCE] > 0:
        worked = max(began - cells[at + _SINCE], 1)
        wanted = (ended - began) * (1 - MERGE_SHARE) / (MERGE_SHARE * worked)
        period = cells[at + _PERIOD] * min(max(wanted, 0.5), 2.0)  # step by step: one measurement is noise
        cells[at + _PERIOD] = np.int64(min(max(period, SHORTEST), policy.longest))
    cells[at + _SINCE] = ended
    cells[at + _LEFT] = cells[at + _PERIOD]
