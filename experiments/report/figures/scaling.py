"""What more workers bring: time to accuracy, speed-up over serial, how often a backend is near the best."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

WHERE = {"experiment": ["workers", "real_text"]}
WORKLOAD = ["experiment", "grid", "problem"]
COMPARED = {"experiment": ["guide", "sparsity", "workers", "real_text"]}


@caption(
    """
    Training time until the suboptimality is first at most 1e-2 (interpolated between checkpoints) against
    the number of workers. Whiskers: intervals. Line and band: serial, with its interval; dotted: its time
    divided by the workers, the ideal. Open marker above a panel: the target was never reached, in how many
    replicates.
    """
)
def time_to_accuracy(run: tables.Run) -> Drawn:
    """Draw the training time to suboptimality 1e-2 against the number of workers."""
    trials = tables.best_settings(tables.select(run, WHERE), WORKLOAD)
    times = trials.rename(columns={"seconds_to_1e-2": "value"})
    return _draw(run, trials, times, "training time to 1e-2 (s)")


@caption(
    """
    Speed-up against the number of workers: serial's training time to suboptimality 1e-2, which stands above
    each panel, over the backend's, paired by replicate (same data, same order). Whiskers: intervals.
    Dotted: the ideal; solid: serial; 0: the target was never reached.
    """
)
def speedup(run: tables.Run) -> Drawn:
    """Draw the speed-up over serial, to the same accuracy on the same data, against the number of workers."""
    trials = tables.best_settings(tables.select(run, WHERE), WORKLOAD)
    pairs = tables.speedups(run._replace(trials=trials), WHERE)
    return _draw(run, trials, pairs, "speed-up over serial", ideal=True)


def _draw(
    run: tables.Run, trials: pd.DataFrame, values: pd.DataFrame, unit: str, ideal: bool = False
) -> Drawn:
    table = tables.summarise(values, [*WORKLOAD, "backend", "workers"], "value")
    shown = [(key, rows) for key, rows in tables.groups(table, WORKLOAD) if set(rows["backend"]) - {"serial"}]
    if not shown:
        return None
    base = words.amounts(trials[trials["backend"] == "serial"], WORKLOAD, "seconds_to_1e-2")
    figure, axes = style.panels(len(shown), 4, 1.9, unit)
    for panel, (key, rows) in zip(axes, shown, strict=True):
        parallel = rows[rows["backend"] != "serial"]
        title = words.title(key[2], tables.matching(trials, WORKLOAD, key))
        title += f"\nserial: {base.get(key, '–')}"
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
                    counts = np.arange(1, most + 1)
                    panel.plot(counts, row.median / counts, **style.DOTTED, label="ideal")
        if run.cores < most:
            label = f"more than {words.cores(run)}"
            panel.axvspan(run.cores + 0.5, most + 0.5, color="0.93", zorder=0, label=label)
        panel.set(xlim=(0.5, most + 0.5), xticks=range(1, most + 1, -(-most // 8)), xlabel="workers")
        panel.grid(visible=False, axis="x")
    style.legend(figure, axes, 3)
    return figure, trials


@caption(
    """
    Performance profiles: the share of the workloads (experiments guide, sparsity, workers, real text) on
    which a backend's median training time to the target is within a factor of the best backend's there.
    Parallel backends with as many workers as cores, those with trials on all workloads. At 1: how often it
    is the best; what is missing to 1 at the right: targets missed.
    """
)
def profiles(run: tables.Run) -> Drawn:
    """Draw the share of workloads on which each backend is within a factor of the best, for each target."""
    columns = [f"seconds_to_{target}" for target in tables.TARGETS]
    found = {column: tables.profile(run, column, COMPARED) for column in columns}
    shown = {column: table for column, table in found.items() if table["backend"].nunique() > 1}
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 1, 1.55, "share of workloads", sharex=True)
    most = 1.1 * max(2.0, *(table["factor"].max() for table in shown.values()))
    for panel, (column, table) in zip(axes, shown.items(), strict=True):
        for name, look in style.backends(table).items():
            rows = table[table["backend"] == name]
            at, share = [1.0, *rows["factor"], most], [0.0, *rows["share"], rows["share"].max()]
            panel.step(at, share, where="post", color=look.color, linestyle=look.linestyle)
            line = look.line(label=look.name, markersize=3.2)
            panel.plot([], [], **line)
            for row in tables.rows(rows):
                fill = "white" if row.hollow else look.color
                panel.plot([row.factor], [row.share], **look.mark(color=look.color, mfc=fill, markersize=3.2))
        count = table["workloads"].iloc[0]
        panel.set_title(f"to suboptimality {column.removeprefix('seconds_to_')}, {count} workloads")
        style.log_axis(panel, "x", [1.0, most])
        panel.set(xlim=(0.97, most), ylim=(-0.03, 1.05))
    axes[-1].set_xlabel("training time over the best backend's, at most")
    style.legend(figure, axes, 4)
    return figure, tables.as_many_workers_as_cores(run, tables.select(run, COMPARED))
