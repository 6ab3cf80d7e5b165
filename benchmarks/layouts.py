"""Other ways to store sparse rows, next to ours: what a streamed epoch of least squares costs with each.

``python -m benchmarks.layouts`` prints the tables. Ours is a 32-bit index and a 64-bit value for a non-zero,
in arrays apart; one loop in C++ (`layouts.cpp`), compiled for each layout, tells what others would bring. The
next tables tell whether an order of the rows keeps two threads of Hogwild! on columns of their own, the last
ones what an order of the columns brings: weights that lie by popularity (`hogwild.datasets.popular_first`).
"""

from __future__ import annotations

import ctypes
import functools
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

import hogwild
from benchmarks import native
from benchmarks.encodings import BASELINE, LAYOUTS, Encoded

SOURCE = Path(__file__).with_suffix(".cpp")
EXAMPLES, FEATURES, NONZEROS_PER_ROW = 100_000, 47_236, 75
MANY_FEATURES = 1_000_000
DOCUMENTS: int | None = None  # of real text: all
STEP, EPOCHS, REPEATS = 0.1, 3, 9
BUCKET = 256  # rows of like length that are dealt to the halves together

Runs = dict[Any, Callable[[], tuple[float, float]]]
Found = dict[Any, tuple[list[float], list[float]]]


