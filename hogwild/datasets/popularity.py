"""Features numbered by their popularity, so that weights in use lie together."""

from typing import Any

import numpy as np
from scipy import sparse

from hogwild.datasets.rows import assembled, checked_rows, counts


def popular_first(X: Any) -> tuple[sparse.csr_array, np.ndarray]:
    """Return a copy of sparse rows whose features are numbered by popularity, and their former numbers.

    Popular weights then share cache lines and pages with others that are used as often: fewer are in use,
    and each update writes the most contended ones one after another. It is done once, before any number of
    runs; ``python -m benchmarks.popularity`` measures the gain.

    Parameters
    ----------
    X : sparse array or matrix of shape (n_examples, n_features)

    Returns
    -------
    X : csr_array of shape (n_examples, n_features)
        Indices sorted and distinct; 0 is the feature that the most examples have, equals keep their order.
    features : ndarray of int, shape (n_features,)
        ``features[j]`` is the former number of feature j: renumber other rows by ``rows[:, features]``, and
        put weights back by ``former[features] = weights``.

    Raises
    ------
    TypeError
        If X is not sparse or does not hold real numbers.
    ValueError
        If X is not two-dimensional, is empty, or holds an index out of range, NaN or infinity.
    """
    if not sparse.issparse(X):
        raise TypeError(f"X is a {type(X).__name__}; it must be a sparse array or matrix")
    rows = checked_rows(X, X.dtype)
    features = np.argsort(-counts(rows.indices, X.shape[1]), kind="stable")
    places = np.empty(features.size, rows.indices.dtype)
    places[features] = np.arange(features.size)
    renumbered = assembled(rows.data.copy(), places[rows.indices], rows.indptr, X.shape)
    renumbered.sort_indices()
    return renumbered, features
