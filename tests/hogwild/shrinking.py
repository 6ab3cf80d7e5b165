"""The penalty as a common factor, written out: what the tests of it hold the compiled code against."""

import math
from typing import Any

import numpy as np

import hogwild
from hogwild.arguments import derived_seed
from hogwild.engine.sampling import SAMPLINGS, epoch_key, examples_at
from hogwild.engine.steps import (
    Constant,
    ExponentialBackoff,
    InverseTime,
)
from tests.hogwild.twins import slope_twin

STEPS = (Constant(0.05), InverseTime(0.1, 0.7), ExponentialBackoff(0.1, 0.6))
BACKOFF = ExponentialBackoff(0.05, 0.8)
COMPILED = [name for name, backend in hogwild.BACKENDS.items() if backend.compiled]
PARALLEL = [name for name in COMPILED if name != "serial"]


def scaled(case: Any, **options: Any) -> Any:
    return hogwild.minimize(case, penalty="scaled", **options)


def rate_twin(step: Any, time: float) -> float:
    if isinstance(step, InverseTime):
        return step.initial / (1 + step.decay * time)
    if isinstance(step, ExponentialBackoff):
        return float(step.initial * step.factor ** int(time))
    return float(step.initial)


def covered_twin(step: Any, time: float) -> float:
    """The integral of the step size over the passes so far."""
    if isinstance(step, InverseTime):
        return step.initial / step.decay * math.log1p(step.decay * time)
    if isinstance(step, ExponentialBackoff):
        whole = int(time)
        return float(
            step.initial
            * (sum(step.factor**epoch for epoch in range(whole)) + (time - whole) * step.factor**whole)
        )
    return float(step.initial * time)


def epoch_twin(
    case: Any,
    step: Any,
    weights: np.ndarray,
    order: np.ndarray,
    epoch: int,
    batch_size: int = 1,
    threshold: float = 0.0,
) -> np.ndarray:
    """The updates of an epoch, or of its beginning, on dense weights; all of them shrink after each."""
    X, y, examples = case.X.toarray().astype(np.float64), case.y, case.n_examples
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        gradient = np.mean([slope_twin(case.name, X[i] @ weights, y[i]) * X[i] for i in batch], axis=0)
        gradient[np.abs(gradient) <= threshold] = 0
        time, later = (epoch + place / examples for place in (begin, begin + len(batch)))
        weights = weights - rate_twin(step, time) * gradient
        covered = (covered_twin(step, later) - covered_twin(step, time)) / batch_size  # a batch is one step
        weights = weights * np.exp(-2 * case.l2 * covered)
    return weights


def order_of(sampling: str, case: Any, seed: int, epoch: int) -> np.ndarray:
    record = SAMPLINGS[sampling](derived_seed(seed, "order"))
    key = np.uint64(epoch_key(record.seed, epoch))
    return np.asarray(examples_at(record, case.n_examples, key, 0, case.n_examples))


def twin(case: Any, step: Any, start: np.ndarray, sampling: str, epochs: int, **options: Any) -> np.ndarray:
    weights = start
    for epoch in range(epochs):
        weights = epoch_twin(case, step, weights, order_of(sampling, case, 5, epoch), epoch, **options)
    return weights
