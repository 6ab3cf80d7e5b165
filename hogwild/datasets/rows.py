"""Sparse rows in one form: CSR, sorted and distinct indices, 32 bits where they fit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from hogwild.compiling import compiled

_INT32 = np.iinfo(np.int32).max
BLOCK = 1 << 19  # entries handled at a time: megabytes, whatever the data


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


def assembled(
    values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a CSR matrix of these very arrays: SciPy's constructor may widen, hence copy, some of them."""
    X = sparse.csr_array(shape, dtype=values.dtype)
    X.data, X.indices, X.indptr = values, indices, indptr
    return X


def blocks_of(X: Any, entries: int = BLOCK) -> Iterator[tuple[int, int, sparse.csr_array]]:
    """Return (first, last, rows first … last-1) of CSR rows, about so many entries at a time, no copies.

    Row pointers must not decrease. X that fits into one block is returned itself.
    """
    examples, first = X.shape[0], 0
    if X.indptr[-1] <= entries and examples <= entries and X.indptr.dtype == X.indices.dtype:
        yield 0, examples, X
        return
    while first < examples:
        window = X.indptr[first : first + entries + 1]  # rows may be empty: no more of them than entries
        start = int(window[0])
        last = first + max(1, int(np.searchsorted(window, start + entries, side="right")) - 1)
        pointers = (X.indptr[first : last + 1] - start).astype(X.indices.dtype)
        stop = start + int(pointers[-1])
        yield (
            first,
            last,
            assembled(X.data[start:stop], X.indices[start:stop], pointers, (last - first, X.shape[1])),
        )
        first = last


def counts(indices: np.ndarray, n_features: int) -> np.ndarray:
    """Return how often each index occurs, shape (n_features,)."""
    found = np.zeros(n_features, np.int64)
    count(indices.view(np.dtype(f"u{indices.itemsize}")), found)
    return found


@compiled
def count(indices: Any, found: Any) -> None:
    """Add up how often each index occurs. NumPy's count first makes all indices 64 bits wide."""
    for entry in range(indices.size):
        found[indices[entry]] += 1


@compiled
def looked_through(indices: Any, values: Any) -> tuple[int, int, int, int, int]:
    """Look at all entries of CSR rows at once; there is at least one.

    Returns
    -------
    least, greatest : int
        Of the indices.
    descents : int
        How many indices are not larger than the one before, between rows, too.
    zeros, unfinite : int
        How many values are zero; how many are NaN or infinite.
    """
    least = greatest = indices[0]
    zeros = unfinite = descents = 0
    for entry in range(indices.size):
        least = min(least, indices[entry])
        greatest = max(greatest, indices[entry])
    following = indices[1:]
    for entry in range(following.size):
        descents += following[entry] <= indices[entry]
    for entry in range(values.size):
        zeros += values[entry] == 0
        unfinite += not abs(values[entry]) < np.inf
    return least, greatest, descents, zeros, unfinite


def taken(X: Any, chosen: np.ndarray) -> sparse.csr_array:
    """Return copies of some of the rows, their numbers ascending."""
    parts = []
    for first, last, rows in blocks_of(X):
        begin, end = np.searchsorted(chosen, (first, last))
        parts.append(rows[chosen[begin:end] - first])
    return sparse.csr_array(sparse.vstack(parts)) if len(parts) > 1 else parts[0]
