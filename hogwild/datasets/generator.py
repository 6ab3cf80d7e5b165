"""Sparse data to order."""

from typing import Any

import numpy as np

from hogwild import checks
from hogwild.datasets import patterns, targets
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import from_rows, unit_rows


def synthetic(
    n_examples: int,
    n_features: int,
    *,
    density: float | None = None,
    nonzeros_per_row: int | None = None,
    zipf_exponent: float = 0.0,
    noise: float = 0.1,
    task: str = "regression",
    unit_norm: bool = True,
    seed: int = 0,
    dtype: Any = np.float64,
) -> Dataset:
    """Return random sparse rows with targets of a linear model.

    Values and true weights are standard normal; the weights are then scaled so that ``X @ true_weights`` has
    unit variance. One seed gives the same X whatever the task and the noise, and up to rounding the same data
    in both data types.

    Parameters
    ----------
    n_examples, n_features : int
    density : float in (0, 1], optional
        Share of non-zeros. They are spread evenly: the lengths of two rows differ by one at most, so rows are
        empty only if ``density * n_features < 1``.
    nonzeros_per_row : int, optional
        The same number in each row; give either this or ``density``.
    zipf_exponent : float >= 0
        Columns are drawn with probabilities proportional to ``rank**-zipf_exponent``, ranks dealt to columns
        at random; 0 is uniform. A row holds a column once, so popular columns end up in fewer rows, and rare
        ones in more, than probability times row length: see `hogwild.datasets.patterns.distinct_columns`.
    noise : float
        Regression: standard deviation of the Gaussian noise (the signal has 1). Classification: share of
        wrong labels, at most 0.5.
    task : {"regression", "classification"}
        Targets ``X @ true_weights`` plus noise, or labels -1 and +1 by its sign (-1 for an empty row).
    unit_norm : bool
        Scale each row to Euclidean norm 1.
    seed : int
    dtype : float32 or float64

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, with its name and value.
    """
    n_examples = checks.integer("n_examples", n_examples, 1)
    n_features = checks.integer("n_features", n_features, 1, np.iinfo(np.int32).max)
    exponent = checks.real("zipf_exponent", zipf_exponent, "a number >= 0")
    task = checks.choice("task", task, targets.TASKS)
    noise = targets.check_noise(noise, task)
    if not isinstance(unit_norm, bool | np.bool_):
        raise TypeError(f"unit_norm is {unit_norm!r}; it must be True or False")
    value_type = checks.floating(dtype)
    rng = np.random.default_rng(checks.integer("seed", seed))

    lengths = _row_lengths(rng, n_examples, n_features, density, nonzeros_per_row)
    indices = patterns.distinct_columns(rng, lengths, patterns.zipf(rng, n_features, exponent))
    X = from_rows(lengths, indices, rng.standard_normal(indices.size), n_features)
    if unit_norm:
        unit_rows(X)
    X = X.astype(value_type, copy=False)
    y, true_weights = targets.plant(rng, X, rng.standard_normal(n_features), task, noise)
    description = (
        f"Synthetic {task}: {n_examples:,} x {n_features:,}, {X.nnz / n_examples:g} normal values a row, "
        f"Zipf exponent {exponent:g}, noise {noise:g}; seed {seed}."
    )
    return Dataset(X, y, true_weights, "synthetic", description)


def _row_lengths(
    rng: np.random.Generator,
    n_examples: int,
    n_features: int,
    density: float | None,
    nonzeros_per_row: int | None,
) -> np.ndarray:
    if (density is None) == (nonzeros_per_row is None):
        raise ValueError(
            f"density is {density!r} and nonzeros_per_row is {nonzeros_per_row!r}; exactly one must be given"
        )
    if nonzeros_per_row is not None:
        return np.full(n_examples, checks.integer("nonzeros_per_row", nonzeros_per_row, 1, n_features))
    nonzeros = round(checks.fraction("density", density) * n_features * n_examples)
    if nonzeros < 1:
        raise ValueError(
            f"density is {density!r}; it must leave a non-zero in {n_examples} x {n_features} cells"
        )
    even, rest = divmod(nonzeros, n_examples)
    return even + rng.permutation(np.arange(n_examples) < rest)
