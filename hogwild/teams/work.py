"""What one worker does, whoever it is: its part of a segment, until it is done, too late, or stopped."""

import contextlib
import math
import os
import time
from io import FileIO
from typing import NamedTuple

import numpy as np

from hogwild.engine.cells import rows_apart
from hogwild.sharing.schedule import Assignment, Plan, Segment
from hogwild.teams.borrowed import Held

_SECONDS_PER_BLOCK = 0.1  # of delays
_ENTRIES_PER_BLOCK = 1_000_000  # milliseconds: rows at the start of a block are not prefetched


class Signals(NamedTuple):
    """What a team and its workers tell each other while they run."""

    stop: np.ndarray  # int64 of shape (1,): whether all are to end
    go: np.ndarray  # int64 of shape (1,): the number of the last segment that began
    workers: np.ndarray  # of shape (workers,): the number of the last segment that each was ``ready`` for

    @classmethod
    def for_workers(cls, workers: int) -> "Signals":
        """Return the signals of a team before its first segment."""
        return cls(np.zeros(1, np.int64), np.zeros(1, np.int64), rows_apart(workers, ready=np.int64))


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


def perform(own: Assignment, segment: Segment, stop: np.ndarray) -> Report:
    """Perform one worker's part of a segment until it is done, too late, or stopped."""
    cpu, schedule = time.thread_time(), own.plan.schedule
    deadline = time.perf_counter_ns() + segment.limit * 1e9
    try:
        updates = schedule.perform(own, segment, lambda: not stop[0] and time.perf_counter_ns() < deadline)
    finally:
        schedule.end(own)
    return Report(updates, time.thread_time() - cpu, math.nan, time.perf_counter_ns())


def warm_up(plan: Plan) -> float:
    """Compile (or load) the kernels of a plan's workers without an update; return the seconds it took."""
    begin = time.perf_counter()
    plan.schedule.compile(plan.schedule.assign(plan, 0))
    return time.perf_counter() - begin


class RunQueue:
    """How long the thread that made this has been ready to run but had no core, where Linux tells."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        with Held(), contextlib.suppress(OSError):
            self._file = open("/proc/thread-self/schedstat", "rb", buffering=0)  # noqa: SIM115

    def __del__(self) -> None:
        self.close()  # for a team that an interrupt kept from closing

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
