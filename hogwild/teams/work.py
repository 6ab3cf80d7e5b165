"""What one worker does, whoever it is: its share of a segment of an epoch, block by block."""

import contextlib
import math
import os
import time
from io import FileIO
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.contract import count
from hogwild.engine.loops import Batches, Singles, run_batches, run_examples, run_pieces
from hogwild.engine.sampling import AsStored, ShuffledOnce
from hogwild.engine.steps import Fading, KernelStep, StepRule, in_epoch
from hogwild.sharing.guards import Private, alone, placed, retire_worker, retires
from hogwild.sharing.replicas import Replicated, run_periods
from hogwild.sharing.rounds import ConflictFree, agreed, run_rounds
from hogwild.teams.borrowed import Held

STOP, NEXT = 0, 8  # in a team's flags: that which stops all, and the next position of a segment to take
_SEED_STEP = 0x9E3779B97F4A7C15  # workers with weights of their own draw orders of their own
_PIECES = 64  # of a worker in an epoch, where workers take what is next
_SHORTEST_PIECE, _LONGEST_PIECE = 16, 4_096  # updates
_SECONDS_PER_BLOCK = 0.1  # of delays
_ENTRIES_PER_BLOCK = 1_000_000  # milliseconds: rows at the start of a block are not asked for ahead of use


class Plan(NamedTuple):
    """Everything that the workers of a run share."""

    problem: Any
    policy: Any
    sampling: Any
    delay: Any
    weights: Any  # as the policy has `laid_out` them; in a worker's own plan of shape (n_weights,)
    workers: int
    batch_size: int
    block: int  # updates between two looks at the clock and the stop flag
    room: int  # cells of scratch that a worker's update needs, in the precision of the weights


class Scratch(NamedTuple):
    """A worker's private memory: the order of a block's examples, and room for a gradient."""

    order: Any
    room: Any


class Segment(NamedTuple):
    """The updates at positions begin … end-1 of an epoch, and the seconds after which no more are begun."""

    step: StepRule
    epoch: int
    begin: int
    end: int
    limit: float


class Report(NamedTuple):
    """What a worker did in a segment."""

    updates: int
    cpu_seconds: float
    starved_seconds: float  # ready to run, but without a core; nan where the system does not tell
    finished: int  # time.perf_counter_ns, the same clock in every process of a machine


