"""Speed, memory and quality of training: every backend on every problem, on one sparse data set."""

from __future__ import annotations

import statistics
from typing import Any

import hogwild


def backends() -> list[str]:
    """Name all backends, those that exist with threads and with processes with threads alone."""
    twins = {f"{name}_processes" for name in hogwild.BACKENDS}
    return [name for name in hogwild.BACKENDS if name not in twins]


PROBLEMS, BACKENDS = list(hogwild.problems.LINEAR_PROBLEMS), backends()
WORKERS = [1, 2]
# 2 million non-zeros do not fit into the caches of one core, and an epoch still takes only some 10 ms.
EXAMPLES, FEATURES, NONZEROS_PER_ROW = 50_000, 20_000, 40
# The pool runs one task for each example, in NumPy, more than a hundred times slower than the rest.
EXAMPLES_FOR_POOL = 1_000
EPOCHS = 10
REPEATS = 3

Figures = dict[tuple[Any, ...], dict[str, float]]


def make_problem(name: str, backend: str) -> Any:
    """Return a problem with popular and rare features, small enough for the backend."""
    data = hogwild.datasets.synthetic(
        EXAMPLES_FOR_POOL if backend == "pool" else EXAMPLES,
        FEATURES,
        nonzeros_per_row=NONZEROS_PER_ROW,
        zipf_exponent=0.8,
        task=hogwild.problems.LINEAR_PROBLEMS[name].task,
        seed=0,
    )
    return hogwild.problems.LINEAR_PROBLEMS[name].from_data(data.X, data.y, l2=1.0)


def exists(backend: str, workers: int) -> bool:
    """Tell whether a backend can have so many workers."""
    return workers == 1 or not hogwild.BACKENDS[backend].alone


def train(problem: Any, backend: str, workers: int, seed: int = 0) -> hogwild.Result:
    """Spend the budget that all figures are for."""
    return hogwild.minimize(
        problem,
        backend=backend,
        workers=workers,
        step_size=0.1,
        epochs=EPOCHS,
        seed=seed,
        observe=hogwild.Observe(pin=True),
    )


def measure(name: str) -> Figures:
    """Return the figures of all backends, their repeats interleaved: a busy neighbour hits all alike."""
    problems = {backend: make_problem(name, backend) for backend in BACKENDS}
    runs: dict[tuple[str, int], list[hogwild.Result]] = {
        (backend, workers): [] for backend in BACKENDS for workers in WORKERS if exists(backend, workers)
    }
    for problem in problems.values():
        problem.solve()
    for seed in range(REPEATS):
        for cell, results in runs.items():
            results.append(train(problems[cell[0]], *cell, seed=seed))
    return {(name, *cell): summarise(problems[cell[0]], results) for cell, results in runs.items()}


def summarise(problem: Any, results: list[hogwild.Result]) -> dict[str, float]:
    """Return the medians of several runs."""
    seconds = statistics.median(result.train_seconds for result in results) / EPOCHS
    return {
        "epoch_seconds": seconds,
        "ns_per_nonzero": 1e9 * seconds / problem.nonzeros,
        "setup_seconds": statistics.median(result.setup_seconds for result in results),
        "suboptimality": statistics.median(result.suboptimality for result in results),
    }


class Training:
    """What the budget costs and what it achieves, for each backend."""

    params = (PROBLEMS, BACKENDS, WORKERS)
    param_names = ("problem", "backend", "workers")
    timeout = 600

    def setup_cache(self) -> Figures:
        return {cell: figures for name in PROBLEMS for cell, figures in measure(name).items()}

    def setup(self, figures: Figures, *cell: Any) -> None:
        if cell not in figures:
            raise NotImplementedError  # asv's way to leave a cell out

    def track_epoch_seconds(self, figures: Figures, *cell: Any) -> float:
        return figures[cell]["epoch_seconds"]

    def track_ns_per_nonzero(self, figures: Figures, *cell: Any) -> float:
        return figures[cell]["ns_per_nonzero"]

    def track_time_over_serial(self, figures: Figures, *cell: Any) -> float:
        problem, _, _ = cell
        return figures[cell]["ns_per_nonzero"] / figures[problem, "serial", 1]["ns_per_nonzero"]

    def track_setup_seconds(self, figures: Figures, *cell: Any) -> float:
        return figures[cell]["setup_seconds"]

    def track_suboptimality(self, figures: Figures, *cell: Any) -> float:
        return figures[cell]["suboptimality"]

    track_epoch_seconds.unit = "s"  # type: ignore[attr-defined]
    track_ns_per_nonzero.unit = "ns"  # type: ignore[attr-defined]
    track_time_over_serial.unit = "of serial"  # type: ignore[attr-defined]
    track_setup_seconds.unit = "s"  # type: ignore[attr-defined]
    track_suboptimality.unit = "of f(0) - f*"  # type: ignore[attr-defined]


class Memory:
    """Peak memory of the process that calls `minimize`, its data included."""

    params = ([backend for backend in BACKENDS if backend != "pool"],)
    param_names = ("backend",)
    timeout = 120

    def setup(self, backend: str) -> None:
        self.problem = make_problem("logistic", backend)

    def peakmem_train(self, backend: str) -> None:
        train(self.problem, backend, workers=2 if exists(backend, 2) else 1)
