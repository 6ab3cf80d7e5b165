"""A plausible run that nobody measured: the files of a run directory, to develop and test what reads them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.measure.journal import ADDED, HISTORY_COLUMNS, TRIAL_COLUMNS
from experiments.peers.registry import PEERS

FINGERPRINT = "0f1e2d3c4b5a6978"
FIRST = ("guide", "sparsity", "workers", "step_size", "real_text", "kernels", "control")
PAPER = ("paper_svm", "paper_matrix_completion", "paper_cuts")
EXPERIMENTS = (
    *FIRST,
    *PAPER,
    *"gradient_delay averaging collisions sampling penalty coherence scale peers".split(),
)
TUNED = ("workers", "real_text")
NS = {
    "serial": 4.0,
    "serial_again": 4.0,
    "hogwild_threads_again": 4.0,
    "locked": 9.0,
    "hogwild_threads": 4.0,
    "hogwild_processes": 4.2,
    "pool": 4_000.0,
    "atomic": 12.0,
    "aig": 6.0,
    "round_robin": 60.0,
    "averaging": 4.0,
    "hogwild_padded": 4.5,
    "replicated": 2.2,
    "hogwild_hot_replicated": 2.0,
    "auto": 3.4,
    "sklearn_sgd": 8.0,
    "sklearn_sgd_unshuffled": 7.0,
    "snapml": 8.0,
    "liblinear": 20.0,
}
CONVERSION_NS = 1.5  # a non-zero, from our format to a peer's


def write(
    directory: Path,
    *,
    experiments: tuple[str, ...] = EXPERIMENTS,
    replicates: int = 5,
    cores: int = 2,
    disturb: float = 0.0,
    parallel_gain: float = 0.8,
    seed: int = 0,
) -> Path:
    """Write the files of a run.

    Parameters
    ----------
    disturb : float
        The share of trials that are marked as disturbed; what they measured is as in the others.
    parallel_gain : float
        The share of a core that a second worker adds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    random, neighbour = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    trials, history = [], []
    for cell in (cell for name in experiments for cell in _cells(name, cores)):
        tuning = [cell | {"purpose": "tune", "step_size": size} for size in (0.1, 0.3)]
        for each in (cell, *tuning) if cell["experiment"] in TUNED else (cell,):
            for replicate in range(1 if "purpose" in each else replicates):
                row, rows = _trial(each, replicate, random, parallel_gain)
                trials.append(row | _watched(neighbour.random() < disturb, cores))
                history += rows
    pd.DataFrame(trials, columns=TRIAL_COLUMNS).to_csv(directory / "trials.csv", index=False)
    pd.DataFrame(history, columns=HISTORY_COLUMNS).to_csv(directory / "history.csv", index=False)
    environment = {
        "run": directory.name,
        "preset": "fake",
        "command": "python -m experiments run",
        "started_at": "2026-01-01T00:00:00Z",
        "machine": {
            "cpu_model": "Imaginary CPU @ 3.00GHz",
            "logical_cores": cores,
            "physical_cores": cores,
            "memory_bytes": 8 * 2**30,
            "usable_cores": cores,
            "l2_bytes": 2**21,
            "l3_bytes": 2**25,
            "streaming_bytes_per_second": {"one_core": 8e9, "all_cores": 12e9},
            "line_transfer_seconds": 1.2e-7,
        },
        "fingerprint": FINGERPRINT,
        "software": {
            "python": "3.11.7",
            "platform": "Linux",
            "numba_cpu": "imaginary",
            "packages": {"numpy": "2.4.6", "numba": "0.68.1", "scikit-learn": "1.9.1"},
        },
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    }
    (directory / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return directory


def _watched(disturbed: bool, cores: int) -> dict[str, Any]:
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


def _cells(experiment: str, cores: int) -> list[dict[str, Any]]:
    ours = ("serial", "locked", "hogwild_threads", "hogwild_processes")
    workers = tuple(range(1, 2 * cores + 1))
    uniform = {"dataset": "synthetic", "problem": "least_squares", "zipf_exponent": 0.0}
    rcv1 = {
        "dataset": "rcv1_twin",
        "n_features": 47_236,
        "density": 75 / 47_236,
        "n_examples": 100_000,
        "zipf_exponent": 1.0,
    }
    million = uniform | {"n_features": 1_000_000, "density": 1e-5, "n_examples": 400_000}
    cells: list[dict[str, Any]] = []

    def add(grid: str, data: dict[str, Any], **lists: tuple[object, ...]) -> None:
        for values in itertools.product(*lists.values()):
            cell = {"experiment": experiment, "grid": grid, "sampling": "fresh_permutation", **data}
            cell |= dict(zip(lists, values, strict=True))
            if str(cell["backend"]).startswith(("serial", "sklearn", "liblinear")):
                cell["workers"] = 1
            if cell not in cells:
                cells.append(cell)

    if experiment == "guide":
        data = uniform | {
            "dataset": "guide",
            "n_features": 10,
            "density": 0.2,
            "n_examples": 20_000,
            "rate": 1.5,
        }
        add("tutorial", data | {"threshold": 0.01}, backend=(*ours, "pool"), workers=(1, 2, 5))
    if experiment == "sparsity":
        for density in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
            data = uniform | {"n_features": 1000, "density": density, "n_examples": int(4000 / density)}
            add("uniform", data | {"crowded": density}, backend=ours, workers=(1, cores))
    if experiment == "workers":
        add("rcv1", rcv1 | {"problem": "hinge", "crowded": 0.1}, backend=ours, workers=workers)
        add("truly_sparse", million, backend=ours, workers=workers)
    if experiment == "step_size":
        steps = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
        logistic = rcv1 | {"problem": "logistic"}
        pair = ("serial", "hogwild_threads")
        add("constant", logistic, backend=pair, workers=(cores,), step_size=steps)
        back_off = logistic | {"step_rule": "exponential_backoff"}
        add("backoff", back_off, backend=pair, workers=(cores,), step_size=steps, step_parameter=(0.8, 0.9))
        samplings = ("with_replacement", "fresh_permutation")
        add(
            "sampling",
            uniform | {"n_features": 1000, "density": 0.02, "n_examples": 20_000},
            backend=pair[:1],
            sampling=samplings,
        )
    if experiment == "real_text":
        text = {"dataset": "python_source", "n_features": 30_000, "density": 0.0015, "n_examples": 12_000}
        add("python", text, problem=("logistic", "hinge"), backend=ours, workers=(1, 2))
    if experiment == "kernels":
        peers = ("sklearn_sgd", "sklearn_sgd_unshuffled")
        for problem in ("hinge", "least_squares"):
            add(
                "twin",
                rcv1 | {"problem": problem},
                backend=("serial",),
                sampling=("fresh_permutation", "shuffled_once"),
            )
            add("twin", rcv1 | {"problem": problem}, backend=peers[:1])
            add("twin", rcv1 | {"problem": problem, "sampling": "shuffled_once"}, backend=peers[1:])
        add("million", million, backend=("serial", "hogwild_threads"), workers=(2,))
    if experiment == "control":
        names = [name for name in NS if name.removesuffix("_again") in (ours[0], ours[2])]
        add("rcv1", rcv1 | {"problem": "hinge"}, backend=tuple(names), workers=(2,))
    schemes = ("hogwild_threads", "aig", "round_robin")
    if experiment == "paper_svm":
        add("rcv1", rcv1 | {"problem": "hinge"}, backend=schemes, workers=workers)
    for name, grids in (("matrix_completion", _RATINGS), ("cuts", _GRAPHS)):
        if experiment == f"paper_{name}":
            for grid, dataset in grids.items():
                problem = "graph_cut" if name == "cuts" else name
                data = million | {"problem": problem, "dataset": dataset}
                add(grid, data, backend=schemes, workers=workers)
    if experiment == "gradient_delay":
        delays = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
        data = rcv1 | {"problem": "hinge"}
        add("rcv1", data, backend=("serial", *schemes), workers=(cores,), gradient_delay=delays)
    if experiment == "averaging":
        add("rcv1", rcv1 | {"problem": "hinge"}, backend=("averaging", schemes[0]), workers=(1, 3, 10))
    if experiment == "collisions":
        for density in (0.01, 0.1, 1.0):
            data = uniform | {"n_features": 1000, "density": density, "n_examples": int(4000 / density)}
            add("uniform", data | {"instrument": True}, backend=("atomic", *schemes), workers=(cores,))
    if experiment == "sampling":
        orders = ("with_replacement", "fresh_permutation", "shuffled_once")
        for grid, problem in (("hinge", "hinge"), ("completion", "matrix_completion"), ("cut", "graph_cut")):
            add(grid, rcv1 | {"problem": problem}, backend=("serial",), sampling=orders)
    if experiment == "penalty":
        for problem in ("hinge", "logistic"):
            data, ways = rcv1 | {"problem": problem, "l2": 1.0}, ("touched", "scaled")
            names = ("serial", "hogwild_threads", "replicated")
            add("rcv1", data, backend=names, workers=(cores,), penalty=ways)
    if experiment == "coherence":
        logistic = rcv1 | {"problem": "logistic", "dataset": "synthetic", "sampling": "shuffled_once"}
        names = ("serial", "hogwild_threads", "hogwild_padded", "atomic", "replicated")
        for exponent in (0.0, 0.5, 1.0, 1.5):
            data = logistic | {"zipf_exponent": exponent, "crowded": exponent / 3}
            add("popularity", data, backend=names, workers=(cores,))
        add("period", logistic, backend=names[:1])
        add("period", logistic, backend=names[-1:], workers=(cores,), merge_every=(0, 16, 256, 4096, 65_536))
        for grid in ("rcv1", "uniform", "python"):
            add(grid, logistic, backend=("serial", "replicated", "auto"), workers=(cores,))
        for features in (100_000, 1_000_000):
            data = logistic | {"n_features": features, "density": 2 / features}
            kinds = ("serial", "hogwild_threads", "replicated", "hogwild_hot_replicated")
            add("many_features", data, backend=kinds, workers=(cores,))
            add("many_features_alone", data, backend=kinds[-1:])
    if experiment == "scale":
        kinds = ("serial", "replicated", "hogwild_threads")
        for places in (("memory", ("warm",)), ("warm", ("warm",)), ("cold", ("cold",))):
            data = rcv1 | {"problem": "least_squares", "dataset": "large_synthetic"}
            sizes = (1_000, 100_000, 1_000_000)
            cache = {"page_cache": places[1], "n_examples": sizes}
            add(places[0], data, backend=kinds, workers=(cores,), **cache)
    if experiment == "peers":
        text = {"dataset": "python_source", "n_features": 30_000, "density": 0.0015, "n_examples": 12_000}
        for name, data in {"rcv1": rcv1, "text": text}.items():
            data = data | {"problem": "logistic"}
            tuned, own = (data | {"step_rule": rule} for rule in ("exponential_backoff", "own"))
            add(name, tuned, backend=("serial", "replicated"), workers=(2,))
            add(f"{name}_dual", data | {"method": "sdca", "rate": 2.0}, backend=("replicated",), workers=(2,))
            add(f"{name}_peers", own | {"rate": 2.0}, backend=("snapml", "liblinear"), workers=(1, 2))
    return cells


def _seen(cell: dict[str, Any], backend: str) -> dict[str, float]:
    """Return errors of the paper's families, and what an instrumented run would see."""
    found = dict.fromkeys(("train_error_rate", "train_rmse", "test_rmse", "cut"), np.nan)
    found |= {"hinge": {"train_error_rate": 0.08}, "graph_cut": {"cut": 200.0}}.get(cell["problem"], {})
    if cell["problem"] == "matrix_completion":
        found |= {"train_rmse": 0.7, "test_rmse": 0.9}
    if cell.get("instrument"):
        found |= {"lost_share": 0.01 if backend == "hogwild_threads" else 0.0, "collision_rate": 0.2}
        found |= {"expected_collision_rate": 0.4, "staleness_mean": 0.9, "wait_share": 0.3}
    return found


_RATINGS = {"netflix": "netflix_twin", "kdd": "kdd_twin", "jumbo": "jumbo_twin"}
_GRAPHS = {"abdomen": "voxel_image", "dblife": "entity_graph"}


def _trial(
    cell: dict[str, Any], replicate: int, random: np.random.Generator, gain: float
) -> tuple[dict[str, Any], list[list[object]]]:
    trial = hashlib.sha256(json.dumps([cell, replicate], sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]
    backend, workers = str(cell["backend"]), int(cell.get("workers", 1))
    n_examples, step = int(cell["n_examples"]), float(cell.get("step_size", 0.3))
    nonzeros, epochs, crowded = (
        round(n_examples * cell["n_features"] * cell["density"]),
        10,
        float(cell.get("crowded", 0.0)),
    )
    tuning, copies = cell.get("purpose") == "tune", workers if backend == "averaging" else 1
    streams = cell["sampling"] == "shuffled_once" and backend in ("serial", "replicated", "auto")
    cost = NS[backend] * (0.4 if streams else 1.0) * (0.6 if cell.get("penalty") == "scaled" else 1.0)
    together = min(workers, 2)
    one_at_a_time = backend in ("locked", "pool", "round_robin")
    speed = 1.0 if one_at_a_time else 1 + (together - 1) * gain * (1 - 2 * min(crowded, 0.6))
    delay = float(cell.get("gradient_delay", 0.0))
    alone = nonzeros * cost * 1e-9 / speed
    if delay:  # gradients side by side, hand-overs in series
        alone = max(n_examples * delay / together + nonzeros * 2e-9, alone)
    # two serial runs differ less than two with threads, as on a quiet machine
    seconds = alone * random.lognormal(0, 0.002 if cell["experiment"] == "control" else 0.03)
    rate = float(cell.get("rate", 0.9)) * np.exp(-(np.log(step / 0.3) ** 2) / 4)
    rate *= 1 - (0.3 * crowded if workers > 1 and backend != "locked" else 0)
    rate *= 0.7 if cell["sampling"] == "with_replacement" else 1
    diverged, timeout = step > 2, backend == "locked" and workers > 2 and replicate == 0
    checkpoints = range(3 if diverged else 6 if timeout else epochs + 1)
    if backend.startswith("sklearn"):
        checkpoints = range(0, epochs + 1, epochs)
    rows: list[list[object]] = []
    for epoch in checkpoints:
        floor = 1e-8 if "rate" in cell else 1e-6
        gap = (floor + float(np.exp(-rate * epoch)) * random.lognormal(0, 0.05)) if epoch else 1.0
        gap = 10.0**epoch if diverged else gap
        train = seconds * epoch
        rows.append(
            [
                trial,
                epoch,
                epoch * n_examples * copies,
                train,
                0.01 * epoch,
                train + 0.01 * epoch,
                0.2 + 0.8 * gap,
                gap,
                8 * gap**0.5 + 0.2,
                gap**0.5 + crowded / 10,
            ]
        )
    last = rows[-1]
    updates, train = int(last[2]), float(last[3])
    row = {
        "density": cell["density"],
        "l2": cell.get("l2", 0.0),
        "dtype": "float64",
        "data_hash": "e0" * 32,
        **{name: ADDED[name] for name in ("data_id", "file_hash")},
        "omega": 75,
        "delta": 0.4,
        "rho": 0.9,
        "rho_error": 0.0,
        "workers": workers,
        "step_rule": cell.get("step_rule", "constant"),
        "step_size": step,
        "batch_size": 1,
        "gradient_threshold": cell.get("threshold", 0.0),
        "epochs": epochs,
        "data_seed": 10 + replicate + 100 * tuning,
        "order_seed": 20 + replicate + 100 * tuning,
        "purpose": "tune" if tuning else "report",
        "pinned": True,
        "status": "diverged" if diverged else "timeout" if timeout else "ok",
        "setup_seconds": {"pool": 0.02, "hogwild_processes": 0.05}.get(backend, 0.002)
        * random.lognormal(0, 0.1)
        + (nonzeros * CONVERSION_NS * 1e-9 if backend == "snapml" else 0.0),
        "check_seconds": 0.001 if cell["experiment"] == "peers" and backend not in PEERS else 0.0,
        "compile_seconds": 0.0,
        "train_seconds": train,
        "eval_seconds": last[4],
        "wall_seconds": last[5],
        "total_seconds": float(last[5]) + 0.1,
        "cpu_seconds": train * workers,
        "updates": updates,
        "updates_per_second": updates / train,
        "ns_per_nonzero": 1e9 * train / (updates * nonzeros / n_examples),
        "objective_zero": 1.0,
        "optimum": 0.2,
        "optimum_error": 1e-9,
        "optimum_certificate": "duality_gap",
        "objective": last[6],
        "suboptimality": last[7],
        "weight_error_l1": last[8],
        "weight_error_l2": last[9],
        "test_error_rate": 0.1 if cell["problem"] != "least_squares" else np.nan,
        "gradient_delay": delay,
        "penalty": cell.get("penalty", "touched"),
        "merge_every": cell.get("merge_every", 0),
        "hot_weights": cell.get("hot_weights", 0),
        "method": cell.get("method", "sgd"),
        "page_cache": cell.get("page_cache", "warm"),
        "instrument": False,
        **_seen(cell, backend),
    }
    return cell | row | {"trial": trial, "replicate": replicate, "nonzeros": nonzeros}, rows
