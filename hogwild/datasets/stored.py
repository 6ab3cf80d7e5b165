"""Rows in files, for data larger than memory: written block by block, read as maps of the files.

A folder holds the three arrays of a CSR matrix and the targets in NumPy's own format, and a small JSON file,
written last: without it the rows are not finished. Opened rows are views of the files; the system reads what
is used and drops it when memory is short. Worker processes map the same files again.
"""

import itertools
import json
import math
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from scipy import sparse

from hogwild import checks
from hogwild.datasets.files import svmlight_blocks
from hogwild.datasets.mapping import mapped as map_file
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import assembled, blocks_of, check_pointers, checked_rows, native

_HEADER = "rows.json"
_FORMAT = {"format": "hogwild rows", "version": 1}
_ARRAYS = ("indptr", "indices", "values", "targets")
_INT32 = np.iinfo(np.int32)
# What `_write_header`, and np.save, begin a file of one dimension with.
_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)(?P<text>\{'descr': '(?P<kind>[^']{1,9})', "
    rb"'fortran_order': (?:True|False), 'shape': \((?P<size>[0-9]{1,19}),\), \} *\n)",
    re.DOTALL,
)
_LONGEST_HEAD = 4096
_POINTERS = 1 << 20  # row pointers converted at a time
_MOST_BUCKETS = 200  # each keeps four files open


