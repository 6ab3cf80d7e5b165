"""From specs to trials: the product of every grid, a key for each cell, and the order of the run."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

import numpy as np

from experiments.design import options, workloads
from experiments.design.kinds import WORKERS, Step
from experiments.design.options import OPTIONS, STEP_FIELDS
from experiments.design.spec import Grid, Preset, Spec, SpecError
from experiments.design.workloads import Workload
from experiments.peers import PEERS

BASE_SEED = 20110628  # one for all experiments, so that they share data
AXES = ("data", "order", "plan")
TUNED_TO = 1e-2  # suboptimality, where a spec has no target of its own
TUNING = 1_000  # the number of the first tuning replicate, far from those that are reported

_fields = [
    (name, Any, field() if default is options.REQUIRED else field(default=default))
    for option in OPTIONS.values()
    for name, default in option.fields.items()
]
_Settings: Any = make_dataclass("_Settings", _fields, frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Trial(_Settings):
    """One cell of one grid in one replicate: everything that decides its outcome, and nothing else.

    Every option (`experiments.design.options`) is a field. A step size that is tuned is unknown until the
    trials with the keys ``tuned_on`` have run; the method ``sdca`` has none.
    """

    experiment: str
    grid: str
    replicate: int
    workload: Workload
    order_seed: int
    purpose: str = "report"
    tuned_on: tuple[str, ...] = ()
    skip: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """16 hexadecimal digits over all settings that are not at their defaults.

        A new option with a default therefore changes no key. ``1`` and ``1.0`` are the same setting.
        """
        settings = _set(self) | {"workload": _set(self.workload)}
        if self.tuned_on:  # the same trial before and after its step size is chosen
            settings = {name: value for name, value in settings.items() if name not in STEP_FIELDS}
        return hashlib.sha256(json.dumps(_canonical(settings), sort_keys=True).encode()).hexdigest()[:16]


def seed(axis: str, replicate: int) -> int:
    """Return the seed of an axis (``data``, ``order``, ``plan``) in a replicate; all backends share it."""
    sequence = np.random.SeedSequence(BASE_SEED, spawn_key=(AXES.index(axis), replicate))
    return int(sequence.generate_state(1)[0])


def worker_counts(expressions: Iterable[int | str], cores: int) -> list[int]:
    """Return what ``2``, ``"cores"``, ``"2*cores"`` or ``"1..2*cores"`` stand for, in order, once each."""
    counts: dict[int, None] = {}
    for expression in expressions:
        match = WORKERS.fullmatch(str(expression))
        if match is None:
            raise ValueError(f"{expression!r} is no number of workers")
        high = int(match["factor"] or 1) * (cores if match["unit"] == "cores" else int(match["unit"]))
        counts.update(dict.fromkeys(range(int(match["low"] or high), high + 1)))
    return list(counts)


def make(specs: Iterable[Spec], cores: int) -> list[Trial]:
    """Return all trials of the specs, in the order in which to run them."""
    return _interleave(_unique(specs, cores, lambda _, size, own: range(own or size.replicates)))


def spare(specs: Iterable[Spec], cores: int) -> list[Trial]:
    """Return the extra replicates of specs that state a precision, for intervals that are too wide."""

    def further(spec: Spec, size: Preset, own: int | None) -> range:
        return range(own or size.replicates, (spec.precision and size.most_replicates) or 0)

    return [trial for trial in _interleave(_unique(specs, cores, further)) if trial.purpose == "report"]


def costs(specs: Iterable[Spec], trials: Iterable[Trial]) -> dict[str, float]:
    """Return about how many seconds a trial of each experiment takes: its spec's total, over its trials."""
    counts = Counter(trial.experiment for trial in trials)
    said = {spec.name: spec.size.seconds for spec in specs}
    return {name: seconds / counts[name] for name, seconds in said.items() if seconds and counts[name]}


