"""From specs to trials: the product of every grid, a key for each cell, and the order of the run."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from experiments import statistics
from experiments.design import workloads
from experiments.design.spec import WORKERS, Grid, Preset, Spec, SpecError
from experiments.design.workloads import Workload
from experiments.measure import journal
from experiments.peers import ALONE, OWN_STEPS, PEERS

BASE_SEED = 20110628  # one for all experiments, so that they share data
AXES = ("data", "order", "plan")
SWEPT = (
    "method",
    "backend",
    "workers",
    "sampling",
    "batch_size",
    "gradient_threshold",
    "gradient_delay",
    "penalty",
    "merge_every",
    "hot_weights",
    "page_cache",
    "epochs",
)
FIXED = ("initial_weights", "target", "tolerance", "time_limit", "evaluations_per_epoch", "instrument", "pin")
STEP = ("step_rule", "step_size", "step_parameter")
TUNED_TO = 1e-2  # suboptimality, where a spec has no target of its own
TUNING = 1_000  # the number of the first tuning replicate, far from those that are reported


@dataclass(frozen=True)
class Trial:
    """One cell of one grid in one replicate: everything that decides its outcome, and nothing else.

    ``tuned_on`` holds the keys of the tuning trials that decide the step size, which is not known before.
    The method ``sdca`` has none.
    """

    experiment: str
    grid: str
    replicate: int
    workload: Workload
    order_seed: int
    backend: str
    workers: int
    sampling: str
    step_rule: str
    step_size: float | None
    step_parameter: float | None
    batch_size: int
    gradient_threshold: float
    epochs: int
    initial_weights: str
    target: float | None
    tolerance: float | None
    time_limit: float | None
    evaluations_per_epoch: int
    gradient_delay: float = 0.0
    penalty: str = "touched"  # the only value of the method sdca, and where there is none
    merge_every: int = 0  # adapted; the only value of backends without replicas
    hot_weights: int = 0  # the library's default; the only value of backends without a part for them
    method: str = "sgd"
    instrument: bool = False
    pin: bool = True
    page_cache: str = "warm"
    purpose: str = "report"
    tuned_on: tuple[str, ...] = ()
    skip: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """16 hexadecimal digits over all settings; ``1`` and ``1.0`` are the same setting."""
        settings = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "skip"}
        settings["workload"] = self.workload.settings()
        for name, before in journal.ADDED.items():
            if (
                name in settings and settings[name] == before
            ):  # trials keep the keys that they had before there was this option
                del settings[name]
        if self.tuned_on:  # the same trial before and after its step size is chosen
            settings |= dict.fromkeys(STEP)
        return hashlib.sha256(json.dumps(_canonical(settings), sort_keys=True).encode()).hexdigest()[:16]


def seed(axis: str, replicate: int) -> int:
    """The seed of an axis (``data``, ``order``, ``plan``) in a replicate; the backend is not an axis."""
    sequence = np.random.SeedSequence(BASE_SEED, spawn_key=(AXES.index(axis), replicate))
    return int(sequence.generate_state(1)[0])


def worker_counts(expressions: Iterable[int | str], cores: int) -> list[int]:
    """Numbers of workers from ``2``, ``"cores"``, ``"2*cores"`` or ``"1..2*cores"``, in order, once each."""
    counts: dict[int, None] = {}
    for expression in expressions:
        match = WORKERS.fullmatch(str(expression))
        if match is None:
            raise ValueError(f"{expression!r} is no number of workers")
        high = int(match["factor"] or 1) * (cores if match["unit"] == "cores" else int(match["unit"]))
        counts.update(dict.fromkeys(range(int(match["low"] or high), high + 1)))
    return list(counts)


def make(specs: Iterable[Spec], cores: int) -> list[Trial]:
    """All trials of the specs, in the order in which they are to be run."""
    return _interleave(_unique(specs, cores, lambda _, size, own: range(own or size.replicates)))


def spare(specs: Iterable[Spec], cores: int) -> list[Trial]:
    """The further replicates of specs that state a precision, to be run if their intervals are too wide."""

    def further(spec: Spec, size: Preset, own: int | None) -> range:
        return range(own or size.replicates, (spec.precision and size.most_replicates) or 0)

    return [trial for trial in _interleave(_unique(specs, cores, further)) if trial.purpose == "report"]


def costs(specs: Iterable[Spec], trials: Iterable[Trial]) -> dict[str, float]:
    """Seconds that a trial of each experiment takes, about: what its spec says, over its trials."""
    counts = Counter(trial.experiment for trial in trials)
    said = {spec.name: spec.size.seconds for spec in specs}
    return {name: seconds / counts[name] for name, seconds in said.items() if seconds and counts[name]}


def describe(trial: Trial) -> dict[str, Any]:
    """The columns of ``trials.csv`` that are known before a trial is run."""
    columns = {name: getattr(trial, name) for name in journal.TRIAL_COLUMNS if hasattr(trial, name)}
    workload = trial.workload
    columns |= {name: getattr(workload, name) for name in ("problem", "dataset", "l2", "dtype", "data_seed")}
    known = ("n_examples", "n_features", "density", "zipf_exponent")
    columns |= {name: value for name, value in workload.data if name in known}
    columns |= {"data_id": workload.data_id, "file_hash": workload.file_hash or "none"}
    return {"trial": trial.key, "pinned": trial.pin, **columns}


def _unique(
    specs: Iterable[Spec], cores: int, replicates: Callable[[Spec, Preset, int | None], Iterable[int]]
) -> Iterable[Trial]:
    trials: dict[str, Trial] = {}
    for spec in specs:
        for grid in spec.grid:
            for replicate in replicates(spec, spec.size, grid.replicates):
                cells = _cells(spec, grid, replicate, cores)
                trials.update((trial.key, trial) for trial in cells)
    return trials.values()


def _cells(spec: Spec, grid: Grid, replicate: int, cores: int) -> Iterator[Trial]:
    """The trials of one replicate, each after those that tune it."""
    run = grid.run
    limit = max(worker_counts([grid.workers_limit or 10**6], cores))
    fixed = {name: getattr(run, name) for name in FIXED} | {"experiment": spec.name, "grid": grid.name}
    axes = {name: getattr(run, name) for name in SWEPT} | {"workers": worker_counts(run.workers, cores)}
    found = [(chosen, _file_hash(spec, grid, chosen)) for chosen in _product(grid.data)]
    for what in _product({"problem": grid.problem, "l2": grid.l2, "dtype": grid.dtype}):
        for (chosen, file_hash), step, cell in itertools.product(found, run.step_size, _product(axes)):
            if cell["backend"] in ALONE:
                cell["workers"] = 1
            if cell["backend"] in PEERS:
                cell |= {"method": "sgd", "sampling": PEERS[cell["backend"]].order}
                cell["penalty"] = run.penalty[0]  # theirs is their own
            if what["l2"] == 0 or cell["method"] == "sdca":
                cell["penalty"] = "touched"
            if "replicated" not in cell["backend"]:
                cell["merge_every"] = 0
            if "hot_replicated" not in cell["backend"]:
                cell["hot_weights"] = 0
            skip = f"{cell['workers']} workers are above this grid's limit of {limit} on {cores} cores"
            common = {**fixed, **cell, "skip": skip if cell["workers"] > limit else None}
            tuning = range(TUNING, TUNING + spec.size.tuning_replicates)
            candidates = [
                dict(zip(STEP, (step.rule, initial, parameter), strict=True))
                for initial, parameter in itertools.product(step.initial, step.parameters)
            ]
            tune = step.tune
            if cell["backend"] in OWN_STEPS:
                tune, candidates = False, [dict(zip(STEP, ("own", None, None), strict=True))]
            elif cell["backend"] in PEERS:  # their step is constant, whatever the rule
                candidates = [dict(zip(STEP, ("constant", each, None), strict=True)) for each in step.initial]
            place = functools.partial(_place, grid, what, chosen, file_hash)
            unknown: dict[str, Any] = dict.fromkeys(STEP)
            if cell["method"] == "sdca":
                tune, candidates = False, [unknown]
            if not tune:
                yield from (Trial(**common, **place(replicate), **candidate) for candidate in candidates)
                continue
            # its time to the target is all that a tuning trial is run for
            common["target"], own = run.target or TUNED_TO, common["target"]
            trials = [
                Trial(**common, **place(number), **candidate, purpose="tune")
                for number, candidate in itertools.product(tuning, candidates)
            ]
            yield from trials
            common["target"] = own
            tuned_on = tuple(trial.key for trial in trials)
            yield Trial(**common, **place(replicate), **unknown, tuned_on=tuned_on)


def _file_hash(spec: Spec, grid: Grid, chosen: Mapping[str, Any]) -> str:
    try:
        return workloads.file_hash(grid.dataset, chosen)
    except OSError as error:
        raise SpecError(f"{spec.name}: {grid.name}.data.path: {error}") from error


def _place(
    grid: Grid, what: Mapping[str, Any], chosen: Mapping[str, Any], file_hash: str, replicate: int
) -> dict[str, Any]:
    """What a replicate changes: its number, the data where the spec does not fix their seed, the order."""
    options = workloads.resolve(grid.dataset, chosen)
    # A spec that fixes the data's seed has the same data in every replicate: solved once.
    data_seed = int(options.pop("seed", seed("data", replicate)))
    data = tuple(sorted(options.items()))
    workload = Workload(
        **what,
        dataset=grid.dataset,
        data=data,
        data_seed=data_seed,
        solve=grid.solve,
        rank=grid.rank,
        file_hash=file_hash,
    )
    return {"replicate": replicate, "workload": workload, "order_seed": seed("order", replicate)}


def settled(trial: Trial, records: Mapping[str, Any]) -> Trial:
    """Give a trial the step size that was soonest at the target in the median of its tuning trials.

    Candidates that never reached it are told apart by the suboptimality they ended with.

    Raises
    ------
    LookupError
        If no tuning trial of it has ended.
    """
    if not trial.tuned_on:
        return trial
    found: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for record in (records[key] for key in trial.tuned_on if key in records):
        row = record["trial"]
        if row["status"] not in ("ok", "timeout", "diverged"):
            continue
        curve = [(seconds, gap) for _, _, seconds, _, _, _, gap, *_ in record["history"] if gap is not None]
        sound = row["status"] != "diverged"
        time = statistics.time_to_target(curve, trial.target or TUNED_TO) if sound else math.inf
        end = row.get("suboptimality") if sound else None
        candidate = tuple(row[name] for name in STEP)
        found.setdefault(candidate, []).append((time, math.inf if end is None else end))
    if not found:
        raise LookupError(
            f"no tuning trial of {trial.experiment} {trial.backend} × {trial.workers} has ended"
        )
    best = min(found, key=lambda candidate: tuple(np.median(found[candidate], axis=0)))
    return replace(trial, **dict(zip(STEP, best, strict=True)))


def _product(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _interleave(trials: Iterable[Trial]) -> list[Trial]:
    """Put the trials in a seeded random order that builds each workload once.

    Data sets come in random order, the workloads of one data set next to each other, their replicates one
    after the other, and the trials of one replicate of one workload, which are compared with each other, in
    random order; tuning trials before all others. A drift of the machine meets all backends alike, and
    hundreds of megabytes are not rebuilt for each trial.
    """
    random = np.random.default_rng(seed("plan", 0))
    ranks: dict[object, float] = {}
    blocks: dict[tuple[bool, float, float, int], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.key):
        data = ranks.setdefault(trial.workload.data_key, random.random())
        place = (data, ranks.setdefault(trial.workload, random.random()), trial.replicate)
        blocks.setdefault((trial.purpose != "tune", *place), []).append(trial)
    return [block[index] for _, block in sorted(blocks.items()) for index in random.permutation(len(block))]


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _canonical(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) + 0.0  # one spelling for 1 and 1.0, 0.0 and -0.0
    return value
