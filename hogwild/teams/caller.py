"""The caller performs all updates itself."""

import os
import time

import numpy as np

from hogwild.sharing.schedule import Plan, Segment
from hogwild.teams.crew import shared_weights
from hogwild.teams.work import Report, RunQueue, perform, pin, usable_cores


class CallerTeam:
    """The caller performs all updates itself."""

    def __init__(self, plan: Plan, cores: list[int | None]) -> None:
        plan = shared_weights(plan)
        self.weights, self.schedule, self.guard = plan.weights, plan.schedule, plan.guard
        self._own = plan.schedule.assign(plan, 0)
        self._core, self._stop = cores[0], np.zeros(1, np.int64)
        self._queue = RunQueue()

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment."""
        allowed = usable_cores()
        pin(self._core)
        self.schedule.begin(self.guard)
        try:
            starved, begin = self._queue.seconds(), time.perf_counter_ns()
            report = perform(self._own, segment, self._stop)
            starved = self._queue.seconds() - starved
        finally:
            if self._core is not None and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, allowed)
        return (report.finished - begin) * 1e-9, [report._replace(starved_seconds=starved)]

    def close(self) -> None:
        """Close the file of the run queue."""
        self._queue.close()
