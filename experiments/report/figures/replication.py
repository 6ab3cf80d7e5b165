"""The Hogwild! paper's comparison, drawn to be laid beside its own: speed-up, errors, delays, averaging."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.judge import hand_over, tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

PAPER = tomllib.loads((Path(__file__).parents[1] / "niu2011.toml").read_text(encoding="utf-8"))
EXPERIMENTS = ["paper_svm", "paper_cuts", "paper_matrix_completion"]
WORKLOAD = ["experiment", "grid", "problem"]
NAMES = {
    "rcv1": "SVM, RCV1 twin", "abdomen": "cut, Abdomen twin", "dblife": "cut, DBLife twin",
    "netflix": "completion, Netflix twin", "kdd": "completion, KDD twin", "jumbo": "completion, Jumbo twin",
}  # fmt: skip
ERRORS = {"error_rate": "share of wrong labels", "rmse": "root mean squared error", "cut": "capacity cut"}
SIDE_BY_SIDE = ("hogwild_threads", "aig", "round_robin")  # no lock is held while a gradient is computed
ROUNDING = 1e-9  # an error below it is none
ONE: tables.Filter = {"backend": "hogwild_threads", "workers": 1}


@caption(
    """
    The paper's Figures 3 and 4 on twins of its data: time per epoch of one Hogwild! worker over that of a
    scheme with so many workers, paired by replicate; that worker's own time stands above each panel.
    Whiskers: intervals. Lines: the paper's own curves, digitised, from its machine with 12 cores. RR:
    workers write in turns; AIG: a lock for each variable, around the writes.
    """
)
def paper_speedup(run: tables.Run) -> Drawn:
    """Draw the speed-up over one Hogwild! worker against workers, and the paper's on its machine."""
    where: tables.Filter = {"experiment": EXPERIMENTS, "grid": list(NAMES)}
    trials = tables.select(run, where)
    pairs = [trials.head(0).assign(value=0.0)]
    for (backend, workers), _ in tables.groups(trials, ["backend", "workers"]):
        scheme: tables.Filter = {"backend": backend, "workers": workers}
        found = tables.ratio(run, "seconds_per_epoch", ONE, scheme, where)
        pairs.append(found.assign(backend=backend, workers=workers))
    table = tables.summarise(pd.concat(pairs[1:] or pairs), [*WORKLOAD, "backend", "workers"], "value")
    shown = sorted(tables.groups(table, WORKLOAD), key=lambda item: list(NAMES).index(item[0][1]))
    if not shown:
        return None
    alone = trials[(trials["backend"] == ONE["backend"]) & (trials["workers"] == ONE["workers"])]
    base = words.amounts(alone, WORKLOAD, "seconds_per_epoch")
    figure, axes = style.panels(len(shown), 3, 1.9, "speed-up over\none Hogwild! worker")
    for panel, (key, rows) in zip(axes, shown, strict=True):
        most = int(rows["workers"].max())
        looks = style.backends(rows)
        title = f"{NAMES[key[1]]}\none worker: {base.get(key, '–')}"
        style.series(panel, title, rows, "workers", "backend", looks, connect=False)
        for backend, theirs in PAPER[key[1]].items():
            known: dict[str, Any] = {"color": style.look(backend).color, "linewidth": 0.8, "alpha": 0.8}
            panel.plot(range(1, most + 1), theirs[:most], linestyle=style.look(backend).linestyle, **known)
        panel.plot([], [], color="0.3", linewidth=0.8, label="lines: the paper, on 12 cores")
        panel.plot([1, most], [1, most], **style.DOTTED, label="ideal")
        if run.cores < most:
            label = f"more than {words.cores(run)}"
            panel.axvspan(run.cores + 0.5, most + 0.5, color="0.93", zorder=0, label=label)
        ends = rows["high"].to_numpy(float)
        top = max(most, np.max(ends, initial=1.0, where=np.isfinite(ends)))
        panel.set(xlim=(0.5, most + 0.5), xticks=range(1, most + 1), xlabel="workers", ylim=(0, top + 0.2))
        panel.grid(visible=False, axis="x")
    style.legend(figure, axes, 3)
    return figure, trials


@caption(
    """
    Errors of the three schemes after 20 epochs (the paper's Figure 2), with as many workers as cores.
    Filled: on the training data; half filled: on held-out data, where there are. Whiskers: intervals.
    """
)
def paper_error(run: tables.Run) -> Drawn:
    """Draw train and test error of each scheme at the end, with as many workers as cores."""
    trials = tables.select(run, {"experiment": EXPERIMENTS, "grid": list(NAMES), "workers": [run.cores]})
    shown = sorted(tables.groups(trials, WORKLOAD), key=lambda item: list(NAMES).index(item[0][1]))
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 3, 1.35, "")
    for panel, (key, group) in zip(axes, shown, strict=True):
        kinds = [kind for kind in ERRORS if group[_column(kind, "train")].notna().any()]
        looks, ends = style.backends(group), [0.0]
        places = {backend: place for place, backend in enumerate(reversed(looks))}
        parts = (("train", 0.16, "full"), ("test", -0.16, "bottom"))[: 1 if kinds == ["cut"] else 2]
        for kind, (part, shift, fill) in itertools.product(kinds[:1], parts):
            for row in tables.rows(tables.summarise(group, ["backend"], _column(kind, part))):
                half = {"fillstyle": fill, "markerfacecoloralt": "white"}
                style.lying(panel, row, places[row.backend] + shift, looks[row.backend], **half)
                ends.append(row.high)
        panel.set_yticks(range(len(looks)), [look.name for look in reversed(looks.values())], fontsize=6)
        exact = max(ends) < ROUNDING
        panel.set(
            title=NAMES[key[1]], xlim=(0, 1 if exact else 1.12 * max(ends)), ylim=(-0.6, len(looks) - 0.4)
        )
        panel.set_xlabel((ERRORS[kinds[0]] if kinds else "") + (" (0 to rounding)" if exact else ""))
    return figure, trials


