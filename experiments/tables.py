"""Every number that a claim, a figure, the README or the paper shows is computed here, from a run's files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import statistics

TARGETS = {"1e-2": 1e-2, "1e-3": 1e-3}
DATA = "experiment grid problem dataset n_examples n_features density zipf_exponent l2 dtype".split()
STEP = ["step_rule", "step_size", "step_parameter"]
RUN = [
    "backend",
    "workers",
    "sampling",
    *STEP,
    "batch_size",
    "gradient_threshold",
    "gradient_delay",
    "epochs",
]
KEY = [*DATA, "replicate", "data_seed", "order_seed", *RUN]
FOUND = ["value", "spin_efficiency"]
# Final figures, comparable only after the same number of updates; a diverged trial's are infinite.
QUALITY = ["objective", "suboptimality", "weight_error_l1", "weight_error_l2", "test_error_rate"]
ORDER = "serial locked hogwild_threads hogwild_processes atomic aig round_robin averaging pool".split()
FREE_CORES = 0.95  # what two spinning threads must reach of twice the work of one, or a core was not free
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
Filter = Mapping[str, Any]


class Run(NamedTuple):
    """The files of a run directory, with times to the targets added to the trials."""

    trials: pd.DataFrame
    history: pd.DataFrame
    environment: dict[str, Any]

    @property
    def cores(self) -> int:
        """How many cores the run could use."""
        return int(self.environment["machine"]["usable_cores"])


def load(directory: Path) -> Run:
    """Read trials.csv, history.csv and environment.json of a run.

    Adds ``seconds_per_epoch`` and ``seconds_to_1e-2``, ``updates_to_1e-2`` …, ``inf`` for a missed target.
    """
    text = dict.fromkeys(["trial", "data_hash", "grid", "reason", "sampling"], str)
    trials = pd.read_csv(directory / "trials.csv", dtype=text)
    trials = trials.reindex(
        columns=list(dict.fromkeys([*trials, *KEY]))
    )  # of a run before there was a column
    history = pd.read_csv(directory / "history.csv", dtype={"trial": str})
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    # every worker of `averaging` makes whole epochs: what compares is the updates of one of them
    trials["updates"] /= trials["workers"].where(trials["backend"] == "averaging", 1)
    # Random sparsity differs a little between seeds: all replicates get one nominal density.
    trials["density"] = [float(f"{value:.2g}") for value in trials["density"]]
    trials["seconds_per_epoch"] = trials["train_seconds"] * trials["n_examples"] / trials["updates"]
    diverged = trials["status"] == "diverged"
    trials[QUALITY] = trials[QUALITY].astype(float).mask(diverged, math.inf)
    curves = list(groups(history.dropna(subset="suboptimality"), "trial"))
    for name, target in TARGETS.items():
        for unit, clock in (("seconds", "train_seconds"), ("updates", "updates")):
            times = {
                t: statistics.time_to_target(rows[[clock, "suboptimality"]], target) for t, rows in curves
            }
            found = trials["trial"].map(times).astype(float)
            trials[f"{unit}_to_{name}"] = found.mask(diverged & found.notna(), math.inf)
    return Run(trials, history, environment)


def groups(frame: pd.DataFrame, by: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Split a table by columns, sorted, empty cells included."""
    yield from frame.groupby(by, dropna=False)


def matching(frame: pd.DataFrame, by: list[str], key: tuple[Any, ...]) -> pd.DataFrame:
    """Return the rows of one group."""
    return frame[(frame[by] == list(key)).all(axis=1)]


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Iterate over rows whose cells are attributes."""
    yield from frame.itertuples()


def select(run: Run, where: Filter) -> pd.DataFrame:
    """Return measured trials with ``column = value`` or one of a list; ``"cores"`` is the number of cores."""
    trials = run.trials[run.trials["status"].isin(["ok", "timeout", "diverged"])]
    for column, wanted in where.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        trials = trials[trials[column].isin([run.cores if value == "cores" else value for value in values])]
    return trials


def summarise(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Return a row for each group: median and interval, how many values are infinite, how many diverged."""
    found = []
    for key, group in groups(frame.dropna(subset=value), by):
        counts = (int(np.isinf(group[value]).sum()), int((group["status"] == "diverged").sum()))
        found.append((*key, *statistics.median_interval(group[value]), *counts))
    return pd.DataFrame(found, columns=[*by, *statistics.Interval._fields, "missed", "diverged"])


