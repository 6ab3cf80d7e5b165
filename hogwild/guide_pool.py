"""The tutorial's own scheme: a task per mini-batch through a `multiprocessing.Pool`, in NumPy, no lock.

Kept as the baseline that the tutorial's readers run. The gradient and the threshold are those of the compiled
kernels.
"""

import math
import multiprocessing
import threading
import time
from typing import Any

import numpy as np

from hogwild.delays import NoDelay, spend
from hogwild.linear import NoPenalty, exceeds
from hogwild.losses import derivative
from hogwild.sampling import epoch_key, examples_at
from hogwild.shared import Shared
from hogwild.steps import StepRule, in_epoch, step_at
from hogwild.teams import WorkerDied, become_worker, process_context, without_script
from hogwild.work import STOP, Plan, Report, Segment, pin

_LOOK_SECONDS = 0.1
_FAREWELL_SECONDS = 3.0
_UP = 1  # from here on the flags say which workers are up
_state: dict[str, Any] = {}  # of a pool's worker process: the guide keeps the shared array in a global, too


def _initialise(handle: Shared, tickets: Any, cores: list[int | None]) -> None:
    become_worker()
    weights, loss, slopes, threshold, delay, flags, updates, cpu_seconds = handle.open()
    worker = tickets.get()
    if worker < len(cores):
        pin(cores[worker])
    _state.update(
        weights=weights,
        loss=loss,
        slopes=slopes,
        threshold=threshold,
        delay=delay,
        flags=flags,
        updates=updates,
        cpu_seconds=cpu_seconds,
        worker=worker,
    )
    flags[_UP + worker] = 1


def batch_step(
    weights: Any, loss: Any, slopes: Any, threshold: Any, rate: float, rows: list[tuple[Any, Any, float]]
) -> None:
    """Take one mini-batch step in place, on the components of the averaged gradient that are large enough.

    Parameters
    ----------
    weights : ndarray of shape (n_features,)
    loss : a record of `hogwild.losses`
    slopes : ndarray of shape (n_features,), or None
        2 λ / d_u of the degree-scaled penalty.
    threshold : a record of `hogwild.linear`
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
    if _state["flags"][STOP]:
        return
    rate, rows = task
    if _state["delay"] != NoDelay():
        spend(_state["delay"], len(rows))
    batch_step(_state["weights"], _state["loss"], _state["slopes"], _state["threshold"], rate, rows)
    _state["updates"][_state["worker"]] += len(rows)
    _state["cpu_seconds"][_state["worker"]] = time.process_time()


class PoolTeam:
    """A pool of processes that is handed one pickled task per mini-batch."""

    def __init__(self, plan: Plan, step: StepRule, cores: list[int | None]) -> None:
        self._plan, self.policy = plan, plan.policy
        problem = plan.problem
        slopes = None if isinstance(problem.penalty, NoPenalty) else problem.penalty.slopes
        counts = np.zeros(plan.workers, np.int64), np.zeros(plan.workers)
        handle = Shared(
            (
                plan.weights,
                problem.loss,
                slopes,
                problem.threshold,
                plan.delay,
                np.zeros(_UP + plan.workers, np.int64),
                *counts,
            )
        )
        self.weights, _, _, _, _, self._flags, self._updates, self._cpu_seconds = handle.open()
        context = process_context()
        tickets = context.SimpleQueue()
        for worker in range(plan.workers):
            tickets.put(worker)
        self._others = set(multiprocessing.active_children())
        with without_script():
            self._pool = context.Pool(plan.workers, _initialise, (handle, tickets, cores))
        # a pool replaces a worker that dies and waits for its lost task for ever, so we watch them ourselves
        self._processes = [child for child in multiprocessing.active_children() if child not in self._others]
        try:
            while not self._flags[_UP:].all():  # every worker up before the clock starts
                self._check()
                time.sleep(0.001)
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        for worker, process in enumerate(self._processes):
            if not process.is_alive():
                how = f"ended early with exit code {process.exitcode}"
                raise WorkerDied(f"pool worker {worker} (process {process.pid}) {how}")

    def _tasks(self, segment: Segment) -> list[tuple[float, list[tuple[Any, Any, float]]]]:
        problem, batch = self._plan.problem, self._plan.batch_size
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
        begin = time.perf_counter_ns()
        pending = self._pool.map_async(_task, tasks)
        while not pending.ready():
            left = segment.limit - (time.perf_counter_ns() - begin) * 1e-9
            if left <= 0:
                self._flags[STOP] = 1
            pending.wait(min(_LOOK_SECONDS, max(left, 0.001)))
            self._check()
        pending.get()
        finished = time.perf_counter_ns()
        reports = [
            Report(int(done), float(cpu), math.nan, finished)
            for done, cpu in zip(self._updates - updates, self._cpu_seconds - cpu_seconds, strict=True)
        ]
        return (finished - begin) * 1e-9, reports

    def close(self) -> None:
        """End the pool; kill it where it cannot end itself: a dead worker may hold its queue's lock."""
        ending = threading.Thread(target=self._pool.terminate, daemon=True)
        ending.start()
        ending.join(_FAREWELL_SECONDS)
        for process in set(multiprocessing.active_children()) - self._others:
            process.kill()
            process.join()
        if not ending.is_alive():
            self._pool.join()
