"""What it brings to number the features by popularity (`hogwild.datasets.popular_first`).

``python -m benchmarks.popularity`` prints a table: streamed least squares on a twin of RCV1 and on a million
features, with and without a penalty, serial and with two threads.
"""

from __future__ import annotations

import functools
import random
import statistics
from collections.abc import Callable
from typing import Any

import hogwild

EXAMPLES, MANY_FEATURES, NONZEROS_PER_ROW = 100_000, 1_000_000, 75
STEP, EPOCHS, REPEATS = 0.1, 3, 9
BACKENDS = {"serial": 1, "hogwild_threads": 2, "replicated": 2}  # name -> workers


def train_seconds(problem: Any, backend: str) -> float:
    """Return the training seconds of a backend on the rows as they are stored."""
    result = hogwild.minimize(
        problem,
        backend=backend,
        workers=BACKENDS[backend],
        sampling="as_stored",
        step_size=STEP,
        epochs=EPOCHS,
        observe=hogwild.Observe(pin=True),
    )
    return result.train_seconds


def in_turns(runs: dict[Any, Callable[[], float]]) -> dict[Any, list[float]]:
    """Return the seconds of runs that take turns, in a new order each time; each one's first is left out."""
    turn = random.Random(0)
    found: dict[Any, list[float]] = {name: [] for name in runs}
    for repeat in range(1 + REPEATS):
        for name in turn.sample(list(runs), len(runs)):
            seconds = runs[name]()
            if repeat > 0:
                found[name].append(seconds)
    return found


def cells(above: list[float], below: list[float], nonzeros: int) -> list[str]:
    """Return ns per non-zero (median) and the paired ratios of two times: median, smallest and largest."""
    ratios = [mine / theirs for mine, theirs in zip(above, below, strict=True)]
    time = 1e9 / EPOCHS / nonzeros * statistics.median(above)
    return [f"{time:.2f}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"]


def table(data: Any) -> list[list[str]]:
    """Return the rows of the table: each backend, for features as named and numbered by popularity."""
    least_squares = hogwild.problems.LeastSquares
    problems = {
        (order, penalty): least_squares.from_data(X, data.y, l2=penalty)
        for order, X in (("as named", data.X), ("popular first", hogwild.datasets.popular_first(data.X)[0]))
        for penalty in (0.0, 1.0)
    }
    runs: dict[Any, Callable[[], float]] = {
        (*key, backend): functools.partial(train_seconds, problem, backend)
        for key, problem in problems.items()
        for backend in BACKENDS
    }
    found = in_turns(runs)
    rows = [["features", "l2", *(cell for name in BACKENDS for cell in (f"ns, {name}", "ratio"))]]
    for (order, penalty), problem in problems.items():
        row = [order, f"{penalty:g}"]
        for name in BACKENDS:
            row += cells(found[order, penalty, name], found["as named", penalty, name], problem.nonzeros)
        rows.append(row)
    return rows


def main() -> None:
    twin = hogwild.datasets.rcv1_twin(EXAMPLES, seed=1)
    many = hogwild.datasets.synthetic(
        EXAMPLES, MANY_FEATURES, nonzeros_per_row=NONZEROS_PER_ROW, zipf_exponent=1.0, seed=1
    )
    print(f"Medians of {REPEATS} turns of {EPOCHS} epochs, ns for each non-zero and epoch.")
    print("Ratios to the features as named, with as much l2, within a turn: median (smallest–largest).")
    for data in (twin, many):
        print(f"\n{data.description}\n")
        for place, row in enumerate(table(data)):
            print("|", " | ".join(row), "|")
            if place == 0:
                print("|---" * len(row) + "|")


if __name__ == "__main__":
    main()
