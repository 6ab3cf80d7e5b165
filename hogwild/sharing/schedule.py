"""What schedules have in common: who runs which positions of an epoch, and on which memory."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from hogwild.engine.loops import Batches, Job, Singles, run, size_of
from hogwild.engine.steps import KernelStep, StepRule, in_epoch
from hogwild.sharing.guards import of_lone_worker, of_worker, open_all, renew, retire, retire_worker
from hogwild.sharing.moves import AsMade, Multiplied


class Plan(NamedTuple):
    """Everything that the workers of a run share."""

    problem: Any  # the record that kernels see
    schedule: "Schedule"
    guard: Any
    sampling: Any
    delay: Any
    step: StepRule  # of the first epoch
    weights: np.ndarray  # as the schedule has laid them out
    workers: int
    updates: Singles | Batches
    block: int  # updates between two looks at the clock and the stop flag
    scratch: int  # cells that a worker's update needs, in the precision of the weights


class Segment(NamedTuple):
    """The updates at positions begin … end-1 of an epoch, and the seconds after which no more are begun."""

    step: StepRule
    epoch: int
    begin: int
    end: int
    limit: float


class Assignment(NamedTuple):
    """One worker's own view of a plan: its guard, its sampling, the weights that it works on, its memory."""

    plan: Plan
    worker: int
    order: np.ndarray
    scratch: np.ndarray
    state: Any = None  # what else the schedule keeps for a worker

    def job(self, epoch: int) -> Job:
        """Return what kernels are given beside the step rule."""
        plan = self.plan
        records = (plan.problem, plan.guard, plan.sampling, plan.delay, plan.weights)
        return Job(*records, epoch, self.order, self.scratch)

    @property
    def first(self) -> tuple[Job, KernelStep]:
        """The job and the step rule of the first epoch."""
        return self.job(0), in_epoch(self.plan.step, 0)


@dataclass(frozen=True)
class Schedule:
    """Who runs which positions of an epoch, and on which memory.

    A subclass is a frozen dataclass. Its public fields are options of the backend (`hogwild.backend`); fields
    that begin with ``_`` are the state of a run, arrays among them, which `prepared` makes.
    """

    observable: ClassVar[bool] = True  # an instrument can watch the guard on the weights that all share
    whole_runs: ClassVar[bool] = False  # each worker makes every epoch as a whole, on weights of its own
    lossless: ClassVar[bool] = True  # with a guard that loses nothing, no update is lost
    conflict_free: ClassVar[bool] = False  # no two workers write one weight at once, whatever the guard
    serial_alone: ClassVar[bool] = True  # a single worker computes the bits of `serial`
    adds_moves: ClassVar[bool] = False  # of several workers: the sum may leave the set of allowed weights
    relabels: ClassVar[bool] = False  # weights do not lie in their order: the problem's indices follow

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the options and their defaults, by name."""
        return {field.name: field.default for field in fields(cls) if not field.name.startswith("_")}

    def check(self, problem: Any, guard: type) -> None:
        """Refuse a problem or a guard that the schedule is not for, with a ValueError that says why."""

    def prepared(self, problem: Any, workers: int, **state: Any) -> Self:
        """Return the schedule with the state of a run."""
        return self

    @property
    def moves(self) -> AsMade | Multiplied:
        """How workers see their own moves."""
        return AsMade()

    def with_common_factor(self) -> "Schedule":
        """Return the schedule for updates that shrink all weights by a factor that workers agree on."""
        return self

    def record(self, record: Any, n_weights: int) -> Any:
        """Return the problem's record for the weights as they are laid out."""
        return record

    def cells_for(self, weights: int) -> int:
        """Return how many cells so many weights take up."""
        return weights

    def lay_out(self, weights: np.ndarray, workers: int) -> np.ndarray:
        """Return the array that a run's workers share; all of them begin with these weights."""
        return weights

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights that count, while all workers rest."""
        return weights

    def assign(self, plan: Plan, worker: int) -> Assignment:
        """Return a worker's own view of a plan."""
        order, scratch = np.empty(plan.block, np.uint32), np.zeros(plan.scratch, plan.weights.dtype)
        return Assignment(plan._replace(guard=of_worker(plan.guard, worker)), worker, order, scratch)

    def perform(self, own: Assignment, segment: Segment, goes_on: Callable[[], bool]) -> int:
        """Perform a worker's updates of a segment as long as it may go on; return their number."""
        raise NotImplementedError

    def compile(self, own: Assignment) -> None:
        """Compile (or load) all that a worker calls, without an update."""
        self.perform_none(own)
        if retire.acts_on(type(own.plan.guard)):
            retire_worker(of_lone_worker(own.plan.guard))

    def perform_none(self, own: Assignment) -> None:
        """Call the loop that the schedule runs, for no update."""
        run(own.plan.updates, *own.first, 0, 0)

    def before(self, plan: Plan) -> None:
        """Do once, before training, what is the same in every epoch."""

    def begin(self, guard: Any) -> None:
        """Begin a segment, while all workers rest."""
        renew(guard)

    def end(self, own: Assignment) -> None:
        """End a worker's part of a segment."""
        if retire.acts_on(type(own.plan.guard)):
            retire_worker(own.plan.guard)

    def release(self, guard: Any) -> None:
        """Release all who wait for a worker that failed; called again and again until they have ended."""
        open_all(guard)


def share_of(begin: int, end: int, worker: int, workers: int, batch_size: int) -> tuple[int, int]:
    """Return one worker's positions (begin, end): contiguous, whole batches, together each exactly once."""
    batches = -(-(end - begin) // batch_size)
    first = begin + batches * worker // workers * batch_size
    last = begin + batches * (worker + 1) // workers * batch_size
    return first, min(last, end)


def in_blocks(
    own: Assignment, epoch: int, step: KernelStep, begin: int, end: int, goes_on: Callable[[], bool]
) -> int:
    """Perform the updates at positions begin … end-1 block by block; return their number."""
    job = own.job(epoch)
    for position in range(begin, end, own.plan.block):
        if not goes_on():
            return position - begin
        run(own.plan.updates, job, step, position, min(position + own.plan.block, end))
    return end - begin


def batch_size_of(plan: Plan) -> int:
    """Return the number of examples of an update."""
    return int(size_of(plan.updates))
