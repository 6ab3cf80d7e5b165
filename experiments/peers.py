"""Other people's SGD on our problems: the same regulariser, step and order, behind the same result."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from hogwild.optimise import DIVERGENCE_FACTOR, Checkpoint, Result, Status
from hogwild.work import pin, usable_cores

# name -> the order in which it visits the examples: scikit-learn's default, and its shuffle=False
PEERS = {"sklearn_sgd": "fresh_permutation", "sklearn_sgd_unshuffled": "shuffled_once"}
# Ours under a second name: a pipeline that can tell these two apart measures something else than backends.
AGAIN = {"serial_again": "serial", "hogwild_threads_again": "hogwild_threads"}
ALONE = ("serial", "serial_again", *PEERS)  # have one worker, whatever a grid says

# name of our problem -> (scikit-learn's loss, our loss over theirs)
LOSSES = {"hinge": ("hinge", 1.0), "logistic": ("log_loss", 1.0), "least_squares": ("squared_error", 2.0)}


def estimator(problem: Any, name: str, *, step_size: float, epochs: int, seed: int) -> Any:
    """Build scikit-learn's estimator for the same objective.

    Ours is (1/m) [sum of losses + l2 |w|^2], theirs (1/m) sum of losses + alpha/2 |w|^2. Their squared error
    is half of ours, so there the step doubles and alpha halves.
    """
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    loss, ratio = LOSSES[problem.name]
    kind = SGDRegressor if problem.name == "least_squares" else SGDClassifier
    return kind(
        loss=loss,
        penalty="l2" if problem.l2 > 0 else None,
        alpha=2.0 * problem.l2 / (problem.n_examples * ratio),
        learning_rate="constant",
        eta0=step_size * ratio,
        max_iter=epochs,
        tol=None,
        fit_intercept=False,
        shuffle=PEERS[name] == "fresh_permutation",
        random_state=seed,
    )


def fit(problem: Any, name: str, *, step_size: float, epochs: int, seed: int) -> Result:
    """Run a peer from zero weights; only ``fit`` is timed, and the history has a start and an end.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    model = estimator(problem, name, step_size=step_size, epochs=epochs, seed=seed)
    start = _checkpoint(problem, np.zeros(problem.n_features, problem.dtype), 0, 0.0)
    allowed = usable_cores()
    pin(allowed[0])  # where `serial` is pinned, so that both have the same core
    try:
        began, cpu_began = time.perf_counter(), time.process_time()
        model.fit(problem.X, problem.y)
        train_seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, allowed)
    weights = model.coef_.ravel()
    end = _checkpoint(problem, weights, epochs, train_seconds)
    diverged = not end.objective <= DIVERGENCE_FACTOR * start.objective
    return Result(
        weights=weights,
        history=[start, end],
        status=Status.DIVERGED if diverged else Status.OK,
        message=f"diverged: objective {end.objective:.3g} at the end" if diverged else "all epochs done",
        backend=name,
        workers=1,
        setup_seconds=0.0,
        compile_seconds=0.0,
        updates=(epochs * problem.n_examples,),
        cpu_seconds=(cpu_seconds,),
    )


def _checkpoint(problem: Any, weights: np.ndarray, epochs: int, train_seconds: float) -> Checkpoint:
    began = time.perf_counter()
    objective, errors = problem.objective(weights), problem.weight_errors(weights)
    spent = time.perf_counter() - began
    done = epochs * problem.n_examples
    wall = train_seconds + spent
    return Checkpoint(
        float(epochs), done, train_seconds, spent, wall, objective, problem.suboptimality(objective), *errors
    )
