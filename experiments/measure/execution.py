"""One trial: build and solve its problem, run one backend or peer on it, and fill its columns."""

from __future__ import annotations

import math
import time
import warnings
from functools import partial
from typing import Any

import psutil

import hogwild
from experiments import peers
from experiments.design import workloads
from experiments.design.kinds import RULES
from experiments.design.options import Target, arguments
from experiments.design.plan import Trial
from experiments.measure import machine, page_cache
from experiments.measure.outcome import Impossible, Outcome, Status
from experiments.measure.watch import Watch
from experiments.peers import AGAIN
from hogwild.engine import delays
from hogwild.observe.instruments import Observations
from hogwild.problems import Problem, sparsity
from hogwild.problems.optimum import UncertifiedOptimum
from hogwild.result import Result

WATCH = Watch()
HAND_OVER = 2e-4  # seconds per segment for which our own main thread may occupy a worker's core


def execute(trial: Trial) -> Outcome:
    """Build the problem (kept from trial to trial), solve it untimed, and run one backend on it.

    Raises
    ------
    Impossible
        If a trial cannot run here, or has a target but no optimum certified well enough; with the reason.
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
    what = trial.workload
    workloads.check_unchanged(what.dataset, what.data, what.file_hash)  # maps may change under the workers
    columns = {
        **built.columns,
        "optimum_certified": certified,
        **_timed(result, built.problem),
        "check_seconds": _check_seconds(trial, built),
        "build_seconds": build_seconds,
        **watched,
    }
    if str(result.status) != Status.DIVERGED:
        columns |= workloads.errors(built, result.weights)
    if result.observations is not None:
        columns |= _observed(result.observations, built.columns["meeting_share"], trial.workers)
    if trial.gradient_delay:
        columns["measured_delay_seconds"] = delays.measured(delays.delay_of(trial.gradient_delay))
    return Outcome(columns, [tuple(row) for row in result.history])


def _timed(result: Result, problem: Problem) -> dict[str, Any]:
    """Put how a run ended, and how long it took, into columns."""
    status = str(result.status)
    seconds, updates = result.train_seconds, sum(result.updates)
    nonzeros = updates * problem.nonzeros / problem.n_examples
    last = result.history[-1]._asdict()
    del last["epoch"]
    return {
        **last,
        "status": status,
        "reason": result.reason if status == Status.OK else result.message,
        "setup_seconds": result.setup_seconds,
        "compile_seconds": result.compile_seconds,
        "cpu_seconds": sum(result.cpu_seconds),
        "updates_per_second": updates / seconds if seconds > 0 else None,
        "ns_per_nonzero": 1e9 * seconds / nonzeros if nonzeros > 0 else None,
    }


def _certified(trial: Trial, problem: Problem) -> bool | None:
    """Return whether the optimum is known exactly enough for this trial; None if it is not needed.

    A problem that was built serves trials with various targets.

    Raises
    ------
    UncertifiedOptimum
        If the optimum is not known well enough to tell when the target is reached.
    """
    if not trial.workload.solve:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem.solve(trial.target or (peers.PRECISE if trial.backend in peers.PEERS else None))
    return bool(problem.certified)


def _check_seconds(trial: Trial, built: workloads.Built) -> float:
    """Return the seconds for checking the data and counting what the penalty needs; peers include them."""
    if trial.backend in peers.PEERS:
        return 0.0
    return built.check_seconds + (built.count_seconds if trial.penalty == "touched" else 0.0)


def _starved(trial: Trial, result: Result) -> float:
    """Return the share of their time for which workers had no core because of others, or nan."""
    if trial.workers > len(machine.usable_cores()) or not result.starved_seconds:
        return math.nan
    starved, ran = sum(result.starved_seconds), sum(result.cpu_seconds)
    ours = HAND_OVER * trial.workers * (len(result.history) - 1)
    return max(starved - ours, 0.0) / (starved + ran) if starved + ran > 0 else starved


def _observed(seen: Observations, meeting_share: float, workers: int) -> dict[str, Any]:
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


def _minimize(trial: Trial, problem: Problem) -> Result:
    """Run the trial's backend or peer."""
    if trial.page_cache == "cold" and not _reads_our_pages(trial.backend):
        raise NotImplementedError(f"{trial.backend} keeps pages of its own in memory")
    if trial.backend in peers.PEERS:
        own = ("step_size", "epochs", "workers", "target", "time_limit")
        options = {name: getattr(trial, name) for name in own}
        return peers.fit(problem, trial.backend, **options, seed=trial.order_seed, pinned=trial.pin)
    return hogwild.minimize(problem, **_call(trial, problem))


def _call(trial: Trial, problem: Problem) -> dict[str, Any]:
    """Return the keyword arguments of `hogwild.minimize` for a trial."""
    call = arguments(trial, Target.MINIMIZE)
    name = str(AGAIN.get(trial.backend, trial.backend))
    own = arguments(trial, Target.BACKEND)
    call["backend"] = hogwild.backend(name, **own) if own else name
    call["observe"] = hogwild.Observe(**arguments(trial, Target.OBSERVE))
    if trial.step_size is not None:  # sdca has none
        numbers = (trial.step_size, trial.step_parameter)
        call["step_size"] = RULES[trial.step_rule](*(each for each in numbers if each is not None))
    if trial.page_cache == "cold":  # after each evaluation, which reads the data, too
        call["callback"] = lambda checkpoint: page_cache.evict(problem)
    return {**call, "seed": trial.order_seed}


def _reads_our_pages(backend: str) -> bool:
    """Return whether all workers read the data through this process's maps."""
    ours = hogwild.BACKENDS.get(AGAIN.get(backend, backend))
    return backend not in peers.PEERS and (ours is None or ours.team != "processes")
