"""A stand-in for Reuters RCV1 that needs no download."""

from typing import Any

import numpy as np

from hogwild import checks
from hogwild.datasets import patterns, targets
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import from_rows
from hogwild.datasets.text import tf_idf

N_FEATURES = 47_236
MEAN_LENGTH = 75.0
POSITIVE = 0.474  # CCAT: 381,327 of 804,414 stories
_LENGTH_DEVIATION = 0.6  # standard deviation of the log of a row's length
_SHIFT = 13.0  # of the popularity's ranks: puts the first into about 44 % of the rows
_TILT = 0.3  # of a term's log-popularity by topic: a linear classifier errs on 4 to 5 % of unseen rows


def rcv1_twin(
    n_examples: int = 100_000, seed: int = 0, task: str = "classification", dtype: Any = np.float64
) -> Dataset:
    """Return rows like Reuters RCV1's (Lewis et al. 2004): 47,236 features, about 75 in a row, unit norm.

    Row lengths are log-normal; term counts are geometric, weighted as in `hogwild.datasets.text.tf_idf`.
    Popularity is Zipf's with exponent 1 and Mandelbrot's shift, as of text without its stop words: the most
    popular feature is in about 44 % of the rows. So Δ is about 0.44 and ρ, never below Δ, is close to one.
    Niu et al. (2011, table 1) print ρ = 0.44 and Δ = 1.0 for RCV1; their definition (2.6) rules that out, so
    the two are probably swapped.

    Parameters
    ----------
    n_examples : int >= 2
        RCV1 has 804,414; the paper trains on 781,265 of them.
    seed : int
        The same X for both tasks.
    task : {"classification", "regression"}
        Classification: 47.4 % of the rows are +1 (as of RCV1's topic CCAT) and draw their terms by a
        popularity tilted towards some terms, the others (-1) away from them; there are no true weights.
        Regression: ``X @ true_weights`` of unit variance, from normal weights, plus Gaussian noise of
        standard deviation 0.1.
    dtype : float32 or float64

    Returns
    -------
    Dataset
        Its description states the realised mean row length and the most popular feature's share of the rows.
    """
    n_examples = checks.integer("n_examples", n_examples, 2)
    task = checks.choice("task", task, targets.TASKS)
    value_type = checks.floating(dtype)
    rng = np.random.default_rng(checks.integer("seed", seed))

    drawn = rng.lognormal(np.log(MEAN_LENGTH) - _LENGTH_DEVIATION**2 / 2, _LENGTH_DEVIATION, n_examples)
    lengths = np.clip(np.rint(drawn), 1, 1_000).astype(np.int64)
    popularity = patterns.zipf(rng, N_FEATURES, 1.0, _SHIFT).probabilities
    tilt = np.exp(_TILT * rng.standard_normal(N_FEATURES))
    n_positive = round(POSITIVE * n_examples)
    indices = np.concatenate(
        [
            patterns.distinct_columns(rng, part, patterns.Popularity(N_FEATURES, tilted / tilted.sum()))
            for part, tilted in (
                (lengths[:n_positive], popularity * tilt),
                (lengths[n_positive:], popularity / tilt),
            )
        ]
    )
    counts = from_rows(lengths, indices, rng.geometric(0.6, indices.size).astype(np.float64), N_FEATURES)
    order = rng.permutation(n_examples)
    X = tf_idf(counts)[order].astype(value_type, copy=False)
    y, true_weights = np.where(order < n_positive, 1.0, -1.0).astype(value_type), None
    if task == "regression":
        y, true_weights = targets.plant(rng, X, rng.standard_normal(N_FEATURES), task, 0.1)
    share = np.bincount(X.indices).max() / n_examples
    description = (
        f"RCV1-shaped twin for {task}: {n_examples:,} x {N_FEATURES:,}, {X.nnz / n_examples:.1f} a row, "
        f"most popular feature in {share:.1%} of the rows; seed {seed}."
    )
    return Dataset(X, y, true_weights, "rcv1_twin", description)
