"""The machine before and after each attempt at a trial; what was disturbed is done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from experiments import machine

SPIN_TESTS = 6  # at most, before a trial
ATTEMPTS = 3  # at most, at a trial that is disturbed
FRESH_SECONDS = 0.05  # for so long the reading after a trial counts as the one before the next


class Watch:
    """The machine around each attempt at a trial; the one that looks after a trial looks before the next."""

    def __init__(self) -> None:
        self.last: machine.Reading | None = None

    def around(self, work: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        """Do work while the machine is quiet, again where it was disturbed; return it, and its columns."""
        attempts, reason = 0, "not tried yet"
        while reason and attempts < ATTEMPTS:
            attempts += 1
            before, tests = self._quiet()
            result = work()
            after = machine.read()
            if not machine.quiet(after):  # perhaps our own workers, still on their way out
                after = machine.read()
            self.last = after
            steal_share, reason = machine.disturbance(before, after)
        return result, {
            "load_average": before.load_average,
            "spin_speed": min(before.spin_speed, after.spin_speed),
            "spin_efficiency": min(before.spin_efficiency, after.spin_efficiency),
            "steal_share": steal_share,
            "spin_tests": tests,
            "attempts": attempts,
            "disturbed": reason,
        }

    def _quiet(self) -> tuple[machine.Reading, int]:
        """Wait a little for the cores to be really free; return the last reading, and how many it took."""
        if self.last and machine.quiet(self.last) and time.monotonic() - self.last.at < FRESH_SECONDS:
            return self.last, 0
        reading, tests = machine.read(), 1
        while tests < SPIN_TESTS and not machine.quiet(reading):
            reading, tests = machine.read(), tests + 1
        return reading, tests
