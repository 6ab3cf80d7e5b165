"""The estimate of the time left, on a clock of our own."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from experiments.measure import progress
from experiments.measure.progress import Reporter
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


def test_an_experiment_not_seen_yet_costs_what_is_planned_on_this_machine(clock: Clock) -> None:
    with reporter([*TRIALS, *LONG], [*TRIALS, *LONG]) as told:
        for number, trial in enumerate(TRIALS, 1):
            clock.now += 3.0  # three times slower than planned
            told.advance(trial, {"status": "ok"})
            assert told.seconds_left() == pytest.approx(3.0 * (30 - number + 100))


def test_an_experiment_that_has_been_seen_costs_what_it_took(clock: Clock) -> None:
    with reporter([*TRIALS, *LONG], [*TRIALS, *LONG]) as told:
        for trial in TRIALS[:20]:
            clock.now += 1.0
            told.advance(trial, {"status": "ok"})
        for trial in LONG[:9]:
            clock.now += 2.0  # ten were planned
            told.advance(trial, {"status": "ok"})
        scale = 38.0 / 110.0
        long = (9 * 2.0 + 10.0 * scale) / 10
        assert told.seconds_left() == pytest.approx(long + 10 * (20.0 + scale) / 21)


@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_a_run_tells_the_rest_within_a_fifth(clock: Clock, seed: int) -> None:
    """On a machine that is as slow all the time, whatever its trials scatter; plans are off by half."""
    random = np.random.default_rng(seed)
    trials = [replace(TRIAL, experiment=name, replicate=n) for n in range(150) for name in ("mine", "long")]
    trials = [trials[place] for place in random.permutation(len(trials))]
    seconds = random.lognormal(0.0, 0.5, len(trials)) * [
        {"mine": 1.5, "long": 5.0}[t.experiment] for t in trials
    ]
    with reporter(trials, trials) as told:
        for done, (trial, took) in enumerate(zip(trials, seconds, strict=True), 1):
            clock.now += took
            told.advance(trial, {"status": "ok"})
            if seconds[:done].sum() >= seconds.sum() / 3:
                break
        assert told.seconds_left() == pytest.approx(seconds[done:].sum(), rel=0.2)


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
