"""Worker processes: forked from a clean server of our own that has this package loaded.

They are `multiprocessing`'s, with a few differences. They do not run the caller's script again, so it needs
no guard, and nothing of the caller's changes while they start. They belong to their team alone: they are not
among the active children, which any thread may poll and join. They end with their parent, whatever it is, so
even a daemonic process may have them. Ctrl-C does not reach them.
"""

import contextlib
import gc
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import context, forkserver, popen_forkserver, process, reduction, resource_tracker, util
from multiprocessing.connection import wait
from typing import Any

from hogwild.teams.borrowed import Held

_REAPING_SECONDS = 30.0  # for the server to report that a killed process has ended
_BRIEFLY = 0.5
_ATTEMPTS = 3
_UNKNOWN = 255  # exit code of a process whose server ended before it


class _Server(forkserver.ForkServer):
    """A server for this process alone, beside the one that the program may use."""

    def __init__(self) -> None:
        super().__init__()
        self.set_forkserver_preload(["hogwild.preload"])

    def connect(self, descriptors: list[int]) -> tuple[int, int]:
        """Ask for a process; return the pipes of its number and exit code, and of its orders."""
        resource_tracker.ensure_running()  # which clears the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(ConnectionRefusedError):  # by one that has just been killed
                    return self.connect_to_new_process(descriptors)
                time.sleep(_BRIEFLY)
            return self.connect_to_new_process(descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_server = _Server()


def _forget_server() -> None:
    """A forked process needs a server of its own: it cannot wait for its parent's children."""
    global _server
    alive = _server._forkserver_alive_fd  # type: ignore[attr-defined]
    if alive is not None:
        os.close(alive)  # or the parent's server would live as long as we do
    _server = _Server()


os.register_at_fork(after_in_child=_forget_server)


class _Popen(popen_forkserver.Popen):
    """As in the standard library, but from our server, and without the caller's main module."""

    def __init__(self, started: process.BaseProcess) -> None:
        self._lock = threading.Lock()
        super().__init__(started)

    def _launch(self, started: process.BaseProcess) -> None:
        order = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            home = process.ORIGINAL_DIR  # type: ignore[attr-defined]
            path = [entry or home for entry in sys.path]
            reduction.dump({"name": started.name, "sys_path": path}, order)
            reduction.dump(started, order)
        finally:
            context.set_spawning_popen(None)
        with Held():
            self.sentinel, orders = _server.connect(self._fds)  # type: ignore[attr-defined]
            ends = (self.sentinel, orders)
            self.finalizer = util.Finalize(self, util.close_fds, ends)  # type: ignore[attr-defined]
            # open as long as we live: when it closes, the process ends
            with open(orders, "wb", closefd=False) as pipe:
                pipe.write(order.getbuffer())
        try:
            self.pid = forkserver.read_signed(self.sentinel)
        except BaseException:
            self.finalizer()
            raise

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if flag != os.WNOHANG:
            wait([self.sentinel])
        with self._lock:  # the exit code can be read only once
            return super().poll()


class WorkerProcess(context.ForkServerProcess):
    """A process of a team."""

    _popen: Any

    _Popen: Any = staticmethod(_Popen)

    def start(self) -> None:
        """Start it; unlike the standard library, also from daemonic processes, and without registering it."""
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._popen is None:
            return
        super().kill()
        if self.exitcode == _UNKNOWN:  # it may live on without its server
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._popen.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, if need be, and free what belongs to it."""
        if self._popen is None:
            return
        self.kill()
        self.join(_REAPING_SECONDS)
        if self.exitcode is not None:
            self.close()

    def death(self) -> str | None:
        """Return how it ended, if it has."""
        if self._popen is None or self.is_alive():
            return None
        return f"(process {self.pid}) ended early with exit code {self.exitcode}"

    def standstill(self) -> str | None:
        """Return a message if it is stopped but has not ended, where Linux tells."""
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] == b"T":
                return f"(process {self.pid}) is stopped by a signal, and the time limit has passed"
        return None


class Nobody:
    """Takes a lost worker's place, so that its pool does not start another."""

    name, daemon, exitcode = "", True, 1

    def start(self) -> None:
        """Do nothing."""

    join = terminate = start

    def is_alive(self) -> bool:
        """Return that nobody is there."""
        return False


class PoolContext(context.ForkServerContext):
    """Makes the processes and locks of a `multiprocessing.Pool`, and lists them."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers
        self.processes: list[WorkerProcess] = []
        self.locks: list[Any] = []

    def Process(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        """Make a worker."""
        if len(self.processes) == self.workers:
            return Nobody()
        self.processes.append(WorkerProcess(*args, **options))
        return self.processes[-1]

    def Lock(self) -> Any:
        """Make a lock for processes."""
        self.locks.append(super().Lock())
        return self.locks[-1]

    def unlink(self) -> None:
        """Remove the names of the locks, which reference cycles would keep until a collection."""
        names = {lock._semlock.name for lock in self.locks}
        for finalizer in list(util._finalizer_registry.values()):  # type: ignore[attr-defined]
            if finalizer._args and finalizer._args[0] in names:
                finalizer()

    def free_locks(self) -> None:
        """Free the locks that a dead process holds; our threads never hold one for long."""
        for lock in self.locks:
            lock.acquire(timeout=_BRIEFLY)
            lock.release()


def become_worker(cores: list[int]) -> None:
    """Begin a worker: on the parent's cores, without garbage collection, for as long as the parent lives.

    The server may have been started when the parent had other cores to use.
    """
    gc.disable()  # nor does the parent while it trains
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a thread, as kernels do not look
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
