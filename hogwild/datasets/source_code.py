"""Real text on every machine: the functions of Python source files as labelled documents."""

import ast
import importlib.util
import os
import platform
import re
import stat
import sysconfig
import tokenize
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import csr, from_rows
from hogwild.datasets.text import tf_idf

LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
_WORD = re.compile(r"[^\W\d]\w*")
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# Parsing also fails with these on files that are not Python, not text, or nested too deep.
_UNPARSABLE = (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
_LARGEST = 1 << 24  # bytes of a file that is parsed


class Construct(NamedTuple):
    """A construct of the language: the syntax that makes a label +1, and keywords that would betray it."""

    nodes: tuple[type[ast.AST], ...]
    keywords: frozenset[str]


CONSTRUCTS = {
    "assert": Construct((ast.Assert,), frozenset({"assert"})),
    "for": Construct((ast.For, ast.AsyncFor, ast.comprehension), frozenset({"for", "in"})),
    "import": Construct((ast.Import, ast.ImportFrom), frozenset({"import", "from"})),
    "lambda": Construct((ast.Lambda,), frozenset({"lambda"})),
    "raise": Construct((ast.Raise,), frozenset({"raise"})),
    "return": Construct((ast.Return,), frozenset({"return"})),
    "try": Construct((ast.Try, ast.TryStar), frozenset({"try", "except", "finally"})),
    "while": Construct((ast.While,), frozenset({"while"})),
    "with": Construct((ast.With, ast.AsyncWith), frozenset({"with"})),
    "yield": Construct((ast.Yield, ast.YieldFrom), frozenset({"yield"})),
}


def python_source(
    path: str | os.PathLike[str] | None = None,
    *,
    packages: str = "",
    label: str = "raise",
    max_documents: int | None = None,
    n_features: int | None = None,
    min_count: int = 2,
    seed: int = 0,
    dtype: Any = np.float64,
) -> Dataset:
    """Return the functions of Python files as documents; the label says whether they contain some construct.

    A document is a function or method, with its decorators, comments, strings and whatever is defined inside.
    Its terms are the words of its source (identifiers and keywords, as written) except the construct's own
    keywords and words that every document has. Rows are weighted by `hogwild.datasets.text.tf_idf`. The
    standard library changes with the version of Python: ``content_hash`` tells which documents these were.

    Parameters
    ----------
    path : str or os.PathLike, optional
        Folder to read, with all folders below it; the running Python's standard library by default. Folders
        below it named ``site-packages``, ``dist-packages``, ``test``, ``tests``, ``idle_test`` or
        ``__pycache__``, hidden ones and links to folders are left out. Files of more than 16 MiB, those that
        cannot be read or parsed, and what is no file are skipped and counted in the description.
    packages : str
        Names of installed packages, separated by spaces, whose folders are read as well, as they are
        installed: the versions decide what is in them.
    label : str
        "assert", "for", "import", "lambda", "raise", "return", "try", "while", "with" or "yield". Functions
        that contain it are +1, the others -1.
    max_documents : int, optional
        Stop at so many functions.
    n_features : int, optional
        Hash words to so many columns (CRC-32); by default each has its own column, in alphabetical order.
    min_count : int
        Leave out words that fewer documents have.
    seed : int
        Order of the files, hence of the rows, hence also which files come before ``max_documents``.
    dtype : float32 or float64

    Returns
    -------
    Dataset
        Documents left without a word are left out.

    Raises
    ------
    FileNotFoundError
        If ``path`` is not a folder.
    ModuleNotFoundError
        If one of ``packages`` is not installed.
    ValueError
        If there is no function in it, or if all functions (or all that keep a word) have the same label.
    """
    construct = CONSTRUCTS[checks.choice("label", label, CONSTRUCTS)]
    limit = None if max_documents is None else checks.integer("max_documents", max_documents, 2)
    if n_features is not None:
        n_features = checks.integer("n_features", n_features, 1, np.iinfo(np.int32).max)
    min_count = checks.integer("min_count", min_count, 1)
    rng = np.random.default_rng(checks.integer("seed", seed))
    value_type = checks.floating(dtype)
    root = checks.path("path", sysconfig.get_path("stdlib") if path is None else path)
    if not root.is_dir():
        raise FileNotFoundError(f"path is {str(root)!r}; it must be a folder with Python files")

    files = [file for folder in [root, *_folders(packages)] for file in python_files(folder)]
    documents, labels, n_read, n_skipped = _read(files, rng.permutation(len(files)), construct, limit)
    if not documents:
        raise ValueError(
            f"path is {str(root)!r}; it must be a folder with functions; {len(files)} Python files have none"
        )
    if len(set(labels)) == 1:
        kind = f"all {len(labels)} are {'+1' if labels[0] else '-1'}"
        raise ValueError(f"label is {label!r}; it must divide the functions of {str(root)!r}, but {kind}")
    X, kept = _vectorise(documents, construct.keywords, min_count, n_features)
    y = np.where(np.array(labels)[kept], 1.0, -1.0).astype(value_type)
    if np.unique(y).size < 2:
        raise ValueError(
            f"min_count is {min_count}; it must leave words to functions of both labels of {str(root)!r}"
        )

    where = f"folder {root.resolve().name}"
    if path is None:
        where = f"the standard library of Python {platform.python_version()}"
    where += f" and of {', '.join(packages.split())}" if packages else ""
    columns = f"{X.shape[1]:,} {'words' if n_features is None else 'columns of hashed words'}"
    description = (
        f"{y.size:,} functions from {n_read:,} files ({n_skipped:,} skipped) of {where}, "
        f"{columns} in {min_count} functions or more, tf-idf, unit norm; "
        f"+1 contains `{label}` ({np.mean(y > 0):.1%})."
    )
    return Dataset(X.astype(value_type, copy=False), y, None, "python_source", description)


def _folders(packages: Any) -> list[Path]:
    if not isinstance(packages, str):
        raise TypeError(f"packages is {packages!r}; it must be names separated by spaces")
    folders = []
    for name in packages.split():
        found = importlib.util.find_spec(name) if name.isidentifier() else None
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(
                f"packages holds {name!r}; it must name packages that are installed here"
            )
        folders += [Path(folder) for folder in found.submodule_search_locations]
    return folders


def python_files(root: Path) -> Iterator[Path]:
    """Yield the files that `python_source` reads in a folder and below it, in order."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if name not in LEFT_OUT and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _read(
    files: list[Path], order: np.ndarray, construct: Construct, limit: int | None
) -> tuple[list[list[str]], list[bool], int, int]:
    """Return the documents' words, their labels, and how many files were read and skipped."""
    documents: list[list[str]] = []
    labels: list[bool] = []
    n_read = n_skipped = 0
    for position in order:
        if limit is not None and len(documents) >= limit:
            break
        try:
            status = files[position].stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:  # a pipe would be waited for
                raise ValueError(f"{files[position]} is not read")
            with tokenize.open(files[position]) as file:
                text = file.read()
            with warnings.catch_warnings(action="ignore"):  # about the code that is read, not about ours
                functions = list(_functions(ast.parse(text)))
        except _UNPARSABLE:
            n_skipped += 1
            continue
        n_read += 1
        lines = text.split("\n")
        for function in functions:
            first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
            documents.append(_WORD.findall("\n".join(lines[first - 1 : function.end_lineno])))
            labels.append(any(isinstance(node, construct.nodes) for node in ast.walk(function)))
    return documents[:limit], labels[:limit], n_read, n_skipped


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a module, in order, except those inside another one."""
    waiting = [node]
    while waiting:  # a chain of branches may be nested deeper than Python's calls
        node = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            yield node
        elif isinstance(node, ast.mod | ast.stmt | ast.excepthandler | ast.match_case):
            waiting += reversed(list(ast.iter_child_nodes(node)))


def _vectorise(
    documents: list[list[str]], removed: frozenset[str], min_count: int, buckets: int | None
) -> tuple[Any, np.ndarray]:
    """Return the tf-idf rows of the documents that have words left, and which documents these are."""
    vocabulary = sorted({word for words in documents for word in words} - removed)
    column = {word: position for position, word in enumerate(vocabulary)}
    rows = [[column[word] for word in words if word in column] for words in documents]
    lengths = np.array([len(row) for row in rows])
    indices = np.fromiter((index for row in rows for index in row), np.int32, lengths.sum())
    counts = csr(from_rows(lengths, indices, np.ones(indices.size), len(vocabulary)), np.dtype(np.float64))
    documents_with = np.bincount(counts.indices, minlength=len(vocabulary))
    common = np.flatnonzero((documents_with >= min_count) & (documents_with < len(documents)))
    counts = counts[:, common]
    if buckets is not None:
        hashed = np.array([zlib.crc32(vocabulary[word].encode()) % buckets for word in common], np.int32)
        merged = from_rows(np.diff(counts.indptr), hashed[counts.indices], counts.data, buckets)
        counts = csr(merged, np.dtype(np.float64))
    kept = np.flatnonzero(np.diff(counts.indptr))
    return tf_idf(counts[kept]), kept
