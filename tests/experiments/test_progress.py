"""The estimate of the time left, on a clock of our own."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import Reporter
from tests.experiments.test_plan import TRIAL

COSTS = {"mine": 1.0, "long": 10.0}
TRIALS = [replace(TRIAL, replicate=number) for number in range(30)]
LONG = [replace(TRIAL, experiment="long", replicate=number) for number in range(10)]


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def reporter(trials: list, waiting: list, costs: dict[str, float] | None = None) -> Reporter:
    return Reporter(Console(file=io.StringIO()), trials, waiting, COSTS if costs is None else costs)


def test_the_time_left_follows_the_planned_costs_and_this_machine(clock: Clock) -> None:
    with reporter([*TRIALS, *LONG], [*TRIALS, *LONG]) as told:
        for number, trial in enumerate(TRIALS, 1):
            clock.now += 3.0  # three times slower than planned
            told.advance(trial, {"status": "ok"})
            assert told.seconds_left() == pytest.approx(3.0 * (30 - number + 100))


def test_what_was_done_before_is_no_measure(clock: Clock) -> None:
    with reporter(TRIALS, TRIALS[20:]) as told:
        clock.now += 2.0
        told.advance(TRIALS[20], {"status": "ok"})
        assert told.seconds_left() == pytest.approx(18.0)
        told.more(LONG[:1])
        assert told.seconds_left() == pytest.approx(38.0)


def test_without_costs_all_trials_count_alike(clock: Clock) -> None:
    with reporter([*TRIALS, *LONG], [*TRIALS, *LONG], {}) as told:
        clock.now += 1.0
        told.advance(LONG[0], {"status": "ok"})
        assert told.seconds_left() == pytest.approx(39.0)
