"""A replica of the weights for each worker, merged into the shared ones every so many updates.

Workers that write the same few popular coordinates take each other's cache lines away at every update;
replicas meet only when they are merged.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import fetch_add, load, ticks
from hogwild.engine.compiling import abstract, compiled, inlined
from hogwild.engine.contract import count
from hogwild.engine.loops import run_part, size_of
from hogwild.engine.steps import log_scale_at, restarted, step_at
from hogwild.sharing.guards import (
    LINE,
    Unguarded,
    acquire,
    combined,
    laid_out,
    placed,
    release,
    release_waiting,
    renew,
    retire,
)

SHORTEST, FIRST, LONGEST = 16, 1_024, 65_536  # updates from merge to merge
MERGE_SHARE = 0.05  # of a worker's time, for merges, where the period adapts
_SMALLEST = 64  # updates taken at once
_LOCK, _NEXT = 0, LINE  # cells of all workers: the lock of the shared weights, the next position
_LEFT, _PERIOD, _SINCE, _JOINED = range(4)  # cells of a worker
_ALL = 0  # rate of all workers: the logarithm of what their merges of this segment have taken up
# Rates of a worker: its step size; what its replica has shrunk by since its last merge; what `_ALL` was then;
# the scale of time, then and now (logarithms, since the segment began); its weights over the shared ones.
_RATE, _SHRUNK, _SEEN, _CLOCK, _NOW, _RATIO = range(6)


class AsMade(NamedTuple):
    """A replica shows a worker's own moves as they are."""


class Multiplied(NamedTuple):
    """A replica shows a worker's own moves so many times as far, for the others make the like meanwhile.

    A merge adds them as they are.
    """

    factors: Any  # of shape (n_weights,), at least 1


@abstract
def shown(moves: Any, coordinate: Any, change: Any) -> Any:
    """Return how far a change of one coordinate moves the worker's own replica."""


@abstract
def counted(moves: Any, coordinate: Any, own: Any, base: Any) -> Any:
    """Return the base with what a worker has moved of one coordinate, given what its replica shows."""


@shown.of(AsMade)
def _(moves, coordinate, change):
    return change


@shown.of(Multiplied)
def _(moves, coordinate, change):
    return change * moves.factors[coordinate]


@counted.of(AsMade)
def _(moves, coordinate, own, base):
    return own


@counted.of(Multiplied)
def _(moves, coordinate, own, base):
    one = moves.factors.dtype.type(1)
    return own - (own - base) * (one - one / moves.factors[coordinate])


class Replicated(NamedTuple):
    """Updates go to the worker's own replica, which is merged into the shared weights every so many of them.

    A merge composes what this worker and the others have done as if it had been done in turn. Along a
    coordinate with curvature q, k steps of size γ shrink a distance by ``s = exp(-γ k q)``, so what the
    others moved meanwhile counts s times: ``own + s (shared − base)``. Where s is 1, that is the sum of the
    moves; where the replicas have settled within a period, s is 0, and what both corrected is corrected once.
    What this worker has not touched is as the others left it.

    Where updates shrink all weights by a common factor (`hogwild.steps.Shrinking`), a replica has a scale of
    its own: at a merge that of all workers' time, as weights without replicas have (`hot`), then what
    this worker's updates make of it. The scale of the shared weights is that of the updates merged so far: a
    factor must not come before what those updates have added, or replicas see weights that are too small.
    """

    shared: Any  # of shape (n_weights,), these four
    own: Any
    base: Any  # the shared weights as this worker last saw them
    curvature: Any  # of the objective along each coordinate
    moves: AsMade | Multiplied
    cells: Any  # int64: those of all workers, then those of each
    rates: Any  # float64: those of all workers, then those of each
    adapts: bool  # the period, so that merges take their share of the time
    longest: int  # period
    worker: int

    @property
    def retiring(self) -> bool:
        """A worker that ends its share must `retire`."""
        return True


