"""CYCLADES: parallel updates without conflicts, equal to serial ones to the bit.

Pan, Lam, Tu, Papailiopoulos, Zhang, Jordan, Ramchandran, Ré & Recht 2016, "CYCLADES: Conflict-free
Asynchronous Machine Learning" (NIPS).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from hogwild.engine.atomics import load_acquire, store_release
from hogwild.engine.cells import rows_apart, spin
from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.contract import await_turn
from hogwild.engine.loops import Job, run_part, size_of
from hogwild.engine.sampling import AsStored, ShuffledOnce, example, position_at, scattered
from hogwild.engine.steps import in_epoch
from hogwild.sharing.conflicts import Space, schedule, space_for
from hogwild.sharing.schedule import Assignment, Plan, Schedule, Segment, batch_size_of, share_of

_BEYOND = 2**62  # every position


class RoundState(NamedTuple):
    """What workers tell each other.

    The cells of a worker: the position up to which its updates are ``done``, that up to which its part of the
    schedule is made (``scheduled``), and how many of its updates ran beside others' (``side_by_side``).
    """

    owners: np.ndarray  # int32 of shape (n_examples,): see `hogwild.sharing.conflicts.schedule`
    limit: np.ndarray  # int64 of shape (1,): up to where the first worker wants to go, ~where it ends
    kept: np.ndarray  # int64 of shape (1,): whether the schedule was made before training
    cells: np.ndarray  # of shape (workers,)
    worker: int
    space: Space | None  # this worker's, to schedule with


@dataclass(frozen=True)
class Rounds(Schedule):
    """Workers perform different components of the conflicts of a round, then wait for each other.

    Within a round no two workers touch the same variable, and each performs its updates in serial order: the
    weights are those of `serial` to the bit, for any number of workers. Pan et al. sample
    batches of fixed size; here a round ends where its largest component would be more than one worker's
    share, so there is no size to choose.

    It pays where data are truly sparse: of n examples, each in conflict with at most Δ others, a random
    (1 − ε) n/Δ fall into components of O(log n / ε²) (Krivelevich 2016). It cannot pay where features are
    hot: examples that share a popular feature are one component, which one worker performs alone
    (`hogwild.Result.parallel_share` tells). Finding the components is work of the order of the updates
    themselves. For rows shuffled once or streamed as stored it is done once, before training; else in every
    epoch, on its clock, and each worker does its share of it.
    """

    observable: ClassVar[bool] = False
    conflict_free: ClassVar[bool] = True

    _variables: int = 0
    _state: RoundState | None = field(default=None, compare=False)

    def check(self, problem: Any, guard: type) -> None:
        """Refuse guards that take turns: a worker would wait for one that waits for it."""
        if await_turn.acts_on(guard):
            raise ValueError(f"conflict-free rounds have an order of their own: {guard.__name__} has another")

    @property
    def state(self) -> RoundState:
        """What workers tell each other."""
        assert self._state is not None, "the schedule is not prepared"
        return self._state

    def prepared(self, problem: Any, workers: int, **state: Any) -> Self:
        """Return the schedule with everything given to the first worker."""
        cells = rows_apart(workers, done=np.int64, scheduled=np.int64, side_by_side=np.int64)
        owners, limit, kept = (
            np.zeros(problem.n_examples, np.int32),
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
        )
        state_of_all = RoundState(owners, limit, kept, cells, 0, None)
        return replace(self, _variables=problem.n_variables, _state=state_of_all)

    def assign(self, plan: Plan, worker: int) -> Assignment:
        """Return a worker's view, with space of its own to schedule in."""
        space = space_for(self.state.owners.size, self._variables, plan.workers)
        return super().assign(plan, worker)._replace(state=self.state._replace(worker=worker, space=space))

    def before(self, plan: Plan) -> None:
        """Schedule an epoch once and for all, where every epoch has the same order of examples."""
        if not isinstance(plan.sampling, ShuffledOnce | AsStored):
            return
        own = self.assign(plan, 0).state
        for begin in range(0, own.owners.size, plan.block):
            end, size = min(begin + plan.block, own.owners.size), batch_size_of(plan)
            schedule(plan.problem, plan.sampling, 0, begin, end, size, own.owners, own.space)
        own.kept[0] = 1

    def perform(self, own: Assignment, segment: Segment, goes_on: Callable[[], bool]) -> int:
        """Perform a worker's updates round by round: all workers end after the same block."""
        job, step, done = own.job(segment.epoch), in_epoch(segment.step, segment.epoch), 0
        plan, size = own.plan, batch_size_of(own.plan)
        for begin in range(segment.begin, segment.end, plan.block):
            end = min(begin + plan.block, segment.end)
            if not agreed(own.state, begin, end, goes_on()):
                break
            mine = share_of(begin, end, own.worker, plan.workers, size)
            done += int(run_rounds(plan.updates, job, step, own.state, begin, end, *mine))
        return done

    def perform_none(self, own: Assignment) -> None:
        """Call the loops for no update."""
        run_rounds(own.plan.updates, *own.first, own.state, 0, 0, 0, 0)
        agreed(own.state, -1, 0, True)
        leave_segment(own.state)

    def begin(self, guard: Any) -> None:
        """Begin a segment: nothing of it is done."""
        super().begin(guard)
        self.state.limit[0] = 0
        self.state.cells["done"] = self.state.cells["scheduled"] = 0

    def end(self, own: Assignment) -> None:
        """End a worker's part of a segment."""
        leave_segment(own.state)
        super().end(own)

    def release(self, guard: Any) -> None:
        """Release all who wait."""
        super().release(guard)
        self.state.limit[0] = ~0
        self.state.cells["done"] = self.state.cells["scheduled"] = _BEYOND

    def parallel_share(self, updates: int) -> float:
        """Return the share of the updates in rounds that several workers shared."""
        return float(self.state.cells["side_by_side"].sum() / max(updates, 1))


