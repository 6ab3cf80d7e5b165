"""Targets planted by a linear model."""

from typing import Any

import numpy as np
from scipy import sparse

from hogwild import checks

TASKS = ("classification", "regression")


def check_noise(noise: Any, task: str) -> float:
    """Return the noise: regression's standard deviation, classification's share of wrong labels."""
    if task == "regression":
        return checks.real("noise", noise, "a number >= 0 (standard deviation) for regression")
    allowed = "a number in [0, 0.5] (share of wrong labels) for classification"
    return checks.real("noise", noise, allowed, maximum=0.5)


def plant(
    rng: np.random.Generator, X: sparse.csr_array, weights: np.ndarray, task: str, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets of rows, and the weights scaled so that ``X @ weights`` has unit variance.

    Regression adds Gaussian noise to ``X @ weights``; classification takes its sign (-1 at zero) and flips a
    share of the labels. Products that do not vary, such as that of a single row, are left unscaled.
    """
    exact = X @ weights
    scale = float(exact.std()) or 1.0
    y = observed(rng, exact / scale, task, noise)
    return y.astype(X.dtype), (weights / scale).astype(X.dtype)


def observed(rng: np.random.Generator, exact: np.ndarray, task: str, noise: float) -> np.ndarray:
    """Return the targets of rows whose products with the true weights are these."""
    if task == "regression":
        return exact + noise * rng.standard_normal(exact.size)
    return np.where((exact > 0) != (rng.random(exact.size) < noise), 1.0, -1.0)
