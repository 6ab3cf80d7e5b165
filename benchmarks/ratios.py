"""Times as ratios: over serial, over scikit-learn, over what the memory allows.

Both sides of a ratio are timed in turns within one call, after a run of each that does not count; the median
of the ratios is what is kept.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hogwild
from benchmarks import training

# the pool is too slow for as much data
BACKENDS = [name for name in training.BACKENDS if training.exists(name, 2) and name != "pool"]
WORKERS = 2
REPEATS = 5
STEP, EPOCHS = 0.1, 5
STREAMED_BYTES = 2**28  # more than caches hold
# our problem -> scikit-learn's class and loss
ESTIMATORS = {
    "least_squares": ("SGDRegressor", "squared_error"),
    "logistic": ("SGDClassifier", "log_loss"),
    "hinge": ("SGDClassifier", "hinge"),
}


def make_problem(name: str) -> Any:
    """Return the data of the other benchmarks without a penalty, which scikit-learn has in another form."""
    problem = training.make_problem(name, "serial")
    return type(problem).from_data(problem.X, problem.y)


def ours(problem: Any, backend: str = "serial", penalty: str = "touched") -> float:
    """Return the training seconds of a streamed epoch."""
    result = hogwild.minimize(
        problem,
        backend=backend,
        workers=None if backend == "serial" else WORKERS,
        sampling="shuffled_once",
        penalty=penalty,
        step_size=STEP,
        epochs=EPOCHS,
        observe=hogwild.Observe(pin=True),
    )
    return result.train_seconds / EPOCHS


def theirs(problem: Any, shuffle: bool) -> float:
    """Return the seconds of an epoch of scikit-learn's SGD on the same objective."""
    from sklearn import linear_model

    kind, loss = ESTIMATORS[problem.name]
    model = getattr(linear_model, kind)(
        loss=loss,
        penalty=None,
        learning_rate="constant",
        eta0=STEP * (2 if loss == "squared_error" else 1),  # theirs is half of our squared error
        max_iter=EPOCHS,
        tol=None,
        fit_intercept=False,
        shuffle=shuffle,
        random_state=0,
    )
    begin = time.perf_counter()
    model.fit(problem.X, problem.y)
    return (time.perf_counter() - begin) / EPOCHS


def streaming(problem: Any, cores: int) -> float:
    """Return the seconds in which so many cores read as many bytes as the problem's entries have."""
    array = np.ones(STREAMED_BYTES // 8, np.int64)
    shares = np.array_split(array, cores)
    ready, marks = threading.Barrier(cores), np.zeros((cores, 2))

    def read(mine: int) -> None:
        ready.wait()
        marks[mine, 0] = time.perf_counter()
        shares[mine].sum()
        marks[mine, 1] = time.perf_counter()

    threads = [threading.Thread(target=read, args=(mine,)) for mine in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = problem.X.data.nbytes + problem.X.indices.nbytes
    return float(marks[:, 1].max() - marks[:, 0].min()) * entries / array.nbytes


def ratio(above: Callable[[], float], below: Callable[[], float]) -> float:
    """Return the median ratio of two times, taken in turns."""
    above(), below()
    return statistics.median(above() / below() for _ in range(REPEATS))


class OverSerial:
    """Time of a streamed epoch over that of serial."""

    params = (training.PROBLEMS, BACKENDS)
    param_names = ("problem", "backend")
    timeout = 300

    def setup(self, problem: str, backend: str) -> None:
        self.problem = make_problem(problem)

    def track_time_over_serial(self, problem: str, backend: str) -> float:
        return ratio(lambda: ours(self.problem, backend), lambda: ours(self.problem))

    track_time_over_serial.unit = "of serial"  # type: ignore[attr-defined]


class ScaledPenalty:
    """Time of a streamed epoch with the penalty as a common factor, over that with it on what is touched."""

    params = (training.PROBLEMS, ["serial", "replicated"])
    param_names = ("problem", "backend")
    timeout = 300

    def setup(self, problem: str, backend: str) -> None:
        self.problem = training.make_problem(problem, "serial")

    def track_time_over_touched(self, problem: str, backend: str) -> float:
        return ratio(lambda: ours(self.problem, backend, "scaled"), lambda: ours(self.problem, backend))

    track_time_over_touched.unit = "of the penalty on touched weights"  # type: ignore[attr-defined]


class OverSklearn:
    """Time of a streamed serial epoch over that of scikit-learn's SGD."""

    params = (training.PROBLEMS, ["shuffled", "unshuffled"])
    param_names = ("problem", "order")
    timeout = 300

    def setup(self, problem: str, order: str) -> None:
        try:
            import sklearn  # noqa: F401
        except ImportError as error:
            raise NotImplementedError from error  # asv's way to leave a cell out
        if problem not in ESTIMATORS:
            raise NotImplementedError
        self.problem = make_problem(problem)

    def track_time_over_sklearn(self, problem: str, order: str) -> float:
        return ratio(lambda: ours(self.problem), lambda: theirs(self.problem, order == "shuffled"))

    track_time_over_sklearn.unit = "of scikit-learn"  # type: ignore[attr-defined]


class OverMemory:
    """Time of a streamed epoch over that in which the same cores only read as many bytes."""

    params = (training.PROBLEMS, ["serial", "hogwild_threads", "replicated"])
    param_names = ("problem", "backend")
    timeout = 300

    def setup(self, problem: str, backend: str) -> None:
        self.problem = make_problem(problem)

    def track_time_over_memory(self, problem: str, backend: str) -> float:
        cores = 1 if backend == "serial" else min(WORKERS, os.cpu_count() or 1)
        return ratio(lambda: ours(self.problem, backend), lambda: streaming(self.problem, cores))

    track_time_over_memory.unit = "of the limit"  # type: ignore[attr-defined]