class Chosen(NamedTuple):
    """Some positions of another sampling, in order."""

    seed: Any
    inner: Any
    positions: Any


@example.of(Chosen)
def _example_at_chosen(sampling, count, key, position):
    return example(sampling.inner, count, key, sampling.positions[position])


@position_at.of(Chosen)
def _chosen_position(sampling, position):
    return sampling.positions[position]


@scattered.of(Chosen)
def _chosen_are_scattered(sampling):
    return True


@compiled
def run_rounds(
    updates: Any, job: Any, step: Any, state: Any, begin: int, end: int, first: int, last: int
) -> int:
    """Perform one worker's updates among those at positions begin … end-1 of an epoch; return their number.

    Where no schedule was kept, this worker schedules positions first … last-1 of them.
    """
    cells, worker, owners, positions = state.cells, state.worker, state.owners, state.space.positions
    sampling = job.sampling
    store_release(cells, worker, begin, "done")
    if state.kept[0] == 0:
        schedule(job.problem, sampling, job.epoch, first, last, size_of(updates), owners, state.space)
        store_release(cells, worker, end, "scheduled")
        _await_scheduled(cells, end)
    chosen = Chosen(sampling.seed, sampling, positions)
    part_job = Job(
        job.problem,
        job.guard,
        chosen,
        job.delay,
        job.weights,
        job.epoch,
        job.order,
        job.scratch,
    )
    performed, shared = 0, 0
    position = begin
    while position < end:
        part, stop = 0, position
        while stop < end and (stop == position or owners[stop] >= 0):
            positions[part] = stop
            part += owners[stop] == worker or owners[stop] == ~worker
            stop += 1
        if part > 0:
            _await_done(cells, position)
            run_part(updates, part_job, step, 0, part)
        store_release(cells, worker, stop, "done")
        performed += part
        shared += part if part < stop - position else 0
        position = stop
    cells[worker]["side_by_side"] += shared
    return performed


@inlined
def _await_done(cells: Any, position: Any) -> None:
    """Wait until every worker has done its updates before a position."""
    for worker in range(cells.size):
        spins = 0
        while load_acquire(cells, worker, "done") < position:
            spins = spin(spins)


@inlined
def _await_scheduled(cells: Any, position: Any) -> None:
    """Wait until every worker has scheduled its part before a position."""
    for worker in range(cells.size):
        spins = 0
        while load_acquire(cells, worker, "scheduled") < position:
            spins = spin(spins)


@compiled
def agreed(state: Any, begin: int, end: int, wanted: bool) -> bool:
    """Return whether to perform the updates at positions begin … end-1: the first worker decides.

    So all workers end after the same update, and their weights are those of a shorter serial run.
    """
    if state.worker == 0:
        store_release(state.limit, 0, end if wanted else ~begin)
        return wanted
    spins = 0
    while True:
        limit = load_acquire(state.limit, 0)
        if limit > begin or ~limit > begin:
            return True
        if limit < 0:
            return False
        spins = spin(spins)


@compiled
def leave_segment(state: Any) -> None:
    """End a worker's part of a segment: nobody waits for it now."""
    limit = state.limit[0]
    if state.worker == 0 and limit >= 0:
        store_release(state.limit, 0, ~limit)
    store_release(state.cells, state.worker, _BEYOND, "scheduled")
    store_release(state.cells, state.worker, _BEYOND, "done")
