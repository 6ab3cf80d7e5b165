"""Numbers, intervals, workloads and machines in words, as tables, figures and the paper print them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from experiments import statistics
from experiments.judge.tables import Run, summarise
from experiments.peers import AGAIN, PEERS
from hogwild import BACKENDS
from hogwild.problems import LINEAR_PROBLEMS

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNITS = {
    "seconds_per_epoch": "an epoch",
    "updates_per_second": "updates/s",
    "ns_per_nonzero": "ns per non-zero",
}
Write = Callable[[float], str]


def solver(name: str) -> str:
    """Return the title of a backend or a peer; a name that is neither's stands for itself."""
    if name in AGAIN:
        return f"{solver(AGAIN[name])}, again"
    record = BACKENDS.get(name) or PEERS.get(name)
    return record.title if record else name


def title(problem: str, rows: pd.DataFrame) -> str:
    """Name a panel: problem, data set and its size."""
    per_row = rows["nonzeros"] / rows["n_examples"]
    share = f", {per_row.iloc[0]:.0f}/row" if per_row.max() < 1.5 * per_row.min() else ""
    unit = "features" if problem in LINEAR_PROBLEMS else "weights"
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


def times(value: float) -> str:
    """Write a ratio; it is infinite where its upper side never got there."""
    return "∞" if value == math.inf else number(value)


def seconds(value: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if size <= value < math.inf:
            return f"{number(value / size)} {unit}"
    return number(value)


def amount(value: str, *figures: float) -> str:
    """Write a quantity, or its ends: "46.0 ms–1.20 s to 1e-2", "objective 0.200"."""
    written = "–".join(dict.fromkeys(map(seconds if value.startswith("seconds") else number, figures)))
    if value.startswith("seconds_to_"):
        return f"{written} to {value.removeprefix('seconds_to_').replace('_', ' ')}"
    return f"{written} {UNITS[value]}" if value in UNITS else f"{value} {written}".replace("_", " ")


def amounts(trials: pd.DataFrame, by: list[str], value: str) -> dict[tuple[Any, ...], str]:
    """Write the median of each group with its unit: what ratios there are relative to."""
    table = summarise(trials, by, value)
    keys = table[by].itertuples(index=False, name=None)
    return {key: amount(value, median) for key, median in zip(keys, table["median"], strict=True)}


def interval(row: Any, write: Write = number) -> str:
    """Write the interval of a row or an `Interval`, and what it covers where that is less than it should."""
    level = statistics.coverage(row.n)
    note = f", min-max, {level:.0%}" if level < statistics.LEVEL else ""
    return f"{write(row.low)} to {write(row.high)}{note}" if row.n > 1 else "one value"


def cores(run: Run) -> str:
    """Write the number of cores."""
    return f"{run.cores} core{'s' if run.cores > 1 else ''}"


def machine(run: Run) -> str:
    """Name the machine, its cores, and the commit with whether files had been changed since."""
    git = run.environment.get("git") or {}
    commit = str(git.get("commit") or "unknown")[:10] + (" (changed)" if git.get("dirty") else "")
    return f"{run.environment['machine']['cpu_model']}, {cores(run)}, commit {commit}"


def disturbed(trials: pd.DataFrame) -> str:
    """Say how many trials were disturbed; empty if none was."""
    taken = int((trials["disturbed"] != "").sum())
    return f"{taken} of {len(trials)} trials disturbed" if taken else ""
