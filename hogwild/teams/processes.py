"""A team of persistent processes; data, weights and signals in shared memory."""

import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from hogwild.sharing.schedule import Plan
from hogwild.teams.borrowed import Held
from hogwild.teams.crew import FAREWELL_SECONDS, CrewTeam, serve
from hogwild.teams.memory import Shared
from hogwild.teams.server import WorkerProcess, become_worker
from hogwild.teams.work import Signals, usable_cores


def _serve_process(
    handle: Shared,
    worker: int,
    connection: Connection,
    cores: list[int],
    core: int | None,
) -> None:  # runs in the worker process
    become_worker(cores)
    plan, signals = handle.open()
    serve(plan, worker, connection, signals, core)


class ProcessTeam(CrewTeam):
    """Persistent processes; data, weights and flags in shared memory."""

    def __init__(self, plan: Plan, cores: list[int | None]) -> None:
        handle = Shared((plan, Signals.for_workers(plan.workers)))
        plan, signals = handle.open()
        super().__init__(plan, signals)
        self._processes: list[WorkerProcess] = []
        usable = usable_cores()
        try:
            for worker, core in enumerate(cores):
                with Held():  # nobody closes its sockets until both are there
                    ours, theirs = multiprocessing.Pipe()
                    self._connections.append(ours)
                process = WorkerProcess(
                    target=_serve_process,
                    args=(handle, worker, theirs, usable, core),
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
        """End the processes, gently if they rest."""
        with Held():
            self._dismiss()
            deadline = time.monotonic() + FAREWELL_SECONDS * self._at_rest
            for process in self._processes:
                if process.pid is not None:
                    process.join(max(0.0, deadline - time.monotonic()))
                process.end()
            for connection in self._connections:
                connection.close()
