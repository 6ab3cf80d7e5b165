"""What the penalty costs by either way to pay it."""

from __future__ import annotations

from experiments.judge import tables
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption
from experiments.report.figures.coherence import COSTS, with_epochs

WAYS = {
    "touched": style.Look("each update pays for its example's weights", "#1f5fa8", "s", "none"),
    "scaled": style.Look("a common factor pays for all", "#d1495b", "D", "none"),
}


@caption(
    """
    Training time per non-zero and epoch, epochs and training time to suboptimality 1e-2, by how an update
    pays the penalty: for the weights of its own example (Niu et al. 2011, eq. 2.3), or for all of them by a
    common factor that is kept apart from them. The same steps for both. Whiskers: intervals.
    """
)
def penalty(run: tables.Run) -> Drawn:
    """Draw time per non-zero, epochs and time to 1e-2 of each backend, both ways below each other."""
    trials = with_epochs(tables.select(run, {"experiment": "penalty"}))
    if trials.empty:
        return None
    cells = trials.groupby(["problem", "backend", "workers"]).size().index.tolist()
    order = tables.ordered(trials["backend"])
    cells.sort(key=lambda cell: (cell[0], -order.index(cell[1])))
    figure, axes = style.panels(len(COSTS), 3, 0.9 + 0.26 * len(cells), "", sharey=True)
    for panel, (quantity, unit) in zip(axes, COSTS.items(), strict=True):
        table = tables.summarise(trials, ["problem", "backend", "workers", "penalty"], quantity)
        for row in tables.rows(table):
            aside = 0.15 if row.penalty == "touched" else -0.15
            place = cells.index((row.problem, row.backend, row.workers)) + aside
            style.lying(panel, row, place, WAYS[row.penalty], markersize=4.5)
        style.log_axis(panel, "x", table[["low", "median", "high"]].to_numpy(float), most=5)
        panel.set_xlabel(unit)
    names = [f"{problem}, {style.look(name).name}" + f" × {n}" * (n > 1) for problem, name, n in cells]
    axes[0].set_yticks(range(len(cells)), names)
    axes[0].set_ylim(-0.5, len(cells) - 0.5)
    for way in WAYS.values():
        axes[0].plot([], [], label=way.name, **way.line())
    style.legend(figure, axes)
    return figure, trials
