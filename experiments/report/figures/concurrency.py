"""What happens between concurrent updates, and what the order of the examples does."""

from __future__ import annotations

import numpy as np

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

QUANTITIES = {
    "collision_rate": "updates that meet\nanother while writing",
    "lost_share": "share of the\nmovement lost",
    "staleness_mean": "mean staleness\n(updates)",
    "wait_share": "share of the time\nspent waiting",
}
ORDERS = {
    "with_replacement": style.Look("with replacement", "#b3541e", "s", "none"),
    "fresh_permutation": style.Look("fresh permutation", "#000000", "o", "none"),
    "shuffled_once": style.Look("shuffled once", "#1f5fa8", "^", "none"),
}


@caption(
    """
    What instrumented runs with as many workers as cores saw, against density: updates at the end of whose
    writes another worker was writing an example with a common variable (dotted: what the overlap of two
    random examples predicts if every worker wrote all the time); the movement of weights that did not
    arrive; finished updates of others between an update's first read and last write; time within updates
    spent waiting. Instruments take time themselves. Whiskers: intervals.
    """
)
def collisions(run: tables.Run) -> Drawn:
    """Draw what instrumented runs saw against density, and the rate that the overlap of examples predicts."""
    trials = tables.select(run, {"experiment": "collisions", "grid": "uniform"})
    if trials.empty:
        return None
    figure, axes = style.panels(len(QUANTITIES), 4, 2.1, "")
    for panel, (quantity, unit) in zip(axes, QUANTITIES.items(), strict=True):
        table = tables.summarise(trials, ["backend", "density"], quantity)
        style.series(panel, unit, table, "density", "backend", style.backends(table), connect=True)
        if quantity == "collision_rate":
            expected = trials.groupby("density")["expected_collision_rate"].median()
            panel.plot(expected.index, expected, **style.DOTTED, label="expected: all workers always writing")
        style.log_axis(panel, "x", trials["density"], most=4)
        top = float(np.nanmax([*table["high"], 1e-3]))
        panel.set(xlabel="density", ylim=(-0.04 * top, 1.12 * max(top, 0.02)))
    style.legend(figure, axes)
    return figure, trials


@caption(
    """
    Suboptimality after 20 epochs for three ways to draw the examples, one worker. Matrix completion:
    against the stationary point that alternating least squares finds. Whiskers: intervals.
    """
)
def sampling(run: tables.Run) -> Drawn:
    """Draw how far the objective falls with each order of the examples, for each family of problems."""
    trials = tables.select(run, {"experiment": "sampling"})
    if trials.empty:
        return None
    workload = ["grid", "problem"]
    table = tables.summarise(trials, [*workload, "sampling"], "suboptimality")
    shown = list(tables.groups(table, workload))
    figure, axes = style.panels(len(shown), 3, 1.5, "")
    for panel, (key, rows) in zip(axes, shown, strict=True):
        for place, (name, look) in enumerate(reversed(ORDERS.items())):
            for row in tables.rows(rows[rows["sampling"] == name]):
                style.lying(panel, row, place, look)
        panel.set_yticks(range(len(ORDERS)), [look.name for look in reversed(ORDERS.values())], fontsize=6.5)
        ends = rows[["low", "median", "high"]].to_numpy(float)
        style.log_axis(panel, "x", ends, pad=0.15, most=4)
        panel.set(title=words.title(key[1], tables.matching(trials, workload, key)), ylim=(-0.6, 2.6))
        panel.set_xlabel("suboptimality after 20 epochs")
    return figure, trials
