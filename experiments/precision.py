"""How narrow the intervals of the headline ratios are, and which further replicates would narrow them.

A run goes on until each is as narrow as its spec asks, or the most replicates are done. The rule looks at the
width alone, never at the verdict, so that it does not favour one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import claims, journal, statistics, tables
from experiments.plan import Trial, describe
from experiments.spec import Spec

FILE = "precision.csv"
COLUMNS = "experiment claim workload n median low high width wanted outcome".split()


def judge(run: tables.Run, specs: Iterable[Spec]) -> pd.DataFrame:
    """Return a row for each headline ratio and workload: its interval, the width wanted, what came of it."""
    found = [pd.DataFrame(columns=COLUMNS)]
    for spec in specs:
        if spec.precision is None or spec.size.most_replicates is None:
            continue
        own = run._replace(trials=run.trials[run.trials["experiment"] == spec.name])
        table = claims.precision(own, spec.precision.claims)
        table = table.assign(experiment=spec.name, wanted=spec.precision.width)
        # below six values not even their whole range covers the median often enough: narrow by chance
        sure = table["n"].map(statistics.coverage) >= statistics.LEVEL
        wide = ~((table["width"] <= spec.precision.width) & sure)
        table["outcome"] = wide.map({False: "reached", True: f"{spec.size.most_replicates} replicates done"})
        found.append(table[COLUMNS])
    return pd.concat(found[1:], ignore_index=True) if found[1:] else found[0]


def choose(directory: Path, spare: list[Trial], specs: Iterable[Spec]) -> list[Trial]:
    """Return the spare trials to be run next, none where all is narrow enough; write precision.csv."""
    specs = [spec for spec in specs if spec.precision and spec.size.most_replicates]
    if not specs:
        return []
    run, chosen = tables.load(directory, [spec.name for spec in specs]), []
    table = judge(run, specs)
    ledger = {claim.id: claim for claim in claims.ledger()}
    for spec in specs:
        wide = table[(table["experiment"] == spec.name) & (table["outcome"] != "reached")]
        asked = [ledger[name] for name in wide["claim"].unique()]
        useful = [
            trial
            for trial in spare
            if trial.experiment == spec.name
            and any(claims.concerns(claim, describe(trial), run.cores) for claim in asked)
        ]
        # Widths fall with the root of the replicates: add half of those that this asks for, at most half of
        # those that there are, then look again.
        excess = (wide["width"] / wide["wanted"]).max() ** 2 - 1
        more = wide["n"].max() * min(excess, 1) / 2 if np.isfinite(excess) else 1
        replicates = sorted({trial.replicate for trial in useful})[: max(1, math.ceil(more))]
        chosen += [trial for trial in useful if trial.replicate in replicates]
    journal.replace(directory / FILE, table.to_csv(index=False, lineterminator="\n"))
    return chosen
