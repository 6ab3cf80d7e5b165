"""Teams of several workers: the pipes, the common start, the reports, and who looks after them.

A team lives as long as a run. Its workers sleep on a pipe until a segment arrives, say that they are ready,
and are released together by a flag on which they spin in compiled code. So starting, waking and pickling are
never on the training clock.
"""

import contextlib
import itertools
import math
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np

from hogwild.engine.atomics import load, load_acquire
from hogwild.engine.cells import spin
from hogwild.engine.compiling import compiled
from hogwild.sharing.schedule import Plan, Schedule, Segment
from hogwild.teams.memory import Shared
from hogwild.teams.work import Report, RunQueue, Signals, perform, pin

_SPINS_PER_LOOK = 100_000  # a waiting worker looks at the stop flag a few hundred times a second
FAREWELL_SECONDS = 5.0
_LOOK_SECONDS = 1.0  # after the time limit, between two looks for stopped workers
_SLEEPS_PER_LOOK = 10


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a run, or is stopped and the run's time limit has passed."""


class Team(Protocol):
    """What `hogwild.minimize` asks of workers."""

    weights: np.ndarray  # of all workers, as the schedule has laid them out
    schedule: Schedule
    guard: Any

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment; return the seconds from the common start to the last end, and the reports."""

    def close(self) -> None:
        """End the workers and leave nothing behind."""


def shared_weights(plan: Plan) -> Plan:
    """Return the plan with weights and guards in shared memory, as in every backend: page size matters."""
    weights, schedule, guard = Shared((plan.weights, plan.schedule, plan.guard)).open()
    return plan._replace(weights=weights, schedule=schedule, guard=guard)


@compiled
def spin_until(go: Any, stop: Any, ticket: int, looks: int) -> bool:
    """Wait for a flag to reach a ticket; give up after a number of looks, or when all are to stop."""
    spins = 0
    for _ in range(looks):
        if load_acquire(go, 0) >= ticket:
            return True
        if load(stop, 0):
            break
        spins = spin(spins)
    return False


def serve(plan: Plan, worker: int, connection: Connection, signals: Signals, core: int | None) -> None:
    """Perform and report the segments that arrive on a connection until it closes."""
    queue = RunQueue()
    try:
        pin(core)
        own = plan.schedule.assign(plan, worker)
        plan.schedule.compile(own)
        spin_until(signals.go, signals.stop, 0, 1)
        connection.send(None)
        while (order := connection.recv()) is not None:
            ticket, segment = order
            starved = queue.seconds()
            signals.workers["ready"][worker] = ticket
            while not spin_until(signals.go, signals.stop, ticket, _SPINS_PER_LOOK):
                if signals.stop[0]:
                    return
            report = perform(own, segment, signals.stop)
            connection.send(report._replace(starved_seconds=queue.seconds() - starved))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the owner is gone
    except BaseException:
        with contextlib.suppress(OSError):
            connection.send(traceback.format_exc())
    finally:
        queue.close()


class CrewTeam:
    """What teams of threads and of processes have in common: the pipes, the common start, the reports."""

    def __init__(self, plan: Plan, signals: Signals) -> None:
        self.weights, self.schedule, self.guard = plan.weights, plan.schedule, plan.guard
        self._signals = signals
        self._connections: list[Connection] = []
        self._ticket = 0
        self._at_rest = False  # all workers: they wait for a segment

    def _died(self, worker: int) -> str | None:
        """Return how a worker ended, if it did without a message."""

    def _stopped(self, worker: int) -> str | None:
        """Return a message if a worker is stopped but has not ended."""

    def _how_it_ended(self, worker: int) -> str:
        """Return how a worker ended whose pipe is closed; its exit code may come a moment later."""
        wait(self._sentinels()[worker : worker + 1], FAREWELL_SECONDS)
        return self._died(worker) or f"worker {worker} closed its connection"

    def _sentinels(self) -> list[Any]:
        return []

    def _receive(self, pending: set[int], messages: dict[int, Any], patience: float | None) -> bool:
        """Wait for the workers; keep their messages, or raise what they report; return whether any came."""
        ready = wait([self._connections[worker] for worker in pending] + self._sentinels(), patience)
        for worker in [worker for worker in sorted(pending) if self._connections[worker] in ready]:
            try:
                message = self._connections[worker].recv()
            except (EOFError, ConnectionResetError):
                raise WorkerDied(self._how_it_ended(worker)) from None
            if isinstance(message, str):
                raise RuntimeError(f"worker {worker} failed:\n{message}")
            messages[worker] = message
            pending.discard(worker)
        if ready:
            self._raise_any(self._died)
        return bool(ready)

    def _raise_any(self, ill: Callable[[int], str | None]) -> None:
        for worker in range(len(self._connections)):
            if how := ill(worker):
                raise WorkerDied(how)

    def _gather(self, until: float = math.inf) -> list[Any]:
        """Return a message of each worker; after a deadline, do not wait for workers that are stopped."""
        pending, messages = set(range(len(self._connections))), dict[int, Any]()
        while pending:
            left = max(until - time.monotonic(), 0.0) + _LOOK_SECONDS
            if not self._receive(pending, messages, None if math.isinf(left) else left):
                self._raise_any(self._stopped)
        self._at_rest = True
        return [messages[worker] for worker in range(len(self._connections))]

    def _await_all(self, until: float) -> None:
        """Wait until every worker is about to spin; they have nothing else to say, unless they fail."""
        workers = range(len(self._connections))
        for look in itertools.count(1):
            if (self._signals.workers["ready"] >= self._ticket).all():
                return
            time.sleep(2e-5)
            if look % _SLEEPS_PER_LOOK == 0:
                self._receive(set(workers), {}, 0)
                if time.monotonic() > until + _LOOK_SECONDS:
                    self._raise_any(self._stopped)

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment."""
        self._ticket += 1
        self._at_rest = False
        until = time.monotonic() + segment.limit
        self.schedule.begin(self.guard)
        for worker, connection in enumerate(self._connections):
            try:
                connection.send((self._ticket, segment))
            except (BrokenPipeError, ConnectionResetError):
                raise WorkerDied(self._how_it_ended(worker)) from None
        self._await_all(until)
        begin = time.perf_counter_ns()
        self._signals.go[0] = self._ticket
        reports = self._gather(until)
        return (max(report.finished for report in reports) - begin) * 1e-9, reports

    def _dismiss(self) -> None:
        self._signals.stop[0] = 1
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(None)
