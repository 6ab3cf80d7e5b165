"""Matrix completion next to a loop in C++ and to what the memory allows: nanoseconds per update.

``python -m benchmarks.completion`` prints the table. Without a C++ compiler there is no comparison.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import hogwild
from benchmarks import native

RANK, STEP, EPOCHS, REPEATS = 10, 0.01, 3, 7
ROWS = 10_000  # and columns, with 200 entries each: 32 MB of triplets, 1.6 MB of factors


def native_epoch(problem: Any, order: np.ndarray, weights: np.ndarray) -> float:
    """Run the C++ loop over the entries in an order, in place; return the seconds of `EPOCHS` epochs."""
    left, right = (np.ascontiguousarray(part) for part in problem.factors(weights))
    rows, columns = (part[order].view(np.uint32) for part in (problem.rows, problem.columns))
    values = problem.values[order]
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (rows, columns, values, left, right)]
    arguments = (*pointers[:3], ctypes.c_int64(values.size), *pointers[3:], ctypes.c_int64(problem.rank))
    epoch = native.library(Path(__file__).with_suffix(".cpp")).epoch
    epoch.restype = None
    begin = time.perf_counter()
    for _ in range(EPOCHS):
        epoch(*arguments, ctypes.c_double(STEP))
    seconds = time.perf_counter() - begin
    weights[:] = np.concatenate([left.ravel(), right.ravel()])
    return seconds


def ours(problem: Any, weights: np.ndarray) -> hogwild.Result:
    """Run the library's serial backend on the same start, streamed."""
    return hogwild.minimize(
        problem,
        sampling="shuffled_once",
        step_size=STEP,
        epochs=EPOCHS,
        initial_weights=weights,
        observe=hogwild.Observe(pin=True),
    )


def bandwidth() -> float:
    """Return the bytes per second that one core copies, read and written bytes counted: best of several."""
    source = np.ones(16_000_000)
    target = np.empty_like(source)
    best = 0.0
    for _ in range(REPEATS):
        begin = time.perf_counter()
        np.copyto(target, source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - begin))
    return best


def measure(rows: int = ROWS, repeats: int = REPEATS) -> dict[str, float]:
    """Return medians: ns per update of both loops, their ratio, and the bound by memory traffic.

    The bound counts a triplet's 16 bytes and reading and writing both factor rows, as if nothing stayed in
    a cache: a loop whose factors do stay there is faster.
    """
    data = hogwild.datasets.jumbo_twin(n_rows=rows, seed=0)
    problem = hogwild.problems.MatrixCompletion.from_data(
        data.rows, data.columns, data.values, shape=data.shape, rank=RANK
    )
    start = problem.start(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(problem.n_examples)
    times: dict[str, list[float]] = {"native": [], "ours": []}
    for _ in range(repeats):
        times["native"].append(native_epoch(problem, order, start.copy()))
        times["ours"].append(ours(problem, start).train_seconds)
    scale = 1e9 / EPOCHS / problem.n_examples
    ratios = [mine / theirs for mine, theirs in zip(times["ours"], times["native"], strict=True)]
    found = {name: scale * statistics.median(seconds) for name, seconds in times.items()}
    traffic = 16 + 4 * RANK * problem.dtype.itemsize
    return {**found, "ratio": statistics.median(ratios), "memory_bound": 1e9 * traffic / bandwidth()}


class Completion:
    """The library's loop over streamed ratings against one in C++."""

    timeout = 600

    def setup_cache(self) -> dict[str, float] | None:
        return measure() if native.compiler() else None

    def setup(self, figures: dict[str, float] | None) -> None:
        if figures is None:
            raise NotImplementedError  # asv's way to leave a cell out

    def track_ns_per_update(self, figures: dict[str, float]) -> float:
        return figures["ours"]

    def track_time_over_native(self, figures: dict[str, float]) -> float:
        return figures["ratio"]

    def track_time_over_memory_bound(self, figures: dict[str, float]) -> float:
        return figures["ours"] / figures["memory_bound"]

    track_ns_per_update.unit = "ns"  # type: ignore[attr-defined]
    track_time_over_native.unit = "of C++"  # type: ignore[attr-defined]
    track_time_over_memory_bound.unit = "of the bound"  # type: ignore[attr-defined]


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:14} {value:8.2f} {'' if name == 'ratio' else 'ns per update'}")
