"""Readings around trials: when the machine is waited for, and what is done again."""

import time

import pytest

from experiments.measure import machine, watch
from experiments.measure.machine import Reading

GOOD = Reading(0.0, 0.3, 0.0, 0.0, 1.0, 1.0)
BAD = GOOD._replace(spin_efficiency=0.6)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """The readings that the machine will give, one after another; each is taken now."""
    coming: list[Reading] = []
    monkeypatch.setattr(machine, "read", lambda: coming.pop(0)._replace(at=time.monotonic()))
    return coming


def around(watched: watch.Watch) -> tuple[int, dict[str, object]]:
    runs: list[int] = []
    result, columns = watched.around(lambda: runs.append(1) or len(runs))
    assert result == len(runs)  # the last attempt's
    return result, columns


def test_a_quiet_machine_is_looked_at_twice(readings: list[Reading]) -> None:
    readings += [GOOD, GOOD._replace(spin_efficiency=0.97, spin_speed=0.9)]
    runs, columns = around(watch.Watch())
    assert (runs, columns["attempts"], columns["spin_tests"], columns["disturbed"]) == (1, 1, 1, "")
    assert (columns["spin_efficiency"], columns["spin_speed"], columns["load_average"]) == (0.97, 0.9, 0.3)
    assert readings == []


def test_it_is_waited_for_a_little(readings: list[Reading]) -> None:
    readings += [BAD, BAD, GOOD, GOOD]
    runs, columns = around(watch.Watch())
    assert (runs, columns["spin_tests"], columns["disturbed"]) == (1, 3, "")


def test_a_disturbed_trial_is_done_again(readings: list[Reading]) -> None:
    readings += [GOOD, BAD, BAD, BAD, GOOD, GOOD]
    runs, columns = around(watch.Watch())
    assert (runs, columns["attempts"], columns["disturbed"]) == (2, 2, "")


def test_a_trial_whose_workers_had_no_core_is_done_again(readings: list[Reading]) -> None:
    readings += [GOOD] * 4
    shares, runs = iter([0.12, 0.03]), iter("ab")
    result, columns = watch.Watch().around(lambda: next(runs), lambda result: next(shares))
    assert (result, columns["attempts"], columns["disturbed"]) == ("b", 2, "")
    assert columns["starved_share"] == 0.03
    readings += [GOOD] * 10
    columns = watch.Watch().around(lambda: None, lambda result: 0.12)[1]
    assert columns["attempts"] == watch.ATTEMPTS
    assert columns["disturbed"] == "workers had no core for 12.0 % of their time (limit 5 %)"


def test_what_cannot_be_cleared_says_so(readings: list[Reading]) -> None:
    readings += [BAD] * 100
    runs, columns = around(watch.Watch())
    assert runs == columns["attempts"] == watch.ATTEMPTS
    assert "0.6" in str(columns["disturbed"])
    assert columns["spin_efficiency"] == 0.6
    assert 100 - len(readings) == watch.ATTEMPTS * (watch.BEFORE + watch.AFTER)


def test_a_blip_right_after_a_trial_is_no_disturbance(readings: list[Reading]) -> None:
    readings += [GOOD, BAD, BAD, GOOD]
    assert around(watch.Watch())[1]["disturbed"] == ""


def test_a_fresh_reading_counts_for_the_next_trial(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch.Watch()
    readings += [GOOD] * 3
    around(watched)
    monkeypatch.setattr(watch, "FRESH_SECONDS", 1e9)
    assert around(watched)[1]["spin_tests"] == 0
    assert readings == []
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.0)
    readings += [GOOD] * 2
    assert around(watched)[1]["spin_tests"] == 1
