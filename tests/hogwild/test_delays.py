"""Delays of a gradient: by the core's clock where it is steady, on a fake clock; and in every backend."""

import functools

import numpy as np
import pytest

import hogwild
from hogwild.engine import delays
from tests.hogwild.cases import problem


def slow(seconds):
    return hogwild.Observe(gradient_delay=seconds)


@pytest.mark.parametrize("steady", [True, False])
def test_a_delay_is_so_many_ticks_where_they_are_steady_or_turns_of_a_loop(monkeypatch, steady):
    monkeypatch.setattr(delays, "seconds_per_loop", lambda: 5e-10)
    monkeypatch.setattr(delays, "ticks_per_second", lambda: 2e9)
    monkeypatch.setattr(delays, "has_steady_ticks", lambda: steady)
    assert delays.delay_of(0) == delays.NoDelay()
    assert delays.delay_of(1e-9) == delays.BusyDelay(2)
    assert delays.delay_of(199e-9) == delays.BusyDelay(398)
    assert delays.delay_of(200e-9) == (delays.TimedDelay(400) if steady else delays.BusyDelay(400))
    assert delays.delay_of(1e-3) == (delays.TimedDelay(2_000_000) if steady else delays.BusyDelay(2_000_000))


class FakeClock:
    """The system's clock and a core's that ticks 2.5 times a nanosecond; reading either takes 10 ns."""

    def __init__(self):
        self.now, self.stolen = 10**12, {}
        self.readings = 0

    def read(self):
        self.readings += 1
        self.now += 10 + self.stolen.get(self.readings, 0)
        return self.now

    def ticks(self):
        return np.uint64(7 + self.read() * 5 // 2)

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)

    perf_counter_ns = read

    def perf_counter(self):
        return self.read() * 1e-9


def spend_interpreted(delay, times):
    for _ in range(times):
        delays.busy_wait(delay)


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(delays, "time", clock)
    monkeypatch.setattr(delays, "ticks", clock.ticks)
    monkeypatch.setattr(delays, "read_ticks", clock.ticks)
    monkeypatch.setattr(delays, "spend", spend_interpreted)
    for cached in (delays.ticks_per_second, delays.seconds_per_loop):
        monkeypatch.setattr(delays, cached.__name__, functools.cache(cached.__wrapped__))
    return clock


def test_the_cores_clock_is_measured_once_whatever_comes_between_two_readings(clock):
    clock.stolen = {2: 5_000_000, 9: 5_000_000, 3 * 15 + 2: 5_000_000, 80: 5_000_000}
    assert delays.ticks_per_second() == pytest.approx(2.5e9, rel=1e-9)
    readings = clock.readings
    delays.ticks_per_second()
    assert clock.readings == readings


def test_a_timed_delay_ends_at_the_first_tick_after_it_and_lost_time_counts(clock):
    delays.busy_wait(delays.TimedDelay(np.uint64(250)))
    assert clock.readings == 1 + 10
    clock.readings, clock.stolen = 0, {3: 10**6}
    delays.busy_wait(delays.TimedDelay(np.uint64(250)))
    assert clock.readings == 3


def test_a_measured_delay_is_what_it_takes(clock):
    """1,000 ns, and 10 ns to read the clock before; the one measurement that lost its core does not count."""
    clock.stolen = {1000: 10**9}
    assert delays.measured(delays.TimedDelay(np.uint64(2500)), seconds=1e-3) == pytest.approx(
        1.01e-6, rel=1e-3
    )
    assert delays.measured(delays.NoDelay()) == 0


@pytest.mark.parametrize(
    ("machine", "flags", "steady"),
    [
        ("x86_64", "fpu tsc rdtscp constant_tsc nonstop_tsc", True),
        ("AMD64", "constant_tsc nonstop_tsc", True),
        ("x86_64", "fpu tsc constant_tsc", False),
        ("x86_64", "not_constant_tsc not_nonstop_tsc", False),
        ("aarch64", "constant_tsc nonstop_tsc", False),
        ("x86_64", None, False),
    ],
)
def test_ticks_are_trusted_only_where_the_processor_says_so(monkeypatch, tmp_path, machine, flags, steady):
    said = tmp_path / "cpuinfo"
    if flags is not None:
        said.write_text(f"processor\t: 0\nflags\t\t: {flags}\nvmx flags\t: vnmi\n", encoding="utf-8")
    monkeypatch.setattr(delays, "_PROCESSOR", said)
    monkeypatch.setattr(delays.platform, "machine", lambda: machine)
    monkeypatch.setattr(delays.config, "DISABLE_JIT", 0)
    assert delays.has_steady_ticks.__wrapped__() is steady


@pytest.mark.skipif(not delays.has_steady_ticks(), reason="the core has no steady clock")
def test_no_timed_delay_ends_early_by_its_own_clock():
    delay = delays.TimedDelay(np.uint64(100_000))
    delays.spend(delay, 0)
    for _ in range(20):
        begin = int(delays.read_ticks())
        delays.spend(delay, 3)
        assert int(delays.read_ticks()) - begin >= 300_000


@pytest.mark.parametrize("given", [-1.0, 1e-10, 2.0, float("nan"), "1"])
def test_a_bad_delay_is_named(given):
    with pytest.raises((TypeError, ValueError), match="gradient_delay is"):
        hogwild.minimize(problem(), observe=slow(given))


@pytest.mark.parametrize("backend", hogwild.BACKENDS)
def test_every_backend_delays_its_gradients_and_is_not_changed_by_it(backend):
    """Without the delay of 2 ms they would take a thousandth of it."""
    case = problem(examples=60)
    workers = 1 if backend == "serial" else 2
    result = hogwild.minimize(
        case,
        backend=backend,
        workers=workers,
        epochs=1,
        step_size=0.01,
        observe=slow(2e-3),
    )
    assert sum(result.updates) == 60 * (workers if backend == "averaging" else 1)
    assert result.train_seconds > 0.25 * max(result.updates) * 2e-3


def test_a_measured_delay_is_in_seconds():
    for asked in (1e-8, 1e-6):
        assert 0 < delays.measured(delays.delay_of(asked), seconds=1e-3) < 1


@pytest.mark.parametrize("backend", ["serial", "hogwild_threads"])
def test_the_time_limit_is_looked_at_between_delays(backend):
    result = hogwild.minimize(
        problem(examples=60),
        backend=backend,
        workers=None if backend == "serial" else 2,
        epochs=1,
        observe=slow(0.2),
        time_limit=0.1,
    )
    assert result.status == "timeout"
    assert sum(result.updates) < 60