def _column(kind: str, part: str) -> str:
    return kind if kind == "cut" else f"{part}_{kind}"


@caption(
    """
    The paper's Figure 5c with as many workers as cores: every gradient keeps its core busy for longer.
    Lines: the model max((t₀ + d)/p, h) seconds per update, with t₀ from serial without delay, p workers,
    and the hand-over h fitted to each scheme; where h is not what limits, the fit says only that it is
    below the smallest time per update. No model for the one lock: it is held while the gradient is
    computed. Whiskers: intervals. Dotted: the number of workers.
    """
)
def gradient_delay(run: tables.Run) -> Drawn:
    """Draw the speed-up over serial with the same delay, and the two-parameter model of each scheme."""
    where = {"experiment": "gradient_delay"}
    trials = tables.select(run, where)
    if trials.empty:
        return None
    found = [trials.head(0).assign(value=0.0)]
    for backend in tables.ordered(set(trials["backend"]) - {"serial"}):
        workers = int(trials[trials["backend"] == backend]["workers"].max())
        scheme: tables.Filter = {"backend": backend, "workers": workers}
        pairs = tables.ratio(run, "seconds_per_epoch", tables.SERIAL, scheme, where)
        found.append(pairs.assign(backend=backend))
    pairs = pd.concat(found)
    # a logarithmic axis has no 0: without a delay is drawn at a tenth of the shortest
    shortest = pairs[pairs["gradient_delay"] > 0]["gradient_delay"].min() / 10
    table = tables.summarise(pairs, ["backend", "gradient_delay"], "value")
    clean = tables.undisturbed(trials)[0]
    figure, axes = style.panels(1, 1, 2.6, "speed-up over serial\nwith the same delay")
    looks: dict[str, style.Look] = {}
    for backend, look in style.backends(table).items():
        fitted = backend in SIDE_BY_SIDE
        note = f": h = {words.seconds(hand_over.fitted(clean, backend))}" if fitted else ""
        looks[backend] = look._replace(name=look.name + note)
    at = np.geomspace(shortest, trials["gradient_delay"].max(), 80)
    serial = clean[(clean["backend"] == "serial") & (clean["gradient_delay"] == 0)]
    alone = float(hand_over.seconds_per_update(serial).median())
    shifted = table.assign(gradient_delay=table["gradient_delay"].clip(lower=shortest))
    points = {backend: look._replace(linestyle="none") for backend, look in looks.items()}
    style.series(axes[0], "", shifted, "gradient_delay", "backend", points, connect=True)
    for backend, look in ((name, look) for name, look in looks.items() if name in SIDE_BY_SIDE):
        mine = trials[trials["backend"] == backend]
        model = (alone + at) / hand_over.model_seconds(
            alone, at, int(mine["workers"].max()), hand_over.fitted(clean, backend)
        )
        axes[0].plot(at, model, color=look.color, linestyle=look.linestyle, linewidth=0.9)
    style.log_axis(axes[0], "x", [shortest, trials["gradient_delay"].max()])
    axes[0].axhline(1.0, color="0.0", linewidth=0.8)
    axes[0].axhline(trials["workers"].max(), **style.DOTTED)
    top = 1.1 * max(trials["workers"].max(), *table["high"])
    label = f"artificial delay of a gradient (s)\nleftmost: none; serial: {words.seconds(alone)} an update"
    axes[0].set(xlabel=label, ylim=(0, top))
    style.legend(figure, axes, 2)
    return figure, trials


@caption(
    """
    The paper's Figure 5b: the objective of the average of independent runs, each over all examples, and of
    Hogwild!, against epochs; medians. Ten workers of averaging compute ten times the gradients of one.
    """
)
def averaging(run: tables.Run) -> Drawn:
    """Draw the objective against epochs: the average of independent runs, and Hogwild!."""
    trials = tables.select(run, {"experiment": "averaging"})
    kept = tables.clear_irrelevant(trials, "objective")[["trial", "backend", "workers", "disturbed"]]
    points = run.history[run.history["epoch"] > 0].merge(kept, on="trial")
    if points.empty:
        return None
    figure, axes = style.panels(1, 1, 2.3, "objective")
    greys = ("-", "--", ":", "-.")
    for (backend, workers), group in tables.groups(points, ["backend", "workers"]):
        look = style.look(str(backend))
        place = sorted(points["workers"].unique()).index(workers)
        group, hollow = tables.undisturbed(group)
        middle = group.groupby(group["epoch"].round(6))["objective"].median()
        fill = {"mfc": "white"} if hollow else {}
        line = look.line(linestyle=greys[place % 4], markevery=(place, 4), markersize=3.2, **fill)
        axes[0].plot(middle.index, middle, **line, label=f"{look.name} × {workers}")
    axes[0].set(
        xlabel="epochs (averaging: of each worker)", xticks=range(0, int(points["epoch"].max()) + 1, 5)
    )
    style.log_axis(axes[0], "y", points["objective"], most=5)
    style.legend(figure, axes, 2)
    return figure, trials