def replicated(workers: int, problem: Any, curvature: Any = None) -> Replicated:
    """Return the policy, by default with the problem's curvature; `placed` gives it its weights."""
    nothing = np.empty(0, problem.dtype)
    cells, rates = np.zeros((workers + 2) * LINE, np.int64), np.zeros((workers + 1) * LINE)
    rates[LINE + _RATIO :: LINE] = 1.0
    curvature = (problem.curvature() if curvature is None else curvature).astype(problem.dtype)
    longest = max(SHORTEST, min(LONGEST, problem.n_examples // (problem.merges * workers**2)))
    policy = Replicated(nothing, nothing, nothing, curvature, AsMade(), cells, rates, True, longest, 0)
    return every(policy, min(FIRST, longest))._replace(adapts=True)


def every(policy: Replicated, updates: int) -> Replicated:
    """Return the policy with a fixed number of a worker's updates from merge to merge."""
    cells = np.array(policy.cells)
    cells[2 * LINE + _LEFT :: LINE] = cells[2 * LINE + _PERIOD :: LINE] = updates
    return policy._replace(cells=cells, adapts=False)


@functools.singledispatch
def moves_of(policy: Any) -> AsMade | Multiplied:
    """Return how workers see their own moves."""
    return AsMade()


@moves_of.register
def _(policy: Replicated) -> AsMade | Multiplied:
    return policy.moves


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


@release_waiting.register
def _(policy: Replicated) -> None:
    policy.cells[_LOCK] = 0


@renew.of(Replicated)
def _(policy):
    policy.cells[_NEXT] = 0
    policy.rates[_ALL] = 0.0


@compiled
def run_periods(
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
) -> int:
    """Perform some of the updates at positions begin … end-1 of an epoch; return how many, 0 at the end.

    Workers take what is next, for their cores are not equally fast, and merge their replicas after each
    period. Merges are outside the loop over updates: inside, every update paid for the call.
    """
    cells, at, workers = policy.cells, (policy.worker + 2) * LINE, policy.rates.size // LINE - 1
    rates, mine = policy.rates, (policy.worker + 1) * LINE
    size, examples, performed, alone = size_of(kind), count(problem), 0, Unguarded()
    first = log_scale_at(step, epoch + begin / examples)
    while performed < order.size:
        left = end - begin - load(cells, _NEXT)
        if left <= 0:
            break
        piece = left if workers == 1 else max(left // (2 * workers), _SMALLEST)  # all are to end together
        length = min(piece, cells[at + _LEFT], order.size - performed)
        length = max(length // size, 1) * size
        position = begin + fetch_add(cells, _NEXT, length)
        stop = min(position + length, end)
        if position >= stop:
            break
        passes = epoch + position / examples
        if not cells[at + _JOINED]:
            rates[mine + _NOW] = log_scale_at(step, passes) - first
            join(policy)
        before = first + rates[mine + _CLOCK]
        rule = restarted(step, passes, before + rates[mine + _SHRUNK])
        rates[mine + _RATE] = step_at(step, passes)
        run_part(kind, problem, alone, sampling, delay, rule, weights, epoch, position, stop, order, room)
        rates[mine + _SHRUNK] = log_scale_at(rule, epoch + stop / examples) - before
        taken = min(begin + load(cells, _NEXT), end)
        rates[mine + _NOW] = log_scale_at(step, epoch + taken / examples) - first
        performed += stop - position
        cells[at + _LEFT] -= stop - position
        if cells[at + _LEFT] <= 0:
            merge_in_time(policy)
    return performed


@retire.of(Replicated)
def _(policy):
    at = (policy.worker + 2) * LINE
    if policy.cells[at + _JOINED]:  # one that has taken nothing has nothing to merge
        merge(policy)
        policy.cells[at + _JOINED] = 0
    policy.cells[at + _SINCE] = 0  # what lies between two segments is not work


@compiled
def join(policy: Any) -> None:
    """Begin a segment with what is shared."""
    rates, mine = policy.rates, (policy.worker + 1) * LINE
    acquire(policy.cells, _LOCK)
    ratio = caught_up(policy)
    for coordinate in range(policy.shared.size):
        now = policy.shared[coordinate]
        policy.own[coordinate] = now * ratio
        policy.base[coordinate] = now
    release(policy.cells, _LOCK)
    rates[mine + _SHRUNK] = 0.0
    policy.cells[(policy.worker + 2) * LINE + _JOINED] = 1


@inlined
def caught_up(policy: Any) -> Any:
    """Note what is merged and what time it is for a worker; return its weights over the shared ones."""
    rates, mine = policy.rates, (policy.worker + 1) * LINE
    rates[mine + _SEEN] = rates[_ALL]
    rates[mine + _CLOCK] = rates[mine + _NOW]
    rates[mine + _RATIO] = np.exp(rates[mine + _SEEN] - rates[mine + _CLOCK])
    return policy.shared.dtype.type(rates[mine + _RATIO])


@compiled
def merge(policy: Any) -> None:
    """Merge a worker's replica and the shared weights."""
    at, rates, mine = (policy.worker + 2) * LINE, policy.rates, (policy.worker + 1) * LINE
    updates = policy.cells[at + _PERIOD] - policy.cells[at + _LEFT]
    shared, own, base, curvature = policy.shared, policy.own, policy.base, policy.curvature
    real = shared.dtype.type
    one = real(1)
    quarter = real(rates[mine + _RATE] * updates / 4)
    scale, then = real(np.exp(rates[mine + _SHRUNK])), real(rates[mine + _RATIO])
    acquire(policy.cells, _LOCK)
    theirs, back = real(np.exp(rates[_ALL] - rates[mine + _SEEN])), one / then
    rates[_ALL] += rates[mine + _SHRUNK]
    unit, ratio = real(np.exp(rates[mine + _SEEN] - rates[_ALL])), caught_up(policy)
    for coordinate in range(shared.size):
        # (1 - x/4)^4 is at most exp(-x), close to it, and a few instructions that vectorise
        left = max(one - quarter * curvature[coordinate], one - one)
        left *= left
        ours, before = own[coordinate], base[coordinate]
        kept = scale if ours == before * then else left * left
        mine_only = counted(policy.moves, coordinate, ours, before)
        now = unit * (scale * back * mine_only + kept * (theirs * shared[coordinate] - before))
        shared[coordinate] = now
        own[coordinate] = now * ratio
        base[coordinate] = now
    release(policy.cells, _LOCK)
    policy.cells[at + _LEFT] = policy.cells[at + _PERIOD]
    rates[mine + _SHRUNK] = 0.0


@compiled
def merge_in_time(policy: Any) -> None:
    """Merge, and decide after how many updates to do so again."""
    cells, at = policy.cells, (policy.worker + 2) * LINE
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
