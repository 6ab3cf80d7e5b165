"""What things cost: a non-zero in each kernel, an epoch of the guide's example in each backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

ORDERS = {"fresh_permutation": "fresh order", "shuffled_once": "shuffled once", "as_stored": "as stored"}
GUIDE = {
    "seconds_per_epoch": "time per epoch (s)",
    "setup_seconds": "set-up, once (s)",
    "weight_error_l1": r"weight error $\Vert w-w_{\mathrm{true}}\Vert_1$",
}


@caption(
    """
    Training time per non-zero and epoch, ours and scikit-learn's SGD, in the order named. Whiskers:
    intervals. Dotted, where known: the time in which the memory streams the 12 bytes of a non-zero to one
    core, the bound for data beyond the caches.
    """
)
def kernels(run: tables.Run) -> Drawn:
    """Draw the time per non-zero as bars: ours and scikit-learn's, each in each order."""
    trials = tables.select(run, {"experiment": "kernels"})
    workload = ["problem", "dataset", "n_features", "l2"]
    table = tables.summarise(trials, [*workload, "backend", "workers", "sampling"], "ns_per_nonzero")
    shown = list(tables.groups(table, workload))
    if not shown:
        return None
    bound = tables.streaming_limits(run).get("one_core")
    figure, axes = style.panels(len(shown), 3, 0.75 + 0.14 * max(len(rows) for _, rows in shown), "")
    for panel, ((problem, dataset, n_features, l2), rows) in zip(axes, shown, strict=True):
        rows = rows.sort_values("median", ascending=False)
        for place, row in enumerate(tables.rows(rows)):
            look, whiskers = style.look(row.backend), [[row.median - row.low], [row.high - row.median]]
            hatch = "" if row.hollow else look.hatch
            color = "white" if hatch or row.hollow else look.color
            fill: dict[str, Any] = {"color": color, "edgecolor": look.color, "hatch": hatch}
            panel.barh(place, row.median, height=0.7, xerr=whiskers, capsize=1.8, ecolor="0.45", **fill)
            panel.text(row.high, place, f"  {words.number(row.median, 2)}", va="center", fontsize=6.5)
        if bound:
            panel.axvline(bound, **style.DOTTED, linewidth=1.0)
            note = panel.text(bound, len(rows) - 0.45, f" memory: {words.number(bound, 2)}", fontsize=5.8)
            note.set(va="bottom", color="0.3")
            panel.set_ylim(-0.6, len(rows) + 0.2)
        orders = [_order(row) for row in tables.rows(rows)]
        common = orders[0] if len(set(orders)) == 1 else ""
        names = [f"{_name(row)}{'' if common else _order(row)}" for row in tables.rows(rows)]
        panel.set_yticks(range(len(rows)), names, fontsize=6.2)
        panel.set_xlim(0, 1.2 * rows["high"].max())
        penalty = f"penalty {l2:g}" if l2 else "no penalty"
        title = f"{problem}, {dataset}\n{n_features:,.0f} features, {penalty}{common}"
        panel.set_title(title.replace("_", " "), fontsize=7)
        panel.set_xlabel("time per non-zero (ns)")
        panel.grid(visible=False, axis="y")
    return figure, trials


def _name(row: Any) -> str:
    return style.look(row.backend).name + (f" × {row.workers}" if row.workers > 1 else "")


def _order(row: Any) -> str:
    return "" if "unshuffled" in row.backend else f", {ORDERS.get(row.sampling, row.sampling)}"


@caption(
    """
    The guide's example: training time per epoch, time to set up (starting workers, copying, compiling; paid
    once) and distance from the true weights after the same number of epochs; parallel backends with as many
    workers as cores, the guide's pool also with its own number. The axes of time are logarithmic, hence
    points and not bars. Whiskers: intervals.
    """
)
def guide(run: tables.Run) -> Drawn:
    """Draw time per epoch, set-up and weight error of the guide's example, side by side for every backend."""
    trials = tables.select(run, {"experiment": "guide"})
    own = (trials["backend"] == "pool") & (trials["workers"] == trials["workers"].max())
    trials = pd.concat([tables.as_many_workers_as_cores(run, trials), trials[own]]).drop_duplicates("trial")
    found = {quantity: tables.summarise(trials, ["backend", "workers"], quantity) for quantity in GUIDE}
    order = found["seconds_per_epoch"].sort_values("median", ascending=False)
    places = {_name(row): place for place, row in enumerate(tables.rows(order))}
    if not places:
        return None
    figure = Figure(figsize=(style.PAGE, 0.6 + 0.19 * len(places)))
    for panel, (quantity, unit) in zip(figure.subplots(1, 3, sharey=True), GUIDE.items(), strict=True):
        timed = quantity != "weight_error_l1"
        for row in tables.rows(found[quantity]):
            place = places[_name(row)]
            style.lying(panel, row, place, style.look(row.backend), markersize=4.5)
            text = words.seconds(row.median) if timed else words.number(row.median)
            note = panel.annotate(text, (row.median, place), (0, 4), textcoords="offset points", fontsize=5.8)
            note.set(ha="center")
        ends = found[quantity][["low", "median", "high"]].to_numpy(float)
        if timed:
            style.log_axis(panel, "x", ends, pad=0.17, most=5)
        else:
            panel.set_xlim(0, 1.2 * np.max(ends, initial=1e-9, where=np.isfinite(ends)))
        panel.set(xlabel=unit, ylim=(-0.6, len(places) - 0.3))
        panel.set_yticks(range(len(places)), list(places))
    return figure, trials
