"""A team of threads of this process; kernels run without the GIL."""

import multiprocessing
import threading
import time

from hogwild.sharing.schedule import Plan
from hogwild.teams.borrowed import Held
from hogwild.teams.crew import FAREWELL_SECONDS, CrewTeam, serve, shared_weights
from hogwild.teams.memory import Shared
from hogwild.teams.work import Signals

_RELEASE_SECONDS = 0.02


class ThreadTeam(CrewTeam):
    """Threads of this process; kernels run without the GIL."""

    def __init__(self, plan: Plan, cores: list[int | None]) -> None:
        plan = shared_weights(plan)
        super().__init__(plan, Shared(Signals.for_workers(plan.workers)).open())
        self._threads: list[threading.Thread] = []
        try:
            for worker, core in enumerate(cores):
                with Held():  # nobody closes its sockets until both are there
                    ours, theirs = multiprocessing.Pipe()
                    self._connections.append(ours)
                thread = threading.Thread(
                    target=serve,
                    args=(plan, worker, theirs, self._signals, core),
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
            deadline = time.monotonic() + FAREWELL_SECONDS
            for thread in self._threads:
                while thread.is_alive() and time.monotonic() < deadline:
                    thread.join(_RELEASE_SECONDS)
                    if thread.is_alive():
                        self.schedule.release(self.guard)
            for connection in self._connections:
                connection.close()
