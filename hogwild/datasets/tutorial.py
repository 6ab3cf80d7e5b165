"""The example of the tutorial that this project started from."""

from typing import Any

import numpy as np
from scipy import sparse

from hogwild import checks
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import csr


def guide(
    seed: int = 0,
    n_examples: int = 20_000,
    n_features: int = 10,
    density: float = 0.2,
    *,
    dtype: Any = np.float64,
) -> Dataset:
    """Return the tutorial's least-squares problem: random sparse rows, targets without noise.

    ``X`` is a ``scipy.sparse`` random matrix: ``density * n_examples * n_features`` non-zeros anywhere (rows
    differ in length, some are empty), uniform values, divided by the largest. The weights are uniform in
    [0, 1), and ``y = X @ true_weights``.

    Parameters
    ----------
    seed : int
    n_examples, n_features : int
    density : float in (0, 1]
    dtype : float32 or float64

    Returns
    -------
    Dataset
    """
    rng = np.random.default_rng(checks.integer("seed", seed))
    shape = checks.integer("n_examples", n_examples, 1), checks.integer("n_features", n_features, 1)
    share = checks.fraction("density", density)
    if round(share * shape[0] * shape[1]) < 1:
        raise ValueError(f"density is {density!r}; it must leave a non-zero in {shape[0]} x {shape[1]} cells")
    drawn = sparse.random_array(shape, density=share, format="csr", rng=rng)
    X = csr(drawn / drawn.max(), checks.floating(dtype))
    true_weights = rng.random(shape[1]).astype(X.dtype)
    description = (
        f"The tutorial's example: {shape[0]:,} x {shape[1]:,}, density {share:g}, uniform values, "
        f"weights uniform in [0, 1), targets without noise; seed {seed}."
    )
    return Dataset(X, X @ true_weights, true_weights, "guide", description)