def block_size(batch_size: int, nonzeros: int, examples: int, delay: float = 0.0) -> int:
    """Return the number of updates per block: whole batches, about 1,000,000 entries.

    Fewer, where each of them is delayed by so many seconds.
    """
    updates = max(1, _ENTRIES_PER_BLOCK * examples // max(nonzeros, examples))
    if delay > 0:
        updates = min(updates, max(1, int(_SECONDS_PER_BLOCK / delay)))
    return max(1, updates // batch_size) * batch_size


def share_of(segment: Segment, worker: int, workers: int, batch_size: int) -> tuple[int, int]:
    """Return one worker's positions (begin, end): contiguous, whole batches, together each exactly once."""
    batches = -(-(segment.end - segment.begin) // batch_size)
    begin = segment.begin + batches * worker // workers * batch_size
    end = segment.begin + batches * (worker + 1) // workers * batch_size
    return begin, min(end, segment.end)


def paced(segment: Segment, begin: int, workers: int, examples: int) -> KernelStep:
    """Return the step of a worker whose share begins at a position: all begin with the segment's first one.

    Positions stand one after another what happens side by side. By its position the last worker would begin
    with the step that the first one ends with.
    """
    ahead = segment.epoch * (1 - workers) + (segment.begin - workers * begin) / examples
    return in_epoch(segment.step, segment.epoch, workers, ahead)


def scratch_for(plan: Plan) -> Scratch:
    """Return a worker's private memory."""
    return Scratch(np.empty(plan.block, np.uint32), np.zeros(plan.room, plan.weights.dtype))


def plan_for(plan: Plan, worker: int) -> Plan:
    """Return a worker's own view of the plan: its place in the policy, the weights that it works on."""
    policy, weights = placed(plan.policy, plan.weights, worker)
    sampling = plan.sampling
    if isinstance(policy, Private) and isinstance(sampling, ShuffledOnce | AsStored):  # one order for all
        sampling = sampling._replace(start=worker * count(plan.problem) // plan.workers)
    elif isinstance(policy, Private):
        sampling = sampling._replace(seed=(sampling.seed + worker * _SEED_STEP) % 2**63)
    return plan._replace(policy=policy, weights=weights, sampling=sampling)


def perform(plan: Plan, worker: int, segment: Segment, flags: Any, scratch: Scratch) -> Report:
    """Perform one worker's share of a segment until it is done, too late, or stopped.

    ``plan`` is the worker's own (`plan_for`).
    """
    begin, end = segment.begin, segment.end
    step = in_epoch(segment.step, segment.epoch)
    taken = isinstance(plan.policy, Replicated) or takes_pieces(plan, step)  # as workers come to it
    if not taken and not isinstance(plan.policy, Private | ConflictFree):
        begin, end = share_of(segment, worker, plan.workers, plan.batch_size)
        step = paced(segment, begin, plan.workers, count(plan.problem))
    cpu = time.thread_time()
    deadline = time.perf_counter_ns() + segment.limit * 1e9
    position, updates = begin, 0
    try:
        while position < end:
            until = min(position + plan.block, end)
            goes_on = not flags[STOP] and time.perf_counter_ns() < deadline
            if isinstance(plan.policy, ConflictFree):
                goes_on = agreed(plan.policy, position, until, goes_on)
            if not goes_on:
                break
            done = run_block(plan, step, segment.epoch, position, end if taken else until, scratch, flags)
            updates += done
            if not taken:
                position = until
            elif done < scratch.order.size:  # nothing is left to take
                break
    finally:
        if retires(plan.policy):
            retire_worker(plan.policy)
    return Report(updates, time.thread_time() - cpu, math.nan, time.perf_counter_ns())


def takes_pieces(plan: Plan, step: KernelStep) -> bool:
    """Return whether workers take small pieces, no shares: who shares weights must agree on their scale."""
    apart = isinstance(plan.policy, Private | ConflictFree | Replicated)
    return isinstance(step, Fading) and plan.workers > 1 and not apart


def run_block(plan: Plan, step: Any, epoch: int, begin: int, end: int, scratch: Scratch, flags: Any) -> int:
    """Run the compiled loop that fits the policy and the batch size; return this worker's updates."""
    how = (plan.problem, plan.policy, plan.sampling, plan.delay, step, plan.weights)
    kind = Singles() if plan.batch_size == 1 else Batches(plan.batch_size)
    if isinstance(plan.policy, ConflictFree):
        block = Segment(step, epoch, begin, end, 0.0)
        mine = share_of(block, plan.policy.worker, plan.workers, plan.batch_size)
        return int(run_rounds(kind, *how, epoch, begin, end, *scratch, *mine))
    if isinstance(plan.policy, Replicated):
        return int(run_periods(kind, *how, epoch, begin, end, *scratch))
    if takes_pieces(plan, step):
        piece = count(plan.problem) // (_PIECES * plan.workers)
        piece = max(_SHORTEST_PIECE, min(_LONGEST_PIECE, piece))
        return int(run_pieces(kind, *how, epoch, begin, end, *scratch, flags, NEXT, piece))
    if plan.batch_size == 1:
        run_examples(*how, epoch, begin, end, *scratch)
    else:
        run_batches(*how, epoch, begin, end, *scratch, plan.batch_size)
    return end - begin


def warm_up(plan: Plan, step: StepRule) -> float:
    """Compile (or load) the kernels of a worker's plan without an update; return the seconds it took."""
    begin = time.perf_counter()
    run_block(plan, in_epoch(step, 0), 0, 0, 0, scratch_for(plan), np.zeros(NEXT + 1, np.int64))
    if isinstance(plan.policy, ConflictFree):
        agreed(plan.policy, -1, 0, True)
    if retires(plan.policy):
        retire_worker(alone(plan.policy))
    return time.perf_counter() - begin


class RunQueue:
    """How long the thread that made this has been ready to run but had no core, where Linux tells."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        with Held(), contextlib.suppress(OSError):
            self._file = open("/proc/thread-self/schedstat", "rb", buffering=0)  # noqa: SIM115

    def __del__(self) -> None:
        self.close()  # of a team that an interrupt kept from being put away

    def seconds(self) -> float:
        """Return the seconds so far."""
        if self._file is None:
            return math.nan
        return int(os.pread(self._file.fileno(), 100, 0).split()[1]) * 1e-9

    def close(self) -> None:
        """Close the system's file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(core: int | None) -> None:
    """Bind the calling thread to a core, where the system can (Linux) and one is given."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
