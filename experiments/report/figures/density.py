"""What the density of the data does: to the time, and to the weights."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

WHERE = {"experiment": "sparsity"}
WORKLOAD = ["grid", "problem"]
HATCHED: dict[str, Any] = {"hatch": "////", "edgecolor": "0.8", "linewidth": 0}
DENSITY = "density (share of non-zeros)"
WEIGHT_ERROR = "weight error\n" + r"$\Vert w-w_{\mathrm{true}}\Vert_2\,/\,\Vert w_{\mathrm{true}}\Vert_2$"


@caption(
    """
    Training time to suboptimality 1e-2 relative to serial's on the same data (below 1: faster), by density,
    backend and number of workers: the median, and below it the interval. The ideal is one over the number
    of workers. Hatched: never reached by most replicates; grey on white: all trials disturbed; a dash:
    reached by neither, or not measured.
    """
)
def density_heatmap(run: tables.Run) -> Drawn:
    """Draw density × backend and workers: the time to 1e-2 relative to serial's."""
    trials = tables.select(run, WHERE)
    pairs = tables.speedups(run, WHERE, inverse=True)
    table = tables.summarise(pairs, [*WORKLOAD, "density", "backend", "workers"], "value")
    shown = list(tables.groups(trials[trials["backend"] != "serial"], WORKLOAD))
    if not shown:
        return None
    height = 0.7 + 0.22 * len(trials.drop_duplicates(["backend", "workers"]))
    figure = Figure(figsize=(style.PAGE, height * len(shown)))
    norm = LogNorm(0.25, 4, clip=True)  # a ratio beyond 4 is as dark as 4
    for panel, (key, group) in zip(figure.subplots(len(shown), squeeze=False).ravel(), shown, strict=True):
        densities = sorted(group["density"].unique())
        workers = group.groupby("backend")["workers"].unique()
        lines = [(name, count) for name in tables.ordered(workers.index) for count in sorted(workers[name])]
        cells = np.full((len(lines), len(densities)), np.nan)
        mine = tables.rows(tables.matching(table, WORKLOAD, key))
        found = {(row.backend, row.workers, row.density): row for row in mine}
        for (y, line), (x, density) in itertools.product(enumerate(lines), enumerate(densities)):
            row, color = found.get((*line, density)), "black"
            if row is None:
                text = "–"
            elif math.isinf(row.median):
                text = f"{'diverged' if row.diverged else 'never'} {row.missed}/{row.n}"
                panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, **HATCHED))
            else:
                cells[y, x] = math.nan if row.hollow else row.median
                text = words.number(row.median, 2)
                text += f"\n{words.number(row.low, 2)}–{words.number(row.high, 2)}" if row.n > 1 else ""
                color = "0.5" if row.hollow else "white" if norm(row.median) > 0.6 else "black"
            panel.text(x, y, text, ha="center", va="center", color=color, fontsize=5.6, linespacing=1.0)
        image = panel.imshow(cells, norm=norm, cmap="gray_r", aspect="auto")
        alone = tables.matching(trials, WORKLOAD, key)
        alone = tables.summarise(alone[alone["backend"] == "serial"], ["density"], "seconds_to_1e-2")
        base = {row.density: words.seconds(row.median) for row in tables.rows(alone)}
        ticks = [f"{density:g}\n{base.get(density, '')}" for density in densities]
        panel.set_xticks(range(len(densities)), ticks)
        panel.set_yticks(range(len(lines)), [f"{style.look(name).name} × {count}" for name, count in lines])
        title = key[0].replace("_", " ") if len(shown) > 1 else ""
        panel.set(xlabel=f"{DENSITY}, and serial's time to 1e-2", title=title)
        panel.grid(visible=False)
        bar = figure.colorbar(image, ax=panel, aspect=14, pad=0.01, extend="both", label="time / serial's")
        bar.set_ticks([0.25, 0.5, 1, 2, 4], labels=["¼", "½", "1", "2", "4"])
        bar.minorticks_off()
    return figure, trials


@caption(
    """
    Relative distance from the weights that generated the data, after equal numbers of epochs, against
    density; parallel backends with as many workers as cores (points moved sideways so that none hides
    another). Whiskers: intervals.
    """
)
def weight_error(run: tables.Run) -> Drawn:
    """Draw the distance from the true weights, after the same number of epochs, against the density."""
    trials = tables.as_many_workers_as_cores(run, tables.select(run, WHERE))
    table = tables.summarise(trials, [*WORKLOAD, "backend", "density"], "weight_error_l2")
    shown = list(tables.groups(table, WORKLOAD))
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 3, 1.9, WEIGHT_ERROR)
    for panel, (key, rows) in zip(axes, shown, strict=True):
        title = words.title(key[1], trials[trials["grid"] == key[0]])
        style.series(panel, title, rows, "density", "backend", style.backends(rows), connect=True)
        style.log_axis(panel, "x", rows["density"])
        style.log_axis(panel, "y", rows[["low", "median", "high"]])
        panel.set_xlabel(DENSITY)
    style.legend(figure, axes)
    return figure, trials