def describe(trial: Trial) -> dict[str, Any]:
    """Return the columns of ``trials.csv`` that are known before a trial is run."""
    known = ("experiment", "grid", "replicate", "purpose", "order_seed")
    columns = {name: getattr(trial, name) for name in known}
    columns |= {column: getattr(trial, name) for column, name in options.COLUMNS.items()}
    workload = trial.workload
    columns |= {name: getattr(workload, name) for name in ("problem", "dataset", "l2", "dtype", "data_seed")}
    sizes = ("n_examples", "n_features", "density", "zipf_exponent")
    columns |= {name: value for name, value in workload.data if name in sizes}
    return {
        "trial": trial.key,
        **columns,
        "data_id": workload.data_id,
        "file_hash": workload.file_hash or "none",
    }


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
    """Return the trials of one replicate, each after those that tune it."""
    run = grid.run
    limit = max(worker_counts([grid.workers_limit or 10**6], cores))
    fixed = {name: getattr(run, name) for name in options.FIXED}
    fixed |= {"experiment": spec.name, "grid": grid.name}
    axes = {name: getattr(run, name) for name in options.SWEPT}
    axes["workers"] = worker_counts(run.workers, cores)
    files = [(chosen, _file_hash(spec, grid, chosen)) for chosen in _product(grid.data)]
    for what in _product({"problem": grid.problem, "l2": grid.l2, "dtype": grid.dtype}):
        for (chosen, file_hash), step, cell in itertools.product(files, run.step_size, _product(axes)):
            settings = {**fixed, **options.effective(cell, axes, what["problem"], what["l2"])}
            if (workers := settings["workers"]) > limit:
                settings["skip"] = (
                    f"{workers} workers are above this grid's limit of {limit} on {cores} cores"
                )
            place = functools.partial(_place, grid, what, chosen, file_hash)
            candidates = _candidates(step, settings["backend"], settings["method"])
            if step.tune and candidates[0]["step_size"] is not None:
                tuning = range(TUNING, TUNING + spec.size.tuning_replicates)
                yield from _tuned(settings, candidates, place, tuning, replicate)
            else:
                yield from (Trial(**settings, **place(replicate), **candidate) for candidate in candidates)


def _candidates(step: Step, backend: str, method: str) -> list[dict[str, Any]]:
    """Return the step sizes to try: none for dual ascent, and for a peer its own choice or constant ones."""
    found: list[tuple[str | None, float | None, float | None]]
    if method == "sdca":
        found = [(None, None, None)]
    elif backend in PEERS and not PEERS[backend].stepped:
        found = [("own", None, None)]
    elif backend in PEERS:
        found = [("constant", initial, None) for initial in step.initial]
    else:
        found = [(step.rule, *pair) for pair in itertools.product(step.initial, step.parameters)]
    return [dict(zip(STEP_FIELDS, each, strict=True)) for each in found]


def _tuned(
    settings: dict[str, Any],
    candidates: list[dict[str, Any]],
    place: Callable[[int], dict[str, Any]],
    tuning: Iterable[int],
    replicate: int,
) -> Iterator[Trial]:
    """Return the trials that choose a step size, then the one that is run with it."""
    # the time to the target is all that is asked of a tuning trial
    to_target = {**settings, "target": settings["target"] or TUNED_TO, "purpose": "tune"}
    trials = [
        Trial(**to_target, **place(number), **candidate)
        for number, candidate in itertools.product(tuning, candidates)
    ]
    yield from trials
    yield Trial(**settings, **place(replicate), tuned_on=tuple(trial.key for trial in trials))


def _file_hash(spec: Spec, grid: Grid, chosen: Mapping[str, Any]) -> str:
    try:
        return workloads.file_hash(grid.dataset, chosen)
    except OSError as error:
        raise SpecError(f"{spec.name}: {grid.name}.data.path: {error}") from error


def _place(
    grid: Grid, what: Mapping[str, Any], chosen: Mapping[str, Any], file_hash: str, replicate: int
) -> dict[str, Any]:
    """Return what differs between replicates: number, order, and data unless their seed is fixed."""
    resolved = workloads.resolve(grid.dataset, chosen)
    # with a fixed seed all replicates share their data, which are then solved once
    data_seed = int(resolved.pop("seed", seed("data", replicate)))
    data = tuple(sorted(resolved.items()))
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


def _product(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _interleave(trials: Iterable[Trial]) -> list[Trial]:
    """Put the trials in a seeded random order that builds each workload once.

    Tuning trials come first. Data sets come in random order, the workloads of one data set next to each
    other, and their replicates one after another. The trials of one replicate of one workload, which will be
    compared with each other, come in random order, so that a drift of the machine affects all backends alike.
    """
    random = np.random.default_rng(seed("plan", 0))
    ranks: dict[object, float] = {}
    blocks: dict[tuple[bool, float, float, int], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.key):
        data = ranks.setdefault(trial.workload.data_key, random.random())
        place = (data, ranks.setdefault(trial.workload, random.random()), trial.replicate)
        blocks.setdefault((trial.purpose != "tune", *place), []).append(trial)
    return [block[index] for _, block in sorted(blocks.items()) for index in random.permutation(len(block))]


def _set(record: Trial | Workload) -> dict[str, Any]:
    """Return the fields of a record that are not at their defaults."""
    found = {item.name: (getattr(record, item.name), item.default) for item in fields(record) if item.compare}
    return {name: value for name, (value, default) in found.items() if value != default}


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _canonical(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) + 0.0  # one spelling for 1 and 1.0, 0.0 and -0.0
    return value
