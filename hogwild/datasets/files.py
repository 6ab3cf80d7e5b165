"""Data from files and from the network, read by scikit-learn (optional, imported when needed)."""

import bz2
import gzip
import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np

from hogwild import checks
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import csr


def _reader(name: str, caller: str) -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(f"{caller} needs scikit-learn: pip install 'hogwild[datasets]'") from error
    return getattr(sklearn.datasets, name)


def load_svmlight(
    path: str | os.PathLike[str], n_features: int | None = None, *, dtype: Any = np.float64
) -> Dataset:
    """Read an svmlight/LIBSVM file (``label index:value ...``; plain, ``.gz`` or ``.bz2``).

    Parameters
    ----------
    path : str or os.PathLike
    n_features : int, optional
        Number of columns, for files whose last features do not occur; read off the file by default.
    dtype : float32 or float64

    Returns
    -------
    Dataset
        Labels as the file has them. Indices count from 1, or from 0 if the file has an index 0.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or if it is malformed, empty or has an index beyond ``n_features``.
    """
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"path is {str(path)!r}; it must be a file in svmlight format")
    if n_features is not None:
        n_features = checks.integer("n_features", n_features, 1)
    value_type = checks.floating(dtype)
    read = _reader("load_svmlight_file", "load_svmlight")
    try:
        matrix, y = read(os.fspath(file), n_features=n_features, dtype=value_type)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"path is {str(path)!r}, n_features is {n_features!r}; this cannot be read as svmlight: {error}"
        ) from error
    if not y.size:
        raise ValueError(f"path is {str(path)!r}; the file has no examples")
    X = csr(matrix, value_type)
    description = f"The svmlight file {file.name}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros."
    return Dataset(X, y.astype(value_type), None, file.stem, description)


def svmlight_blocks(
    path: str | os.PathLike[str],
    n_features: int | None,
    *,
    zero_based: bool,
    dtype: Any,
    block_bytes: int,
) -> Iterator[tuple[Any, np.ndarray]]:
    """Return the rows and labels of an svmlight file, so many bytes of text at a time."""
    file = checks.path("source", path)
    if not file.is_file():
        raise FileNotFoundError(f"source is {str(path)!r}; it must be a file in svmlight format")
    if not isinstance(zero_based, bool):
        raise TypeError(f"zero_based is {zero_based!r}; it must be True or False")
    checks.integer("block_bytes", block_bytes, 1)
    value_type = checks.floating(dtype)
    read = _reader("load_svmlight_file", "convert_svmlight")
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(file.suffix, open)
    before = 0
    with opener(file, "rb") as text:
        while lines := text.readlines(block_bytes):
            where = f"lines {before + 1} to {before + len(lines)}"
            before += len(lines)
            block = BytesIO(b"".join(lines))
            try:
                X, y = read(block, n_features=n_features, dtype=value_type, zero_based=zero_based)
            except (ValueError, OverflowError) as error:
                raise ValueError(
                    f"source is {str(path)!r}, n_features is {n_features!r}, zero_based is {zero_based}; "
                    f"{where} cannot be read as svmlight: {error}"
                ) from error
            if y.size:
                yield X, y


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
        If the data are neither here nor to be had.
    """
    subset = checks.choice("subset", subset, ("train", "test", "all"))
    value_type = checks.floating(dtype)
    fetch = _reader("fetch_rcv1", "fetch_rcv1")
    try:
        fetched = fetch(subset=subset)
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
