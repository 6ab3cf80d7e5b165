"""The machine before and after each attempt at a trial; what was disturbed is done again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from experiments.measure import machine

BEFORE, AFTER = 6, 3  # readings of a machine that is not quiet, at most
ATTEMPTS = 3  # at most, at a trial that is disturbed
FRESH_SECONDS = 0.05  # for this long the reading after a trial serves as the one before the next


class Watch:
    """The state of the machine before and after each attempt at a trial."""

    def __init__(self) -> None:
        self.last: machine.Reading | None = None

    def around(
        self, work: Callable[[], Any], starved: Callable[[Any], float] = lambda result: math.nan
    ) -> tuple[Any, dict[str, Any]]:
        """Do work while the machine is quiet, and again if it was disturbed; return its result and columns.

        ``starved`` returns the share of their time for which workers were ready to run but had no core, nan
        if unknown.
        """
        attempts, reason = 0, "not tried yet"
        while reason and attempts < ATTEMPTS:
            attempts += 1
            before, tests, cost = self._before()
            result = work()
            # a lasting disturbance shows in every reading, some milliseconds of one, or our own workers on
            # their way out, only in the first
            after, _, more = _reading(AFTER)
            self.last = after
            steal_share, reason = machine.disturbance(before, after)
            starved_share = starved(result)
            reason = reason or machine.starvation(starved_share)
        return result, {
            "load_average": before.load_average,
            "spin_speed": min(before.spin_speed, after.spin_speed),
            "spin_efficiency": min(before.spin_efficiency, after.spin_efficiency),
            "steal_share": steal_share,
            "starved_share": starved_share,
            "spin_tests": tests,
            "reading_seconds": cost + more,
            "attempts": attempts,
            "disturbed": reason,
        }

    def _before(self) -> tuple[machine.Reading, int, float]:
        if self.last and machine.quiet(self.last) and time.monotonic() - self.last.at < FRESH_SECONDS:
            return self.last, 0, 0.0
        return _reading(BEFORE)


def _reading(most: int) -> tuple[machine.Reading, int, float]:
    """Read the machine until it is quiet, so many times at most.

    Returns the last reading, how many there were, and the seconds of the first: what a quiet machine costs.
    """
    began = time.perf_counter()
    reading, tests = machine.read(), 1
    cost = time.perf_counter() - began
    while tests < most and not machine.quiet(reading):
        reading, tests = machine.read(), tests + 1
    return reading, tests, cost
