"""The machine around a trial: what its readings mean, what disturbs a trial, and that one run holds it."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.measure import machine
from experiments.measure.machine import Calibration, Reading

CALM = Reading(
    at=100.0,
    load_average=0.5,
    steal_seconds=7.0,
    throttled_seconds=3.0,
    spin_speed=0.99,
    spin_efficiency=0.99,
)


def fake_spins(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], lone: list[float], crowded: float, best: Calibration
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine, "calibration", lambda: best)
    monkeypatch.setattr(machine, "spin", lambda chosen: lone.pop(0) if chosen == cores[:1] else crowded)


def test_a_reading_compares_all_cores_with_the_better_lone_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_spins(monkeypatch, [3, 5, 6], [1.25, 1.0], 1.6, Calibration(0.9, 1.0))
    reading = machine.read()
    assert reading.spin_efficiency == pytest.approx(1.0 / 1.6)
    assert reading.spin_speed == pytest.approx(0.9 / 1.0)


@pytest.mark.parametrize(("best", "found"), [(0.8, 1.0), (1.1, 0.8), (0.5, 0.8 / machine.TURBO)])
def test_cores_that_are_slower_together_are_free_but_not_half_cores(
    monkeypatch: pytest.MonkeyPatch, best: float, found: float
) -> None:
    fake_spins(monkeypatch, [0, 1], [0.8, 0.8], 1.0, Calibration(0.8, best))
    assert machine.read().spin_efficiency == pytest.approx(found)


def test_one_core_has_no_parallel_efficiency_and_may_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_spins(monkeypatch, [4], [1.0, 1.0], 9.0, Calibration(1.0, math.nan))
    reading = machine.read()
    assert math.isnan(reading.spin_efficiency)
    assert machine.quiet(reading)


def test_calibration_keeps_the_best_of_all_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    lone, crowded = iter([3.0, 2.0, 4.0]), iter([2.8, 2.9, 2.5])
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(machine, "CALIBRATION_TRIES", 3)
    monkeypatch.setattr(machine, "spin", lambda cores: next(crowded if len(cores) > 1 else lone))
    assert machine.calibration.__wrapped__() == Calibration(2.0, 2.0 / 2.5)


def test_a_real_reading_is_whole_and_pins_only_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 1_000)
    before = machine.usable_cores()
    first, second = machine.read(), machine.read()
    assert machine.usable_cores() == before
    assert second.at > first.at
    assert second.steal_seconds >= first.steal_seconds >= 0
    assert first.spin_speed > 0
    assert first.spin_efficiency > 0 if len(before) > 1 else math.isnan(first.spin_efficiency)


@pytest.mark.parametrize(
    ("before", "after", "share", "reason"),
    [
        ({}, {}, 0.0, ""),
        ({}, {"spin_efficiency": machine.FREE_CORES, "spin_speed": machine.FULL_SPEED}, 0.0, ""),
        ({}, {"spin_efficiency": math.nan, "spin_speed": 1.1}, 0.0, ""),
        ({}, {"spin_efficiency": 0.81}, 0.0, "spin test after the trial: 0.81 of free cores (limit 0.95)"),
        ({"spin_efficiency": 0.5}, {}, 0.0, "spin test before the trial: 0.50 of free cores (limit 0.95)"),
        ({}, {"spin_speed": 0.7}, 0.0, "one core after the trial: 0.70 of its full speed (limit 0.85)"),
        (
            {"spin_speed": 0.84},
            {"spin_efficiency": 0.1, "steal_seconds": 9.0},
            0.5,
            "one core before the trial: 0.84 of its full speed (limit 0.85)",
        ),
        ({}, {"steal_seconds": 7.07}, 0.0175, ""),  # of 4 core-seconds
        (
            {},
            {"steal_seconds": 7.1, "spin_speed": 0.1},
            0.025,
            "the hypervisor took 2.5 % of the cores' time (limit 2 %)",
        ),
        ({"at": 101.9}, {"steal_seconds": 7.01}, 0.05, ""),  # one tick of the kernel's clock
        (
            {"at": 101.9},
            {"steal_seconds": 7.02},
            0.1,
            "the hypervisor took 10.0 % of the cores' time (limit 2 %)",
        ),
        (
            {},
            {"throttled_seconds": 3.25, "spin_efficiency": 0.1},
            0.0,
            "the container's CPU quota held the trial up for 0.25 s (limit 0 s)",
        ),
        ({"at": 102.0}, {"steal_seconds": 6.0}, 0.0, ""),  # no time, and a counter that was set back
    ],
)
def test_what_disturbs_a_trial_is_named_with_figure_and_limit(
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, float],
    after: dict[str, float],
    share: float,
    reason: str,
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    sides = CALM._replace(**before), CALM._replace(**{"at": 102.0, **after})
    assert machine.disturbance(*sides) == (pytest.approx(share), reason)


def test_workers_without_a_core_disturb_a_trial_above_the_limit_only() -> None:
    words = "workers had no core for 5.1 % of their time (limit 5 %)"
    assert [machine.starvation(share) for share in (math.nan, 0.0, 0.05, 0.051)] == ["", "", "", words]


@pytest.mark.parametrize(
    ("change", "quiet"),
    [
        ({}, True),
        ({"spin_efficiency": 0.94}, False),
        ({"spin_efficiency": math.nan}, True),
        ({"spin_speed": 0.84}, False),
        ({"spin_speed": 1.2}, True),
        ({"load_average": 50.0, "steal_seconds": 9.0}, True),
    ],
)
def test_quiet_is_free_cores_at_full_speed(change: dict[str, float], quiet: bool) -> None:
    assert machine.quiet(CALM._replace(**change)) == quiet


def test_together_times_from_the_first_begin_to_the_last_end_on_pinned_threads() -> None:
    core, seen = machine.usable_cores()[-1], []

    def kernel(cells, threads, mine, began, ended):
        seen.append((threads, os.sched_getaffinity(0)))
        cells[mine : mine + 4] = (began, 900_000_000, ended, 100_000_000)

    seconds = machine.together(kernel, [core] * 3, [(7, 9), (6, 8), (8, 11)])
    assert seconds == pytest.approx(11.1 - 6.9)
    assert seen == [(3, {core})] * 3


def test_no_thread_begins_before_the_last_is_there() -> None:
    core, arrivals, found = machine.usable_cores()[0], [], []

    def kernel(cells, threads, mine, late):
        time.sleep(late)
        arrivals.append(time.monotonic_ns())
        machine._spin(cells, threads, mine, machine.OFFERS, np.uint64(1))
        found.append((int(cells[mine]) * 10**9 + int(cells[mine + 1]), cells[mine + 4]))

    assert machine.together(kernel, [core] * 3, [(0.0,), (0.03,), (0.01,)]) > 0
    assert min(began for began, _ in found) >= max(arrivals)
    state = 1
    for _ in range(machine.OFFERS):  # turns of Marsaglia's xorshift64
        state ^= (state << 13) % 2**64
        state ^= state >> 7
        state ^= (state << 17) % 2**64
    assert {result for _, result in found} == {state >> 1}


def test_threads_that_cannot_start_leave_none_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        machine.spin([machine.usable_cores()[0]] * 2)
    started[0].join(30)
    assert not started[0].is_alive()


def test_steal_is_summed_over_our_cores_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu 1 2 3 4 5 6 7 1000 9 9\ncpu0 1 2 3 4 5 6 7 100 9 9\ncpu2 1 2 3 4 5 6 7 250 9 9\n"
        "cpu20 1 2 3 4 5 6 7 600 9 9\nintr 8 8 8 8 8 8 8 8 8 8\n\nctxt 5\n"
    )
    assert machine.steal_seconds([0, 2], stat) == pytest.approx(3.5)
    assert machine.steal_seconds([1], stat) == 0  # taken off line
    stat.write_text("cpu0 1 2 3 4\n")  # an old kernel
    assert machine.steal_seconds([0], stat) == 0
    assert machine.steal_seconds([0], tmp_path / "none") == 0


def test_throttling_is_read_from_either_kind_of_control_group(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    new, old = tmp_path / "new", tmp_path / "old"
    (new / "outer" / "inner").mkdir(parents=True)
    (new / "outer" / "cpu.stat").write_text("usage_usec 9\nnr_throttled 3\nthrottled_usec 1500000\n")
    (new / "outer" / "inner" / "cpu.stat").write_text("usage_usec 9\nthrottled_usec 250000\n")
    membership.write_text("0::/outer/inner\n")
    assert machine.throttled_seconds(new, membership) == pytest.approx(1.75)
    membership.write_text("0::/somewhere/on/the/host\n")
    assert machine.throttled_seconds(new, membership) == 0
    (old / "cpu,cpuacct").mkdir(parents=True)
    (old / "cpu,cpuacct" / "cpu.stat").write_text("nr_periods 5\nnr_throttled 2\nthrottled_time 2000000000\n")
    membership.write_text("4:memory:/x\n3:cpuset:/x\n2:cpu,cpuacct:/docker/0a1b\n1:name=systemd:/\n")
    assert machine.throttled_seconds(old, membership) == pytest.approx(2.0)
    assert machine.throttled_seconds(tmp_path / "none", tmp_path / "none") == 0


HOLDER = """
import os, sys, time
from experiments.measure.machine import Path, exclusive
with exclusive(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""
PARENT = """
import os, sys, time
from experiments.measure.machine import Path, exclusive
with exclusive(Path(sys.argv[1])):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
LEAVER = """
import os, sys
from experiments.measure.machine import Path, exclusive
path, owner = Path(sys.argv[1]), os.getpid()
with exclusive(path):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_text().startswith(f"process {owner} ")
if os.getpid() == owner:
    print("whole")
"""


def started(code: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_lock_refuses_others_and_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with machine.exclusive(path):
        with pytest.raises(machine.BusyError, match=f"process {os.getpid()} since"), machine.exclusive(path):
            pass
        code = "from experiments.measure.machine import exclusive, Path\n"
        code += f"with exclusive(Path({str(path)!r})): pass"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"BusyError: another run is timing on this machine: process {os.getpid()}" in other.stderr
    with machine.exclusive(path):
        pass
    assert path.read_bytes() == b""


def test_a_live_holder_is_named_and_a_killed_one_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with started(HOLDER, path) as holder:
        try:
            assert first_line(holder) == "holds"
            words = rf"process {holder.pid} since 2\d{{3}}-.*T.*, \S*python.* -c .*\(lock {path}\)"
            with pytest.raises(machine.BusyError, match=words), machine.exclusive(path):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    assert path.read_text().startswith(f"process {holder.pid} ")  # it could not tidy up
    with machine.exclusive(path):
        assert path.read_text().startswith(f"process {os.getpid()} ")


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with started(PARENT, path) as parent:
        child = int(first_line(parent))
        try:
            with pytest.raises(machine.BusyError, match=f"process {parent.pid}"), machine.exclusive(path):
                pass
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            os.kill(child, 0)  # it lives
            with machine.exclusive(path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            parent.kill()


def test_a_forked_child_that_leaves_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    with started(LEAVER, tmp_path / "lock") as process:
        assert first_line(process) == "whole"


def test_a_lock_that_cannot_be_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = r"cannot lock .*No such file.*point TMPDIR to a folder on a local disk that you can write"
    with pytest.raises(machine.BusyError, match=words), machine.exclusive(tmp_path / "none" / "lock"):
        pass

    def broken(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", broken)
    words = r"cannot lock .*No locks available.*local disk"
    with pytest.raises(machine.BusyError, match=words), machine.exclusive(tmp_path / "lock"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_leaves_the_lock_without_a_name_only() -> None:
    with machine.exclusive(Path("/dev/full")):
        pass
