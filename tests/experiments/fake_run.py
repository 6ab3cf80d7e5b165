"""A plausible run that nobody measured: the files of a run directory, to develop and test what reads them.

Its trials are those that the specs plan; a new spec is in it without an edit here.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import hogwild
from experiments.design import plan, spec
from experiments.design.plan import Trial
from experiments.measure.journal import HISTORY_COLUMNS, TRIAL_COLUMNS
from experiments.peers import AGAIN, PEERS
from hogwild.problems import GraphCut, MatrixCompletion

FINGERPRINT = "0f1e2d3c4b5a6978"
EXPERIMENTS = tuple(sorted(path.stem for path in spec.SPECS.glob("*.toml")))
# what a non-zero costs one worker; ours that are not named cost as much as `serial`, peers five times that
NS = {
    "serial": 4.0,
    "locked": 9.0,
    "hogwild_processes": 4.2,
    "pool": 4_000.0,
    "atomic": 12.0,
    "aig": 6.0,
    "round_robin": 60.0,
    "hogwild_padded": 4.5,
    "replicated": 1.8,
    "hogwild_hot_replicated": 1.6,
    "auto": 3.4,
    "sklearn_sgd": 8.0,
    "sklearn_sgd_unshuffled": 7.0,
    "snapml": 8.0,
}
STREAMED = ("shuffled_once", "as_stored", "stored_blocks")
ONE_AT_A_TIME = ("locked", "pool", "round_robin")
CONVERSION_NS = 1.5  # a non-zero, from our format to a peer's
BEST_STEP = 0.3  # where a spec does not sweep steps
LONGEST = 20  # epochs, of which the history has a row each
TRAINED = 9.0  # by so much the logarithm of the suboptimality falls in a run, with the best step
ENVIRONMENT = {
    "command": "python -m experiments run",
    "started_at": "2026-01-01T00:00:00Z",
    "fingerprint": FINGERPRINT,
    "software": {
        "python": "3.11.7",
        "platform": "Linux",
        "numba_cpu": "imaginary",
        "packages": {"numpy": "2.4.6", "numba": "0.68.1", "scikit-learn": "1.9.1"},
    },
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
}
MACHINE = {
    "cpu_model": "Imaginary CPU @ 3.00GHz",
    "memory_bytes": 8 * 2**30,
    "l2_bytes": 2**21,
    "l3_bytes": 2**25,
    "streaming_bytes_per_second": {"one_core": 8e9, "all_cores": 12e9},
    "line_transfer_seconds": 1.2e-7,
}


class Shape(NamedTuple):
    """How large data are, and how often their examples meet."""

    n_examples: int
    n_features: int
    density: float
    crowded: float

    @property
    def nonzeros(self) -> int:
        return round(self.n_examples * self.n_features * self.density)


class Course(NamedTuple):
    """How a trial goes: its epochs, the time of one, how fast it learns and how far it gets."""

    epochs: int
    updates: int  # of an epoch, by all workers
    seconds: float
    rate: float
    floor: float
    status: str


def write(
    directory: Path,
    *,
    experiments: Iterable[str] = EXPERIMENTS,
    preset: str = "smoke",
    replicates: int = 5,
    cores: int = 2,
    disturb: float = 0.0,
    parallel_gain: float = 0.8,
    seed: int = 0,
) -> Path:
    """Write the files of a run.

    Parameters
    ----------
    replicates : int
        Of all grids that do not have a number of their own.
    disturb : float
        The share of trials that are marked as disturbed; what they measured is as in the others.
    parallel_gain : float
        The share of a core that a second worker adds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trials, history = [], []
    for name in experiments:
        own = [seed, zlib.crc32(name.encode())]  # an experiment's figures do not depend on the others
        random, neighbour = np.random.default_rng(own), np.random.default_rng([*own, 1])
        planned = planned_trials(name, preset, replicates, cores)
        best = best_steps(planned)
        for trial in planned:
            course = course_of(trial, best.get(trial.grid, BEST_STEP), parallel_gain, random)
            rows = checkpoints(trial, course, random)
            history += [[trial.key, *row] for row in rows]
            row = outcome(trial, course, rows, random)
            trials.append(row | watched(neighbour.random() < disturb, cores))
    pd.DataFrame(trials, columns=TRIAL_COLUMNS).to_csv(directory / "trials.csv", index=False)
    pd.DataFrame(history, columns=HISTORY_COLUMNS).to_csv(directory / "history.csv", index=False)
    counts = dict.fromkeys(("logical_cores", "physical_cores", "usable_cores"), cores)
    environment = {"run": directory.name, "preset": preset, "machine": MACHINE | counts, **ENVIRONMENT}
    (directory / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return directory


@functools.cache
def planned_trials(name: str, preset: str, replicates: int, cores: int) -> tuple[Trial, ...]:
    """Plan one experiment; the order is that of the spec, so that it stays where a list gets longer."""
    (loaded,) = spec.find([name], preset)
    size = loaded.size.model_copy(update={"replicates": replicates})
    trials = plan.make([loaded.model_copy(update={"size": size})], cores)
    return tuple(sorted((trial for trial in trials if not trial.skip), key=lambda trial: trial.key))


def best_steps(trials: Iterable[Trial]) -> dict[str, float]:
    """Return the step with which a grid's trials learn fastest: the middle of those that it sweeps."""
    swept = defaultdict(set)
    for trial in trials:
        if trial.step_size is not None and trial.purpose == "report":
            swept[trial.grid].add(trial.step_size)
    return {grid: float(np.exp(np.mean(np.log([*steps])))) for grid, steps in swept.items()}


def shape(trial: Trial) -> Shape:
    """Return the size of a trial's data, as far as its spec says."""
    what = trial.workload
    chosen: dict[str, Any] = {"n_examples": 10_000, "n_features": 30_000, "nonzeros_per_row": 75}
    parameters = inspect.signature(hogwild.datasets.NAMES[what.dataset]).parameters.items()
    known = {name: item.default for name, item in parameters if item.default is not item.empty}
    chosen |= {name: value for name, value in (known | dict(what.data)).items() if value is not None}
    density = float(chosen.get("density") or min(chosen["nonzeros_per_row"] / chosen["n_features"], 1.0))
    crowded = max(density, float(chosen.get("zipf_exponent") or 0.0) / 3)
    return Shape(int(chosen["n_examples"]), int(chosen["n_features"]), density, crowded)


def course_of(trial: Trial, best_step: float, gain: float, random: np.random.Generator) -> Course:
    """Make up how a trial goes, as trials of its kind do."""
    data, backend = shape(trial), AGAIN.get(trial.backend, trial.backend)
    record = hogwild.BACKENDS.get(backend)
    cost = NS.get(backend, 20.0 if backend in PEERS else NS["serial"])
    if trial.sampling in STREAMED and backend not in PEERS:
        cost *= 0.4
    cost *= 0.6 if trial.penalty == "scaled" else 1.0
    together = min(trial.workers, 2)
    harm = 1 - 2 * min(data.crowded, 0.6)
    seconds = data.nonzeros * cost * 1e-9
    if backend not in ONE_AT_A_TIME:
        seconds /= 1 + (together - 1) * gain * harm
    if trial.gradient_delay:  # gradients side by side, hand-overs in series
        apart = data.n_examples * trial.gradient_delay / together + data.nonzeros * 2e-9
        seconds = max(apart, seconds)
    # two serial runs differ less than two with threads, as on a quiet machine
    seconds *= random.lognormal(0, 0.002 if trial.experiment == "control" else 0.03)
    epochs, step = min(trial.epochs, LONGEST), trial.step_size or best_step
    fast = trial.method == "sdca" or trial.step_rule == "own"
    rate = TRAINED / epochs * math.exp(-(math.log(step / best_step) ** 2) / 8) * (2.0 if fast else 1.0)
    rate *= 1 - (0.3 * data.crowded if trial.workers > 1 and backend != "locked" else 0.0)
    rate *= 0.7 if trial.sampling == "with_replacement" else 1.0
    late = backend == "locked" and trial.workers > 2 and trial.replicate == 0
    status = "diverged" if step > 2 else "timeout" if late else "ok"
    whole_runs = record is not None and record.whole_runs
    updates = data.n_examples * (trial.workers if whole_runs else 1)
    return Course(epochs, updates, seconds, rate, 1e-8 if fast else 1e-6, status)


def checkpoints(trial: Trial, course: Course, random: np.random.Generator) -> list[tuple[float, ...]]:
    """Return the rows of a trial's history."""
    last = {"diverged": min(2, course.epochs), "timeout": max(course.epochs // 2, 1)}
    done = last.get(course.status, course.epochs)
    rows = []
    for epoch in (0, done) if trial.backend.startswith("sklearn") else range(done + 1):
        gap = course.floor + math.exp(-course.rate * epoch) * random.lognormal(0, 0.05) if epoch else 1.0
        gap = 10.0**epoch if course.status == "diverged" else gap
        train, evaluating = course.seconds * epoch, 0.01 * epoch
        errors = (8 * gap**0.5 + 0.2, gap**0.5 + shape(trial).crowded / 10)
        times = (train, evaluating, train + evaluating)
        known = gap if trial.workload.solve else math.nan
        rows.append((epoch, epoch * course.updates, *times, 0.2 + 0.8 * gap, known, *errors))
    return rows


def outcome(
    trial: Trial, course: Course, rows: list[tuple[float, ...]], random: np.random.Generator
) -> dict[str, Any]:
    """Return a trial's row, but for the machine's readings around it."""
    data, (_, updates, train, evaluating, wall, objective, gap, *errors) = shape(trial), rows[-1]
    setup = {"pool": 0.02, "hogwild_processes": 0.05}.get(trial.backend, 0.002) * random.lognormal(0, 0.1)
    peer = trial.backend in PEERS
    columns = plan.describe(trial) | {
        "n_examples": data.n_examples,
        "n_features": data.n_features,
        "nonzeros": data.nonzeros,
        "density": data.density,
        "data_hash": hashlib.sha256(repr(trial.workload.data_key).encode()).hexdigest(),
        "omega": 75,
        "delta": 0.4,
        "rho": 0.9,
        "rho_error": 0.0,
        "status": course.status,
        "check_seconds": 0.0 if peer else 0.001,
        "setup_seconds": setup + (data.nonzeros * CONVERSION_NS * 1e-9 if peer else 0.0),
        "compile_seconds": 0.0,
        "train_seconds": train,
        "eval_seconds": evaluating,
        "wall_seconds": wall,
        "total_seconds": wall + 0.1,
        "cpu_seconds": train * trial.workers,
        "updates": updates,
        "updates_per_second": updates / train,
        "ns_per_nonzero": 1e9 * train / (updates * data.nonzeros / data.n_examples),
        "objective_zero": 1.0,
        "objective": objective,
        "suboptimality": gap,
        "weight_error_l1": errors[0],
        "weight_error_l2": errors[1],
    }
    if trial.workload.solve:
        columns |= {"optimum": 0.2, "optimum_error": 1e-9, "optimum_certificate": "duality_gap"}
    if trial.tuned_on:
        columns |= {"step_rule": "constant", "step_size": BEST_STEP}
    return columns | seen(trial)


def seen(trial: Trial) -> dict[str, float]:
    """Return errors of the problem's kind, and what an instrumented run would see."""
    kind = hogwild.problems.PROBLEMS[trial.workload.problem]
    split = "test_fraction" in dict(trial.workload.data)
    found: dict[str, float] = {"cut": 200.0} if kind is GraphCut else {}
    if getattr(kind, "task", "") == "classification":
        found |= {"train_error_rate": 0.08} | ({"test_error_rate": 0.1} if split else {})
    if kind is MatrixCompletion:
        found |= {"train_rmse": 0.7} | ({"test_rmse": 0.9} if split else {})
    if trial.instrument:
        lost = 0.01 if trial.backend == "hogwild_threads" else 0.0
        found |= {"lost_share": lost, "collision_rate": 0.2, "expected_collision_rate": 0.4}
        found |= {"staleness_mean": 0.9, "wait_share": 0.3}
    return found


def watched(disturbed: bool, cores: int) -> dict[str, Any]:
    """Return what the machine's readings around a trial say."""
    efficiency = math.nan if cores == 1 else 0.81 if disturbed else 0.99
    return {
        "build_seconds": 0.0,
        "started_at": "2026-01-01T00:00:00Z",
        "environment": FINGERPRINT,
        "load_average": 0.5,
        "spin_speed": 0.98,
        "spin_efficiency": efficiency,
        "steal_share": 0.1 if disturbed else 0.0,
        "spin_tests": 1,
        "reading_seconds": 0.01,
        "attempts": 3 if disturbed else 1,
        "disturbed": "steal: 0.10 of the trial's time" if disturbed else "",
    }
