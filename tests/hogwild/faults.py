"""Faults, brought into runs from outside: for the matrix of `test_faults.py` and for `tests/soak.py`.

A fault has a kind, a moment, and what a run may answer. Nothing in the library knows of them: signals go to a
worker's number; exceptions and the end of memory come from numbers that a worker reckons with, put into its
orders.
"""

import contextlib
import faulthandler
import itertools
import multiprocessing.util
import os
import resource
import signal
import threading
import time
import traceback
import warnings
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import hogwild
from hogwild import backends
from hogwild.teams import guide_pool
from hogwild.teams.processes import ProcessTeam
from hogwild.teams.threads import ThreadTeam
from tests.hogwild.family import PATIENCE, footprint, left_behind, shared_memory, workers

HANG_SECONDS = 60.0
SIGNALS, WITHIN = ("kill", "pause"), ("exception", "memory")
MOMENTS = ("start", "first epoch", "merge", "last barrier")
EPOCHS = 4
PROCESSES = [name for name, backend in hogwild.BACKENDS.items() if backend.team in ("processes", "pool")]
THREADS = [name for name, backend in hogwild.BACKENDS.items() if backend.team == "threads"]


class Fault(NamedTuple):
    """What happens to the first worker, and when."""

    kind: str  # kill, pause, exception or memory
    moment: str
    delay: float = 0.0  # seconds after the moment, for signals


class Failing(float):
    """A number that fails one worker when it reckons with it, there alone."""

    memory: bool
    late: bool

    def __new__(cls, value: float, memory: bool = False, late: bool = False) -> "Failing":
        self = super().__new__(cls, value)
        self.memory, self.late = memory, late
        return self

    def __reduce__(self) -> Any:
        return type(self), (float(self), self.memory, self.late)

    def __mul__(self, other: Any) -> Any:  # a segment's limit, or a rate of the pool
        if not unlucky():
            return float(self) * other
        return Deadline(self) if self.late else self.fail()

    def __hash__(self) -> int:  # a core, in a set of one
        return self.fail() if unlucky() else hash(float(self))

    def fail(self) -> Any:
        """Raise."""
        if not self.memory:
            raise ZeroDivisionError("injected")
        if multiprocessing.parent_process() is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used, used))
        return bytearray(1 << 62)  # more than any machine has


class Deadline:
    """A time that fails whoever compares with it, between two blocks."""

    def __init__(self, source: Failing) -> None:
        self.source = source

    def __radd__(self, now: float) -> "Deadline":
        return self

    def __gt__(self, now: float) -> bool:
        return bool(self.source.fail())


def unlucky() -> bool:
    """Return whether this is the first worker of a team."""
    names = multiprocessing.current_process().name, threading.current_thread().name
    return "hogwild-0" in names or names[0].startswith("WorkerPool")


def failing_team(team: Any, fault: Fault) -> Any:
    """Return a kind of team whose first worker meets a fault in its orders."""
    segments = {"first epoch": 1, "merge": 2, "last barrier": EPOCHS}
    memory = fault.kind == "memory"

    class Faulty(team):
        def __init__(self, plan: Any, cores: list[Any]) -> None:
            self._segments = 0
            at_start = fault.moment == "start"
            super().__init__(plan, [Failing(0, memory), *cores[1:]] if at_start else cores)

        def run(self, segment: Any) -> Any:
            self._segments += 1
            if self._segments == segments.get(fault.moment):
                segment = segment._replace(limit=Failing(segment.limit, memory, fault.moment == "merge"))
            return super().run(segment)

        def _tasks(self, segment: Any) -> Any:
            tasks = super()._tasks(segment)
            if self._segments == segments.get(fault.moment):
                tasks[len(tasks) // 2] = (Failing(tasks[0][0], memory), tasks[len(tasks) // 2][1])
            return tasks

    return Faulty


@contextlib.contextmanager
def in_orders(fault: Fault):
    """Make every team fail in this way."""
    before = dict(backends.TEAMS)
    for name, team in (
        ("processes", ProcessTeam),
        ("threads", ThreadTeam),
        ("pool", guide_pool.PoolTeam),
    ):
        backends.TEAMS[name] = failing_team(team, fault)
    try:
        yield
    finally:
        backends.TEAMS.update(before)


def shoot(fault: Fault, pid: int) -> bool:
    """Send a worker what a fault consists of; return whether it was there."""
    time.sleep(fault.delay)
    with contextlib.suppress(ProcessLookupError):
        if fault.kind == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.02)
            os.kill(pid, signal.SIGCONT)
        return True
    return False


