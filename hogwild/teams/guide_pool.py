"""The tutorial's own scheme: a task per mini-batch through a `multiprocessing.Pool`, in NumPy, no lock.

Kept as the baseline that the tutorial's readers run. The gradient and the threshold are those of the compiled
kernels.
"""

import math
import multiprocessing.pool
import os
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.delays import NoDelay, spend
from hogwild.engine.sampling import epoch_key, examples_at
from hogwild.engine.steps import in_epoch, step_at
from hogwild.problems.losses import derivative
from hogwild.problems.rows import NoPenalty, exceeds
from hogwild.sharing.schedule import Plan, Segment, batch_size_of
from hogwild.teams.borrowed import Held
from hogwild.teams.crew import WorkerDied
from hogwild.teams.memory import Shared
from hogwild.teams.server import PoolContext, become_worker
from hogwild.teams.work import Report, Signals, pin, usable_cores

_LOOK_SECONDS = 0.1
_FAREWELL_SECONDS = 3.0
_LAST_SECONDS = 30.0  # for a pool to end by force
_PATIENCE_SECONDS = 1.0  # after the time limit, with workers that are stopped
_MUCH = 2**20  # bytes of tasks


class _Tools(NamedTuple):
    """What a pool's worker process needs, in shared memory."""

    weights: np.ndarray
    loss: Any
    slopes: np.ndarray | None
    threshold: Any
    delay: Any
    signals: Signals  # a worker is ready when it is up
    updates: np.ndarray  # int64 of shape (workers,)
    cpu_seconds: np.ndarray  # of shape (workers,)


_given: list[
    tuple[_Tools, int]
] = []  # in a worker process: the guide keeps the shared array in a global, too


def _initialise(handle: Shared, tickets: Any, usable: list[int], cores: list[int | None]) -> None:
    become_worker(usable)
    tools: _Tools = handle.open()
    worker = tickets.get()
    if worker < len(cores):
        pin(cores[worker])
    _given.append((tools, worker))
    tools.signals.workers["ready"][worker] = 1


def batch_step(
    weights: Any, loss: Any, slopes: Any, threshold: Any, rate: float, rows: list[tuple[Any, Any, float]]
) -> None:
    """Take one mini-batch step in place, on the components of the averaged gradient that are large enough.

    Parameters
    ----------
    weights : ndarray of shape (n_features,)
    loss : a record of `hogwild.problems.losses`
    slopes : ndarray of shape (n_features,), or None
        2 λ / d_u of the degree-scaled penalty.
    threshold : a record of `hogwild.problems.rows`
    rate : float
    rows : list of (indices, values, target)
    """
    touched = np.concatenate([indices for indices, _, _ in rows])
    terms: list[Any] = []
    for indices, values, target in rows:
        here = weights[indices]
        term = derivative(loss, values @ here, target) * values
        terms.append(term if slopes is None else term + slopes[indices] * here)
    gradient: Any = np.concatenate(terms) / len(rows)
    if len(rows) > 1:
        touched, places = np.unique(touched, return_inverse=True)  # a coordinate once, with its sum
        gradient = np.bincount(places.ravel(), gradient)
    large = exceeds(threshold, gradient) | np.zeros(gradient.size, bool)
    weights[touched[large]] -= (rate * gradient[large]).astype(weights.dtype)


def _task(task: tuple[float, list[tuple[Any, Any, float]]]) -> None:
    tools, worker = _given[-1]
    if tools.signals.stop[0]:
        return
    rate, rows = task
    if tools.delay != NoDelay():
        spend(tools.delay, len(rows))
    with np.errstate(over="ignore", invalid="ignore"):  # divergence shows at the evaluation
        batch_step(tools.weights, tools.loss, tools.slopes, tools.threshold, rate, rows)
    tools.updates[worker] += len(rows)
    tools.cpu_seconds[worker] = time.process_time()


