"""Sparse rows in one form: CSR, sorted and distinct indices, 32 bits where they fit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from hogwild.datasets.mapping import mapping_of
from hogwild.engine.compiling import compiled

_INT32 = np.iinfo(np.int32).max
BLOCK = 1 << 19  # entries handled at a time: megabytes, whatever the data
_LOOKED_AT = 1 << 16  # entries at a time: they stay in a cache


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


def blocks_of(X: sparse.csr_array, entries: int = BLOCK) -> Iterator[tuple[int, int, sparse.csr_array]]:
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
def count(indices: np.ndarray, found: np.ndarray) -> None:
    """Add up how often each index occurs. NumPy's count first makes all indices 64 bits wide."""
    for entry in range(indices.size):
        found[indices[entry]] += 1


@compiled
def looked_through(indices: np.ndarray, values: np.ndarray) -> tuple[int, int, int, int, int]:
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


def taken(X: sparse.csr_array, chosen: np.ndarray) -> sparse.csr_array:
    """Return copies of some of the rows, their numbers ascending."""
    parts = []
    for first, last, rows in blocks_of(X):
        begin, end = np.searchsorted(chosen, (first, last))
        parts.append(rows[chosen[begin:end] - first])
    return sparse.csr_array(sparse.vstack(parts)) if len(parts) > 1 else parts[0]


def checked_rows(X: Any, dtype: np.dtype[Any]) -> sparse.csr_array:
    """Return rows that kernels can go through: canonical CSR, every row pointer and index checked.

    Sorted, without duplicates and explicit zeros, finite, indices int32 and row pointers int32 or int64. What
    is so already is not copied; what is mapped never is. Neither SciPy nor kernels check indices.

    Raises
    ------
    TypeError, ValueError
        Naming X, what was given and what is allowed.
    """
    if not sparse.issparse(X):
        X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; it must be two-dimensional: (n_examples, n_features)")
    if X.dtype.kind not in "fiub":
        raise TypeError(f"X has dtype {X.dtype}; it must hold real numbers")
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; it must have at least one example and one feature")
    if X.shape[1] > _INT32:
        raise ValueError(f"X has {X.shape[1]} features; at most {_INT32} are possible")
    X = _as_csr(X, dtype)
    mapped = any(mapping_of(part) is not None for part in (X.indptr, X.indices, X.data))
    if mapped and (X.data.dtype != dtype or X.indices.dtype != np.int32):
        raise ValueError(
            f"X is memory-mapped, with {X.data.dtype} values and {X.indices.dtype} indices; it must be as "
            f"hogwild.datasets.save_rows writes it, here with {dtype} values and int32 indices"
        )
    if np.ndim(X.data) != 1:
        raise ValueError(f"X is not a valid CSR array: its values have shape {np.shape(X.data)}")
    with np.errstate(over="ignore"):
        rows = assembled(np.require(X.data, dtype, ["C", "A"]), native(X.indices), native(X.indptr), X.shape)
    canonical = _is_canonical(rows)
    used = slice(int(rows.indptr[-1]))
    rows.data, rows.indices = rows.data[used], rows.indices[used]
    if mapped and not canonical:
        raise ValueError(
            "X is memory-mapped and not canonical; each row must have sorted and distinct indices and no "
            "explicit zeros, as hogwild.datasets.save_rows writes it"
        )
    if not canonical:
        rows = rows.copy()  # the caller's array stays as it is
        rows.sum_duplicates()
        rows.eliminate_zeros()
        if not np.isfinite(rows.data).all():
            raise ValueError("X holds duplicates that add up to infinity; all entries must be finite")
    rows.indices = rows.indices.astype(np.int32, copy=False)
    return rows


def _as_csr(X: Any, dtype: np.dtype[Any]) -> sparse.csr_array:
    """Return CSR rows, not checked yet; what SciPy converts without checking is checked first."""
    try:
        if getattr(X, "format", "") in ("csc", "bsr"):
            X.check_format(full_check=True)
        elif getattr(X, "format", "") == "coo":
            X = sparse.coo_array((X.data, X.coords), shape=X.shape)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"X is not a valid {X.format} array of shape {X.shape}: {error}") from None
    with np.errstate(over="ignore"):  # what is then infinite is refused
        return X if getattr(X, "format", "") == "csr" else sparse.csr_array(X, dtype=dtype)


def native(array: Any) -> np.ndarray:
    """Return integers as kernels can read them; what does not fit becomes negative, which is refused."""
    if np.ndim(array) != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"X is not a valid CSR array: it has indices or row pointers of dtype {array.dtype} and shape "
            f"{np.shape(array)}; they must be integers in one dimension"
        )
    kind: Any = array.dtype if array.dtype in (np.dtype(np.int32), np.dtype(np.int64)) else np.dtype(np.int64)
    return np.require(array, kind, ["C", "A"])


def _is_canonical(X: sparse.csr_array) -> bool:
    """Check CSR rows and return whether they are sorted, without duplicates and explicit zeros.

    One pass over the data, without a temporary array of their size.
    """
    check_pointers(X)
    used, features = int(X.indptr[-1]), X.shape[1]
    descents = zeros = 0
    for first in range(0, used, _LOOKED_AT):  # whatever the rows: short ones would each cost calls
        last = min(first + _LOOKED_AT, used)
        found = looked_through(X.indices[max(first - 1, 0) : last], X.data[first:last])
        if found[0] < 0 or found[1] >= features:
            raise ValueError(
                f"X is not a valid CSR array of shape {X.shape}: it has indices of {found[0]} to {found[1]}; "
                f"allowed are 0 to {features - 1}"
            )
        if found[4]:
            raise ValueError(
                f"X holds NaN or infinity, or what is infinite as {X.data.dtype}; all entries must be finite"
            )
        descents, zeros = descents + found[2], zeros + found[3]
    return zeros == 0 and descents == _descents_between_rows(X.indptr, X.indices)


def check_pointers(X: sparse.csr_array) -> None:
    """Refuse CSR rows whose pointers decrease, or lead anywhere but into the entries."""
    shape = f"X is not a valid CSR array of shape {X.shape}"
    pointers = X.indptr
    sizes = (pointers.size - 1, X.indices.size, X.data.size)
    if sizes[0] != X.shape[0] or pointers[0] != 0 or not pointers[-1] <= sizes[1] == sizes[2]:
        raise ValueError(
            f"{shape}: it has {sizes[0] + 1} row pointers from {pointers[:1]} to {pointers[-1:]}, "
            f"{sizes[1]} indices and {sizes[2]} values"
        )
    for first in range(0, X.shape[0], BLOCK):
        part = pointers[first : first + BLOCK + 1]
        if (part[1:] < part[:-1]).any():  # differences of unsigned numbers are not negative
            raise ValueError(f"{shape}: its row pointers decrease")


def _descents_between_rows(pointers: np.ndarray, indices: np.ndarray) -> int:
    """Return at how many starts of rows, but for the first, the index is not larger than the one before."""
    found = 0
    for first in range(0, pointers.size, BLOCK):
        block = pointers[first : first + BLOCK + 1]
        starts = block[:-1][np.diff(block) > 0]  # an empty row starts where the next one does
        starts = starts[starts > 0]
        found += int(np.count_nonzero(indices[starts] <= indices[starts - 1]))
    return found
