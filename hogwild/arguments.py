"""The arguments of `minimize`: what they may be, alone and together, and what follows from them."""

import math
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks
from hogwild.backends import BACKENDS, TEAMS, Backend
from hogwild.engine.delays import delay_of
from hogwild.engine.sampling import SAMPLINGS
from hogwild.engine.steps import StepSize, as_step
from hogwild.observe.conditions import Observe
from hogwild.problems import LinearProblem, Problem
from hogwild.sharing.schedule import Schedule
from hogwild.teams.work import usable_cores

AUTO = "auto"
METHODS = ("sgd", "sdca")
PENALTIES = ("touched", "scaled")
DEFAULT_STEP = 0.1
_SEED_AXES = {"order": 0, "start": 1}


class Limits(NamedTuple):
    """What ends a run."""

    epochs: int
    target: float | None
    tolerance: float | None
    time_limit: float


class Arguments(NamedTuple):
    """What `minimize` was asked for, checked."""

    problem: Problem
    backend: Backend
    auto: bool  # the backend stands for those that are tried
    workers: int
    dual: bool
    step: StepSize
    sampling: Any  # a record
    batch_size: int
    threshold: float
    scaled: bool
    weights: np.ndarray  # to start from
    limits: Limits
    evaluations: int
    observe: Observe
    delay: Any  # a record
    callback: Callable[[Any], Any]


