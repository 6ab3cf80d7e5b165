"""What sharing weights costs, and what replicas make of it."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

COSTS = {
    "ns_per_nonzero": "time per non-zero (ns)",
    "epochs_to_1e-2": "epochs to 1e-2",
    "seconds_to_1e-2": "training time to 1e-2 (s)",
}

LIMITS = {"one_core": "memory, one core", "all_cores": "memory, all cores"}


@caption(
    """
    What popular features cost: time per non-zero, epochs and training time to suboptimality 1e-2 against
    the exponent of the features' popularity (0: uniform), parallel backends with as many workers as cores
    (points moved sideways so that none hides another). Padded: a cache line for each weight, so that what
    is left of the traffic is true sharing. Steps are tuned for each. Whiskers: intervals.
    """
)
def coherence(run: tables.Run) -> Drawn:
    """Draw time per non-zero, epochs and time to 1e-2 against the Zipf exponent, a line for each backend."""
    trials = _trials(run, "popularity")
    if trials.empty:
        return None
    figure, axes = style.panels(len(COSTS), 3, 2.4, "")
    for panel, (quantity, unit) in zip(axes, COSTS.items(), strict=True):
        table = tables.summarise(trials, ["backend", "zipf_exponent"], quantity)
        style.series(panel, unit, table, "zipf_exponent", "backend", style.backends(table), connect=False)
        style.log_axis(panel, "y", table[["low", "median", "high"]].to_numpy(float))
        exponents = sorted(set(table["zipf_exponent"]))
        panel.set(xlabel="Zipf exponent of the features", xticks=exponents)
        panel.set_xlim(exponents[0] - 0.3, exponents[-1] + 0.3)
    style.legend(figure, axes)
    return figure, trials


@caption(
    """
    How often replicas are merged (Zipf exponent 1): rare merges cost less time, but each worker then works
    longer on what the others have changed already. Lines and bands: serial, and replicas whose period is
    adapted to the measured cost of a merge, with intervals.
    """
)
def merge_period(run: tables.Run) -> Drawn:
    """Draw the same of replicas against the updates between merges; serial and the adapted period: lines."""
    trials = _trials(run, "period")
    periods = trials[(trials["backend"] == "replicated") & (trials["merge_every"] > 0)]
    if periods.empty:
        return None
    levels = {"serial": trials["backend"] == "serial"}
    levels["replicas, adapted period"] = (trials["backend"] == "replicated") & (trials["merge_every"] == 0)
    figure, axes = style.panels(len(COSTS), 3, 2.3, "")
    for panel, (quantity, unit) in zip(axes, COSTS.items(), strict=True):
        table = tables.summarise(periods, ["backend", "merge_every"], quantity)
        style.series(panel, unit, table, "merge_every", "backend", style.backends(table), connect=True)
        ends = [table[["low", "median", "high"]]]
        for (name, chosen), line in zip(levels.items(), ("-", "--"), strict=True):
            ends.append(_level(panel, name, trials[chosen], quantity, line))
        style.log_axis(panel, "y", pd.concat(ends).to_numpy(float))
        style.log_axis(panel, "x", table["merge_every"], most=5)
        panel.set_xlabel("a worker's updates from merge to merge")
    style.legend(figure, axes)
    return figure, trials


def _level(panel: Axes, name: str, trials: pd.DataFrame, quantity: str, line: str) -> pd.DataFrame:
    found = tables.summarise(trials, ["backend"], quantity)[["low", "median", "high"]]
    for row in tables.rows(found):
        if math.isfinite(row.median):
            panel.axhline(row.median, color="0.25", linestyle=line, linewidth=0.9, label=name)
            panel.axhspan(row.low, min(row.high, 1e30), color="0.8", alpha=0.4, linewidth=0)
    return found


@caption(
    """
    Time per non-zero of each backend, on uniform and on popular features, against the time in which the
    memory streams the 12 bytes of a non-zero to one core and to all (dotted), measured in the same run, as
    was the time in which a cache line that one core has written reaches another. Whiskers: intervals.
    """
)
def roofline(run: tables.Run) -> Drawn:
    """Draw each backend's time per non-zero, by popularity, against what the machine's memory allows."""
    trials = _trials(run, "popularity")
    exponents = sorted(set(trials["zipf_exponent"]) & {0.0, 1.0})
    if not exponents:
        return None
    machine = run.environment["machine"]
    table = tables.summarise(trials, ["zipf_exponent", "backend", "workers"], "ns_per_nonzero")
    names = tables.ordered(table["backend"])[::-1]
    figure, axes = style.panels(len(exponents), 2, 0.9 + 0.17 * len(names), "", sharex=True, sharey=True)
    bounds = tables.streaming_limits(run)
    ends = [*table[["low", "median", "high"]].to_numpy(float).ravel(), *bounds.values()]
    for panel, exponent in zip(axes, exponents, strict=True):
        for row in tables.rows(table[table["zipf_exponent"] == exponent]):
            place = names.index(row.backend)
            style.lying(panel, row, place, style.look(row.backend), markersize=4.5)
            note = panel.annotate(
                words.number(row.median, 2), (row.median, place), (0, 4), textcoords="offset points"
            )
            note.set(ha="center", fontsize=5.8)
        for text, bound in bounds.items():
            panel.axvline(bound, **style.DOTTED, linewidth=1.0)
            said = panel.text(bound, len(names) - 0.3, LIMITS[text], fontsize=5.4, rotation=90)
            said.set(va="top", ha="right", color="0.3")
        style.log_axis(panel, "x", ends, pad=0.1, most=6)
        counts = table.set_index("backend")["workers"].to_dict()
        panel.set_yticks(range(len(names)), [f"{style.look(name).name} × {counts[name]}" for name in names])
        panel.set(xlabel="time per non-zero (ns)", ylim=(-0.6, len(names) - 0.2))
        kind = "uniform features" if exponent == 0 else f"Zipf exponent {exponent:g}"
        transfer = machine.get("line_transfer_seconds")
        moved = f"; a cache line moves in {words.seconds(transfer)}" if transfer else ""
        panel.set_title(kind + (moved if exponent else ""))
    return figure, trials


@caption(
    """
    Weights that are too many to be merged whole (Zipf exponent 1.1): time per non-zero, and the objective
    after the same epochs over serial's on the same data in the same order, against the number of features;
    parallel backends with as many workers as cores. Hot replicas: the most popular weights in a replica for
    each worker, all others shared without a lock. They lie in the order of their popularity, and so fewer
    cache lines hold what is used; how much of the gain is that order's, their one worker shows. Whiskers:
    intervals.
    """
)
def many_features(run: tables.Run) -> Drawn:
    """Draw time per non-zero and the objective over serial's against the number of features."""
    grids = ["many_features", "many_features_alone"]
    trials = tables.select(run, {"experiment": "coherence", "grid": grids})
    if trials.empty:
        return None
    base: tables.Filter = {"grid": grids[0], **tables.SERIAL}
    ends = []
    for key, _ in tables.groups(trials, list(base)):
        pairs = tables.ratio(run, "objective", dict(zip(base, key, strict=True)), base, {})
        ends.append(pairs.assign(**dict(zip(base, key, strict=True))))
    shown = {"time per non-zero (ns)": (trials, "ns_per_nonzero")}
    shown["objective / serial's"] = (pd.concat(ends), "value")
    alone = style.Look("hot replicas, one worker", "#8c5a12", "d", ":")
    figure, axes = style.panels(len(shown), 2, 2.4, "")
    for panel, (unit, (frame, quantity)) in zip(axes, shown.items(), strict=True):
        frame = frame.assign(backend=frame["backend"].where(frame["grid"] == grids[0], "alone"))
        table = tables.summarise(frame, ["backend", "n_features"], quantity)
        looks = style.backends(table) | {"alone": alone}
        style.series(panel, unit, table, "n_features", "backend", looks, connect=True)
        style.log_axis(panel, "x", table["n_features"], most=4)
        panel.set_xlabel("features")
        if quantity == "ns_per_nonzero":
            style.log_axis(panel, "y", table[["low", "median", "high"]])
    style.legend(figure, axes)
    return figure, trials


def _trials(run: tables.Run, grid: str) -> pd.DataFrame:
    return with_epochs(tables.select(run, {"experiment": "coherence", "grid": grid}))


def with_epochs(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials with what `COSTS` shows of them."""
    return trials.assign(**{"epochs_to_1e-2": trials["updates_to_1e-2"] / trials["n_examples"]})
