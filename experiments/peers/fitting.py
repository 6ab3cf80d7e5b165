"""One run of a peer: fits of more and more epochs, timed as ours are, behind the same result."""

from __future__ import annotations

import ctypes
import importlib
import io
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.peers.factors import Stuck
from experiments.peers.record import Fit, Options
from experiments.peers.registry import PEERS
from hogwild.result import Checkpoint, Result, Status
from hogwild.teams.work import pin, usable_cores
from hogwild.training import DIVERGENCE_FACTOR

PRECISE = 1e-6  # the smallest suboptimality that anything is asked about
ATTEMPTS = 20  # at a fit that gets stuck
SERIES = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80)  # then a hundred times as many, and so on


class Series(NamedTuple):
    """What fits of more and more epochs came to; the CPU seconds are the last fit's."""

    weights: np.ndarray
    history: list[Checkpoint]
    status: Status
    message: str
    cpu_seconds: float


def budgets(most: int) -> list[int]:
    """Return the numbers of epochs that are tried one after another, ``most`` being the last."""
    powers = range(len(str(most)) // 2 + 1)
    series = [epochs * 100**power for power in powers for epochs in SERIES]
    return [epochs for epochs in series if epochs < most] + [most]


def fit(
    problem: Any,
    name: str,
    *,
    epochs: int,
    seed: int,
    step_size: float | None = None,
    workers: int = 1,
    target: float | None = None,
    time_limit: float | None = None,
    pinned: bool = True,
) -> Result:
    """Run a peer from zero weights; only its fits are timed, and converting the data is its set-up.

    Factors start at random, in its own way; the history has zeros first for them, too.

    Peers tell nothing while they run. Where the optimum is known (`Problem.solve`), a peer is therefore
    fitted with 1, 2, 3, 5, 8, 12, 20 … up to ``epochs`` epochs, or iterations of its own kind, each time
    from zero, until one fit reaches the target. Each is a checkpoint whose ``train_seconds`` are those of
    that whole fit alone, or of a later fit with more epochs that took less. Where it is not known there is
    one fit, of all epochs. Imports, and a first fit of one epoch that compiles and warms what there is, are
    on no clock.

    Parameters
    ----------
    problem : LinearProblem or MatrixCompletion
    name : str
        One of `PEERS`.
    target : float, optional
        The suboptimality to stop at, default 1e-6.
    time_limit : float, optional
        Seconds of all fits; none is begun that would exceed them if it took as long as the last.
    pinned : bool
        Whether a peer with one thread is bound to the core that `serial` is bound to.

    Raises
    ------
    ImportError
        If the peer is not installed.
    NotImplementedError
        If the peer does not minimise this objective.
    """
    peer = PEERS[name]
    if refusal := peer.refusal(problem):
        raise NotImplementedError(f"{name} {refusal}")
    start = _checkpoint(problem, np.zeros(problem.n_weights), 0, 0.0)
    solved = not math.isnan(start.suboptimality)
    with _quiet(), tempfile.TemporaryDirectory() as folder, _on_one_core(pinned and peer.cores == "one"):
        with _own_arithmetic(), redirect_stdout(io.StringIO()):  # LIBMF's package prints
            for module in peer.modules:
                importlib.import_module(module)
        began = time.perf_counter()
        train = peer.prepare(problem, Options(workers, step_size, seed, Path(folder)))
        setup_seconds = time.perf_counter() - began
        _timed(train, 1)
        found = _fits(problem, train, start, budgets(epochs) if solved else [epochs], target, time_limit)
    return Result(
        weights=found.weights,
        history=_monotone(found.history),
        status=found.status,
        message=found.message,
        backend=name,
        workers=workers,
        setup_seconds=setup_seconds,
        compile_seconds=0.0,
        updates=(found.history[-1].updates,),
        cpu_seconds=(found.cpu_seconds,),
    )


def _fits(
    problem: Any,
    train: Fit,
    start: Checkpoint,
    tried: list[int],
    target: float | None,
    time_limit: float | None,
) -> Series:
    """Fit with one budget after another until one reaches the target, diverges, or time is up."""
    weights, history, spent = np.zeros(problem.n_weights), [start], 0.0
    status, message = Status.OK, "all epochs done"
    for budget, following in pairwise([*tried, 0]):
        model, seconds, cpu_seconds = _timed(train, budget)
        fitted = np.ravel(getattr(model, "coef_", model)).astype(np.float64)
        history.append(_checkpoint(problem, fitted, budget, seconds))
        end, spent = history[-1], spent + seconds
        if not end.objective <= DIVERGENCE_FACTOR * start.objective:
            status, message = Status.DIVERGED, f"diverged: objective {end.objective:.3g} at the end"
            break
        weights = fitted
        if end.suboptimality <= (target or PRECISE):
            message = f"suboptimality {end.suboptimality:.3g} reached"
            break
        if following and time_limit and spent + seconds > time_limit:
            status = Status.TIMEOUT
            message = f"time limit: {spent:.3g} s of {time_limit:g} s spent, {following} epochs not tried"
            break
    return Series(weights, history, status, message, cpu_seconds)


def _timed(train: Fit, budget: int) -> tuple[Any, float, float]:
    """Return a fit with its seconds and its CPU seconds; one that got stuck is forgotten and made again."""
    for _ in range(ATTEMPTS):
        began, cpu_began = time.perf_counter(), time.process_time()
        with suppress(Stuck):
            model = train(budget)
            return model, time.perf_counter() - began, time.process_time() - cpu_began
    raise RuntimeError(f"got stuck {ATTEMPTS} times")


def _monotone(history: list[Checkpoint]) -> list[Checkpoint]:
    """Let no fit take longer than a later one of more epochs: what it took beyond that was a disturbance."""
    train = np.minimum.accumulate([row.train_seconds for row in history][::-1])[::-1].tolist()
    evaluating = np.cumsum([row.eval_seconds for row in history]).tolist()
    return [
        row._replace(train_seconds=seconds, eval_seconds=spent, wall_seconds=seconds + spent)
        for row, seconds, spent in zip(history, train, evaluating, strict=True)
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore warnings: most of them say that a small budget did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _own_arithmetic() -> Iterator[None]:
    """Undo what loading a library linked with -ffast-math (Snap ML) does to ours.

    The thread would round subnormal numbers to zero from then on, in the trials of all backends.
    """
    library, state = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    library.fegetenv(state)
    try:
        yield
    finally:
        library.fesetenv(state)


@contextmanager
def _on_one_core(pinned: bool) -> Iterator[None]:
    allowed = usable_cores()
    pin(allowed[0] if pinned else None)  # where `serial` is pinned, so that both have the same core
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, allowed)


def _checkpoint(problem: Any, weights: np.ndarray, epochs: int, train_seconds: float) -> Checkpoint:
    began = time.perf_counter()
    objective, errors = problem.objective(weights), problem.weight_errors(weights)
    spent = time.perf_counter() - began
    done, gap = epochs * problem.n_examples, problem.suboptimality(objective)
    return Checkpoint(
        float(epochs), done, train_seconds, spent, train_seconds + spent, objective, gap, *errors
    )
