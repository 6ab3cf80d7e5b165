"""The claims ledger: what others (and we) claim, and what the trials of a run say about it."""

from __future__ import annotations

import functools
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from experiments import statistics, tables
from experiments.statistics import Interval

LEDGER = Path(__file__).with_name("claims.toml")
Verdict = Literal["supported", "contradicted", "inconsistent", "not measurable here"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WORSE = ("supported", "inconsistent", "contradicted", "not measurable here")
COLUMNS = "claim title source claimed workload measured low high unit n rule verdict reason".split()
FEWEST_PAIRS = 3
Column = Annotated[str, Field(pattern=f"^({'|'.join(tables.KEY)})$")]
Filter = dict[Column, int | float | str | list[int | float | str]]


class Threshold(BaseModel):
    """The side of a number on which the whole interval must lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Threshold:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def judge(self, found: Interval) -> Verdict:
        """Decide by the interval, never by the median."""
        if self.at_least is not None:
            right, wrong = found.low >= self.at_least, found.high < self.at_least
        else:
            right, wrong = found.high <= (self.at_most or 0), found.low > (self.at_most or 0)
        return "supported" if right else "contradicted" if wrong else "inconsistent"

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


class Claim(Threshold):
    """One entry of the ledger; the keys are explained there."""

    id: str
    title: str
    source: str
    claimed: str
    number: float | None = None
    unit: str
    where: Filter = {}
    numerator: Filter = {}
    denominator: Filter = {}
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
            return tables.spread(run, value, self.over, self.where, self.step_range)
        pairs = tables.ratio(run, value, self.numerator, self.denominator, self.where, self.free)
        return tables.ends(pairs, self.along) if self.along else pairs


class Finding(NamedTuple):
    """What a run says about one quantity: over all workloads, and how many of those say what."""

    interval: Interval
    verdict: Verdict
    level: float = 0.0
    workloads: tuple[str, ...] = ()
    reason: str = ""


def ledger(path: Path = LEDGER) -> list[Claim]:
    """Read the ledger; a ``ValueError`` names the file, the claim and the key that is not valid."""
    claims = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["claim"]:
        try:
            claims.append(Claim(**entry))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "entry"
            raise ValueError(f"{path.name}: claim {entry.get('id', '?')}: {key}: {first['msg']}") from None
    if len({claim.id for claim in claims}) < len(claims):
        raise ValueError(f"{path.name}: two claims have the same id")
    return claims


NAMES = tuple(claim.id for claim in ledger())


def judge(run_directory: Path, path: Path = LEDGER) -> pd.DataFrame:
    """Judge every claim by the trials of a run, and write claims.csv beside them."""
    run = tables.load(run_directory)
    frame = pd.DataFrame([_row(run, claim) for claim in ledger(path)], columns=COLUMNS)
    partial = run_directory / "claims.csv.partial"
    frame.to_csv(partial, index=False)
    os.replace(partial, run_directory / "claims.csv")
    return frame


def read(run_directory: Path) -> pd.DataFrame:
    """Read claims.csv of a run, judging first where it is missing."""
    if not (run_directory / "claims.csv").exists():
        judge(run_directory)
    text = [name for name in COLUMNS if name not in ("measured", "low", "high", "n")]
    frame = pd.read_csv(run_directory / "claims.csv", dtype=dict.fromkeys(text, str))
    return frame.fillna(dict.fromkeys(text, ""))


def words(row: Any) -> dict[str, str]:
    """Write out a row of claims.csv, for a table or a sentence; ``measured`` is empty where nothing was."""
    written = {name: str(getattr(row, name)) for name in ("title", "source", "claimed", "verdict", "reason")}
    measured = f"{tables.number(row.measured)} {row.unit} ({tables.interval(row)})" if row.n else ""
    where = ": ".join(text for text in (row.workload, row.reason) if text)
    return {**written, "measured": measured, "where": where, "n": str(row.n)}


def _row(run: tables.Run, claim: Claim) -> tuple[object, ...]:
    found, rule = _find(run, claim, claim), f"whole interval {claim} on every workload"
    verdict, reason = found.verdict, found.reason
    if claim.also is not None:
        second, name = _find(run, claim, claim.also), claim.also.value.replace("_", " ")
        rule += f", that of {name} {claim.also}"
        if second.interval.n:
            said = f"{tables.number(second.interval.median)} ({tables.interval(second.interval)})"
            reason = "; ".join(filter(None, [reason, f"{name} × {said}: {second.verdict}"]))
        verdict = max(verdict, second.verdict, key=WORSE.index)
    if found.level:
        rule += f" ({found.level:.0%} intervals)"
    workload = ", ".join(dict.fromkeys(name.split(",")[0] for name in found.workloads))
    if len(found.workloads) > 1:
        workload += f" ({len(found.workloads)} workloads)"
    median, low, high, n, _ = found.interval
    claimed = (claim.id, claim.title, claim.source, claim.claimed, workload)
    return (*claimed, median, low, high, claim.unit, n, rule, verdict, reason)


def _find(run: tables.Run, claim: Claim, threshold: Threshold) -> Finding:
    impossible = functools.partial(Finding, statistics.median_interval([]), "not measurable here", 0.0, ())
    if run.cores < claim.cores:
        return impossible(f"needs {claim.cores} cores, and this machine has {run.cores}")
    pairs = claim.pairs(run, threshold.value)
    if pairs.empty:
        return impossible("the run has no such trials")
    pairs = pairs.dropna(subset="value")
    if pairs.empty:
        return impossible("the target was reached by neither side")
    free = pairs["spin_efficiency"].fillna(1.0) >= tables.FREE_CORES  # unknown: no second core, or no matter
    note = "" if free.all() else f"{int(free.sum())} of {len(pairs)} comparisons had two cores really free; "
    pairs = pairs[free].reset_index(drop=True)
    pairs["workload"] = tables.label(pairs)
    groups = {name: rows for name, rows in tables.groups(pairs, "workload") if len(rows) >= FEWEST_PAIRS}
    if not groups:
        return impossible(f"{note}no workload has the {FEWEST_PAIRS} replicates that an interval needs")
    # The number printed is the median over replicates of the geometric mean over workloads; the verdict is
    # every workload's own, so that a gain here cannot hide a loss there.
    pooled = pd.concat(groups.values()).groupby("replicate")["value"].agg(statistics.geometric_mean)
    each = {name: statistics.median_interval(rows["value"]) for name, rows in groups.items()}
    verdicts = [threshold.judge(interval) for interval in each.values()]
    if len(each) > 1:
        low, high = (choose(each, key=lambda name: each[name].median) for choose in (min, max))
        note += ", ".join(f"{verdict} on {n}" for verdict in VERDICTS if (n := verdicts.count(verdict)))
        note += "; " + " to ".join(f"{tables.number(each[name].median)} ({name})" for name in (low, high))
    level = min(statistics.LEVEL, *(statistics.coverage(interval.n) for interval in each.values()))
    verdict: Verdict = verdicts[0] if len(set(verdicts)) == 1 else "inconsistent"
    return Finding(statistics.median_interval(pooled), verdict, level, tuple(each), note.removesuffix("; "))


def show(frame: pd.DataFrame) -> None:
    """Print the judged claims as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = dict(zip(VERDICTS, ("green", "red", "yellow", "dim"), strict=True))
    table = Table("claim", "title", "claimed", "measured", "verdict", "on", title="Claims")
    for row in tables.rows(frame):
        said = {name: escape(text) for name, text in words(row).items()}
        verdict = f"[{colours[row.verdict]}]{row.verdict}[/]"
        table.add_row(row.claim, said["title"], said["claimed"], said["measured"], verdict, said["where"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
