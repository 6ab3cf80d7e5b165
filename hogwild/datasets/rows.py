"""Sparse rows in one form: CSR, sorted and distinct indices, 32 bits where they fit."""

from typing import Any

import numpy as np
from scipy import sparse

_INT32 = np.iinfo(np.int32).max


def from_rows(
    lengths: np.ndarray, indices: np.ndarray, values: np.ndarray, n_features: int
) -> sparse.csr_array:
    """Return a CSR matrix from the lengths of its rows and their entries."""
    # No wider than needed: SciPy widens the indices to match.
    indptr = np.zeros(lengths.size + 1, np.int32 if indices.size <= _INT32 else np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return sparse.csr_array((values, indices, indptr), shape=(lengths.size, n_features))


def csr(matrix: Any, dtype: np.dtype[Any]) -> sparse.csr_array:
    """Return a sparse matrix in this form, duplicates added up, with values of a type."""
    X = sparse.csr_array(matrix, dtype=dtype)
    X.sum_duplicates()
    if max(X.nnz, *X.shape) <= _INT32:
        X.indptr, X.indices = X.indptr.astype(np.int32, copy=False), X.indices.astype(np.int32, copy=False)
    return X


def unit_rows(X: sparse.csr_array) -> None:
    """Divide each row by its Euclidean norm, in place; an empty row stays as it is."""
    lengths = np.diff(X.indptr)
    filled = lengths > 0
    if filled.any():
        norms = np.sqrt(np.add.reduceat(X.data * X.data, X.indptr[:-1][filled]))
        X.data /= np.repeat(norms, lengths[filled])
