"""The claims ledger: what others (and we) claim, and what the trials of a run say about it."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from experiments import statistics
from experiments.design.ledger import LEDGER, entries
from experiments.judge import tables, words
from experiments.measure import machine
from experiments.statistics import Interval

Verdict = Literal["supported", "contradicted", "inconsistent", "not measurable here"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WORSE = ("supported", "inconsistent", "contradicted", "not measurable here")
COLUMNS = (
    "claim title source claimed workload measured low high unit base n level rule verdict reason".split()
)
PRECISION = "claim workload n median low high width".split()
MEANS = {
    "cost": "ratio of the summed costs, in which large workloads weigh most",
    "rate": "ratio of the harmonic means, in which slow workloads weigh most",
    "ratio": "geometric mean of the ratios",
}
FEWEST_PAIRS = 3
Column = Annotated[str, Field(pattern=f"^({'|'.join(tables.KEY)})$")]
Filter = dict[Column, int | float | str | list[int | float | str]]


class Threshold(BaseModel):
    """The side of a number on which the whole interval must lie, by more than a share of it, ``margin``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: str = ""
    at_least: float | None = None
    at_most: float | None = None
    margin: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_side(self) -> Threshold:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def judge(self, found: Interval) -> Verdict:
        """Decide by the interval, never by the median; the margin makes both verdicts harder to reach."""
        more, less = 1 + self.margin, 1 - self.margin
        if self.at_least is not None:
            right, wrong = found.low >= self.at_least * more, found.high < self.at_least * less
        else:
            limit = self.at_most or 0.0
            right, wrong = found.high <= limit * less, found.low > limit * more
        return "supported" if right else "contradicted" if wrong else "inconsistent"

    def __str__(self) -> str:
        by = f" by {self.margin:.0%}" if self.margin else ""
        return (f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}") + by


class Claim(Threshold):
    """One entry of the ledger; the keys are explained there."""

    id: str
    value: str
    title: str
    source: str
    claimed: str
    unit: str
    where: Filter = {}
    numerator: Filter = {}
    denominator: Filter = {}
    base: Literal["numerator", "denominator"] = "denominator"
    free: list[Column] = []
    along: Column | None = None
    over: list[Column] = []
    step_range: float = 0.0
    also: Threshold | None = None
    cores: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        if bool(self.over) == bool(self.numerator and self.denominator):
            raise ValueError("give either over, or numerator and denominator")
        return self

    def pairs(self, run: tables.Run, value: str) -> pd.DataFrame:
        """Compute the claim's quantity for every comparable set of trials."""
        if self.over:
            return tables.range_ratio(run, value, self.over, self.where, self.step_range)
        pairs = tables.ratio(run, value, self.numerator, self.denominator, self.where, self.free)
        return tables.change_along(pairs, self.along) if self.along else pairs

    def relative_to(self, cores: int) -> str:
        """Name the side of the ratio that the other is compared with."""
        if self.over:
            return "smallest"
        side = {"backend": "", "workers": 1, **getattr(self, self.base)}
        backend, workers = side.pop("backend"), tables.options(side.pop("workers"), cores)[0]
        name = f"{backend} × {workers}" if workers != 1 or backend.startswith("hogwild") else backend
        name = backend if backend in tables.BEST else name
        return ", ".join(filter(None, [name, *map(str, side.values())])).replace("_", " ")


class Finding(NamedTuple):
    """What a run says about one quantity: over all workloads, and how many of those say what."""

    interval: Interval
    verdict: Verdict
    level: float = 0.0
    workloads: tuple[str, ...] = ()
    reason: str = ""
    base: str = ""


def ledger(path: Path = LEDGER) -> list[Claim]:
    """Read the ledger; a ``ValueError`` names the file, the claim and the key that is not valid."""
    claims = []
    for entry in entries(path):
        try:
            claims.append(Claim(**entry))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "entry"
            raise ValueError(f"{path.name}: claim {entry.get('id', '?')}: {key}: {first['msg']}") from None
    if len({claim.id for claim in claims}) < len(claims):
        raise ValueError(f"{path.name}: two claims have the same id")
    return claims


def frame(run: tables.Run, path: Path = LEDGER) -> pd.DataFrame:
    """Judge every claim by the trials of a run, a row for each."""
    return pd.DataFrame([_row(run, claim) for claim in ledger(path)], columns=COLUMNS)


