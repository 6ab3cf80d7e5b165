"""What a non-zero costs as the data grow: in memory, in the page cache, on the disk."""

from __future__ import annotations

import numpy as np

from experiments.judge import tables
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

WHERE = {"experiment": ["scale", "scale_billion"]}
PLACES = {"memory": "in memory", "warm": "files, page cache warm", "cold": "files, page cache cold"}


@caption(
    """
    Training time per non-zero and epoch against the size of the data, rows streamed as stored: in memory,
    mapped from files that the page cache holds, and mapped from files that were taken out of it before each
    epoch (of this machine: below a hypervisor its host may still hold them). Parallel backends with as many
    workers as cores. An epoch of the smallest data is shorter than waking workers takes. Dotted, where
    known: the time in which the memory streams the 12 bytes of a non-zero to one core and to all cores.
    Whiskers: intervals.
    """
)
def scale(run: tables.Run) -> Drawn:
    """Draw the time per non-zero against the number of non-zeros, a panel for each place of the data."""
    trials = tables.as_many_workers_as_cores(run, tables.select(run, WHERE))
    place = trials["page_cache"].where(trials["grid"] != "memory", "memory")
    trials = trials.assign(place=place)
    table = tables.summarise(trials, ["place", "backend", "nonzeros"], "ns_per_nonzero")
    shown = [name for name in PLACES if (table["place"] == name).any()]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 3, 2.1, "time per non-zero (ns)", sharey=True)
    bounds = list(tables.streaming_limits(run).values())
    looks = style.backends(table)
    for panel, name in zip(axes, shown, strict=True):
        rows = table[table["place"] == name]
        style.series(panel, PLACES[name], rows, "nonzeros", "backend", looks, connect=True)
        for bound in bounds:
            panel.axhline(bound, **style.DOTTED, linewidth=1.0)
        style.log_axis(panel, "x", table["nonzeros"])
        panel.set_xlabel("non-zeros")
    ends = table[["low", "median", "high"]].to_numpy(float).ravel()
    style.log_axis(axes[0], "y", np.concatenate([ends, bounds]))
    style.legend(figure, axes)
    return figure, trials