def ratio(
    run: Run, value: str, numerator: Filter, denominator: Filter, where: Filter, free: Iterable[str] = ()
) -> pd.DataFrame:
    """Divide a value of one kind of trial by another's, in pairs that saw the same data in the same order.

    A pair agrees in the data, the seeds and every option that neither side names and that is not ``free``.
    These columns are returned, with ``value``, the worse ``status``, and the lower ``spin_efficiency``: of
    both trials where a speed is compared, of the parallel ones where the quality of a result is.
    """
    on = [column for column in KEY if column not in {*numerator, *denominator, *free}]
    how = {value: "median", "updates": "median", "spin_efficiency": "min", "status": "first"}
    sides = []
    for side in (numerator, denominator):
        trials = select(run, {**where, **side}).dropna(subset=value)
        sides.append(_spun(trials, value).groupby(on, dropna=False, as_index=False).agg(how))
    pairs = sides[0].merge(sides[1], on=on, suffixes=("", "_below"))
    diverged = (pairs[["status", "status_below"]] == "diverged").any(axis=1)
    if value in QUALITY:
        pairs = pairs[_same(pairs["updates"], pairs["updates_below"]) | diverged]
    return pairs[on].assign(
        value=statistics.ratio(pairs[value], pairs[f"{value}_below"]),
        spin_efficiency=pairs[["spin_efficiency", "spin_efficiency_below"]].min(axis=1),
        status=pairs["status"].mask(diverged, "diverged"),
    )


