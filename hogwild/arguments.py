"""The arguments of `minimize`: what they may be together, and what follows from them."""

import math
import reprlib
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks
from hogwild.backends import Backend
from hogwild.choice import AUTO
from hogwild.problems.base import Problem
from hogwild.problems.linear import LinearProblem
from hogwild.sharing.guards import PADDING
from hogwild.teams.work import usable_cores

UNOBSERVED = ("private", "padded", "replicated", "hot_replicated", "conflict_free")  # have no instrument
PENALTIES = ("touched", "scaled")
_SEED_AXES = {"order": 0, "start": 1}


class Limits(NamedTuple):
    """What ends a run."""

    epochs: int
    target: float | None
    tolerance: float | None
    time_limit: float


def check_combination(
    problem: Problem, backend: Backend, name: str, batch_size: int, threshold: float, instrument: Any
) -> None:
    """Refuse what a problem, a backend, mini-batches, a threshold and an instrument cannot be together."""
    linear = isinstance(problem, LinearProblem)
    if not linear and batch_size != 1:
        raise ValueError(f"batch_size is {batch_size}; for {problem.name} it must be 1")
    if not linear and threshold != 0:
        raise ValueError(f"gradient_threshold is {threshold}; for {problem.name} it must be 0")
    if not linear and (backend.team == "pool" or backend.policy in ("padded", "hot_replicated")):
        raise ValueError(f"backend is {backend.name!r}; it is for linear models, not for {problem.name}")
    if backend.policy == "replicated" and problem.constrained:
        raise ValueError(
            f"backend is {backend.name!r}; merging replicas adds their moves, "
            f"which leaves the constraints of {problem.name}"
        )
    if not isinstance(instrument, bool):
        raise TypeError(f"instrument is {instrument!r}; it must be True or False")
    if instrument and name == AUTO:
        raise ValueError("instrument is True; name a backend then, instead of 'auto'")
    if backend.policy == "padded" and problem.n_weights >= 2**32 // PADDING:
        raise ValueError(f"backend is {backend.name!r}; {problem.n_weights} weights cannot lie so far apart")
    if instrument and (backend.team == "pool" or backend.policy in UNOBSERVED):
        raise ValueError(f"instrument is True; the backend {backend.name!r} has no shared kernel to observe")
    if instrument and batch_size != 1:
        raise ValueError(f"instrument is True; batch_size is {batch_size} and must then be 1")


def check_dual(
    problem: Problem,
    backend: Backend,
    workers: int,
    sampling: str,
    step_size: Any,
    batch_size: int,
    threshold: float,
    initial_weights: Any,
) -> None:
    """Refuse what the method ``sdca`` is not for."""
    if not isinstance(problem, LinearProblem):
        raise ValueError(f"method is 'sdca'; it is for linear models, not for {problem.name}")
    if backend.team == "pool" or backend.policy == "private":
        raise ValueError(f"method is 'sdca'; it is not for the backend {backend.name!r}")
    for name, given, allowed in (
        ("l2", problem.l2, problem.l2 > 0 or "above 0"),
        ("step_size", step_size, step_size is None or "left out"),
        ("batch_size", batch_size, batch_size == 1 or "1"),
        ("gradient_threshold", threshold, threshold == 0 or "0"),
        ("initial_weights", initial_weights, initial_weights is None or "None"),
        ("sampling", sampling, workers == 1 or sampling != "with_replacement" or "without replacement"),
    ):
        if allowed is not True:
            raise ValueError(f"{name} is {reprlib.repr(given)}; for the method 'sdca' it must be {allowed}")


def check_scaled(problem: Problem, backend: Backend, method: str, instrument: bool) -> None:
    """Refuse what a penalty that is a common factor of all weights is not for."""
    for name, given, allowed in (
        ("problem", problem.name, isinstance(problem, LinearProblem) or "a linear model"),
        ("method", method, method == "sgd" or "'sgd'"),
        ("backend", backend.name, backend.team != "pool" or "one with a compiled kernel"),
        ("instrument", instrument, not instrument or "False"),
    ):
        if allowed is not True:
            raise ValueError(f"{name} is {given!r}; with the penalty 'scaled' it must be {allowed}")


def checked_workers(workers: Any, backend: Backend) -> int:
    """Return the number of workers, by default as many as the backend can use here."""
    if workers is None:
        return 1 if backend.team == "caller" else len(usable_cores())
    workers = checks.integer("workers", workers, minimum=1)
    if backend.team == "caller" and workers != 1:
        raise ValueError(f"workers is {workers}; the backend {backend.name!r} has exactly 1")
    return workers


def derived_seed(seed: int, axis: str) -> int:
    """Return an independent 63-bit seed for one axis of randomness, whatever the backend."""
    return int(
        np.random.SeedSequence(seed, spawn_key=(_SEED_AXES[axis],)).generate_state(1, np.uint64)[0]
        >> np.uint64(1)
    )


def starting_weights(problem: Problem, given: Any, seed: int) -> np.ndarray:
    """Return the weights to start from: the problem's own, normal random ones or the given."""
    size = problem.n_weights
    random = np.random.default_rng(derived_seed(seed, "start"))
    if given is None:
        return problem.start(random)
    if isinstance(given, str):
        if given != "normal":
            raise ValueError(
                f"initial_weights is {given!r}; allowed are None, 'normal' or an array of shape ({size},)"
            )
        return (random.standard_normal(size) / math.sqrt(size)).astype(problem.dtype)
    weights = np.asarray(given)
    if weights.shape != (size,) or weights.dtype.kind not in "fiu" or not np.isfinite(weights).all():
        raise ValueError(
            f"initial_weights has shape {weights.shape} and dtype {weights.dtype}; "
            f"allowed are finite real numbers of shape ({size},)"
        )
    return np.array(checks.vector("initial_weights", weights, f"({size},)", size, problem.dtype))
