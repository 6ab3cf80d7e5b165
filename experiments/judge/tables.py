"""A run's files as tables, and what is computed from them: selections, medians, ratios of paired trials."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import statistics
from experiments.design.options import RUN_COLUMNS
from experiments.measure.journal import ADDED
from experiments.measure.outcome import MEASURED
from experiments.peers import AGAIN, PEERS
from hogwild import BACKENDS
from hogwild.arguments import AUTO

TARGETS = {"1e-2": 1e-2, "1e-3": 1e-3}
TIMED = {**TARGETS, "1e-6": 1e-6}  # shown for peers only: no SGD gets there
# a backend in a filter: all of these, of which a ratio takes the best in each pair
BEST: dict[str, Iterable[str]] = {"best_peer": PEERS, "best_own": BACKENDS}
DATA = "experiment grid problem dataset n_examples n_features density zipf_exponent l2 dtype".split()
KEY = [*DATA, "replicate", "data_seed", "order_seed", *RUN_COLUMNS]
TEXT = """
    trial data_id file_hash data_hash grid reason sampling page_cache environment disturbed optimum_certified
""".split()
FOUND = ["value", "above", "below", "disturbed"]
# Final figures, comparable only after the same number of updates; infinite for a diverged trial.
QUALITY = ["objective", "suboptimality", "weight_error_l1", "weight_error_l2", "test_error_rate"]
ENTRY_BYTES = 12  # a float64 and the int32 index of its column: what a streamed non-zero moves at least
Scalar = bool | int | float | str
Filter = Mapping[str, Scalar | Sequence[Scalar]]
SERIAL: Filter = {"backend": "serial", "workers": 1}


class Run(NamedTuple):
    """The files of a run directory, with times to the targets added to the trials."""

    trials: pd.DataFrame
    history: pd.DataFrame
    environment: dict[str, Any]
    precision: pd.DataFrame = pd.DataFrame()

    @property
    def cores(self) -> int:
        """How many cores the run could use."""
        return int(self.environment["machine"]["usable_cores"])


def load(directory: Path, experiments: Collection[str] | None = None) -> Run:
    """Read trials.csv, history.csv and environment.json of a run, of some experiments or of all.

    Adds ``seconds_per_epoch`` and ``seconds_to_1e-2``, ``updates_to_1e-2`` …, ``inf`` for a missed target;
    ``seconds_to_1e-2_with_setup`` … adds the set-up (except compiling, which is done once for all runs)
    and the checks of the data.
    Where step sizes were tuned, reported trials have none: they are comparable, each with its own.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing, or if the files are not those of a run.
    """
    try:
        return _loaded(directory, experiments)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{directory}: its files are not those of a run ({type(error).__name__}: {str(error)[:300]}); "
            "`python -m experiments verify` says where"
        ) from error


def _loaded(directory: Path, experiments: Collection[str] | None) -> Run:
    trials = pd.read_csv(directory / "trials.csv", dtype=dict.fromkeys(TEXT, str))
    for name, before in ADDED.items():
        if name not in trials:
            trials[name] = before
    if experiments is not None:
        trials = trials[trials["experiment"].isin(experiments)].reset_index(drop=True)
    for name in ("disturbed", "optimum_certified"):
        trials[name] = trials[name].fillna("")
    tuning = trials["purpose"] == "tune"
    tuned = tuning.groupby([trials["experiment"], trials["grid"]]).transform("any") & ~tuning
    trials.loc[tuned, ["step_size", "step_parameter"]] = math.nan
    history = pd.read_csv(directory / "history.csv", dtype={"trial": str})
    history = history[history["trial"].isin(trials["trial"])]
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    precision = directory / "precision.csv"
    # where every worker makes whole epochs, the updates of one of them are comparable
    whole_runs = [name for name, backend in BACKENDS.items() if backend.whole_runs]
    trials["updates"] /= trials["workers"].where(trials["backend"].isin(whole_runs), 1)
    # Random sparsity differs a little between seeds: all replicates get one nominal density.
    trials["density"] = [float(f"{value:.2g}") for value in trials["density"]]
    trials["seconds_per_epoch"] = trials["train_seconds"] * trials["n_examples"] / trials["updates"]
    diverged = trials["status"] == "diverged"
    trials[QUALITY] = trials[QUALITY].astype(float).mask(diverged, math.inf)
    known = history[["trial", "train_seconds", "updates", "suboptimality"]].dropna()
    curves = [(trial, rows.iloc[:, 1:].to_numpy(float)) for trial, rows in groups(known, "trial")]
    for name, target in TIMED.items():
        for clock, unit in enumerate(("seconds", "updates")):
            times = {trial: statistics.time_to_target(rows[:, [clock, 2]], target) for trial, rows in curves}
            found = trials["trial"].map(times).astype(float)
            trials[f"{unit}_to_{name}"] = found.mask(diverged & found.notna(), math.inf)
        setup = trials["check_seconds"] + trials["setup_seconds"] - trials["compile_seconds"]
        trials[f"seconds_to_{name}_with_setup"] = trials[f"seconds_to_{name}"] + setup
    return Run(trials, history, environment, pd.read_csv(precision) if precision.exists() else pd.DataFrame())


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
    """Return measured trials with ``column = value`` or one of a list; ``"cores"`` is the number of cores.

    Never a tuning trial: it chose a step size, and a trial that chose is not reported.
    """
    chosen = run.trials["status"].isin(MEASURED) & (run.trials["purpose"] != "tune")
    for column, wanted in where.items():
        chosen &= run.trials[column].isin(options(wanted, run.cores))
    return run.trials[chosen]


def options(wanted: Scalar | Sequence[Scalar], cores: int) -> list[Scalar]:
    """Return the values that a filter lets through: ``"cores"`` is that number, ``"best_peer"`` any peer."""
    if isinstance(wanted, str) and wanted in BEST:
        return list(BEST[wanted])
    values = [wanted] if isinstance(wanted, Scalar) else wanted
    return [cores if value == "cores" else value for value in values]


def undisturbed(trials: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return the undisturbed rows; where there are none all of them, and True: they are drawn hollow."""
    clean = trials[trials["disturbed"] == ""]
    return (trials, len(trials) > 0) if clean.empty else (clean, False)


