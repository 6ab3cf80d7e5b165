"""How narrow the intervals of the headline ratios are, and whether a run does its further replicates.

A run looks at most twice: after the planned replicates, and after all. To look more often, and to end when an
interval happens to be narrow, would make it cover less than it says; `statistics.beyond` allows for two. The
rule looks at the width alone, never at the verdict, so that it does not favour one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from experiments import statistics
from experiments.design.plan import Trial, describe
from experiments.design.spec import Spec
from experiments.judge import claims, tables
from experiments.measure import journal

FILE = "precision.csv"
COLUMNS = "experiment claim workload n median low high width wanted outcome".split()


def narrow(n: int, width: ArrayLike, wanted: float) -> np.ndarray:
    """Say whether intervals of n values are as narrow as wanted.

    They never are where they cover less than `statistics.LEVEL`: a small sample is often narrow by chance.
    """
    return (np.asarray(width) <= wanted) & (statistics.coverage(n) >= statistics.LEVEL)


def judge(run: tables.Run, specs: Iterable[Spec]) -> pd.DataFrame:
    """Return a row for each headline ratio and workload: its interval, the width wanted, what came of it."""
    found = [pd.DataFrame(columns=COLUMNS)]
    for spec in specs:
        if spec.precision is None or spec.size.most_replicates is None:
            continue
        own = run._replace(trials=run.trials[run.trials["experiment"] == spec.name])
        table = claims.precision(own, spec.precision.claims)
        table = table.assign(experiment=spec.name, wanted=spec.precision.width)
        ended = [bool(narrow(row.n, row.width, row.wanted)) for row in tables.rows(table)]
        all_done = f"{spec.size.most_replicates} replicates done"
        table["outcome"] = np.where(ended, "reached", all_done)
        found.append(table[COLUMNS])
    return pd.concat(found[1:], ignore_index=True) if found[1:] else found[0]


def choose(directory: Path, spare: list[Trial], specs: Iterable[Spec]) -> list[Trial]:
    """Return the spare trials to be run next, none where all is narrow enough; write precision.csv.

    All trials of an experiment that concern its headline ratios, if one of these is too wide, or if a run
    that was stopped had begun with them.
    """
    specs = [spec for spec in specs if spec.precision and spec.size.most_replicates]
    if not specs:
        return []
    run, chosen = tables.load(directory, [spec.name for spec in specs]), []
    table, done = judge(run, specs), set(run.trials["trial"])
    for spec in specs:
        headline = [
            claim for claim in claims.ledger() if spec.precision and claim.id in spec.precision.claims
        ]
        useful = [
            trial
            for trial in spare
            if trial.experiment == spec.name
            and any(claims.concerns(claim, describe(trial), run.cores) for claim in headline)
        ]
        wide = (table["outcome"][table["experiment"] == spec.name] != "reached").any()
        if wide or not done.isdisjoint(trial.key for trial in useful):
            chosen += useful
    journal.replace(directory / FILE, table.to_csv(index=False, lineterminator="\n"))
    return chosen