class RowsWriter:
    """Writes rows to a folder, one block after another; a context manager, finished when it is left.

    After an exception it removes what it wrote. Rows become canonical on the way: sorted, duplicates added
    up, no explicit zeros.

    Parameters
    ----------
    path : str or os.PathLike
        A folder that does not exist yet, or is empty.
    n_features : int, optional
        By default one more than the largest index.
    dtype : float32 or float64
        Of values and targets.

    Raises
    ------
    FileExistsError
        If there is something at the path.
    """

    def __init__(
        self, path: str | os.PathLike[str], n_features: int | None = None, *, dtype: Any = np.float64
    ) -> None:
        self.path = checks.path("path", path)
        self._dtype = checks.floating(dtype)
        self._given = n_features
        if n_features is not None:
            self._given = checks.integer("n_features", n_features, 1, _INT32.max)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(f"path is {str(path)!r}; it must be a new or an empty folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self.n_examples = self.nonzeros = self._width = 0
        self._files: dict[str, BinaryIO] = {}
        try:
            kinds: tuple[Any, ...] = (np.int64, np.int32, self._dtype, self._dtype)
            for name, kind in zip(_ARRAYS, kinds, strict=True):
                self._files[name] = file = (self.path / f"{name}.npy").open("w+b")
                _write_header(file, np.dtype(kind), 0)
            self._files["indptr"].write(bytes(8))
        except BaseException:
            self._abandon()
            raise

    def append(self, X: Any, y: Any) -> None:
        """Add rows.

        Parameters
        ----------
        X : sparse array or matrix, or array_like, of shape (n_rows, n_features)
            Or fewer columns.
        y : array_like of shape (n_rows,)

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was given and what is allowed; nothing of the block is written then.
        """
        if not self._files:
            raise ValueError("the writer is closed; rows cannot be added to finished ones")
        X, most = X if sparse.issparse(X) else np.asarray(X), self._given or _INT32.max
        if X.ndim != 2 or 0 in X.shape or X.shape[1] > most:
            raise ValueError(
                f"X has shape {X.shape}; it must be (n_rows, n_features) with at most {most} features"
            )
        X = checked_rows(X, self._dtype)
        y = checks.vector("y", y, f"({X.shape[0]},) to go with X", X.shape[0], self._dtype)
        pointers = X.indptr[1:].astype(np.int64) + self.nonzeros
        parts = (pointers, X.indices, X.data, y)
        for name, part in zip(_ARRAYS, parts, strict=True):
            self._files[name].write(np.ascontiguousarray(part).data)
        self.n_examples += X.shape[0]
        self.nonzeros += X.nnz
        self._width = max(self._width, X.shape[1])

    def close(self) -> None:
        """Finish the rows, on the disk too; without one row that is an error."""
        if not self._files:
            return
        try:
            if not self.n_examples:
                raise ValueError(f"no rows were appended to {str(self.path)!r}; there must be at least one")
            if self.nonzeros <= _INT32.max:  # no wider than needed: SciPy widens the indices to match
                self._narrow_pointers()
            sizes = dict(zip(_ARRAYS, self._sizes(), strict=True))
            for name, file in self._files.items():
                file.seek(0)
                _write_header(file, self._kinds()[name], sizes[name])
                file.flush()
                os.fsync(file.fileno())  # what is not yet on the disk cannot leave the page cache either
                file.close()
        except BaseException:
            self._abandon()
            raise
        self._files = {}
        header = {
            **_FORMAT,
            "n_examples": self.n_examples,
            "n_features": self._given or self._width,
            "nonzeros": self.nonzeros,
            "dtype": self._dtype.name,
        }
        part = self.path / f"{_HEADER}.part"
        part.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path / _HEADER)

    def _sizes(self) -> tuple[int, int, int, int]:
        return self.n_examples + 1, self.nonzeros, self.nonzeros, self.n_examples

    def _kinds(self) -> dict[str, np.dtype[Any]]:
        pointers = np.dtype(np.int32 if self.nonzeros <= _INT32.max else np.int64)
        return dict(zip(_ARRAYS, (pointers, np.dtype(np.int32), self._dtype, self._dtype), strict=True))

    def _narrow_pointers(self) -> None:
        wide = self._files["indptr"]
        narrow = self._files["indptr"] = (self.path / "narrow.npy").open("w+b")
        _write_header(narrow, np.dtype(np.int32), 0)
        wide.seek(0)
        np.lib.format.read_magic(wide)
        np.lib.format.read_array_header_1_0(wide)
        while part := wide.read(8 * _POINTERS):
            narrow.write(np.frombuffer(part, np.int64).astype(np.int32).data)
        wide.close()
        (self.path / "narrow.npy").replace(self.path / "indptr.npy")

    def _abandon(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}
        for name in (*(f"{array}.npy" for array in _ARRAYS), "narrow.npy"):
            (self.path / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()


def _write_header(file: BinaryIO, dtype: np.dtype[Any], size: int) -> None:
    """Write the head of a one-dimensional array; NumPy pads it, so that every size takes the same room."""
    head = {"shape": (size,), "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    np.lib.format.write_array_header_1_0(file, head)


def save_rows(path: str | os.PathLike[str], X: Any, y: Any) -> None:
    """Write rows and targets to a new folder; in the precision of X if it is float32, else float64.

    Parameters
    ----------
    path : str or os.PathLike
        In a folder in memory (``/dev/shm`` on Linux) the rows are shared by processes without a copy.
    X, y
        As for `RowsWriter.append`.
    """
    if not sparse.issparse(X):
        X = np.asarray(X)
    kind = np.float32 if X.dtype == np.float32 else np.float64
    with RowsWriter(path, X.shape[1] if X.ndim == 2 else None, dtype=kind) as writer:
        if not (sparse.issparse(X) and X.format == "csr"):
            writer.append(X, y)
            return
        y = checks.vector("y", y, f"({X.shape[0]},) to go with X", X.shape[0])
        X = assembled(X.data, native(X.indices), native(X.indptr), X.shape)
        check_pointers(X)
        for first, last, block in blocks_of(X):
            writer.append(block, y[first:last])


def open_rows(path: str | os.PathLike[str], *, mapped: bool = True) -> Dataset:
    """Open the rows in a folder that `save_rows` or `RowsWriter` made.

    Parameters
    ----------
    path : str or os.PathLike
    mapped : bool
        Views of the files, read-only; else the arrays are read into memory.

    Returns
    -------
    Dataset
        Named after the folder. X has int64 row pointers beyond 2³¹ entries and int32 ones below; its indices
        are always int32. (Beyond, SciPy's own operations make wider copies of them; `hogwild` does not.)

    Notes
    -----
    Sizes and row pointers are checked here; indices and values where a problem is made of the rows or they
    are written again, so that all data are read once. Before that SciPy's products, which check nothing, are
    not safe on strangers' files. Files must stay as they are while they are mapped.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no finished rows, or if the files do not fit together: one was cut off or replaced.
    """
    folder = checks.path("path", path)
    if not (folder / _HEADER).is_file():
        raise FileNotFoundError(
            f"path is {str(path)!r}; it must be a folder of finished rows, with {_HEADER} (see save_rows)"
        )
    try:
        with (folder / _HEADER).open(encoding="utf-8") as stream:
            header = json.loads(stream.read(_LONGEST_HEAD))
        if {name: header.get(name) for name in _FORMAT} != _FORMAT:
            raise ValueError(f"it is not {_FORMAT}")
        examples, features, nonzeros = (
            checks.integer(name, header.get(name), least, most)
            for name, least, most in (
                ("n_examples", 1, 2**60),
                ("n_features", 1, int(_INT32.max)),
                ("nonzeros", 0, 2**60),
            )
        )
        kind = np.dtype(checks.choice("dtype", header.get("dtype"), ("float32", "float64")))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"path is {str(path)!r}; its {_HEADER} cannot be used: {str(error)[:200]}") from None
    pointers = np.int32 if nonzeros <= _INT32.max else np.int64
    sizes = (examples + 1, nonzeros, nonzeros, examples)
    indptr, indices, values, targets = (
        _load(folder / f"{name}.npy", np.dtype(dtype), size, mapped)
        for name, dtype, size in zip(_ARRAYS, (pointers, np.int32, kind, kind), sizes, strict=True)
    )
    if indptr[0] != 0 or indptr[-1] != nonzeros:
        raise ValueError(
            f"path is {str(path)!r}; its indptr.npy runs from {indptr[0]} to {indptr[-1]}, not to {nonzeros}"
        )
    X = assembled(values, indices, indptr, (examples, features))
    try:
        check_pointers(X)
    except ValueError as error:
        raise ValueError(f"path is {str(path)!r}; its indptr.npy cannot be used: {error}") from None
    description = f"The rows in {folder.name}: {examples:,} x {features:,}, {nonzeros:,} non-zeros."
    return Dataset(X, targets, None, folder.name, description)


def _load(file: Path, dtype: np.dtype[Any], size: int, mapped: bool) -> np.ndarray:
    """Return the numbers in a file. Its head is compared, not evaluated; nothing is taken from it."""
    try:
        with file.open("rb") as stream:
            head = _HEAD.match(stream.read(_LONGEST_HEAD))
            held = os.fstat(stream.fileno()).st_size
            if head is None or int.from_bytes(head["length"], "little") != len(head["text"]):
                raise ValueError(f"{str(file)!r} cannot be read; it must be an array in NumPy's format 1.0")
            if (head["kind"].decode("latin-1"), int(head["size"])) != (dtype.str, size):
                raise ValueError(f"{str(file)!r} holds {head['text'].decode('latin-1').strip()}")
            if held != head.end() + size * dtype.itemsize:
                raise ValueError(f"{str(file)!r} has {held} bytes; it cannot be read")
            if mapped and size:
                return map_file(str(file.absolute()), dtype, head.end(), (size,))
            stream.seek(head.end())
            return np.fromfile(stream, dtype, size)
    except ValueError as error:
        raise ValueError(f"{error}; it must hold {size} {dtype}") from None
    except OSError as error:
        raise ValueError(f"{str(file)!r} cannot be read: {error}; it must hold {size} {dtype}") from None


def shuffle_rows(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    memory: int = 2**28,
) -> None:
    """Write stored rows to another folder in a random order, every order equally likely.

    Each row goes to a bucket drawn at random, each bucket is shuffled in memory (Rao 1961; Sandelius 1962):
    rows are read and written twice. Rows to be streamed as stored need this once.

    Parameters
    ----------
    source, path : str or os.PathLike
        Folders: of stored rows, and a new one. Between the two passes the disk holds a third copy there.
    seed : int
    memory : int
        Bytes that a bucket has on average; it is in memory twice. There are 200 buckets at most.
    """
    data = open_rows(source)
    rng = np.random.default_rng(checks.integer("seed", seed))
    size = sum(part.nbytes for part in (data.X.indptr, data.X.indices, data.X.data, data.y))
    count = min(_MOST_BUCKETS, math.ceil(size / checks.integer("memory", memory, 1)))
    features, kind = data.X.shape[1], data.X.dtype
    with RowsWriter(path, features, dtype=kind) as writer:
        scratch, buckets = Path(tempfile.mkdtemp(dir=writer.path)), []
        try:
            for place in range(count):  # one by one, so that an error finds all that are open
                buckets += [RowsWriter(scratch / str(place), features, dtype=kind)]
            for first, last, block in blocks_of(data.X):
                drawn = rng.integers(count, size=last - first)
                for place in np.unique(drawn):
                    buckets[place].append(block[drawn == place], data.y[first:last][drawn == place])
            for bucket in buckets:
                if bucket.n_examples:
                    bucket.close()
                    part = open_rows(bucket.path, mapped=False)
                    order = rng.permutation(part.y.size)
                    writer.append(part.X[order], part.y[order])
                bucket._abandon()
        finally:
            for bucket in buckets:
                bucket._abandon()
            shutil.rmtree(scratch)


def convert_svmlight(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    n_features: int | None = None,
    *,
    zero_based: bool = False,
    dtype: Any = np.float64,
    block_bytes: int = 2**25,
) -> None:
    """Write an svmlight/LIBSVM file (plain, ``.gz`` or ``.bz2``) to a folder of rows, block by block.

    Parameters
    ----------
    source, path : str or os.PathLike
        The file, and a new folder.
    n_features : int, optional
        By default one more than the largest index.
    zero_based : bool
        Whether indices count from 0; the format's own count from 1.
    dtype : float32 or float64
    block_bytes : int
        Of text, read at a time.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or if it is malformed or has an index beyond ``n_features`` (naming the line
        and the column), or if it is empty.
    """
    blocks = svmlight_blocks(source, n_features, zero_based=zero_based, dtype=dtype, block_bytes=block_bytes)
    first = next(blocks, None)
    if first is None:
        raise ValueError(f"source is {str(source)!r}; the file has no examples")
    with RowsWriter(path, n_features, dtype=dtype) as writer:
        for X, y in itertools.chain([first], blocks):
            writer.append(X, y)
