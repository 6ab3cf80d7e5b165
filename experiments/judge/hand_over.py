"""What limits workers that hand over to each other: a two-parameter model fitted to delayed gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


def model_seconds(alone: float, delay: Any, workers: int, hand_over: float) -> Any:
    """Return the seconds per update ``max((t₀ + d)/p, h)``: gradients side by side, hand-overs in series."""
    return np.maximum((alone + np.asarray(delay, float)) / workers, hand_over)


def fitted(trials: pd.DataFrame, backend: str) -> float:
    """Return the h of `model_seconds` with the least squared error in the logarithm, t₀ taken from serial.

    Searched on a grid of 1 % steps between a nanosecond and a millisecond, on the medians of each delay.
    """
    serial = trials[(trials["backend"] == "serial") & (trials["gradient_delay"] == 0)]
    mine = trials[trials["backend"] == backend]
    if serial.empty or mine.empty:
        return math.nan
    medians = seconds_per_update(mine).groupby(mine["gradient_delay"]).median()
    alone, workers = float(seconds_per_update(serial).median()), int(mine["workers"].max())
    candidates = np.geomspace(1e-9, 1e-3, 1400)[:, None]
    model = np.maximum((alone + medians.index.to_numpy(float)) / workers, candidates)
    misses = np.square(np.log(model) - np.log(medians.to_numpy(float))).sum(axis=1)
    return float(candidates[int(misses.argmin()), 0])


def seconds_per_update(trials: pd.DataFrame) -> pd.Series:
    """Return the training time of each trial over all of its updates."""
    return trials["train_seconds"] / trials["updates"]
