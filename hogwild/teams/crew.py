"""Who runs the updates: the caller itself, a team of threads, or a team of processes on shared memory.

A team lives as long as a run. Its workers wait for a segment on a pipe (asleep), say that they are ready, and
are released together by a flag they spin on in compiled code, so starting, waking and pickling are never on
the training clock.
"""

import contextlib
import itertools
import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np

from hogwild.engine.atomics import SPINS_BEFORE_YIELD, give_way, load_acquire, pause
from hogwild.engine.compiling import compiled
from hogwild.engine.steps import StepRule
from hogwild.sharing.guards import release_waiting, renew
from hogwild.teams.borrowed import Held
from hogwild.teams.memory import Shared
from hogwild.teams.server import WorkerProcess, become_worker
from hogwild.teams.work import (
    NEXT,
    STOP,
    Plan,
    Report,
    RunQueue,
    Segment,
    perform,
    pin,
    plan_for,
    scratch_for,
    usable_cores,
    warm_up,
)

_LINE = 16  # int64 cells from one flag to the next: two cache lines
_GO = _LINE
_READY = 2 * _LINE
_SPINS_PER_LOOK = 100_000  # a waiting worker looks at the stop flag a few hundred times a second
_FAREWELL_SECONDS = 5.0
_LOOK_SECONDS = 1.0  # beyond the time limit, between two looks for workers that are stopped
_SLEEPS_PER_LOOK = 10
_RELEASE_SECONDS = 0.02


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a run, or is stopped and the run's time limit has passed."""


class Team(Protocol):
    """What `hogwild.minimize` asks of workers."""

    weights: Any
    policy: Any

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment; return the seconds from the common start to the last end, and the reports."""

    def close(self) -> None:
        """End the workers and leave nothing behind."""


def shared_weights(plan: Plan) -> Plan:
    """Return the plan with weights and policy in shared memory, like every backend: page size matters."""
    weights, policy = Shared((plan.weights, plan.policy)).open()
    return plan._replace(weights=weights, policy=policy)


class CallerTeam:
    """The caller performs all updates itself."""

    def __init__(self, plan: Plan, step: StepRule, cores: list[int | None]) -> None:
        plan = shared_weights(plan)
        self.weights, self.policy = plan.weights, plan.policy
        self._plan = plan_for(plan, 0)
        self._core, self._flags, self._scratch = cores[0], np.zeros(1, np.int64), scratch_for(plan)
        self._queue = RunQueue()

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment."""
        allowed = usable_cores()
        pin(self._core)
        try:
            starved, begin = self._queue.seconds(), time.perf_counter_ns()
            report = perform(self._plan, 0, segment, self._flags, self._scratch)
            starved = self._queue.seconds() - starved
        finally:
            if self._core is not None and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, allowed)
        return (report.finished - begin) * 1e-9, [report._replace(starved_seconds=starved)]

    def close(self) -> None:
        """Let go of what the system tells."""
        self._queue.close()


@compiled
def spin_until(flags: Any, index: int, ticket: int, spins: int) -> bool:
    """Wait for a flag to reach a ticket; give up after a number of looks."""
    for spin in range(1, spins + 1):
        if load_acquire(flags, index) >= ticket:
            return True
        pause()
        if spin % SPINS_BEFORE_YIELD == 0:
            give_way()
    return False


def serve(
    plan: Plan, worker: int, connection: Connection, flags: Any, core: int | None, step: StepRule
) -> None:
    """Perform and report the segments that arrive on a connection until it closes."""
    queue = RunQueue()
    try:
        pin(core)
        plan = plan_for(plan, worker)
        scratch = scratch_for(plan)
        warm_up(plan, step)
        spin_until(flags, _GO, 0, 1)
        connection.send(None)
        while (order := connection.recv()) is not None:
            ticket, segment = order
            starved = queue.seconds()
            flags[_READY + worker * _LINE] = ticket
            while not spin_until(flags, _GO, ticket, _SPINS_PER_LOOK):
                if flags[STOP]:
                    return
            report = perform(plan, worker, segment, flags, scratch)
            connection.send(report._replace(starved_seconds=queue.seconds() - starved))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the owner is gone
    except BaseException:
        with contextlib.suppress(OSError):
            connection.send(traceback.format_exc())
    finally:
        queue.close()


