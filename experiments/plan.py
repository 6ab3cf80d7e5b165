"""From specs to trials: the product of every grid, a key for each cell, and the order of the run."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from experiments import workloads
from experiments.peers import PEERS
from experiments.spec import WORKERS, Grid, Spec
from experiments.workloads import Workload

BASE_SEED = 20110628  # one for all experiments, so that they share data
AXES = ("data", "order", "plan")
SWEPT = ("backend", "workers", "sampling", "batch_size", "gradient_threshold", "gradient_delay", "epochs")
FIXED = ("initial_weights", "target", "tolerance", "time_limit", "evaluations_per_epoch", "instrument")


@dataclass(frozen=True)
class Trial:
    """One cell of one grid in one replicate: everything that decides its outcome, and nothing else."""

    experiment: str
    grid: str
    replicate: int
    workload: Workload
    order_seed: int
    backend: str
    workers: int
    sampling: str
    step_rule: str
    step_size: float
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
    instrument: bool = False
    skip: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """16 hexadecimal digits over all settings; ``1`` and ``1.0`` are the same setting."""
        settings = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "skip"}
        settings["workload"] = self.workload.settings()
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
    trials: dict[str, Trial] = {}
    for spec in specs:
        for grid in spec.grid:
            for replicate in range(grid.replicates or spec.size.replicates):
                trials.update((trial.key, trial) for trial in _cells(spec.name, grid, replicate, cores))
    return _interleave(trials.values())


def _cells(experiment: str, grid: Grid, replicate: int, cores: int) -> Iterator[Trial]:
    run = grid.run
    limit = max(worker_counts([grid.workers_limit or 10**6], cores))
    fixed = {name: getattr(run, name) for name in FIXED}
    steps: list[dict[str, Any]] = [
        {"step_rule": step.rule, "step_size": initial, "step_parameter": parameter}
        for step in run.step_size
        for initial, parameter in itertools.product(step.initial, step.parameters)
    ]
    axes = {name: getattr(run, name) for name in SWEPT} | {"workers": worker_counts(run.workers, cores)}
    for what in _product({"problem": grid.problem, "l2": grid.l2, "dtype": grid.dtype}):
        for chosen in _product(grid.data):
            options = workloads.resolve(grid.dataset, chosen)
            # A spec that fixes the data's seed has the same data in every replicate: solved once.
            data_seed = int(options.pop("seed", seed("data", replicate)))
            data = tuple(sorted(options.items()))
            workload = Workload(
                **what, dataset=grid.dataset, data=data, data_seed=data_seed, solve=grid.solve, rank=grid.rank
            )
            place: dict[str, Any] = {"experiment": experiment, "grid": grid.name, "replicate": replicate}
            place |= {"workload": workload, "order_seed": seed("order", replicate)}
            for step, cell in itertools.product(steps, _product(axes)):
                if cell["backend"] in ("serial", *PEERS):
                    own = PEERS.get(cell["backend"], cell["sampling"])
                    cell = {**cell, "workers": 1, "sampling": own}
                skip = f"{cell['workers']} workers are above this grid's limit of {limit} on {cores} cores"
                yield Trial(**place, **fixed, **step, **cell, skip=skip if cell["workers"] > limit else None)


def _product(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _interleave(trials: Iterable[Trial]) -> list[Trial]:
    """Put the trials in a seeded random order that builds each workload once.

    Data sets come in random order, the workloads of one data set next to each other, their replicates one
    after the other, and the trials of one replicate of one workload, which are compared with each other, in
    random order. A drift of the machine meets all backends alike, and hundreds of megabytes are not rebuilt
    for each trial.
    """
    random = np.random.default_rng(seed("plan", 0))
    ranks: dict[object, float] = {}
    blocks: dict[tuple[float, float, int], list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.key):
        data = ranks.setdefault(trial.workload.data_key, random.random())
        place = (data, ranks.setdefault(trial.workload, random.random()), trial.replicate)
        blocks.setdefault(place, []).append(trial)
    return [block[index] for _, block in sorted(blocks.items()) for index in random.permutation(len(block))]


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _canonical(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) + 0.0  # one spelling for 1 and 1.0, 0.0 and -0.0
    return value
