"""Replicas far apart need hardly more epochs than one worker does: the factor that holds here."""

from typing import Any

import numpy as np
import pytest

from hogwild.engine.compiling import config
from tests.hogwild.cases import completion
from tests.hogwild.lockstep import lockstep, sparse_problem

ENOUGH, PARTS = 1e-2, 2
STEPS = {"least_squares": 0.1, "logistic": 0.3, "hinge": 0.1}
# separable data have no optimum without a penalty
WORKLOADS = [
    (name, popularity, l2)
    for name in STEPS
    for popularity in ("uniform", "zipf")
    for l2 in ((0.0, 1.0) if name == "least_squares" else (0.1, 1.0))
]
pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="hundreds of thousands of updates")


def epochs_of(case: Any, step: float, workers: int, period: int | None, starts: list[Any]) -> float:
    """Return after how many epochs it is enough, the median over seeds, each with its start."""
    needed = []
    for seed, start in enumerate(starts):
        first = 1.0 if start is None else case.suboptimality(case.objective(start))
        how: dict[str, Any] = {"evaluations": PARTS, "seed": seed, "start": start, "enough": ENOUGH}
        logarithms = np.log(np.append(first, lockstep(case, step, workers, period, 60, **how)))
        assert logarithms[-1] <= np.log(ENOUGH)
        before, after = logarithms[-2:]
        needed.append((logarithms.size - 2 + (before - np.log(ENOUGH)) / (before - after)) / PARTS)
    return float(np.median(needed))


def assert_hardly_more(case: Any, step: float, starts: list[Any]) -> None:
    serial = epochs_of(case, step, 1, None, starts)
    for workers in (2, 4, 8):
        for period in (None, 32):  # the longest that there is, and a usual one
            assert epochs_of(case, step, workers, period, starts) < 1.2 * serial, (workers, period)


@pytest.mark.parametrize(("name", "popularity", "l2"), WORKLOADS)
def test_linear_models_need_at_most_a_fifth_more(name: str, popularity: str, l2: float) -> None:
    assert_hardly_more(sparse_problem(name, popularity, l2), STEPS[name], [None] * 5)


@pytest.mark.parametrize(("rows", "columns", "entries"), [(60, 40, 1500), (100, 80, 6000)])
def test_factors_need_at_most_a_fifth_more(rows: int, columns: int, entries: int) -> None:
    """With replicas apart for half an epoch it was twice as many."""
    case = completion(rows=rows, columns=columns, entries=entries, rank=3, mu=0.5, noise=0.1)
    case.solve()
    assert_hardly_more(case, 0.02, [case.start(np.random.default_rng(seed)) for seed in range(5)])
