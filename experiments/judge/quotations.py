"""What the paper quotes of a run, written out: the Typst sources compute nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments import statistics
from experiments.judge import claims, hand_over, tables, words
from experiments.measure import machine
from experiments.measure.outcome import Status

_POPULARITY = {"experiment": "coherence", "grid": "popularity"}
# What the text quotes: of which trials, value, and the columns that make up a key, each of one workload.
QUOTED: list[tuple[dict[str, Any], str, list[str]]] = [
    (
        {"experiment": "kernels", "grid": ["rcv1", "sparse"]},
        "ns_per_nonzero",
        ["problem", "dataset", "l2", "backend", "sampling"],
    ),
    ({"experiment": "guide"}, "seconds_per_epoch", ["backend", "workers"]),
    ({"experiment": "real_text"}, "test_error_rate", ["problem", "backend", "workers"]),
    (_POPULARITY, "ns_per_nonzero", ["grid", "zipf_exponent", "backend"]),
    ({"experiment": "collisions"}, "lost_share", ["grid", "density", "backend"]),
    ({"experiment": "collisions"}, "collision_rate", ["grid", "density", "backend"]),
    ({"experiment": "collisions"}, "expected_collision_rate", ["grid", "density", "backend"]),
]
_LOST = "collisions/lost_share/rcv1/"
PACKAGES = ["numpy", "scipy", "numba", "scikit-learn"]


def numbers(run: tables.Run, verdicts: pd.DataFrame) -> dict[str, Any]:
    """Collect everything that the text quotes, written out: the Typst sources compute nothing."""
    environment, trials = run.environment, run.trials
    delayed = tables.undisturbed(tables.select(run, {"experiment": "gradient_delay"}))[0]
    tuning = trials[trials["purpose"] == "tune"]
    software = environment["software"]
    versions = [f"{name} {software['packages'][name]}" for name in PACKAGES if name in software["packages"]]
    states = trials["status"].value_counts()
    values = {}
    for where, value, by in QUOTED:
        write = words.seconds if value.startswith("seconds") else words.number
        for row in tables.rows(tables.summarise(tables.select(run, where), by, value)):
            chosen = (f"{getattr(row, column)}".removesuffix(".0") for column in by)
            values["/".join([where["experiment"], value, *chosen])] = _quoted(row, write)
    return {
        "run": {
            **{name: str(environment[name]) for name in ("run", "preset", "started_at")},
            "machine": words.machine(run),
            "cores": words.cores(run),
            "spin": words.number(trials["spin_efficiency"].median()),
            "limits": {
                "cores": f"{machine.FREE_CORES:g}",
                "speed": f"{machine.FULL_SPEED:g}",
                "steal": f"{100 * machine.STEAL_LIMIT:g} %",
                "starved": f"{100 * machine.STARVED_LIMIT:g} %" if "starved_share" in trials else "",
            },
            "repeated": str(int((trials["attempts"] > 1).sum())),
            "disturbed": words.disturbed(trials) or "none was",
            "streaming": _streaming(environment["machine"]),
            "transfer": words.seconds(environment["machine"].get("line_transfer_seconds") or float("nan")),
            "tuned": " and ".join(sorted(tuning["experiment"].unique())).replace("_", " "),
            "tuning_trials": str(len(tuning)),
            "software": f"Python {software['python']}, {', '.join(versions)}",
        },
        "counts": {"trials": len(trials), **{str(name): int(states.get(name, 0)) for name in Status}},
        "sizes": {
            name: {column: f"{rows[column].max():,.0f}" for column in ("n_examples", "n_features")}
            for name, rows in tables.groups(tables.select(run, {}), "experiment")
        },
        "verdicts": {verdict: int((verdicts["verdict"] == verdict).sum()) for verdict in claims.VERDICTS},
        "claims": {row.claim: claims.in_words(row) for row in tables.rows(verdicts)},
        "densities": _densities(run),
        "streamed": _streamed(run),
        "precision": _precision(run),
        "margin": f"{100 * max(claim.margin for claim in claims.ledger()):g} %",
        "hand_overs": {
            backend: words.seconds(hand_over.fitted(delayed, backend)) for backend in ("aig", "round_robin")
        },
        "values": values,
        "rcv1_density": next((key.split("/")[3] for key in values if key.startswith(_LOST)), "0"),
    }


def _streaming(machine_found: dict[str, Any]) -> str:
    speeds = machine_found.get("streaming_bytes_per_second") or {}
    known = [f"{speeds[name] / 1e9:.3g}" for name in ("one_core", "all_cores") if speeds.get(name)]
    return " and ".join(known) or "–"


def _quoted(row: Any, write: words.Write = words.number) -> str:
    return f"{write(row.median)} ({words.interval(row, write)}{', disturbed' * row.hollow})"


def _streamed(run: tables.Run) -> dict[str, str] | None:
    """Quote what a non-zero of the largest data in memory costs, and the share of the streaming speed."""
    trials = tables.select(run, {"experiment": "scale", "grid": "memory"})
    trials = tables.as_many_workers_as_cores(run, trials)
    trials = trials[trials["nonzeros"] == trials["nonzeros"].max()]
    limits, found = tables.streaming_limits(run), {}
    for row in tables.rows(tables.summarise(trials, ["backend"], "ns_per_nonzero")):
        limit = limits.get("one_core" if row.backend == "serial" else "all_cores", float("nan"))
        found[row.backend] = _quoted(row)
        found[f"{row.backend}_share"] = f"{100 * limit / row.median:.0f} %"
    complete = {"serial", "replicated"} <= found.keys() and len(limits) == 2
    return {"nonzeros": f"{trials['nonzeros'].max():,.0f}", **found} if complete else None


def _densities(run: tables.Run) -> dict[str, list[str]]:
    """Sort the densities by what the interval of unguarded threads against serial says at each."""
    pairs = tables.speedups(run, {"experiment": "sparsity", "backend": ["serial", "hogwild_threads"]})
    pairs = pairs[(pairs["workers"] == run.cores) & (pairs["disturbed"] == "")]
    found: dict[str, list[str]] = {"faster": [], "slower": [], "undecided": []}
    for row in tables.rows(tables.summarise(pairs, ["density"], "value")):
        sure = statistics.coverage(row.n) >= statistics.LEVEL
        word = "faster" if sure and row.low > 1 else "slower" if sure and row.high < 1 else "undecided"
        found[word].append(f"{row.density:g}")
    return found


def _precision(run: tables.Run) -> dict[str, str] | None:
    """Say how many of the headline ratios have an interval as narrow as their specs ask, if any does."""
    table = run.precision
    if table.empty:
        return None
    narrow, widths = table["width"] <= table["wanted"], sorted(table["wanted"].unique())
    wanted = " to ".join(f"{100 * width:g} %" for width in dict.fromkeys([widths[0], widths[-1]]))
    claimed = ", ".join(sorted(table["claim"].unique()))
    return {"reached": str(narrow.sum()), "of": str(len(table)), "wanted": wanted, "claims": claimed}
