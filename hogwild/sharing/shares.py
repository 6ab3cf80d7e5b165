"""All workers share the weights: each has its share of a segment, or takes small pieces as they come."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from hogwild.engine.atomics import fetch_add
from hogwild.engine.compiling import compiled
from hogwild.engine.contract import count, relabelled
from hogwild.engine.loops import run_part, size_of
from hogwild.engine.steps import KernelStep, in_epoch
from hogwild.sharing.schedule import Assignment, Schedule, Segment, batch_size_of, in_blocks, share_of

PADDING = 16  # cells from one weight to the next: a cache line or two, which are fetched in pairs
_PIECES = 64  # per worker and epoch, where workers take pieces
_SHORTEST_PIECE, _LONGEST_PIECE = 16, 4_096  # updates


@dataclass(frozen=True)
class Shares(Schedule):
    """A contiguous share of the positions for each worker.

    Where all weights shrink by a common factor, workers take small pieces instead: they must agree on it.
    """

    _next: np.ndarray | None = field(default=None, compare=False)  # the next position to take, int64 (1,)

    def with_common_factor(self) -> Schedule:
        """Return the schedule whose workers take pieces."""
        return replace(self, _next=np.zeros(1, np.int64))

    def begin(self, guard: Any) -> None:
        """Begin a segment: its first position is the next to take."""
        super().begin(guard)
        if self._next is not None:
            self._next[0] = 0

    def perform_none(self, own: Assignment) -> None:
        """Call the loop for no update."""
        if self._next is None:
            super().perform_none(own)
        else:
            run_pieces(own.plan.updates, *own.first, 0, 0, self._next, 1)

    def perform(self, own: Assignment, segment: Segment, goes_on: Callable[[], bool]) -> int:
        """Perform a worker's share of a segment, or pieces of it."""
        plan, (_, epoch, begin, end, _) = own.plan, segment
        if self._next is not None:
            piece = count(plan.problem) // (_PIECES * plan.workers)
            piece = max(_SHORTEST_PIECE, min(_LONGEST_PIECE, piece))
            job, step, done = own.job(epoch), in_epoch(segment.step, epoch), 0
            while goes_on():
                taken = int(run_pieces(plan.updates, job, step, begin, end, self._next, piece))
                done += taken
                if taken < own.order.size:  # nothing is left to take
                    break
            return done
        first, last = share_of(begin, end, own.worker, plan.workers, batch_size_of(plan))
        step = paced(segment, first, plan.workers, count(plan.problem))
        return in_blocks(own, epoch, step, first, last, goes_on)


@dataclass(frozen=True)
class Padded(Shares):
    """The same, with a cache line for each weight: the traffic that is left is true sharing."""

    observable: ClassVar[bool] = False
    relabels: ClassVar[bool] = True

    def check(self, problem: Any, guard: type) -> None:
        """Refuse more weights than can lie so far apart."""
        if problem.n_weights >= 2**32 // PADDING:
            raise ValueError(f"{problem.n_weights} weights cannot lie so far apart")

    def record(self, record: Any, n_weights: int) -> Any:
        """Return the problem's record for weights that lie apart."""
        return relabelled(record, np.arange(n_weights, dtype=np.uint32) * np.uint32(PADDING))

    def cells_for(self, weights: int) -> int:
        """Return how many cells so many weights take up."""
        return weights * PADDING

    def lay_out(self, weights: np.ndarray, workers: int) -> np.ndarray:
        """Return the weights apart."""
        return np.repeat(weights, PADDING)

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights next to each other."""
        return weights[::PADDING]


def paced(segment: Segment, begin: int, workers: int, examples: int) -> KernelStep:
    """Return the step of a worker whose share begins at a position: all begin with the segment's first one.

    Positions put in sequence what runs in parallel. By position, the last worker would begin with the step
    that the first one ends with.
    """
    ahead = segment.epoch * (1 - workers) + (segment.begin - workers * begin) / examples
    return in_epoch(segment.step, segment.epoch, workers, ahead)


@compiled
def run_pieces(updates: Any, job: Any, step: Any, begin: int, end: int, following: Any, length: int) -> int:
    """Perform some of the updates at positions begin … end-1 of an epoch; return how many, 0 at the end.

    A worker takes the next piece when it is free. However fast each worker is, their positions then stay as
    close as pieces are long, and so does the time that tells how far weights have shrunk.
    """
    size, performed = size_of(updates), 0
    while performed < job.order.size:
        taken = max(min(length, job.order.size - performed) // size, 1) * size
        position = begin + fetch_add(following, 0, taken)
        if position >= end:
            break
        stop = min(position + taken, end)
        run_part(updates, job, step, position, stop)
        performed += stop - position
    return performed
