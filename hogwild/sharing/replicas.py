"""A replica of the weights for each worker, merged into the shared ones every so many updates.

Workers that write the same few popular coordinates steal each other's cache lines at every update; replicas
meet only when they are merged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from hogwild.engine.atomics import fetch_add, load, ticks
from hogwild.engine.cells import acquire, release, rows_apart
from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.contract import count
from hogwild.engine.loops import run_part, size_of
from hogwild.engine.steps import in_epoch, log_scale_at, restarted, step_at
from hogwild.sharing.moves import AsMade, Multiplied, counted
from hogwild.sharing.schedule import Assignment, Plan, Schedule, Segment

SHORTEST, FIRST, LONGEST = 16, 1_024, 65_536  # updates from merge to merge
MERGE_SHARE = 0.05  # of a worker's time goes into merges, where the period adapts
_SMALLEST = 64  # updates taken at once


class Merging(NamedTuple):
    """How moves are merged: with which curvature, and when.

    Attributes
    ----------
    curvature : ndarray of shape (n_weights,)
        Of the objective along each coordinate; zeros to just add the workers' moves.
    moves : AsMade or Multiplied
    first, longest : int
        A worker's updates from one merge to the next: in the first period, and at most.
    """

    curvature: np.ndarray
    moves: AsMade | Multiplied
    first: int
    longest: int


def longest_period(problem: Any, workers: int) -> int:
    """Return after how many updates a worker merges at the latest.

    It then merges at least ``problem.merges * workers`` times in an epoch, and hardly more epochs are needed
    than with one worker.
    """
    return int(max(SHORTEST, min(LONGEST, problem.n_examples // (problem.merges * workers**2))))


def merging(problem: Any, workers: int, merge_every: int | None = None) -> Merging:
    """Return how replicas of a problem's weights are merged."""
    longest = longest_period(problem, workers)
    return Merging(problem.curvature(), AsMade(), merge_every or min(FIRST, longest), longest)


class Replica(NamedTuple):
    """A worker's replica of the weights, and what all workers merge into.

    Where updates shrink all weights by a common factor (`hogwild.engine.steps.WeightDecay`), each replica has
    its own scale. A merge sets it to that of all workers' time, as for weights without replicas; from then on
    this worker's updates alone shrink it. The scale of the shared weights is that of the updates merged so
    far: a factor must not come before what those updates added, or replicas see weights that are too small.

    The cells of a worker: updates ``left`` until its next merge, the ``period`` from merge to merge, the
    clock ``since`` its last merge, whether it has ``joined`` the segment, its step size (``rate``), and the
    ``ratio`` of its weights to the shared ones. As logarithms since the segment began: what its replica has
    ``shrunk`` by since its last merge, what was merged when it was last ``seen``, and the scale of time then
    (``clock``) and ``now``.
    """

    shared: np.ndarray  # of shape (n_weights,), these four
    own: np.ndarray
    base: np.ndarray  # the shared weights as this worker last saw them
    curvature: np.ndarray
    moves: AsMade | Multiplied
    lock: np.ndarray  # int64 of shape (1,): of the shared weights
    next: np.ndarray  # int64 of shape (1,): the next position to take
    merged: np.ndarray  # float64 of shape (1,): the logarithm of the shrinking merged in this segment
    cells: np.ndarray  # of shape (workers,)
    adapts: bool  # whether the period does, so that merges take their share of the time
    longest: int  # period
    worker: int


def replica_of(merging: Merging, dtype: Any, workers: int, merge_every: int | None) -> Replica:
    """Return what the workers' replicas have in common; `Replicas.assign` gives each its weights."""
    integers = dict.fromkeys(("left", "period", "since", "joined"), np.int64)
    reals = dict.fromkeys(("rate", "shrunk", "seen", "clock", "now", "ratio"), np.float64)
    cells = rows_apart(workers, **integers, **reals)
    cells["left"] = cells["period"] = merging.first
    cells["ratio"] = 1.0
    nothing, curvature = np.empty(0, dtype), merging.curvature.astype(dtype)
    return Replica(
        *(nothing, nothing, nothing, curvature, merging.moves),
        *(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1), cells),
        *(merge_every is None, merging.longest, 0),
    )


