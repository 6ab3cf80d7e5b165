"""How the objective falls with training time, and what the step size does to where it ends."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from experiments.judge import tables, words
from experiments.report.figures import style
from experiments.report.figures.catalogue import Drawn, caption

EXPERIMENTS = ["workers", "real_text", "guide", "sparsity", "step_size"]
WORKLOAD = ["experiment", "grid", "problem"]
GAP = "suboptimality\n$(f-f^*)/(f(0)-f^*)$"


@caption(
    """
    Suboptimality against training time (evaluation and set-up excluded), for the first four workloads with
    two checkpoints or more; parallel backends with as many workers as cores, at the data and options with
    which serial is soonest at 1e-2. Lines: medians at each checkpoint; bands: smallest to largest; a cross
    ends a line whose trials diverged, a bar one whose trials ran out of time. The start (0 s, 1) lies
    outside the logarithmic axis.
    """
)
def objective_time(run: tables.Run) -> Drawn:
    """Draw suboptimality over training seconds: a panel for each workload, a line for each backend."""
    trials = tables.as_many_workers_as_cores(run, tables.select(run, {"experiment": EXPERIMENTS}))
    trials = tables.best_settings(trials, WORKLOAD)
    points = run.history[(run.history["train_seconds"] > 0) & (run.history["suboptimality"] > 0)]
    points = points.merge(trials[["trial", "backend", *WORKLOAD]], on="trial")
    points = points[points.groupby(WORKLOAD)["epoch"].transform("nunique") > 1]
    shown = sorted(tables.groups(points, WORKLOAD), key=lambda item: EXPERIMENTS.index(item[0][0]))[:4]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 4, 2.0, GAP)
    drawn = trials[trials["trial"].isin(pd.concat([rows for _, rows in shown])["trial"])]
    for panel, (key, rows) in zip(axes, shown, strict=True):
        mine = tables.matching(drawn, WORKLOAD, key)
        looks = style.backends(rows).items()
        seen = pd.concat([_line(panel, mine[mine["backend"] == name], rows, look) for name, look in looks])
        style.log_axis(panel, "x", seen["train_seconds"], most=4)
        style.log_axis(panel, "y", seen["suboptimality"].clip(upper=10))
        for target in tables.TARGETS.values():
            if seen["suboptimality"].min() < target:
                panel.axhline(target, **style.DOTTED, linewidth=0.7, label="targets (1e-2, 1e-3)")
        panel.set(title=words.title(key[2], mine), xlabel="training time (s)")
    style.legend(figure, axes, 3)
    return figure, drawn


def _line(panel: Axes, trials: pd.DataFrame, points: pd.DataFrame, look: style.Look) -> pd.DataFrame:
    """Draw one backend; each checkpoint that at least half of the replicates have is a point."""
    trials, hollow = tables.undisturbed(trials)
    epochs = points[points["trial"].isin(trials["trial"])].groupby(points["epoch"].round(6))
    middle = epochs[["train_seconds", "suboptimality"]].median()[epochs.size() * 2 >= len(trials)]
    low, high = (epochs["suboptimality"].agg(end).reindex(middle.index) for end in ("min", "max"))
    fill = {"mfc": "white"} if hollow else {}
    every = max(1, len(middle) // 8)
    panel.plot(*middle.to_numpy().T, **look.line(markevery=every, markersize=3.2, label=look.name, **fill))
    panel.fill_between(middle["train_seconds"], low, high, color=look.color, alpha=0.18, linewidth=0)
    for state, marker in (("diverged", "x"), ("timeout", "|")):
        if len(middle) and (count := int((trials["status"] == state).sum())):
            end = tuple(middle.iloc[-1])
            panel.plot(*end, marker=marker, markersize=7, color=look.color)
            text = f"{state} {count}/{len(trials)}"
            panel.annotate(text, end, (3, 3), textcoords="offset points", fontsize=5.5)
    return middle


@caption(
    """
    Suboptimality after equal numbers of epochs against the initial step size, a line for each step rule
    (with its factor or decay per epoch). Whiskers: intervals. Open marker above a panel: diverged, in how
    many replicates.
    """
)
def step_size(run: tables.Run) -> Drawn:
    """Draw the final suboptimality against the step size: by backend, a line for each step rule."""
    trials = tables.as_many_workers_as_cores(run, tables.select(run, {"experiment": "step_size"}))
    parameter = trials["step_parameter"].map(lambda value: "" if pd.isna(value) else f" {value:g}")
    trials = trials.assign(rule=trials["step_rule"].str.replace("_", " ") + parameter)
    by = ["problem", "dataset", "n_examples", "backend"]
    trials = trials[trials.groupby(by)["step_size"].transform("nunique") > 2]
    if trials.empty:
        return None
    looks = {}
    lines: list[str | tuple[int, tuple[int, ...]]] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
    colors = ["#000000", "#1f5fa8", "#b3541e", "#5aa9d6", "#8a8a8a"]
    for place, rule in enumerate(sorted(trials["rule"].unique())):
        looks[rule] = style.Look(rule, colors[place % 5], "o^sDvPX*hp"[place % 10], lines[place % 5])
    table = tables.summarise(trials, [*by, "rule", "step_size"], "suboptimality")
    shown = sorted(tables.groups(trials, by), key=lambda item: (*item[0][:3], item[0][3] != "serial"))
    figure, axes = style.panels(len(shown), 2, 2.2, f"final {GAP}", sharey=True)
    for panel, (key, group) in zip(axes, shown, strict=True):
        name = f"{style.look(key[3]).name} × {group['workers'].iloc[0]}: {words.title(key[0], group)}"
        rows = tables.matching(table, by, key)
        style.series(panel, name, rows, "step_size", "rule", looks, connect=True)
        style.log_axis(panel, "x", trials["step_size"])
        style.log_axis(panel, "y", table[["low", "median", "high"]])
        panel.set_xlabel("initial step size γ")
    style.legend(figure, axes, 2)
    return figure, trials
