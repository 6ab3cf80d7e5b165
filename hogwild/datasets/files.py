"""Data from svmlight files, and RCV1 from the network, by scikit-learn (optional, imported when needed)."""

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from hogwild import checks
from hogwild.datasets.lines import NUMBER, Block, Source, blocks, existing
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import csr, from_rows

_MOST = np.iinfo(np.int32).max
_FORM = "label index:value ..., indices ascending"
_PAIR = rb"[0-9]{1,10}:" + NUMBER
# What a line feed, a blank or a carriage return must not be followed by: looked for at once, without a loop.
_WRONG = re.compile(
    rb"\n(?!\Z|" + NUMBER + rb"[ \t\r\n]|[ \t]*\r?\n)|[ \t](?!(?:" + _PAIR + rb")?[ \t\r\n])|\r(?!\n)"
)


def load_svmlight(
    path: str | os.PathLike[str], n_features: int | None = None, *, dtype: Any = np.float64
) -> Dataset:
    """Read an svmlight/LIBSVM file (``label index:value ...``; plain, ``.gz`` or ``.bz2``).

    What follows a ``#`` is a comment. Labels and values are finite decimal numbers, indices ascend.

    Parameters
    ----------
    path : str or os.PathLike
    n_features : int, optional
        Number of columns, for files whose last features do not occur; by default taken from the file.
    dtype : float32 or float64

    Returns
    -------
    Dataset
        Labels as the file has them. Indices count from 1, or from 0 if the file has an index 0.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or if it is malformed or has an index beyond ``n_features`` (naming the line
        and the column), or if it is empty.
    """
    source = Source("path", existing("path", path, "svmlight format"), _form(n_features))
    value_type = checks.floating(dtype)
    parts = [_entries(block, n_features, value_type) for block in blocks(source, b"#")]
    if not any(part.labels.size for part in parts):
        raise ValueError(f"path is {str(path)!r}; the file has no examples")
    lengths, indices, values, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    indices -= np.int32(not indices.size or indices.min() > 0)
    X = from_rows(lengths, indices, values, _width(source, indices, n_features))
    file = source.file
    description = f"The svmlight file {file.name}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros."
    return Dataset(X, y, None, file.stem, description)


def svmlight_blocks(
    path: str | os.PathLike[str],
    n_features: int | None,
    *,
    zero_based: bool,
    dtype: Any,
    block_bytes: int,
) -> Iterator[tuple[sparse.csr_array, np.ndarray]]:
    """Return the rows and labels of an svmlight file, so many bytes of text at a time."""
    file = existing("source", path, "svmlight format")
    if not isinstance(zero_based, bool):
        raise TypeError(f"zero_based is {zero_based!r}; it must be True or False")
    form = f"{_form(n_features)} from {int(not zero_based)} on (zero_based is {zero_based})"
    source, value_type = Source("source", file, form), checks.floating(dtype)
    for block in blocks(source, b"#", checks.integer("block_bytes", block_bytes, 1)):
        entries = _entries(block, n_features, value_type, zero_based)
        if entries.labels.size:
            indices = entries.indices - np.int32(not zero_based)
            width = _width(source, indices, n_features)
            yield from_rows(entries.lengths, indices, entries.values, width), entries.labels


class _Entries(NamedTuple):
    lengths: np.ndarray  # of the rows
    indices: np.ndarray  # int32, as the file has them
    values: np.ndarray
    labels: np.ndarray


def _form(n_features: int | None) -> str:
    if n_features is None:
        return _FORM
    return f"{_FORM} and n_features is {checks.integer('n_features', n_features, 1, _MOST)}"


def _entries(block: Block, n_features: int | None, dtype: Any, zero_based: bool | None = None) -> _Entries:
    """Return the numbers of a block; whether indices count from 0 is not known (None) at its first."""
    if bad := _WRONG.search(block.text):
        raise block.refusal(min(bad.start() + 1, len(block.text) - 1))
    text = np.frombuffer(block.text, np.uint8)
    feeds = np.flatnonzero(text == ord("\n"))
    pairs = np.diff(np.searchsorted(np.flatnonzero(text == ord(":")), feeds))
    filled = ~np.isin(text[feeds[:-1] + 1], np.frombuffer(b" \t\r\n", np.uint8))
    lengths = pairs[filled]
    numbers = block.numbers(b":")
    starts = np.cumsum(1 + 2 * lengths) - 1 - 2 * lengths
    rest = np.ones(numbers.size, bool)
    rest[starts] = False
    indices = numbers[rest][0::2]
    with np.errstate(over="ignore"):
        rounded = numbers.astype(dtype)
    steps = np.diff(indices, prepend=-1.0)
    steps[(np.cumsum(lengths) - lengths)[lengths > 0]] = 1  # a row begins with any
    lowest, highest = zero_based is False, (n_features or _MOST) - bool(zero_based)
    bad_numbers = ~np.isfinite(rounded)
    bad_numbers[np.flatnonzero(rest)[0::2]] |= (steps <= 0) | (indices < lowest) | (indices > highest)
    if bad_numbers.any():
        raise block.refusal(block.field(int(np.argmax(bad_numbers))))
    return _Entries(lengths, indices.astype(np.int32), rounded[rest][1::2], rounded[starts])


def _width(source: Source, indices: np.ndarray, n_features: int | None) -> int:
    """Return the number of columns: as many as the indices, which count from 0, ask for."""
    width = 1 + int(indices.max(initial=0))
    if width > (n_features or _MOST):
        raise ValueError(
            f"{source.argument} is {str(source.file)!r}; it has an index 0, so they count from 0, and "
            f"one of {width - 1}, beyond {'int32' if n_features is None else f'n_features, {n_features}'}"
        )
    return n_features or width


def fetch_rcv1(subset: str = "train", target: str = "CCAT", *, dtype: Any = np.float64) -> Dataset:
    """Return Reuters RCV1 (Lewis et al. 2004), which scikit-learn downloads once (about 660 MB) and keeps.

    Parameters
    ----------
    subset : {"train", "test", "all"}
        The first 23,149 stories, the other 781,265, or both. Niu et al. (2011) train on "test".
    target : str
        The topic whose stories are +1; all others are -1.
    dtype : float32 or float64

    Returns
    -------
    Dataset

    Raises
    ------
    ConnectionError
        If the data are neither here nor can be fetched.
    """
    subset = checks.choice("subset", subset, ("train", "test", "all"))
    value_type = checks.floating(dtype)
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError("fetch_rcv1 needs scikit-learn: pip install 'hogwild[datasets]'") from error
    try:
        fetched = sklearn.datasets.fetch_rcv1(subset=subset)
    except OSError as error:
        raise ConnectionError(
            f"RCV1 could not be downloaded ({error}); without a network use hogwild.datasets.rcv1_twin(), "
            "or real text: hogwild.datasets.python_source()"
        ) from error
    topics = [str(name) for name in fetched.target_names]
    column = topics.index(checks.choice("target", target, topics))
    X = csr(fetched.data, value_type)
    chosen = np.asarray(fetched.target[:, [column]].todense()).ravel()
    y = np.where(chosen > 0, 1.0, -1.0).astype(value_type)
    shape = f"{X.shape[0]:,} x {X.shape[1]:,}"
    description = f"Reuters RCV1, subset {subset}: {shape}, +1 is topic {target} ({np.mean(y > 0):.1%})."
    return Dataset(X, y, None, f"rcv1_{subset}", description)