def checked(
    problem: Problem,
    *,
    method: str,
    backend: str | Backend,
    workers: int | None,
    step_size: Any,
    sampling: str,
    epochs: int,
    batch_size: int,
    gradient_threshold: float,
    penalty: str,
    initial_weights: Any,
    target: float | None,
    tolerance: float | None,
    time_limit: float | None,
    seed: int,
    evaluations_per_epoch: int,
    observe: Observe | None,
    callback: Callable[[Any], Any] | None,
) -> Arguments:
    """Return the arguments of `minimize`, checked; its docstring says what each may be."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem is a {type(problem).__name__}; make one with hogwild.problems.<Problem>.from_data(…)"
        )
    dual = checks.choice("method", method, METHODS) == "sdca"
    chosen, auto = _backend(backend)
    order = SAMPLINGS[checks.choice("sampling", sampling, SAMPLINGS)]
    order = order(derived_seed(checks.integer("seed", seed), "order"))
    workers = _workers(workers, chosen)
    step = as_step(DEFAULT_STEP if step_size is None else step_size)
    batch_size = checks.integer("batch_size", batch_size, minimum=1)
    threshold = checks.real("gradient_threshold", gradient_threshold, "a number of at least 0")
    observe, delay = _observe(observe)
    _check_problem(problem, chosen, batch_size, threshold)
    _check_instrument(observe, chosen, auto, batch_size)
    if dual:
        own = {"step_size": step_size, "initial_weights": initial_weights, "sampling": sampling}
        _check_dual(problem, chosen, workers, batch_size=batch_size, gradient_threshold=threshold, **own)
    scaled = checks.choice("penalty", penalty, PENALTIES) == "scaled"
    if scaled:
        _check_scaled(problem, chosen, method, observe)
    evaluations = checks.integer("evaluations_per_epoch", evaluations_per_epoch, minimum=1)
    limits = _limits(epochs, target, tolerance, time_limit)
    weights = starting_weights(problem, initial_weights, seed)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {callback!r}; it must be callable")
    how = (order, batch_size, threshold, scaled, weights, limits, evaluations, observe, delay)
    return Arguments(problem, chosen, auto, workers, dual, step, *how, callback or (lambda checkpoint: None))


def _limits(epochs: Any, target: Any, tolerance: Any, time_limit: Any) -> Limits:
    """Return what ends the run."""
    return Limits(
        checks.integer("epochs", epochs, minimum=1),
        None if target is None else checks.positive("target", target),
        None if tolerance is None else checks.positive("tolerance", tolerance),
        math.inf if time_limit is None else checks.positive("time_limit", time_limit),
    )


def _backend(given: str | Backend) -> tuple[Backend, bool]:
    """Return the backend, and whether the choice is left to the run."""
    if isinstance(given, Backend):
        known = (
            given.team in TEAMS and isinstance(given.schedule, Schedule) and hasattr(given.guard, "_fields")
        )
        if not known:
            raise ValueError(
                f"backend is {reprlib.repr(given)}; its team must be one of {', '.join(TEAMS)}, "
                "its schedule a Schedule, its guard a type of record"
            )
        return given, False
    if not isinstance(given, str):
        raise TypeError(f"backend is {reprlib.repr(given)}; it must be a name, or made by hogwild.backend(…)")
    auto = checks.choice("backend", given, (*BACKENDS, AUTO)) == AUTO
    return BACKENDS["hogwild_threads" if auto else given], auto


def _observe(given: Observe | None) -> tuple[Observe, Any]:
    """Return the conditions and the record of the delay."""
    given = Observe() if given is None else given
    if not isinstance(given, Observe):
        raise TypeError(f"observe is {reprlib.repr(given)}; it must be a hogwild.Observe")
    for name in ("instrument", "pin"):
        if not isinstance(getattr(given, name), bool):
            raise TypeError(f"observe.{name} is {getattr(given, name)!r}; it must be True or False")
    return given, delay_of(given.gradient_delay)


def _check_problem(problem: Problem, backend: Backend, batch_size: int, threshold: float) -> None:
    """Refuse combinations of problem, backend, mini-batches and threshold that do not work."""
    if not isinstance(problem, LinearProblem):
        if batch_size != 1:
            raise ValueError(f"batch_size is {batch_size}; for {problem.name} it must be 1")
        if threshold != 0:
            raise ValueError(f"gradient_threshold is {threshold}; for {problem.name} it must be 0")
        if backend.schedule.relabels or not backend.compiled:
            raise ValueError(f"backend is {backend.name!r}; it is for linear models, not for {problem.name}")
    if backend.schedule.adds_moves and problem.constrained:
        raise ValueError(
            f"backend is {backend.name!r}; merging replicas adds their moves, "
            f"which leaves the constraints of {problem.name}"
        )
    try:
        backend.schedule.check(problem, backend.guard)
    except ValueError as refusal:
        raise ValueError(f"backend is {backend.name!r}; {refusal}") from None


def _check_instrument(observe: Observe, backend: Backend, auto: bool, batch_size: int) -> None:
    """Refuse an instrument where there is nothing to observe."""
    if not observe.instrument:
        return
    if auto:
        raise ValueError("observe.instrument is True; name a backend then, instead of 'auto'")
    if not backend.observable:
        raise ValueError(
            f"observe.instrument is True; the backend {backend.name!r} has no shared kernel to observe"
        )
    if batch_size != 1:
        raise ValueError(f"observe.instrument is True; batch_size is {batch_size} and must then be 1")


def _check_dual(
    problem: Problem,
    backend: Backend,
    workers: int,
    *,
    step_size: Any,
    batch_size: int,
    gradient_threshold: float,
    initial_weights: Any,
    sampling: str,
) -> None:
    """Refuse what the method ``sdca`` does not take."""
    if not isinstance(problem, LinearProblem):
        raise ValueError(f"method is 'sdca'; it is for linear models, not for {problem.name}")
    if backend.whole_runs or not (backend.compiled and backend.applies_all):
        raise ValueError(f"method is 'sdca'; it is not for the backend {backend.name!r}")
    for name, given, allowed in (
        ("l2", problem.l2, problem.l2 > 0 or "above 0"),
        ("step_size", step_size, step_size is None or "left out"),
        ("batch_size", batch_size, batch_size == 1 or "1"),
        ("gradient_threshold", gradient_threshold, gradient_threshold == 0 or "0"),
        ("initial_weights", initial_weights, initial_weights is None or "None"),
        ("sampling", sampling, workers == 1 or sampling != "with_replacement" or "without replacement"),
    ):
        if allowed is not True:
            raise ValueError(f"{name} is {reprlib.repr(given)}; for the method 'sdca' it must be {allowed}")


def _check_scaled(problem: Problem, backend: Backend, method: str, observe: Observe) -> None:
    """Refuse what a penalty paid by a common factor does not allow."""
    for name, given, allowed in (
        ("problem", problem.name, isinstance(problem, LinearProblem) or "a linear model"),
        ("method", method, method == "sgd" or "'sgd'"),
        ("backend", backend.name, backend.compiled or "one with a compiled kernel"),
        ("observe.instrument", observe.instrument, not observe.instrument or "False"),
    ):
        if allowed is not True:
            raise ValueError(f"{name} is {given!r}; with the penalty 'scaled' it must be {allowed}")


def _workers(workers: Any, backend: Backend) -> int:
    """Return the number of workers, by default as many as the backend can use here."""
    if workers is None:
        return 1 if backend.alone else len(usable_cores())
    workers = checks.integer("workers", workers, minimum=1)
    if backend.alone and workers != 1:
        raise ValueError(f"workers is {workers}; the backend {backend.name!r} has exactly 1")
    return int(workers)


def derived_seed(seed: int, axis: str) -> int:
    """Return an independent 63-bit seed for one axis of randomness, whatever the backend."""
    return int(
        np.random.SeedSequence(seed, spawn_key=(_SEED_AXES[axis],)).generate_state(1, np.uint64)[0]
        >> np.uint64(1)
    )


def starting_weights(problem: Problem, given: Any, seed: int) -> np.ndarray:
    """Return the weights to start from: the problem's own, normal random ones or those given."""
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