def judge(run_directory: Path, path: Path = LEDGER) -> pd.DataFrame:
    """Judge every claim by the trials of a run, and write claims.csv beside them."""
    found, partial = frame(tables.load(run_directory), path), run_directory / "claims.csv.partial"
    found.to_csv(partial, index=False)
    os.replace(partial, run_directory / "claims.csv")
    return found


def precision(run: tables.Run, claim_ids: Collection[str]) -> pd.DataFrame:
    """Return how wide the interval of each claim's quantity is on each workload, as a share of its median.

    A workload without an undisturbed comparison has ``n`` 0 and no width.
    """
    found = []
    for claim in (claim for claim in ledger() if claim.id in claim_ids and claim.cores <= run.cores):
        for name, rows in tables.groups(_comparisons(run, claim, claim.value), "workload"):
            median, low, high, n = statistics.median_interval(rows["value"][rows["disturbed"] == ""])
            width = float(statistics.ratio(high - low, median)) if n > 1 else math.nan
            found.append((claim.id, name, n, median, low, high, width))
    return pd.DataFrame(found, columns=PRECISION)


def concerns(claim: Claim, columns: Mapping[str, Any], cores: int | None = None) -> bool:
    """Say whether a trial with these columns could take part in a claim's quantity.

    Parameters
    ----------
    claim : Claim
    columns : mapping
        What is known before the trial is run, by the names in trials.csv; what is missing is no obstacle.
    cores : int, optional
        How many the run may use, those of this machine by default.
    """
    cores = cores or len(machine.usable_cores())
    if claim.cores > cores or columns.get("purpose") == "tune":
        return False
    sides = [{**claim.where, **side} for side in (claim.numerator, claim.denominator)]
    return any(
        all(
            columns.get(name) is None or columns[name] in tables.options(wanted, cores)
            for name, wanted in side.items()
        )
        for side in sides
    )


def read(run_directory: Path) -> pd.DataFrame:
    """Read claims.csv of a run, judging first where it is missing."""
    if not (run_directory / "claims.csv").exists():
        judge(run_directory)
    text = [name for name in COLUMNS if name not in ("measured", "low", "high", "n", "level")]
    found = pd.read_csv(run_directory / "claims.csv", dtype=dict.fromkeys(text, str))
    return found.fillna(dict.fromkeys(text, ""))


def in_words(row: Any) -> dict[str, str]:
    """Write out a row of claims.csv, for a table or a sentence; ``measured`` is empty where nothing was.

    ``decided`` is the verdict, with the level of its intervals where that is below `statistics.LEVEL`.
    """
    plain = ("title", "source", "claimed", "base", "verdict", "reason")
    written = {name: str(getattr(row, name)) for name in plain}
    measured = f"{words.times(row.measured)} {row.unit} ({words.interval(row, words.times)})" if row.n else ""
    where = ": ".join(text for text in (row.workload, row.reason) if text)
    unsure = row.verdict in ("supported", "contradicted") and row.level < statistics.LEVEL
    decided = f"{row.verdict} at {row.level:.0%}" if unsure else row.verdict
    return {**written, "decided": decided, "measured": measured, "where": where, "n": str(row.n)}


def measured_in(run: tables.Run, claim: Claim) -> bool:
    """Say whether a run has trials of a claim's quantity: older runs lack those of newer experiments."""
    sides = (claim.numerator, claim.denominator)
    return all(len(tables.select(run, {**claim.where, **side})) for side in sides)


def _row(run: tables.Run, claim: Claim) -> tuple[object, ...]:
    found, rule = _find(run, claim, claim), f"whole interval {claim}"
    verdict, reason, level = found.verdict, found.reason, found.level
    if claim.also is not None:
        value = claim.also.value or claim.value
        second, name = _find(run, claim, claim.also), value.replace("_", " ")
        rule += f" and {claim.also}" if value == claim.value else f", that of {name} {claim.also},"
        if second.interval.n and value != claim.value:
            said = f"{words.times(second.interval.median)} ({words.interval(second.interval, words.times)})"
            reason = "; ".join(filter(None, [reason, f"{name} × {said}: {second.verdict}"]))
        verdict, level = max(verdict, second.verdict, key=WORSE.index), min(level, second.level)
    rule += " on every workload"
    if level:
        rule += f" ({level:.0%} intervals)"
    workload = ", ".join(dict.fromkeys(name.split(",")[0] for name in found.workloads))
    if len(found.workloads) > 1:
        workload += f" ({len(found.workloads)} workloads)"
        rule += f"; measured: {MEANS[_kind(claim, claim.value)]}"
    median, low, high, n = found.interval
    claimed = (claim.id, claim.title, claim.source, claim.claimed, workload)
    return (*claimed, median, low, high, claim.unit, found.base, n, level, rule, verdict, reason)


