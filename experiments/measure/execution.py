"""One trial: the problem is built and solved, one backend or peer runs on it, and its columns are filled."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil

import hogwild
from experiments import peers
from experiments.design import workloads
from experiments.design.plan import FIXED, SWEPT, Trial
from experiments.measure import machine, page_cache
from experiments.measure.watch import Watch
from experiments.peers import AGAIN
from hogwild.engine import delays, steps
from hogwild.problems import sparsity
from hogwild.problems.optimum import UncertifiedOptimum

WATCH = Watch()
HAND_OVER = 2e-4  # seconds for which our own main thread may have a worker's core in each segment
OPTIONS = (*SWEPT, *(name for name in FIXED if name != "initial_weights"))
STEPS: dict[str, Callable[..., Any]] = {
    "constant": lambda initial, _: steps.Constant(initial),
    "inverse_time": steps.InverseTime,
    "exponential_backoff": steps.ExponentialBackoff,
}


class Impossible(RuntimeError):
    """A trial that cannot run here: the message is its reason."""


@dataclass
class Outcome:
    """What one trial left: values for columns of ``trials.csv`` and rows for ``history.csv``."""

    columns: dict[str, Any]
    history: list[tuple[Any, ...]] = field(default_factory=list)


def execute(trial: Trial) -> Outcome:
    """Build the problem (kept from trial to trial), solve it off the clock, and run one backend on it.

    Raises
    ------
    Impossible
        If a cell cannot run here, or has a target and no optimum that is certified well enough, with the
        reason.
    """
    need, free = workloads.memory_need(trial.workload) / 2**30, psutil.virtual_memory().available / 2**30
    if need > free:
        raise Impossible(f"needs {need:.1f} GiB of memory, {free:.1f} GiB are free")
    began = time.perf_counter()
    try:
        built = workloads.build(trial.workload)
        certified = _certified(trial, built.problem)
        build_seconds = time.perf_counter() - began
        result, watched = WATCH.around(lambda: _minimize(trial, built.problem), partial(_starved, trial))
    except (ImportError, ConnectionError, NotImplementedError, UncertifiedOptimum) as error:
        raise Impossible(str(error)) from error
    seconds, updates = result.train_seconds, sum(result.updates)
    nonzeros = updates * built.problem.nonzeros / built.problem.n_examples
    columns = {
        **built.columns,
        "optimum_certified": certified,
        **result.history[-1]._asdict(),
        "status": str(result.status),
        "reason": result.reason if result.status == hogwild.Status.OK else result.message,
        "check_seconds": _check_seconds(trial, built),
        "setup_seconds": result.setup_seconds,
        "compile_seconds": result.compile_seconds,
        "cpu_seconds": sum(result.cpu_seconds),
        "updates_per_second": updates / seconds if seconds > 0 else None,
        "ns_per_nonzero": 1e9 * seconds / nonzeros if nonzeros > 0 else None,
        "build_seconds": build_seconds,
        **watched,
    }
    what = trial.workload
    workloads.check_unchanged(what.dataset, what.data, what.file_hash)  # maps may change under the workers
    del columns["epoch"]
    if result.status != hogwild.Status.DIVERGED:
        columns |= workloads.errors(built, result.weights)
    if result.observations is not None:
        columns |= _observed(result.observations, built.columns["meeting_share"], trial.workers)
    if trial.gradient_delay:
        columns["measured_delay_seconds"] = delays.measured(delays.delay_of(trial.gradient_delay))
    return Outcome(columns, [tuple(row) for row in result.history])


def _certified(trial: Trial, problem: Any) -> bool | None:
    """Return whether the optimum is known as exactly as this trial needs it; None where it is not asked for.

    Built problems serve trials with several targets.

    Raises
    ------
    UncertifiedOptimum
        If the trial is to stop at a target that cannot be told from others.
    """
    if not trial.workload.solve:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem.solve(trial.target or (peers.PRECISE if trial.backend in peers.PEERS else None))
    return bool(problem.certified)


def _check_seconds(trial: Trial, built: workloads.Built) -> float:
    """Return what checking the data took, for ours, and counting what the penalty needs."""
    if trial.backend in peers.PEERS:
        return 0.0
    return built.check_seconds + (built.count_seconds if trial.penalty == "touched" else 0.0)


def _starved(trial: Trial, result: Any) -> float:
    """Return the share of their time in which workers had no core through no fault of ours, or nan."""
    if trial.workers > len(machine.usable_cores()) or not result.starved_seconds:
        return math.nan
    starved, ran = sum(result.starved_seconds), sum(result.cpu_seconds)
    ours = HAND_OVER * trial.workers * (len(result.history) - 1)
    return max(starved - ours, 0.0) / (starved + ran) if starved + ran > 0 else starved


def _observed(seen: Any, meeting_share: float, workers: int) -> dict[str, Any]:
    """Put what an instrumented run saw into columns."""
    return {
        "lost_share": seen.lost_share,
        "staleness_mean": seen.staleness.mean,
        "staleness_99": seen.staleness.percentile_99,
        "staleness_largest": seen.staleness.largest,
        "staleness_length_correlation": seen.staleness.length_correlation,
        "collision_rate": seen.collision_rate,
        "expected_collision_rate": sparsity.expected_collision_rate(meeting_share, workers),
        "wait_share": seen.wait_share,
    }


def _minimize(trial: Trial, problem: Any) -> Any:
    cold = trial.page_cache == "cold"
    if cold and (trial.backend in peers.PEERS or trial.backend.endswith("_processes")):
        raise NotImplementedError(f"{trial.backend} keeps pages of its own in memory")
    if trial.backend in peers.PEERS:
        own = ("step_size", "epochs", "workers", "target", "time_limit")
        options = {name: getattr(trial, name) for name in own}
        return peers.fit(problem, trial.backend, **options, seed=trial.order_seed, pinned=trial.pin)
    chosen = {name: getattr(trial, name) for name in OPTIONS}
    chosen["backend"] = AGAIN.get(trial.backend, trial.backend)
    chosen |= {"merge_every": trial.merge_every or None, "hot_weights": trial.hot_weights or None}
    if trial.step_size is not None:  # sdca has none
        chosen["step_size"] = STEPS[trial.step_rule](trial.step_size, trial.step_parameter)
    del chosen["page_cache"]
    if cold:  # after each evaluation, which reads the data, too
        chosen["callback"] = lambda checkpoint: page_cache.evict(problem)
    return hogwild.minimize(
        problem,
        **chosen,
        initial_weights=None if trial.initial_weights == "default" else trial.initial_weights,
        seed=trial.order_seed,
    )
