"""The step size of a trial, chosen by the trials that tune it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from experiments import statistics
from experiments.design.options import STEP_FIELDS
from experiments.design.plan import TUNED_TO, Trial
from experiments.measure.journal import Record
from experiments.measure.outcome import MEASURED, Status


def settled(trial: Trial, records: Mapping[str, Record]) -> Trial:
    """Give a trial the step size that was soonest at the target in the median of its tuning trials.

    Candidates that never reached it are compared by the suboptimality they ended with.

    Raises
    ------
    LookupError
        If no tuning trial of it has ended.
    """
    if not trial.tuned_on:
        return trial
    found: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for record in (records[key] for key in trial.tuned_on if key in records):
        row = record["trial"]
        if row["status"] not in MEASURED:
            continue
        curve = [(seconds, gap) for _, _, seconds, _, _, _, gap, *_ in record["history"] if gap is not None]
        sound = row["status"] != Status.DIVERGED
        time = statistics.time_to_target(curve, trial.target or TUNED_TO) if sound else math.inf
        end = row.get("suboptimality") if sound else None
        candidate = tuple(row[name] for name in STEP_FIELDS)
        found.setdefault(candidate, []).append((time, math.inf if end is None else end))
    if not found:
        raise LookupError(
            f"no tuning trial of {trial.experiment} {trial.backend} × {trial.workers} has ended"
        )
    best: tuple[Any, ...] = min(found, key=lambda candidate: tuple(np.median(found[candidate], axis=0)))
    return replace(trial, **dict(zip(STEP_FIELDS, best, strict=True)))
