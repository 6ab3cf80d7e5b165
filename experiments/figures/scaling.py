"""What more workers bring: time to accuracy, and speed-up over serial."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from experiments import tables
from experiments.figures import style

WHERE = {"experiment": ["workers", "real_text"]}
WORKLOAD = ["experiment", "grid", "problem"]


def time_to_accuracy(run: tables.Run) -> style.Drawn:
    """Draw the training time to suboptimality 1e-2 against the number of workers."""
    trials = tables.best_settings(tables.select(run, WHERE), WORKLOAD)
    times = trials.rename(columns={"seconds_to_1e-2": "value"})
    return _draw(run, trials, times, "training time to 1e-2 (s)")


def speedup(run: tables.Run) -> style.Drawn:
    """Draw the speed-up over serial, to the same accuracy on the same data, against the number of workers."""
    trials = tables.best_settings(tables.select(run, WHERE), WORKLOAD)
    pairs = tables.speedups(run._replace(trials=trials), WHERE)
    return _draw(run, trials, pairs, "speed-up over serial", ideal=True)


def _draw(
    run: tables.Run, trials: pd.DataFrame, values: pd.DataFrame, unit: str, ideal: bool = False
) -> style.Drawn:
    table = tables.summarise(values, [*WORKLOAD, "backend", "workers"], "value")
    shown = [(key, rows) for key, rows in tables.groups(table, WORKLOAD) if set(rows["backend"]) - {"serial"}]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 4, 1.9, unit)
    for panel, (key, rows) in zip(axes, shown, strict=True):
        parallel = rows[rows["backend"] != "serial"]
        title = tables.title(key[2], tables.matching(trials, WORKLOAD, key))
        style.series(panel, title, parallel, "workers", "backend", style.backends(parallel), connect=False)
        most, ends = int(parallel["workers"].max()), rows[["low", "median", "high"]].to_numpy(float)
        if ideal:
            panel.plot([1, most], [1, most], **style.DOTTED, label="ideal")
            panel.axhline(1.0, color="0.0", linewidth=0.8, label="serial")
            panel.set_ylim(0, max(most, np.max(ends, initial=1.0, where=np.isfinite(ends))) + 0.15)
        else:
            panel.set_yticks([])
            style.log_axis(panel, "y", ends)
            for row in tables.rows(rows[rows["backend"] == "serial"]):
                if math.isinf(row.median):
                    panel.annotate("serial: never", (0.4, 0.02), xycoords="axes fraction", fontsize=5.5)
                else:
                    panel.axhspan(row.low, min(row.high, 1e30), color="0.0", alpha=0.15, linewidth=0)
                    panel.axhline(row.median, color="0.0", linewidth=0.8, label="serial")
        if run.cores < most:
            label = f"more than {tables.cores(run)}"
            panel.axvspan(run.cores + 0.5, most + 0.5, color="0.93", zorder=0, label=label)
        panel.set(xlim=(0.5, most + 0.5), xticks=range(1, most + 1, -(-most // 8)), xlabel="workers")
        panel.grid(visible=False, axis="x")
    style.legend(figure, axes, 3)
    return figure, trials