class _CrewTeam:
    """What teams of threads and of processes have in common: the pipes, the common start, the reports."""

    def __init__(self, plan: Plan, flags: Any) -> None:
        self.weights, self.policy = plan.weights, plan.policy
        self._flags = flags
        self._connections: list[Connection] = []
        self._ticket = 0
        self._at_rest = False  # all workers: they wait for a segment

    def _died(self, worker: int) -> str | None:
        """Return how a worker ended, if it did without a word."""

    def _stopped(self, worker: int) -> str | None:
        """Return which worker does not run although it has not ended, if it does not."""

    def _how_it_ended(self, worker: int) -> str:
        """Return how a worker ended whose pipe is closed; its exit code may come a moment later."""
        wait(self._sentinels()[worker : worker + 1], _FAREWELL_SECONDS)
        return self._died(worker) or f"worker {worker} closed its connection"

    def _sentinels(self) -> list[Any]:
        return []

    def _receive(self, pending: set[int], messages: dict[int, Any], patience: float | None) -> bool:
        """Wait for news of the workers; put their messages, or raise what they report; return whether any."""
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
        """Return a message of each worker; from a time on, do not wait for workers that are stopped."""
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
            if all(self._flags[_READY + worker * _LINE] >= self._ticket for worker in workers):
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
        self._flags[NEXT] = 0
        renew(self.policy)
        for worker, connection in enumerate(self._connections):
            try:
                connection.send((self._ticket, segment))
            except (BrokenPipeError, ConnectionResetError):
                raise WorkerDied(self._how_it_ended(worker)) from None
        self._await_all(until)
        begin = time.perf_counter_ns()
        self._flags[_GO] = self._ticket
        reports = self._gather(until)
        return (max(report.finished for report in reports) - begin) * 1e-9, reports

    def _dismiss(self) -> None:
        self._flags[STOP] = 1
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(None)


def _flags_for(workers: int) -> Any:
    return np.zeros(_READY + workers * _LINE, np.int64)


class ThreadTeam(_CrewTeam):
    """Threads of this process; kernels run without the GIL."""

    def __init__(self, plan: Plan, step: StepRule, cores: list[int | None]) -> None:
        plan = shared_weights(plan)
        super().__init__(plan, Shared(_flags_for(plan.workers)).open())
        self._threads: list[threading.Thread] = []
        try:
            for worker, core in enumerate(cores):
                with Held():  # its sockets are closed by nobody until both are there
                    ours, theirs = multiprocessing.Pipe()
                    self._connections.append(ours)
                thread = threading.Thread(
                    target=serve,
                    args=(plan, worker, theirs, self._flags, core, step),
                    daemon=True,
                    name=f"hogwild-{worker}",
                )
                self._threads.append(thread)
                with Held():
                    thread.start()
            self._gather()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop and join the threads."""
        with Held():
            self._dismiss()
            deadline = time.monotonic() + _FAREWELL_SECONDS
            for thread in self._threads:
                while thread.is_alive() and time.monotonic() < deadline:
                    thread.join(_RELEASE_SECONDS)
                    if thread.is_alive():
                        release_waiting(self.policy)
            for connection in self._connections:
                connection.close()


def _serve_process(
    handle: Shared,
    worker: int,
    connection: Connection,
    cores: list[int],
    core: int | None,
    step: StepRule,
) -> None:  # runs in the worker process
    become_worker(cores)
    plan, flags = handle.open()
    serve(plan, worker, connection, flags, core, step)


class ProcessTeam(_CrewTeam):
    """Persistent processes; data, weights and flags in shared memory."""

    def __init__(self, plan: Plan, step: StepRule, cores: list[int | None]) -> None:
        handle = Shared((plan, _flags_for(plan.workers)))
        plan, flags = handle.open()
        super().__init__(plan, flags)
        self._processes: list[WorkerProcess] = []
        usable = usable_cores()
        try:
            for worker, core in enumerate(cores):
                with Held():  # its sockets are closed by nobody until both are there
                    ours, theirs = multiprocessing.Pipe()
                    self._connections.append(ours)
                process = WorkerProcess(
                    target=_serve_process,
                    args=(handle, worker, theirs, usable, core, step),
                    daemon=True,
                    name=f"hogwild-{worker}",
                )
                self._processes.append(process)
                process.start()
                theirs.close()
            self._gather()
        except BaseException:
            self.close()
            raise

    def _sentinels(self) -> list[Any]:
        return [process.sentinel for process in self._processes]

    def _died(self, worker: int) -> str | None:
        return (how := self._processes[worker].death()) and f"worker {worker} {how}"

    def _stopped(self, worker: int) -> str | None:
        return (how := self._processes[worker].standstill()) and f"worker {worker} {how}"

    def close(self) -> None:
        """End the processes: kindly where they rest."""
        with Held():
            self._dismiss()
            deadline = time.monotonic() + _FAREWELL_SECONDS * self._at_rest
            for process in self._processes:
                if process.pid is not None:
                    process.join(max(0.0, deadline - time.monotonic()))
                process.end()
            for connection in self._connections:
                connection.close()
