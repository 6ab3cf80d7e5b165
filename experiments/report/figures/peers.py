"""Who is first at an accuracy: ours and the peers, from the data as they are and after set-up."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.judge import tables, words
from experiments.peers import PEERS
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

WORKLOAD = ["problem", "dataset", "n_examples", "n_features"]
MARKERS = dict(zip(tables.TIMED, "o^s", strict=True))
OURS, THEIRS = "#000000", "#8a8a8a"


@caption(
    """
    Seconds to suboptimality 1e-2, 1e-3 and 1e-6, the solvers in the order of their median rank at 1e-2.
    Filled: with set-up (checking, laying out or converting the data, starting workers; not compiling or
    importing), thick: its interval; the thin line's other end: training alone. Ours (black) have tuned
    steps; a peer's time (grey) is that of a whole fit with just enough epochs, read off between fits with
    1, 2, 3, 5, 8 … epochs. Open mark at the right border: the target was not reached, in how many
    replicates.
    """
)
def peers(run: tables.Run) -> Drawn:
    """Draw the seconds to each target: a panel for each workload, a row for each solver, fastest on top."""
    trials = tables.select(run, {"experiment": "peers"})
    trials = trials.assign(solver=[_name(row) for row in tables.rows(trials)])
    if trials.empty:
        return None
    first = trials.fillna({"seconds_to_1e-2_with_setup": math.inf})
    first = tables.summarise(first, [*WORKLOAD, "solver"], "seconds_to_1e-2_with_setup")
    ranks = first.assign(rank=first.groupby(WORKLOAD)["median"].rank()).groupby("solver")["rank"].median()
    order = ranks.sort_values(kind="stable").index
    shown = list(tables.groups(trials, WORKLOAD))
    most = max(group["solver"].nunique() for _, group in shown)
    figure, axes = style.panels(len(shown), 3, 0.75 + 0.2 * most, "")
    for panel, (key, group) in zip(axes, shown, strict=True):
        own = order[order.isin(group["solver"])]
        places = {name: place for place, name in enumerate(own)}
        _draw(panel, group, places)
        panel.set_title(words.title(key[0], group))
        panel.set_yticks(list(places.values()), list(places), fontsize=6.0)
        panel.set(ylim=(most - 0.4, -0.6), xlabel="time to the target (s)")
        panel.grid(visible=False, axis="y")
    figure.legend(handles=_legend(), loc="outside upper center", ncols=6, handlelength=2.0)
    return figure, trials


def _name(row: Any) -> str:
    peer = PEERS.get(row.backend)
    name = peer.title if peer else style.look(row.backend).name + ", dual" * (row.method == "sdca")
    return f"{name} × {row.workers}" if row.workers > 1 or (peer and peer.cores == "workers") else name


def _draw(panel: Axes, trials: pd.DataFrame, places: dict[str, int]) -> None:
    """Draw the targets of each solver one below the other."""
    ends: list[float] = []
    for lane, (target, marker) in enumerate(MARKERS.items()):
        fit = f"seconds_to_{target}"
        table = tables.summarise(trials, ["solver"], fit)
        alone = dict(zip(table["solver"], table["median"], strict=True))
        for row in tables.rows(tables.summarise(trials, ["solver", "backend"], f"{fit}_with_setup")):
            place = places[row.solver] + 0.26 * (lane - 1)
            color = THEIRS if row.backend in PEERS else OURS
            if math.isinf(row.median):
                at = panel.get_yaxis_transform()
                missed: dict[str, Any] = {"transform": at, "mec": color, "mfc": "none", "clip_on": False}
                panel.plot(1.0, place, marker, markersize=3.2, **missed)
                text = f"{row.missed}/{row.n}"
                note = panel.annotate(text, (1.0, place), (4, 0), at, "offset points", fontsize=4.2)
                note.set(va="center", annotation_clip=False)
                continue
            ends += [alone[row.solver], row.low, row.median, row.high]
            panel.plot([alone[row.solver], row.median], [place, place], color=color, linewidth=0.7)
            panel.plot(alone[row.solver], place, "|", color=color, markersize=5)
            look = style.Look(row.solver, color, marker, "none")
            style.lying(panel, row, place, look, markersize=3.6, elinewidth=2.0, capsize=0)
    style.log_axis(panel, "x", ends, most=3)


def _legend() -> list[Line2D]:
    def mark(marker: str, name: str, **options: Any) -> Line2D:
        return Line2D([], [], **{"color": OURS, "linestyle": "none", **options}, marker=marker, label=name)

    handles = [mark(marker, f"to {target}, with set-up") for target, marker in MARKERS.items()]
    handles += [mark("|", "training alone", linestyle="-", linewidth=0.7)]
    return [*handles, mark("o", "ours"), mark("o", "peers", color=THEIRS)]