class Shooter:
    """A thread that shoots at a run's first worker at its moment; also the run's callback."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.shots = fault, 0
        self._rows = itertools.count()
        self._target: int | None = None
        self._now = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="shooter", daemon=True)

    def __enter__(self) -> "Shooter":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._now.set()
        self._thread.join()

    def _wait(self) -> None:
        if self.fault.moment == "start":
            while self._target is None and not self._now.is_set():
                self._target = next((worker.pid for worker in workers()), None)
        else:
            self._now.wait()
        self._shoot()

    def _shoot(self) -> None:
        if self._target is not None:
            self.shots += shoot(self.fault, self._target)

    def __call__(self, row: Any) -> None:
        """See a checkpoint."""
        at = next(self._rows)
        if at == {"first epoch": 0, "merge": 2, "last barrier": EPOCHS - 1}.get(self.fault.moment):
            self._target = workers()[0].pid
            if self.fault.moment == "last barrier":
                self._shoot()  # here, while all rest
                self._target = None
            self._now.set()


@contextlib.contextmanager
def watched(seconds: float = HANG_SECONDS):
    """Interrupt a run that hangs; the list that is yielded then has an entry."""
    hung: list[bool] = []

    def interrupt() -> None:
        hung.append(True)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield hung
    finally:
        timer.cancel()
        timer.join()


class Outcome(NamedTuple):
    """What came of a run with a fault."""

    injected: int
    error: type | None
    text: str  # of the error, with its traceback
    result: Any
    hung: bool
    left: dict[str, Any]

    def wrong(self, fault: Fault, examples: int) -> list[str]:
        """Return what is not as it was promised."""
        found = [f"{name} left: {values}" for name, values in self.left.items()]
        found += ["it hung"] * self.hung
        lived = self.result is not None and sum(self.result.updates) == EPOCHS * examples
        if fault.kind == "pause" or not self.injected:
            found += [] if lived else [f"it did not go on: {self.text}"]
        elif fault.kind == "kill":
            found += [] if self.error is hogwild.WorkerDied else [f"no WorkerDied: {self.text}"]
        else:
            name = "MemoryError" if fault.kind == "memory" else "ZeroDivisionError: injected"
            told = name in self.text and "in fail" in self.text  # with the worker's traceback
            found += [] if told or self.error is hogwild.WorkerDied else [f"no traceback: {self.text}"]
        return found


def run_with(fault: Fault, case: Any, **options: Any) -> Outcome:
    """Run with a fault; ``options`` are those of `hogwild.minimize`."""
    before = footprint()
    error, text, result = None, "", None
    shooter = Shooter(fault)
    epochs = 10**7 if fault.kind == "kill" else EPOCHS
    with watched() as hung, contextlib.ExitStack() as stack:
        if fault.kind in WITHIN:
            stack.enter_context(in_orders(fault))
        else:
            stack.enter_context(shooter)
        try:
            result = hogwild.minimize(
                case,
                epochs=epochs,
                step_size=1e-3,
                time_limit=HANG_SECONDS,
                callback=shooter if fault.kind in SIGNALS else None,
                **options,
            )
        except (RuntimeError, ZeroDivisionError, MemoryError, KeyboardInterrupt) as raised:
            error, text = type(raised), "".join(traceback.format_exception(raised))
    injected = shooter.shots if fault.kind in SIGNALS else 1
    return Outcome(injected, error, text, result, bool(hung), left_behind(before))


class Presses(NamedTuple):
    """Ctrl-C, so many times."""

    times: int
    moment: str  # start, or training
    delay: float
    gap: float


class Pressed(KeyboardInterrupt):
    """Ctrl-C of a test."""


def press(presses: Presses, case: Any, **options: Any) -> Outcome:
    """Press Ctrl-C during a run in the main thread, again and again until it ends."""
    before = footprint()
    begun, over = threading.Event(), threading.Event()
    seen = 0

    def see(number: int, frame: Any) -> None:
        nonlocal seen
        while frame is not None and frame.f_code.co_name not in ("minimize", "inner"):
            frame = frame.f_back
        if frame is not None:  # in the run, not in what surrounds it
            seen += 1
            raise Pressed

    def act() -> None:
        begun.wait()
        for count in itertools.count():
            # beyond those asked for: Python drops an interrupt that comes in the callback of a weak reference
            pause = presses.gap if count < presses.times else 2.0
            if over.wait(pause if count else presses.delay):
                return
            os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, see)
    thread = threading.Thread(target=act, name="presser", daemon=True)
    faulthandler.dump_traceback_later(2 * HANG_SECONDS, exit=True)
    error, text, result = None, "", None
    thread.start()
    try:
        if presses.moment == "start":
            begun.set()
        result = hogwild.minimize(
            case,
            epochs=10**7,
            step_size=1e-3,
            time_limit=HANG_SECONDS,
            callback=lambda row: begun.set(),
            **options,
        )
    except Pressed as raised:
        error, text = Pressed, "".join(traceback.format_exception(raised))
    finally:
        over.set()
        begun.set()
        restored = signal.getsignal(signal.SIGINT) is see
        thread.join()
        signal.signal(signal.SIGINT, previous)
        faulthandler.cancel_dump_traceback_later()
    left = left_behind(before)
    if not restored:
        left["handler of Ctrl-C"] = (see, previous)
    return Outcome(seen, error, text, result, False, left)


def run_and_tell(connection: Any, case: Any, options: dict[str, Any]) -> None:
    """Run in a process that will be killed, and tell of each checkpoint."""
    tracker: Any = resource_tracker._resource_tracker  # type: ignore[attr-defined]
    tracker._fd = tracker._pid = None  # it needs its own: that of its parent lives on
    hogwild.minimize(
        case,
        epochs=10**7,
        step_size=1e-3,
        callback=lambda row: connection.send(row.updates),
        **options,
    )


def orphans(moment: str, delay: float, case: Any, **options: Any) -> dict[str, Any]:
    """Kill a process with a run; return what is left of its workers and servers, and in their folder."""
    folder = Path(multiprocessing.util.get_temp_dir())
    files = set(folder.iterdir())
    ours, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        parent = multiprocessing.get_context("fork").Process(
            target=run_and_tell, args=(theirs, case, options), daemon=False
        )
        parent.start()
    theirs.close()
    if moment == "start":
        until = time.monotonic() + HANG_SECONDS
        while not (family := psutil.Process(parent.pid).children()) and time.monotonic() < until:
            time.sleep(0.001)
    else:
        ours.recv()
    time.sleep(delay)
    family = psutil.Process(parent.pid).children(recursive=True)
    pid = parent.pid
    parent.kill()
    parent.join()
    parent.close()
    ours.close()
    left: dict[str, Any] = {}
    if alive := psutil.wait_procs(family, timeout=PATIENCE)[1]:
        left["processes"] = [process.cmdline() for process in alive]
        for process in alive:
            process.kill()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = set(folder.iterdir()) - files, shared_memory(pid)
        if found == (set(), set()):
            return left
        time.sleep(0.01)
    return left | {"files and memory": found}