def _spun(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Forget the spin test before trials that it says nothing about: the quality of one worker's result."""
    matters = (trials["workers"] > 1) | (value not in QUALITY)
    return trials.assign(spin_efficiency=trials["spin_efficiency"].where(matters))


def _same(updates: pd.Series, others: pd.Series) -> pd.Series:
    return (updates / others).between(0.99, 1.01)


def ends(pairs: pd.DataFrame, along: str) -> pd.DataFrame:
    """Divide each group's value at the largest ``along`` by that at the smallest: what happens on the way."""
    on = [column for column in pairs if column in KEY and column not in (along, "n_examples")]
    found = []
    for key, group in groups(pairs.sort_values(along), on):
        first, last = group.iloc[0], group.iloc[-1]
        if first[along] < last[along]:
            change = float(statistics.ratio(last["value"], first["value"]))
            found.append((*key, change, min(first["spin_efficiency"], last["spin_efficiency"])))
    return pd.DataFrame(found, columns=[*on, *FOUND])


def spread(run: Run, value: str, over: list[str], where: Filter, step_range: float = 0.0) -> pd.DataFrame:
    """Return the largest over the smallest value among trials that differ only in the columns ``over``.

    With ``step_range`` (10: a tenfold range), only trials whose step sizes lie in such a range are compared;
    of all such ranges that the trials span, the one with the smallest result counts.
    """
    on = [column for column in KEY if column not in over]
    found = []
    for key, group in groups(_spun(select(run, where).dropna(subset=value), value), on):
        kept = group[_same(group["updates"], group["updates"].max()) | (group["status"] == "diverged")]
        windows, sizes = [kept], kept["step_size"]
        if step_range:
            lows = [low for low in sizes.unique() if low * step_range <= sizes.max() * 1.01]
            windows = [kept[(sizes / low).between(1, step_range * 1.01)] for low in lows]
        if windows and len(kept.drop_duplicates(over)) > 1:
            smallest = min(float(statistics.ratio(some[value].max(), some[value].min())) for some in windows)
            found.append((*key, smallest, kept["spin_efficiency"].min()))
    return pd.DataFrame(found, columns=[*on, *FOUND])


def speedups(run: Run, where: Filter, *, inverse: bool = False) -> pd.DataFrame:
    """Divide serial's time to 1e-2 by each backend's and number of workers' (``inverse``: the reverse)."""
    serial = {"backend": "serial", "workers": 1}
    found = [pd.DataFrame(columns=[*KEY, *FOUND, "status"])]
    for (backend, workers), _ in groups(select(run, where), ["backend", "workers"]):
        sides = ({"backend": backend, "workers": workers}, serial)
        above, below = sides if inverse else sides[::-1]
        pairs = ratio(run, "seconds_to_1e-2", above, below, where)
        if backend != "serial" and len(pairs):
            found.append(pairs.assign(backend=backend, workers=workers))
    return pd.concat(found[1:], ignore_index=True) if found[1:] else found[0]


def as_many_workers_as_cores(run: Run, trials: pd.DataFrame) -> pd.DataFrame:
    """Keep serial trials, and parallel ones with the largest number of workers that have a core each."""
    trials = trials[trials["workers"] <= run.cores]
    most = trials.groupby(["experiment", "grid", "backend"])["workers"].transform("max")
    return trials[trials["workers"] == most]


def best_settings(trials: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Keep, within each group, the data and options with which serial is soonest at 1e-2."""
    options = [column for column in DATA + RUN if column not in [*by, "backend", "workers"]]
    kept = [trials.head(0)]
    for _, group in groups(trials, by):
        serial = group[group["backend"] == "serial"].fillna({"seconds_to_1e-2": math.inf})
        medians = serial.groupby(options, dropna=False, as_index=False)[["seconds_to_1e-2"]].median()
        best = medians.sort_values("seconds_to_1e-2", kind="stable").head(1)
        kept.append(group.merge(best[options], on=options) if len(best) else group)
    return pd.concat(kept[1:]) if kept[1:] else kept[0]


def ordered(backends: Iterable[str]) -> list[str]:
    """List each backend once, in the usual order."""
    return sorted(set(backends), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def label(rows: pd.DataFrame) -> pd.Series:
    """Name each row's workload: its experiment, and what sets it apart from the others of that experiment."""
    columns = ["problem", "dataset", "density", *DATA[5:], *RUN, "grid", "n_examples"]
    names = rows["experiment"].astype(str)
    for _, group in groups(rows, "experiment"):
        chosen: list[str] = []
        told_apart = 1
        for column in (column for column in columns if column in rows):
            if (count := len(group[[*chosen, column]].drop_duplicates())) > told_apart:
                chosen, told_apart = [*chosen, column], count
                write = "{}, {} {:g}" if pd.api.types.is_numeric_dtype(rows[column]) else "{0}, {2}"
                said = zip(names[group.index], group[column], strict=True)
                texts = [write.format(name, column, value) for name, value in said]
                names.loc[group.index] = np.array(texts, dtype=object)
    return names.str.replace("_", " ")


def title(problem: str, rows: pd.DataFrame) -> str:
    """Name a panel: problem, data set and its size."""
    per_row = rows["nonzeros"] / rows["n_examples"]
    share = f", {per_row.iloc[0]:.0f}/row" if per_row.max() < 1.5 * per_row.min() else ""
    unit = "weights" if problem in ("matrix_completion", "graph_cut") else "features"
    size = f"{rows['n_features'].iloc[0]:,.0f} {unit}{share}"
    return f"{problem}, {rows['dataset'].iloc[0]}\n{size}".replace("_", " ")


def number(value: float, digits: int = 3) -> str:
    """Write three significant digits, one more near 1: 0.0123, 1.004, 4.20×10⁻⁵; infinity is "never"."""
    if math.isnan(value) or math.isinf(value):
        return "–" if math.isnan(value) else "never"
    digits += digits > 2 and 0.99 < value < 1.01
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    if -4 < int(power) < 7:
        return f"{value:,.{max(digits - 1 - int(power), 0)}f}" if value else "0"
    return f"{mantissa}×10{str(int(power)).translate(SUPERSCRIPTS)}"


def seconds(value: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if size <= value < math.inf:
            return f"{number(value / size)} {unit}"
    return number(value)


def interval(row: Any, write: Any = number) -> str:
    """Write the interval of a row or an :class:`~experiments.statistics.Interval`."""
    return f"{write(row.low)} to {write(row.high)}" if row.n > 1 else "one value"


def cores(run: Run) -> str:
    """Write the number of cores."""
    return f"{run.cores} core{'s' if run.cores > 1 else ''}"


def machine(run: Run) -> str:
    """Name the machine, its cores, and the commit with whether files had been changed since."""
    git = run.environment.get("git") or {}
    commit = str(git.get("commit") or "unknown")[:10] + (" (changed)" if git.get("dirty") else "")
    return f"{run.environment['machine']['cpu_model']}, {cores(run)}, commit {commit}"


def disturbed(trials: pd.DataFrame) -> str:
    """Say in how many trials a core was not free; empty if in none."""
    taken = int((trials["spin_efficiency"] < FREE_CORES).sum())
    return f"{taken} of {len(trials)} trials while two cores were not really free" if taken else ""