def summarise(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Return a row for each group: median and interval, how many values are infinite, how many diverged.

    Of the undisturbed rows, where there are any; else the row is ``hollow``.
    """
    found = []
    for key, group in groups(clear_irrelevant(frame.dropna(subset=value), value), by):
        kept, hollow = undisturbed(group)
        counts = (int(np.isinf(kept[value]).sum()), int((kept["status"] == "diverged").sum()))
        found.append((*key, *statistics.median_interval(kept[value]), *counts, hollow))
    return pd.DataFrame(found, columns=[*by, *statistics.Interval._fields, "missed", "diverged", "hollow"])


def ratio(
    run: Run, value: str, numerator: Filter, denominator: Filter, where: Filter, free: Iterable[str] = ()
) -> pd.DataFrame:
    """Divide a value of one kind of trial by another's, in pairs that saw the same data in the same order.

    A pair agrees in the data, the seeds and every option that neither side names and that is not ``free``.
    These columns are returned, with ``value``, both sides of it (``above``, ``below``), the worse ``status``,
    and what ``disturbed`` one of them: either where a speed is compared, a parallel one where quality is.
    In each pair the backend ``"best_peer"`` is the peer that did best there, ``"best_own"`` the best of ours.
    """
    on = [column for column in KEY if column not in {*numerator, *denominator, *free}]
    best = "max" if kind(value) == "rate" else "min"
    sides = []
    for side in (numerator, denominator):
        chosen = best if side.get("backend") in BEST else "median"
        how = {value: chosen, "updates": "median", "disturbed": "max", "status": "first"}
        trials = select(run, {**where, **side}).dropna(subset=value)
        sides.append(clear_irrelevant(trials, value).groupby(on, dropna=False, as_index=False).agg(how))
    pairs = sides[0].merge(sides[1], on=on, suffixes=("", "_below"))
    diverged = (pairs[["status", "status_below"]] == "diverged").any(axis=1)
    if value in QUALITY:
        pairs = pairs[_same(pairs["updates"], pairs["updates_below"]) | diverged]
    return pairs[on].assign(
        value=statistics.ratio(pairs[value], pairs[f"{value}_below"]),
        above=pairs[value],
        below=pairs[f"{value}_below"],
        disturbed=pairs["disturbed"].where(pairs["disturbed"] != "", pairs["disturbed_below"]),
        status=pairs["status"].mask(diverged, "diverged"),
    )


def clear_irrelevant(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Forget the disturbances that do not concern a value: those of the quality of one worker's result."""
    if value not in QUALITY:
        return trials
    return trials.assign(disturbed=trials["disturbed"].where(trials["workers"] > 1, ""))


def _same(updates: pd.Series, others: pd.Series) -> pd.Series:
    return (updates / others).between(0.99, 1.01)


def change_along(pairs: pd.DataFrame, along: str) -> pd.DataFrame:
    """Divide each group's value at the largest ``along`` by that at the smallest: what happens on the way."""
    on = [column for column in pairs if column in KEY and column not in (along, "n_examples")]
    found = []
    for key, group in groups(pairs.sort_values(along), on):
        first, last = group.iloc[0], group.iloc[-1]
        if first[along] < last[along]:
            change = float(statistics.ratio(last["value"], first["value"]))
            disturbed = first["disturbed"] or last["disturbed"]
            found.append((*key, change, last["value"], first["value"], disturbed))
    return pd.DataFrame(found, columns=[*on, *FOUND])


def range_ratio(
    run: Run, value: str, over: list[str], where: Filter, step_range: float = 0.0
) -> pd.DataFrame:
    """Return the largest over the smallest value among trials that differ only in the columns ``over``.

    With ``step_range`` (10: a tenfold range), only trials whose step sizes lie in such a range are compared;
    of all such ranges that the trials span, the one with the smallest result counts.
    """
    on = [column for column in KEY if column not in over]
    found = []
    for key, group in groups(clear_irrelevant(select(run, where).dropna(subset=value), value), on):
        kept = group[_same(group["updates"], group["updates"].max()) | (group["status"] == "diverged")]
        windows, sizes = [kept], kept["step_size"]
        if step_range:
            lows = [low for low in sizes.unique() if low * step_range <= sizes.max() * 1.01]
            windows = [kept[(sizes / low).between(1, step_range * 1.01)] for low in lows]
        if windows and len(kept.drop_duplicates(over)) > 1:
            sides = [(some[value].max(), some[value].min()) for some in windows]
            above, below = min(sides, key=lambda side: float(statistics.ratio(*side)))
            change = float(statistics.ratio(above, below))
            found.append((*key, change, above, below, kept["disturbed"].max()))
    return pd.DataFrame(found, columns=[*on, *FOUND])


def speedups(run: Run, where: Filter, *, inverse: bool = False) -> pd.DataFrame:
    """Divide serial's time to 1e-2 by each backend's and number of workers' (``inverse``: the reverse)."""
    found = [pd.DataFrame(columns=[*KEY, *FOUND, "status"])]
    for (backend, workers), _ in groups(select(run, where), ["backend", "workers"]):
        parallel: Filter = {"backend": backend, "workers": workers}
        above, below = (parallel, SERIAL) if inverse else (SERIAL, parallel)
        pairs = ratio(run, "seconds_to_1e-2", above, below, where)
        if backend != "serial" and len(pairs):
            found.append(pairs.assign(backend=backend, workers=workers))
    return pd.concat(found[1:], ignore_index=True) if found[1:] else found[0]


def profile(run: Run, value: str, where: Filter) -> pd.DataFrame:
    """Divide the median cost of each backend, with as many workers as cores, by the best one's on a workload.

    Returned are the backends that have all the workloads, by ``factor``, with the ``share`` of the workloads
    on which a backend is within that factor (Dolan and Moré 2002); a target missed is within none.
    """
    trials = as_many_workers_as_cores(run, select(run, where)).dropna(subset=value)
    trials["workload"] = label(trials.drop(columns=["backend", "workers"]))
    table = summarise(trials, ["workload", "backend"], value)
    best = table.groupby("workload")["median"].transform("min")
    table = table.assign(factor=statistics.ratio(table["median"], best)).sort_values("factor", kind="stable")
    count = table["workload"].nunique()
    places = table.groupby("backend").cumcount() + 1
    table = table.assign(share=places / max(count, 1), workloads=count)
    complete = table.groupby("backend")["workload"].transform("size") == count
    return table[complete & np.isfinite(table["factor"])]


def as_many_workers_as_cores(run: Run, trials: pd.DataFrame) -> pd.DataFrame:
    """Keep serial trials, and parallel ones with the largest number of workers that have a core each."""
    trials = trials[trials["workers"] <= run.cores]
    most = trials.groupby(["experiment", "grid", "backend"])["workers"].transform("max")
    return trials[trials["workers"] == most]


def streaming_limits(run: Run) -> dict[str, float]:
    """Return the ns in which the memory streams a non-zero to ``one_core`` and ``all_cores``, where known."""
    speeds = run.environment["machine"].get("streaming_bytes_per_second") or {}
    return {
        name: ENTRY_BYTES / speed * 1e9 for name in ("one_core", "all_cores") if (speed := speeds.get(name))
    }


def best_settings(trials: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Keep, within each group, the data and options with which serial is soonest at 1e-2."""
    options = [column for column in [*DATA, *RUN_COLUMNS] if column not in [*by, "backend", "workers"]]
    kept = [trials.head(0)]
    for _, group in groups(trials, by):
        serial = group[group["backend"] == "serial"].fillna({"seconds_to_1e-2": math.inf})
        medians = serial.groupby(options, dropna=False, as_index=False)[["seconds_to_1e-2"]].median()
        best = medians.sort_values("seconds_to_1e-2", kind="stable").head(1)
        kept.append(group.merge(best[options], on=options) if len(best) else group)
    return pd.concat(kept[1:]) if kept[1:] else kept[0]


def ordered(backends: Iterable[str]) -> list[str]:
    """List each backend once: ours in the order of `hogwild.BACKENDS`, then peers, then names of neither."""
    order = [*BACKENDS, AUTO, *AGAIN, *PEERS]
    return sorted(set(backends), key=lambda name: (order.index(name) if name in order else len(order), name))


def label(rows: pd.DataFrame) -> pd.Series:
    """Name each row's workload: its experiment, and what sets it apart from the others of that experiment."""
    columns = ["problem", "dataset", "density", *DATA[5:], *RUN_COLUMNS, "grid", "n_examples"]
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


def kind(value: str) -> statistics.Kind:
    """Say whether a quantity is a cost, a rate, or neither: nothing that adds up over workloads."""
    if value.startswith(("seconds_", "updates_to_", "ns_")) or value.endswith("_seconds"):
        return "cost"
    return "rate" if value == "updates_per_second" else "ratio"
