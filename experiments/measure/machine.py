"""The machine around a trial: whether cores are free and at full speed, and a lock so that one run times."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.typing import signature
from numba.extending import overload

from experiments.measure import locks
from hogwild.engine.atomics import fetch_add, give_way, load_acquire
from hogwild.engine.cells import spin as wait_a_turn
from hogwild.engine.compiling import compiled, config, inlined
from hogwild.teams.work import pin, usable_cores

FREE_CORES = 0.95  # the least share of the work of free cores that all cores must do together
FULL_SPEED = 0.85  # the least share of the best speed seen by this process that one core must reach
STEAL_LIMIT = 0.02  # the largest share of the cores' time that the hypervisor may take
STARVED_LIMIT = 0.05  # the largest share of their time for which workers may wait for a core
TURBO = 0.7  # all cores together run slower than one, but free ones not by more than this
SPIN_ITERATIONS = 2_000 if config.DISABLE_JIT else 250_000  # of a lone core, less than 1 ms
TOGETHER = 4  # times as many of all cores
OFFERS = 8  # times a spin yields its core: else a thread that wakes up there may wait for 3 ms
CALIBRATION_TRIES = 20
LOCK = Path(tempfile.gettempdir()) / f"hogwild-experiments-{getattr(os, 'getuid', int)()}.lock"
CONTROL_GROUPS = Path("/sys/fs/cgroup")
LINE = 16  # int64 cells from one thread's record to the next: two cache lines


class BusyError(RuntimeError):
    """The machine is not free for timing: the message says who holds it, or what is wrong with the lock."""


class Reading(NamedTuple):
    """The machine at one moment; lost times are totals, so only their differences tell."""

    at: float  # seconds of a monotonic clock
    load_average: float  # of the last minute
    steal_seconds: float  # that the hypervisor has taken from our cores
    throttled_seconds: float  # for which a container's CPU quota has stopped us
    spin_speed: float  # one core's, over its calibrated best
    spin_efficiency: float  # all cores' work over that of as many free ones; nan with one core


class Calibration(NamedTuple):
    """The best that this process has seen of the spin test."""

    nanoseconds_per_iteration: float  # on one core
    efficiency: float  # all cores together over as many lone ones; nan with one core


def read() -> Reading:
    """Read the machine's state, in about 5 ms: one core spins, then all, then the one again if it was slow.

    The faster of the lone spins counts: a neighbour can only slow one down.
    """
    best, cores = calibration(), usable_cores()
    alone = spin(cores[:1])
    crowded = spin(cores) if len(cores) > 1 else math.nan
    if alone > best.nanoseconds_per_iteration / FREE_CORES:
        alone = min(alone, spin(cores[:1]))
    return Reading(
        at=time.monotonic(),
        load_average=os.getloadavg()[0],
        steal_seconds=steal_seconds(cores),
        throttled_seconds=throttled_seconds(),
        spin_speed=best.nanoseconds_per_iteration / alone,
        spin_efficiency=alone / crowded / min(max(best.efficiency, TURBO), 1.0),
    )


def quiet(reading: Reading) -> bool:
    """Tell whether the cores were free and at full speed."""
    return not _unquiet(reading, "")


def disturbance(before: Reading, after: Reading) -> tuple[float, str]:
    """Judge what happened from one reading to the next.

    Returns
    -------
    share : float
        Of the cores' time that the hypervisor took.
    reason : str
        The first thing that disturbed the trial in between, with its value and limit; empty if there is none.
    """
    elapsed = after.at - before.at
    stolen = max(0.0, after.steal_seconds - before.steal_seconds)
    share = stolen / (elapsed * len(usable_cores())) if elapsed > 0 else 0.0
    throttled = after.throttled_seconds - before.throttled_seconds
    reason = _unquiet(before, "before the trial")
    # the kernel counts in ticks of about 10 ms: one of them says nothing about a short trial
    if not reason and share > STEAL_LIMIT and round(stolen * os.sysconf("SC_CLK_TCK")) >= 2:
        reason = f"the hypervisor took {100 * share:.1f} % of the cores' time (limit {100 * STEAL_LIMIT:g} %)"
    if not reason and throttled > 0:
        reason = f"the container's CPU quota held the trial up for {throttled:.3g} s (limit 0 s)"
    return share, reason or _unquiet(after, "after the trial")


def starvation(share: float) -> str:
    """Say for which share of their time workers had no core; empty within the limit."""
    if share > STARVED_LIMIT:  # nan, where it is unknown, is not above
        return f"workers had no core for {100 * share:.1f} % of their time (limit {100 * STARVED_LIMIT:g} %)"
    return ""


def _unquiet(reading: Reading, when: str) -> str:
    if reading.spin_efficiency < FREE_CORES:  # nan, on one core, is not below
        return f"spin test {when}: {reading.spin_efficiency:.2f} of free cores (limit {FREE_CORES:g})"
    if reading.spin_speed < FULL_SPEED:
        return f"one core {when}: {reading.spin_speed:.2f} of its full speed (limit {FULL_SPEED:g})"
    return ""


@functools.cache
def calibration() -> Calibration:
    """Return the best of a number of spin tests, of one core and of all of them."""
    cores = usable_cores()
    tries = [(spin(cores[:1]), spin(cores)) for _ in range(CALIBRATION_TRIES)]
    alone, crowded = (min(times) for times in zip(*tries, strict=True))
    return Calibration(alone, alone / crowded if len(cores) > 1 else math.nan)


def spin(cores: list[int]) -> float:
    """Return the nanoseconds per iteration of a loop that runs on some cores at once."""
    iterations = SPIN_ITERATIONS * (TOGETHER if len(cores) > 1 else 1)
    seconds = together(_spin, cores, [(iterations, np.uint64(core + 1)) for core in cores])
    return seconds * 1e9 / iterations


def together(kernel: Callable[..., Any], cores: list[int], shares: list[tuple[Any, ...]]) -> float:
    """Run a kernel on some cores at once, pinned threads; return the seconds from first begin to last end.

    Parameters
    ----------
    kernel : function compiled without the GIL
        Called with (cells, threads, mine, *share); it calls `begin` and `end` around what is timed.
    cores : list of int
    shares : list of tuple
        The further arguments of each thread.
    """
    cells = np.zeros((len(cores) + 1) * LINE, np.int64)

    def work(core: int, mine: int, share: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):  # the core was taken away: the others must not wait for us
            pin(core)
        kernel(cells, len(cores), mine, *share)

    threads = [
        threading.Thread(target=work, args=(core, (number + 1) * LINE, share), daemon=True)
        for number, (core, share) in enumerate(zip(cores, shares, strict=True))
    ]
    try:
        for thread in threads:
            thread.start()
    except BaseException:
        cells[0] = len(cores)  # else those that have started wait for the others for ever
        raise
    for thread in threads:
        thread.join()
    lines = cells.reshape(-1, LINE)[1:]
    began, ended = (lines[:, at] * 10**9 + lines[:, at + 1] for at in (0, 2))
    return float(ended.max() - began.min()) * 1e-9


# The system's clock, not the core's ticks: all cores agree on it, and it is cheap enough.
_clock_gettime: Any = types.ExternalFunction(
    "clock_gettime", signature(types.int32, types.int32, types.uintp)
)
_CLOCK = time.CLOCK_MONOTONIC


def _note_time(cells: Any, at: int) -> None:
    cells[at], cells[at + 1] = divmod(time.monotonic_ns(), 10**9)


@overload(_note_time)
def note_time_compiled(cells, at):
    def note(cells, at):
        _clock_gettime(_CLOCK, cells.ctypes.data + 8 * at)

    return note


@inlined
def begin(cells, threads, mine):
    """Wait until all threads have arrived, and note the time."""
    fetch_add(cells, 0, 1)
    turns = 0
    while load_acquire(cells, 0) < threads:
        turns = wait_a_turn(turns)
    _note_time(cells, mine)


@inlined
def end(cells, mine, result):
    """Note the time, and keep the result: else the compiler could leave out the work."""
    cells[mine + 4] = result
    _note_time(cells, mine + 2)


@compiled
def _spin(cells, threads, mine, iterations, state):
    begin(cells, threads, mine)
    for _ in range(OFFERS):
        for _ in range(iterations // OFFERS):  # xorshift: no compiler finds a closed form
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
        give_way()
    end(cells, mine, state >> np.uint64(1))


def steal_seconds(cores: list[int], stat: Path = Path("/proc/stat")) -> float:
    """Return the seconds that the hypervisor has taken from some cores in all; 0 where it is unknown."""
    names, ticks = {f"cpu{core}" for core in cores}, 0
    for line in text(stat).splitlines():
        fields = line.split()
        if len(fields) > 8 and fields[0] in names:
            ticks += int(fields[8])
    return ticks / os.sysconf("SC_CLK_TCK")


def throttled_seconds(root: Path = CONTROL_GROUPS, membership: Path = Path("/proc/self/cgroup")) -> float:
    """Return the seconds for which CPU quotas have stopped our control groups; 0 where it is unknown."""
    seconds = 0.0
    for group in control_groups("cpu", root, membership):
        counts = dict(line.split() for line in text(group / "cpu.stat").splitlines())
        seconds += int(counts.get("throttled_usec", 0)) * 1e-6 + int(counts.get("throttled_time", 0)) * 1e-9
    return seconds


def control_groups(controller: str, root: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's control groups, in version 1 or 2 of the interface.

    The limits of all of them apply. In a container the membership may name folders that only the host sees;
    then the root is the container's own group.
    """
    found = []
    for line in text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            base = next((root / name for name in (controller, controllers) if (root / name).is_dir()), root)
        elif not controllers:
            base = root
        else:
            continue
        place = PurePosixPath(path.lstrip("/"))
        found += [base / folder for folder in (place, *place.parents) if (base / folder).is_dir()]
    return list(dict.fromkeys(found))


def text(path: Path) -> str:
    """Return the text of a file of the system; empty if there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@contextlib.contextmanager
def exclusive(path: Path = LOCK) -> Iterator[None]:
    """Hold the machine for timing; two runs at once would time each other.

    Raises
    ------
    BusyError
        If another process holds it (the message names process, command and since when), or if there can be no
        lock at this path.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.hold(path))
        except locks.HeldError as owner:
            raise BusyError(f"another run is timing on this machine: {owner} (lock {path})") from None
        except OSError as error:
            advice = "point TMPDIR to a folder on a local disk that you can write"
            raise BusyError(f"cannot lock {path} ({error.strerror}); {advice}") from None
        yield