@dataclass(frozen=True)
class Replicas(Schedule):
    """Updates go to the worker's own replica, which is merged into the shared weights every so many of them.

    A merge composes the moves of this worker and of the others as if they had been made in turn. Along a
    coordinate with curvature q, k steps of size γ shrink a distance by ``s = exp(-γ k q)``, so what the
    others moved meanwhile counts s times: ``own + s (shared − base)``. Where s is 1, that is the sum of the
    moves. Where replicas settle within a period, s is 0, and what both corrected is corrected once. What this
    worker has not touched is as the others left it.

    Attributes
    ----------
    merge_every : int, optional
        A worker's updates from one merge of its replica to the next; by default chosen so that merging is a
        twentieth of the work, within limits.
    """

    observable: ClassVar[bool] = False
    lossless: ClassVar[bool] = False  # replicas do not add up, by design
    adds_moves: ClassVar[bool] = True

    merge_every: int | None = None
    _replica: Replica | None = field(default=None, compare=False)

    def merged_weights(self, n_weights: int) -> int:
        """Return how many weights a merge goes through."""
        return n_weights

    @property
    def moves(self) -> AsMade | Multiplied:
        """How workers see their own moves."""
        return self.replica.moves

    @property
    def replica(self) -> Replica:
        """What the workers' replicas have in common."""
        assert self._replica is not None, "the schedule is not prepared"
        return self._replica

    def prepared(self, problem: Any, workers: int, **state: Any) -> Self:
        """Return the schedule with the state of a run; ``merging`` may be given."""
        how = state.get("merging") or merging(problem, workers, self.merge_every)
        return replace(self, _replica=replica_of(how, problem.dtype, workers, self.merge_every))

    def lay_out(self, weights: np.ndarray, workers: int) -> np.ndarray:
        """Return the shared weights, then for each worker its replica and its base."""
        return np.tile(weights, (1 + 2 * workers, 1))

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the shared weights."""
        return weights[0]

    def assign(self, plan: Plan, worker: int) -> Assignment:
        """Return a worker's view: its replica."""
        own, base = plan.weights[1 + 2 * worker], plan.weights[2 + 2 * worker]
        return self._assigned(plan, worker, plan.weights[0], own, base, own)

    def _assigned(
        self, plan: Plan, worker: int, shared: Any, own: Any, base: Any, seen: np.ndarray
    ) -> Assignment:
        replica = self.replica._replace(shared=shared, own=own, base=base, worker=worker)
        return super().assign(plan._replace(weights=seen), worker)._replace(state=replica)

    def begin(self, guard: Any) -> None:
        """Begin a segment: its first position is the next to take, nothing is merged."""
        super().begin(guard)
        self.replica.next[0] = 0
        self.replica.merged[0] = 0.0

    def perform(self, own: Assignment, segment: Segment, goes_on: Callable[[], bool]) -> int:
        """Take the next positions until none is left."""
        rule, epoch, begin, end, _ = segment
        job, step, done = own.job(epoch), in_epoch(rule, epoch), 0
        while goes_on():
            taken = int(run_periods(own.plan.updates, job, step, own.state, begin, end))
            done += taken
            if taken < own.order.size:  # nothing is left to take
                break
        return done

    def perform_none(self, own: Assignment) -> None:
        """Call the loops for no update."""
        run_periods(own.plan.updates, *own.first, own.state, 0, 0)
        leave_segment(own.state)

    def end(self, own: Assignment) -> None:
        """End a worker's part of a segment: it merges what it has."""
        leave_segment(own.state)
        super().end(own)

    def release(self, guard: Any) -> None:
        """Release all who wait."""
        super().release(guard)
        self.replica.lock[0] = 0