class _Pool(multiprocessing.pool.Pool):
    """A pool whose end does not wait for a worker that died holding a lock, or half a task."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:  # no memory for one more thread, for example
            handler: Any = getattr(self, "_worker_handler", None)
            if handler is not None and handler.is_alive():
                handler._state = multiprocessing.pool.TERMINATE
                self._change_notifier.put(None)  # type: ignore[attr-defined]
                handler.join()  # it ends the others
            raise

    @staticmethod
    def _help_stuff_finish(inqueue: Any, task_handler: Any, size: int) -> None:
        """Do nothing: `PoolTeam.close` handles tasks that nobody takes."""

    def drain(self) -> None:
        """Empty the pipe of tasks; its readers have ended."""
        reader = self._inqueue._reader  # type: ignore[attr-defined]
        while reader.poll():
            os.read(reader.fileno(), _MUCH)

    def hang_up(self) -> None:
        """Let nobody wait for the rest of a result."""
        self._outqueue._writer.close()  # type: ignore[attr-defined]


class PoolTeam:
    """A pool of processes that is handed one pickled task per mini-batch."""

    def __init__(self, plan: Plan, cores: list[int | None]) -> None:
        self._plan, self.schedule, self.guard = plan, plan.schedule, plan.guard
        problem = plan.problem
        slopes = None if isinstance(problem.penalty, NoPenalty) else problem.penalty.slopes
        how = (problem.loss, slopes, problem.threshold, plan.delay, Signals.for_workers(plan.workers))
        counts = np.zeros(plan.workers, np.int64), np.zeros(plan.workers)
        handle = Shared(_Tools(plan.weights, *how, *counts))
        tools: _Tools = handle.open()
        self.weights, self._signals = tools.weights, tools.signals
        self._updates, self._cpu_seconds = tools.updates, tools.cpu_seconds
        self._context, self._at_rest = PoolContext(plan.workers), True
        self._pool: Any = None
        with Held():  # a semaphore takes its name first, and registers its removal after
            tickets = self._context.SimpleQueue()
        for worker in range(plan.workers):
            tickets.put(worker)
        try:
            with Held():
                self._pool = _Pool(
                    plan.workers,
                    _initialise,
                    (handle, tickets, usable_cores(), cores),
                    context=self._context,
                )
            while not self._signals.workers["ready"].all():  # every worker up before the clock starts
                self._check()
                time.sleep(0.001)
        except BaseException:
            self.close()
            raise

    def _check(self, late: bool = False) -> None:
        """Look after the workers: a pool waits for ever for the task of a dead one."""
        for worker, process in enumerate(self._context.processes):
            if how := process.death() or (late and process.standstill()):
                raise WorkerDied(f"pool worker {worker} {how}")

    def _tasks(self, segment: Segment) -> list[tuple[float, list[tuple[Any, Any, float]]]]:
        problem, batch = self._plan.problem, batch_size_of(self._plan)
        examples = problem.targets.size
        key = np.uint64(epoch_key(self._plan.sampling.seed, segment.epoch))
        step = in_epoch(segment.step, segment.epoch)
        order = examples_at(self._plan.sampling, examples, key, segment.begin, segment.end)
        tasks = []
        for begin in range(segment.begin, segment.end, batch):
            rows = []
            for chosen in order[begin - segment.begin :][:batch]:
                entries = slice(int(problem.indptr[chosen]), int(problem.indptr[chosen + 1]))
                rows.append((problem.indices[entries], problem.values[entries], problem.targets[chosen]))
            tasks.append((float(step_at(step, segment.epoch + begin / examples)), rows))
        return tasks

    def run(self, segment: Segment) -> tuple[float, list[Report]]:
        """Perform a segment."""
        tasks = self._tasks(segment)
        updates, cpu_seconds = self._updates.copy(), self._cpu_seconds.copy()
        self._at_rest = False
        begin = time.perf_counter_ns()
        pending = self._pool.map_async(_task, tasks)
        while not pending.ready():
            left = segment.limit - (time.perf_counter_ns() - begin) * 1e-9
            if left <= 0:
                self._signals.stop[0] = 1
            pending.wait(min(_LOOK_SECONDS, max(left, 0.001)))
            self._check(late=left < -_PATIENCE_SECONDS)
        pending.get()
        self._at_rest = True
        finished = time.perf_counter_ns()
        reports = [
            Report(int(done), float(cpu), math.nan, finished)
            for done, cpu in zip(self._updates - updates, self._cpu_seconds - cpu_seconds, strict=True)
        ]
        return (finished - begin) * 1e-9, reports

    def close(self) -> None:
        """End the pool, gently if its workers rest."""
        with Held():
            if self._pool is not None:
                ending = threading.Thread(target=self._pool.terminate, daemon=True)
                try:
                    ending.start()
                except RuntimeError:  # there is no memory for one more thread
                    self._clear()
                    self._pool.terminate()
                else:
                    if self._at_rest and not any(process.death() for process in self._context.processes):
                        ending.join(_FAREWELL_SECONDS)
                    self._force(ending)
            for process in self._context.processes:
                process.end()
            self._context.unlink()

    def _clear(self) -> None:
        """Remove whatever a thread of the pool may wait for."""
        for process in self._context.processes:
            process.kill()
        self._context.free_locks()
        self._pool.drain()

    def _force(self, ending: threading.Thread) -> None:
        """Help a pool to its end."""
        began = time.monotonic()
        while ending.is_alive() and time.monotonic() - began < _LAST_SECONDS:
            self._clear()
            if time.monotonic() - began > _FAREWELL_SECONDS:
                self._pool.hang_up()
            ending.join(_LOOK_SECONDS / 10)