def _kind(claim: Claim, value: str) -> statistics.Kind:
    return "ratio" if claim.over or claim.along else tables.kind(value)


def _comparisons(run: tables.Run, claim: Claim, value: str) -> pd.DataFrame:
    pairs = claim.pairs(run, value).dropna(subset="value").sort_values("replicate", kind="stable")
    return pairs.assign(workload=tables.label(pairs))


def _find(run: tables.Run, claim: Claim, threshold: Threshold) -> Finding:
    impossible = functools.partial(Finding, statistics.median_interval([]), "not measurable here", 0.0, ())
    value = threshold.value or claim.value
    if run.cores < claim.cores:
        return impossible(f"needs {claim.cores} cores, and this machine has {run.cores}")
    if not measured_in(run, claim):
        return impossible("the run has no such trials")
    pairs = _comparisons(run, claim, value)
    if pairs.empty:
        known = len(claim.pairs(run, value))
        return impossible("the target was reached by neither side" if known else "the run has no such trials")
    clean = pairs[pairs["disturbed"] == ""]
    note = "" if len(clean) == len(pairs) else f"{len(clean)} of {len(pairs)} comparisons were undisturbed; "
    groups = {name: rows for name, rows in tables.groups(clean, "workload") if len(rows) >= FEWEST_PAIRS}
    if not groups:
        return impossible(f"{note}no workload has the {FEWEST_PAIRS} replicates that an interval needs")
    # The number printed is the median over replicates of the summary over workloads; the verdict is every
    # workload's own, so that a gain here cannot hide a loss there.
    each = {name: statistics.median_interval(rows["value"]) for name, rows in groups.items()}
    verdicts = [threshold.judge(interval) for interval in each.values()]
    if len(each) > 1:
        low, high = (choose(each, key=lambda name: each[name].median) for choose in (min, max))
        note += ", ".join(f"{verdict} on {n}" for verdict in VERDICTS if (n := verdicts.count(verdict)))
        note += "; " + " to ".join(f"{words.times(each[name].median)} ({name})" for name in (low, high))
    level = min(statistics.coverage(interval.n) for interval in each.values())
    verdict: Verdict = verdicts[0] if len(set(verdicts)) == 1 else "inconsistent"
    side = "above" if claim.base == "numerator" else "below"
    bases = [float(rows[side].median()) for rows in groups.values()]
    name = claim.relative_to(run.cores)
    if claim.along:
        base = f"at the smallest {claim.along}: {words.number(bases[0])} × {name}"
    else:
        base = f"{name}: {words.amount(value, min(bases), max(bases))}"
    arrived = [rows for rows in groups.values() if np.isfinite(rows[["above", "below"]].median()).all()]
    if 0 < len(arrived) < len(groups):  # a sum with a side that never got there says nothing about the others
        note += f"; measured on {len(arrived)} of {len(groups)}, where both sides got there"
    pooled = _pooled(arrived or list(groups.values()), _kind(claim, value))
    return Finding(
        statistics.median_interval(pooled), verdict, level, tuple(each), note.removesuffix("; "), base
    )


def _pooled(groups: list[pd.DataFrame], kind: statistics.Kind) -> np.ndarray:
    """Summarise the k-th replicates of all workloads, for as many as every workload has."""
    if len(groups) == 1:
        return groups[0]["value"].to_numpy(float)
    fewest = min(map(len, groups))
    sides = ["value"] if kind == "ratio" else ["above", "below"]
    kept = np.array([rows[sides].to_numpy(float)[:fewest] for rows in groups])
    means = statistics.summary(kept, kind).T
    return means[0] if kind == "ratio" else statistics.ratio(*means)


def show(found: pd.DataFrame) -> None:
    """Print the judged claims as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = dict(zip(VERDICTS, ("green", "red", "yellow", "dim"), strict=True))
    table = Table("claim", "title", "claimed", "measured", "verdict", "on", title="Claims")
    for row in tables.rows(found):
        said = {name: escape(text) for name, text in in_words(row).items()}
        verdict = f"[{colours[row.verdict]}]{said['decided']}[/]"
        table.add_row(row.claim, said["title"], said["claimed"], said["measured"], verdict, said["where"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