@compiled
def run_periods(updates: Any, job: Any, step: Any, replica: Any, begin: int, end: int) -> int:
    """Perform some of the updates at positions begin … end-1 of an epoch; return how many, 0 at the end.

    Workers take the next positions when they are free, as cores are not equally fast, and merge their
    replicas after each period. Merges lie outside the loop over updates: inside, every update paid for the
    call.
    """
    mine, workers, epoch = replica.cells[replica.worker], replica.cells.size, job.epoch
    size, examples, performed = size_of(updates), count(job.problem), 0
    first = log_scale_at(step, epoch + begin / examples)
    while performed < job.order.size:
        left = end - begin - load(replica.next, 0)
        if left <= 0:
            break
        piece = left if workers == 1 else max(left // (2 * workers), _SMALLEST)  # so that all end together
        length = min(piece, mine["left"], job.order.size - performed)
        length = max(length // size, 1) * size
        position = begin + fetch_add(replica.next, 0, length)
        stop = min(position + length, end)
        if position >= stop:
            break
        time = epoch + position / examples
        if not mine["joined"]:
            mine["now"] = log_scale_at(step, time) - first
            join(replica)
        before = first + mine["clock"]
        rule = restarted(step, time, before + mine["shrunk"])
        mine["rate"] = step_at(step, time)
        run_part(updates, job, rule, position, stop)
        mine["shrunk"] = log_scale_at(rule, epoch + stop / examples) - before
        taken = min(begin + load(replica.next, 0), end)
        mine["now"] = log_scale_at(step, epoch + taken / examples) - first
        performed += stop - position
        mine["left"] -= stop - position
        if mine["left"] <= 0:
            merge_in_time(replica)
    return performed


@compiled
def leave_segment(replica: Any) -> None:
    """End a worker's part of a segment."""
    mine = replica.cells[replica.worker]
    if mine["joined"]:  # one that has taken nothing has nothing to merge
        merge(replica)
        mine["joined"] = 0
    mine["since"] = 0  # time between two segments is not work


@compiled
def join(replica: Any) -> None:
    """Begin a segment with the shared weights."""
    mine = replica.cells[replica.worker]
    acquire(replica.lock, 0)
    ratio = caught_up(replica)
    for coordinate in range(replica.shared.size):
        now = replica.shared[coordinate]
        replica.own[coordinate] = now * ratio
        replica.base[coordinate] = now
    release(replica.lock, 0)
    mine["shrunk"] = 0.0
    mine["joined"] = 1


@inlined
def caught_up(replica: Any) -> Any:
    """Note for a worker what is merged and what time it is; return its weights over the shared ones."""
    mine = replica.cells[replica.worker]
    mine["seen"] = replica.merged[0]
    mine["clock"] = mine["now"]
    mine["ratio"] = np.exp(mine["seen"] - mine["clock"])
    return replica.shared.dtype.type(mine["ratio"])


@compiled
def merge(replica: Any) -> None:
    """Merge a worker's replica and the shared weights."""
    mine, merged = replica.cells[replica.worker], replica.merged
    updates = mine["period"] - mine["left"]
    shared, own, base, curvature = replica.shared, replica.own, replica.base, replica.curvature
    real = shared.dtype.type
    one = real(1)
    quarter = real(mine["rate"] * updates / 4)
    scale, then = real(np.exp(mine["shrunk"])), real(mine["ratio"])
    acquire(replica.lock, 0)
    theirs, back = real(np.exp(merged[0] - mine["seen"])), one / then
    merged[0] += mine["shrunk"]
    unit, ratio = real(np.exp(mine["seen"] - merged[0])), caught_up(replica)
    for coordinate in range(shared.size):
        # (1 - x/4)^4 is at most exp(-x), close to it, and a few instructions that vectorise
        left = max(one - quarter * curvature[coordinate], one - one)
        left *= left
        ours, before = own[coordinate], base[coordinate]
        kept = scale if ours == before * then else left * left
        mine_only = counted(replica.moves, coordinate, ours, before)
        now = unit * (scale * back * mine_only + kept * (theirs * shared[coordinate] - before))
        shared[coordinate] = now
        own[coordinate] = now * ratio
        base[coordinate] = now
    release(replica.lock, 0)
    mine["left"] = mine["period"]
    mine["shrunk"] = 0.0


@compiled
def merge_in_time(replica: Any) -> None:
    """Merge, and set the number of updates to the next merge."""
    mine = replica.cells[replica.worker]
    began = np.int64(ticks())
    merge(replica)
    ended = np.int64(ticks())
    if replica.adapts and mine["since"] > 0:
        worked = max(began - mine["since"], 1)
        wanted = (ended - began) * (1 - MERGE_SHARE) / (MERGE_SHARE * worked)
        period = mine["period"] * min(max(wanted, 0.5), 2.0)  # step by step: one measurement is noise
        mine["period"] = np.int64(min(max(period, SHORTEST), replica.longest))
    mine["since"] = ended
    mine["left"] = mine["period"]