class Job(ctypes.Structure):
    """The record of the same name in `layouts.cpp`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("indices", "values", "starts", "positions", "targets")),
        *((name, ctypes.c_int64) for name in ("rows", "features", "epochs", "threads")),
        *((name, ctypes.c_double) for name in ("step", "scale")),
        ("weights", ctypes.c_void_p),
    ]


def run_native(
    name: str, encoded: Encoded, problem: Any, threads: int = 1
) -> tuple[float, np.ndarray] | None:
    """Run the epochs in a layout; return the seconds and each thread's weights.

    None where this processor lacks the instructions. Each thread starts from zero on its part of the rows.
    """
    function, _, precision = LAYOUTS[name]
    weights = np.zeros((threads, problem.n_features), precision)
    starts, positions = problem.X.indptr.astype(np.int64), encoded.positions.astype(np.int64)
    targets = problem.y.astype(np.float64)
    pointers = (part.ctypes.data for part in (encoded.indices, encoded.values, starts, positions, targets))
    sizes = (problem.n_examples, problem.n_features, EPOCHS, threads)
    call = getattr(native.library(SOURCE), function, None)
    if call is None:
        return None
    call.argtypes, call.restype = [ctypes.POINTER(Job)], ctypes.c_double
    seconds = call(ctypes.byref(Job(*pointers, *sizes, STEP, encoded.scale, weights.ctypes.data)))
    return seconds, weights


def run_ours(problem: Any, backend: str = "serial", workers: int = 1) -> hogwild.Result:
    """Run a backend of the library on the rows as they are stored."""
    return hogwild.minimize(
        problem,
        backend=backend,
        workers=workers,
        sampling="as_stored",
        step_size=STEP,
        epochs=EPOCHS,
        pin=True,
    )


def in_turns(runs: Runs) -> Found:
    """Return the seconds and the objectives of runs that take turns, in a new order each time.

    The first of each does not count.
    """
    turn = random.Random(0)
    found: Found = {name: ([], []) for name in runs}
    for repeat in range(1 + REPEATS):
        for name in turn.sample(list(runs), len(runs)):
            for values, value in zip(found[name], runs[name](), strict=True):
                values.extend([value] * (repeat > 0))
    return found


def timed(above: list[float], below: list[float], problem: Any) -> list[str]:
    """Return ns per non-zero (median) and the paired ratios of two times: median, smallest and largest."""
    ratios = [mine / theirs for mine, theirs in zip(above, below, strict=True)]
    time = 1e9 / EPOCHS / problem.nonzeros * statistics.median(above)
    return [f"{time:.2f}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"]


def storage_table(data: Any) -> list[list[str]]:
    """Return the rows of the table of layouts.

    Two threads have half of the rows and weights of their own each: what replicas cost without merges.
    """
    problem = hogwild.problems.LeastSquares.from_data(data.X, data.y)
    single = hogwild.problems.LeastSquares.from_data(data.X, data.y, dtype=np.float32)
    encoded = {name: encode(problem.X) for name, (_, encode, _) in LAYOUTS.items()}
    sizes = {
        name: (part.indices.nbytes + part.values.nbytes) / problem.nonzeros for name, part in encoded.items()
    }

    def loop(name: str, threads: int) -> tuple[float, float]:
        found = run_native(name, encoded[name], problem, threads)
        assert found is not None
        return found[0], problem.objective(found[1][0].astype(np.float64))

    def library(given: Any) -> tuple[float, float]:
        result = run_ours(given)
        return result.train_seconds, problem.objective(result.weights.astype(np.float64))

    runs: Runs = {
        (name, threads): functools.partial(loop, name, threads)
        for name in LAYOUTS
        if run_native(name, encoded[name], problem) is not None
        for threads in (1, 2)
    }
    for name, given in (("hogwild", problem), ("hogwild, float32", single)):
        sizes[name] = 4 + given.dtype.itemsize
        runs[name, 1] = functools.partial(library, given)
    found = in_turns(runs)
    rows = [["layout", "bytes", "ns, 1 thread", "ratio", "ns, 2 threads", "ratio", "objective"]]
    for name, size in sizes.items():
        cells = [f"{size:.2f}"]
        for threads in (1, 2):
            seconds = found[name, threads][0] if (name, threads) in found else None
            cells += timed(seconds, found[BASELINE, threads][0], problem) if seconds else ["–", "–"]
        objective = found[name, 1][1][0] / found[BASELINE, 1][1][0] - 1 if (name, 1) in found else None
        rows.append([name, *cells, "not available" if objective is None else f"{objective:+.1e}"])
    return rows


def orders(X: Any) -> dict[str, np.ndarray]:
    """Return orders of the rows: as stored, and those in which the halves should share few columns.

    These go by the second left singular vector of the pattern: its median parts rows that have few columns in
    common. Such halves may differ in their non-zeros, hence the last one, in which rows of like length are
    dealt to both.
    """
    pattern = sparse.csr_array((np.ones(X.nnz), X.indices, X.indptr), shape=X.shape)
    vectors, values, _ = svds(pattern, k=2, v0=np.random.default_rng(0).standard_normal(min(X.shape)))
    second = vectors[:, np.argmin(values)]
    ranks = np.empty(X.shape[0])
    by_length = np.argsort(np.diff(X.indptr), kind="stable")
    for rows in np.array_split(by_length, max(1, X.shape[0] // BUCKET)):
        ranks[rows[np.argsort(second[rows], kind="stable")]] = np.arange(rows.size) / rows.size
    return {
        "as stored": np.arange(X.shape[0]),
        "sorted": np.argsort(second, kind="stable"),
        "sorted, halves of equal work": np.argsort(ranks, kind="stable"),
    }


def shared(X: Any) -> tuple[float, float, float]:
    """Return what the halves of the rows share.

    The share of the writes that go to columns which both write; the chance that a write of the one and a
    write of the other meet in a column; and the share of the writes that the larger half has.
    """
    middle = X.indptr[X.shape[0] // 2]
    parts = (X.indices[:middle], X.indices[middle:])
    first, second = (np.bincount(part, minlength=X.shape[1]).astype(float) for part in parts)
    both = (first > 0) & (second > 0)
    sizes = first.sum(), second.sum()
    return (first + second)[both].sum() / X.nnz, first @ second / sizes[0] / sizes[1], max(sizes) / X.nnz


def order_table(data: Any) -> list[list[str]]:
    """Return the rows of the table of orders: Hogwild! with 2 threads, each on its half."""
    problems = {
        name: hogwild.problems.LeastSquares.from_data(data.X[order], data.y[order])
        for name, order in orders(data.X).items()
    }

    def threads(problem: Any) -> tuple[float, float]:
        result = run_ours(problem, "hogwild_threads", 2)
        return result.train_seconds, result.objective

    found = in_turns({name: functools.partial(threads, given) for name, given in problems.items()})
    heads = ["order", "writes to shared columns", "chance to meet", "larger half", "ns, 2 threads", "ratio"]
    rows = [[*heads, "objective"]]
    for name, (seconds, objectives) in found.items():
        share, chance, larger = shared(problems[name].X)
        times = timed(seconds, found["as stored"][0], problems[name])
        reached = f"{statistics.median(objectives):.5f}"
        rows.append([name, f"{share:.1%}", f"{chance:.2e}", f"{larger:.1%}", *times, reached])
    return rows


def popularity_table(data: Any) -> list[list[str]]:
    """Return the rows of the table of backends, for features as named and numbered by popularity."""
    least_squares = hogwild.problems.LeastSquares
    problems = {
        (order, penalty): least_squares.from_data(X, data.y, l2=penalty)
        for order, X in (("as named", data.X), ("popular first", hogwild.datasets.popular_first(data.X)[0]))
        for penalty in (0.0, 1.0)
    }
    backends = {"serial": 1, "hogwild_threads": 2, "replicated": 2}

    def library(problem: Any, backend: str) -> tuple[float, float]:
        result = run_ours(problem, backend, backends[backend])
        return result.train_seconds, result.objective

    found = in_turns(
        {
            (*key, backend): functools.partial(library, problem, backend)
            for key, problem in problems.items()
            for backend in backends
        }
    )
    rows = [["features", "l2", *(cell for name in backends for cell in (f"ns, {name}", "ratio"))]]
    for (order, penalty), problem in problems.items():
        cells = [order, f"{penalty:g}"]
        for name in backends:
            below = found["as named", penalty, name][0]
            cells += timed(found[order, penalty, name][0], below, problem)
        rows.append(cells)
    return rows


def show(title: str, rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    for place, row in enumerate(rows):
        print("|", " | ".join(row), "|")
        if place == 0:
            print("|---" * len(row) + "|")


def main() -> None:
    native.library(SOURCE)  # ends here where there is no compiler, before any work
    twin = hogwild.datasets.rcv1_twin(EXAMPLES, seed=1)
    uniform = hogwild.datasets.synthetic(EXAMPLES, FEATURES, nonzeros_per_row=NONZEROS_PER_ROW, seed=1)
    print(f"Medians of {REPEATS} turns of {EPOCHS} epochs, ns for each non-zero and epoch.")
    print("Ratios to the first line (with as much l2) within a turn: median (smallest–largest).")
    text = hogwild.datasets.python_source(max_documents=DOCUMENTS)
    for data in (twin, uniform):
        show(data.description, storage_table(data))
    for data in (twin, text):
        show(data.description, order_table(data))
    many = hogwild.datasets.synthetic(
        EXAMPLES, MANY_FEATURES, nonzeros_per_row=NONZEROS_PER_ROW, zipf_exponent=1.0, seed=1
    )
    for data in (twin, many):
        show(data.description, popularity_table(data))


if __name__ == "__main__":
    main()
