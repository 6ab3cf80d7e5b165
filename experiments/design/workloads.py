"""From names to problems: what is minimised on which data, built once and kept while its trials run."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hogwild
from hogwild.datasets.rows import counts
from hogwild.datasets.source_code import python_files
from hogwild.problems import PROBLEMS, LinearProblem, Problem

Scalar = bool | int | float | str
BYTES_PER_NONZERO = 12  # a float64 value and an int32 index
SPARSITY: dict[object, Any] = {}
TIMES, LONG_SECONDS = 5, 0.1  # short calls are timed several times
COPIES = 4  # the data set, the problem, the streamed order, the workers' shared block
YOUNG_NANOSECONDS = 1e9  # a file that has just changed may change again within one time stamp


class ChangedData(RuntimeError):
    """Data other than those that were planned, or measured before: the message says which."""


@dataclass(frozen=True)
class Workload:
    """What is minimised on which data: the settings, hashable, without the arrays.

    ``file_hash`` stands for the content of the file that the data are read from (`file_hash`); it is empty
    for data that are generated.
    """

    problem: str
    l2: float
    dtype: str
    dataset: str
    data: tuple[tuple[str, Scalar], ...]
    data_seed: int
    solve: bool = True
    rank: int | None = None
    file_hash: str = ""

    @property
    def data_key(self) -> tuple[str, tuple[tuple[str, Scalar], ...], int, str]:
        """The part that two workloads on the same data have in common."""
        return self.dataset, self.data, self.data_seed, self.file_hash

    @property
    def data_id(self) -> str:
        """16 hexadecimal digits over data set, options and seed, but not over what a file holds."""
        asked = json.dumps([self.dataset, dict(self.data), self.data_seed], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Built:
    """A solved problem, the examples held out for the test error, and the columns that describe them."""

    problem: Problem
    held_out: Problem | None
    columns: dict[str, Any]
    check_seconds: float  # to check the data, which peers do in `fit`
    count_seconds: float  # to count features, which the penalty on touched weights needs


def options(dataset: str) -> list[str]:
    """Return the options of a data set that a spec may set, including those of the harness."""
    own = [name for name in _parameters(dataset) if name not in ("dtype", "seed")]
    split = ["test_fraction"] if hasattr(kind_of_data(dataset), "split") else []
    split += ["test_subset"] if "subset" in own else []
    return [*own, "seed", *split, *(["nonzeros"] if "n_examples" in own else [])]


def resolve(dataset: str, chosen: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Replace ``nonzeros`` by the number of examples that have about so many."""
    resolved = dict(chosen)
    if "nonzeros" in resolved and "n_examples" in _parameters(dataset):
        examples = float(resolved.pop("nonzeros")) / _nonzeros_per_row(dataset, resolved)
        resolved["n_examples"] = max(1, round(examples))
    return resolved


def file_hash(dataset: str, chosen: Mapping[str, Scalar]) -> str:
    """Return the SHA-256 of the file that a data set is read from, empty if it is not read from one.

    For a folder it is that of a list of its files with their SHA-256. A file is not read again while its size
    and time stamps stay the same.

    Raises
    ------
    OSError
        If there is no such file, or if it cannot be read.
    """
    if "path" not in chosen:
        return ""
    path = Path(str(chosen["path"]))
    if not path.is_dir():
        return _hash_of(path)
    files = python_files(path) if dataset == "python_source" else sorted(path.glob("[!.]*"))
    return hashlib.sha256("".join(_listed(path, files)).encode()).hexdigest()


def check_unchanged(dataset: str, chosen: tuple[tuple[str, Scalar], ...], planned: str) -> None:
    """Make sure that the file of a data set, if there is one, has the hash that was planned with.

    Raises
    ------
    ChangedData
        If not.
    """
    try:
        unchanged = not planned or file_hash(dataset, dict(chosen)) == planned
    except OSError as error:
        raise ChangedData(f"{error}; it was there when this trial was planned") from error
    if not unchanged:
        path = dict(chosen)["path"]
        raise ChangedData(f"{path} has changed since this trial was planned: give the run's command again")


def _listed(folder: Path, files: Iterable[Path]) -> Iterable[str]:
    for file in files:
        if not file.is_dir():
            try:
                yield f"{_hash_of(file)}  {file.relative_to(folder)}\n"
            except OSError:  # nor does the data set read it
                yield f"unreadable  {file.relative_to(folder)}\n"


def _hash_of(path: Path) -> str:
    found = path.stat()
    times = found.st_mtime_ns, found.st_ctime_ns
    read = _read_hash.__wrapped__ if time.time_ns() - max(times) < YOUNG_NANOSECONDS else _read_hash
    return read(path.resolve(), found.st_dev, found.st_ino, found.st_size, *times)


@functools.cache
def _read_hash(path: Path, *identity: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory_need(workload: Workload) -> float:
    """Return the most bytes that the workload will need, as far as its options tell."""
    chosen = dict(workload.data)
    if _defaults(workload.dataset, chosen).get("mapped"):
        return 0.0
    n_examples = float(_defaults(workload.dataset, chosen).get("n_examples", 0))
    return n_examples * _nonzeros_per_row(workload.dataset, chosen) * BYTES_PER_NONZERO * COPIES


@functools.lru_cache(maxsize=2)
def data(
    dataset: str, chosen: tuple[tuple[str, Scalar], ...], data_seed: int, planned: str = ""
) -> tuple[Any, Any | None]:
    """Build a data set and split it; the last two are kept, by the hashes of their files."""
    keywords = dict(chosen)
    test_fraction, test_subset = keywords.pop("test_fraction", None), keywords.pop("test_subset", None)
    if "seed" in _parameters(dataset):
        keywords["seed"] = data_seed
    whole = hogwild.datasets.NAMES[dataset](**keywords)
    check_unchanged(dataset, chosen, planned)
    if test_subset is not None:
        return whole, hogwild.datasets.NAMES[dataset](**{**keywords, "subset": test_subset})
    return (whole, None) if test_fraction is None else whole.split(float(test_fraction), data_seed)


@functools.lru_cache(maxsize=2)
def build(workload: Workload) -> Built:
    """Build a workload's problem and solve it, if asked to; the last two are kept."""
    train, test = data(*workload.data_key)
    counts(np.zeros(1, np.int32), 1)  # compiles
    problem = make(workload, train)
    # timed once more: peers find the data in the caches, too
    check_seconds = _typical_seconds(lambda: make(workload, train))
    count_seconds = 0.0
    if isinstance(problem, LinearProblem) and problem.l2 > 0:
        indices, n_features = problem.X.indices, problem.n_features
        count_seconds = _typical_seconds(lambda: counts(indices, n_features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a column says so
        optimum = problem.solve() if workload.solve else None
    data_hash = train.content_hash
    what = data_hash, type(problem).sparsity  # expensive, and the same for all problems that share it
    sparsity = SPARSITY[what] = SPARSITY.get(what) or problem.sparsity()
    chosen = dict(workload.data)
    columns = {
        "n_examples": problem.n_examples,
        "n_features": problem.n_weights,
        "nonzeros": problem.nonzeros,
        # The density asked for, where it was: figures group by it, and the one drawn differs a little.
        "density": chosen.get("density", problem.nonzeros / (problem.n_examples * problem.n_weights)),
        "zipf_exponent": _defaults(workload.dataset, chosen).get("zipf_exponent"),
        "data_hash": data_hash,
        "omega": sparsity.omega,
        "delta": sparsity.delta,
        "rho": sparsity.rho,
        "rho_error": sparsity.rho_error,
        "meeting_share": sparsity.meeting_share,
        **problem.facts(),
        "objective_zero": problem.objective_at_zero,
    }
    if optimum is not None:
        columns["optimum"] = optimum.objective
        columns["optimum_certificate"] = optimum.certificate
        columns["optimum_error"] = problem.optimum_error
    held_out = None if test is None else make(workload, test)
    return Built(problem, held_out, columns, check_seconds, count_seconds)


def _typical_seconds(work: Callable[[], Any]) -> float:
    """Return the median seconds of a few calls, of one if it is long."""
    seconds: list[float] = []
    while len(seconds) < TIMES and sum(seconds) < LONG_SECONDS:
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def make(workload: Workload, part: Any) -> Problem:
    """Make the workload's problem of a data set or a part of one."""
    settings = {} if workload.rank is None else {"rank": workload.rank}
    kind = PROBLEMS[workload.problem]
    return kind.from_dataset(part, l2=workload.l2, dtype=np.dtype(workload.dtype), **settings)


def kind_of_data(dataset: str) -> type:
    """Return what a data set's maker returns: what problems are made of."""
    kind: type = inspect.get_annotations(hogwild.datasets.NAMES[dataset], eval_str=True)["return"]
    return kind


def error_columns(problem: type[Problem]) -> list[str]:
    """Return the columns of a problem's errors: one for each part of the data where they are held out."""
    columns: list[str] = []
    for name in problem.error_names:
        columns += [f"train_{name}", f"test_{name}"] if name in problem.held_out_errors else [name]
    return columns


def errors(built: Built, weights: np.ndarray) -> dict[str, float]:
    """Return the columns of a problem's errors at some weights."""
    found = built.problem.errors(weights)
    held_out = {} if built.held_out is None else built.held_out.errors(weights)
    found |= {f"train_{name}": error for name, error in found.items()}
    found |= {f"test_{name}": error for name, error in held_out.items()}
    return {name: found[name] for name in error_columns(type(built.problem)) if name in found}


def _parameters(dataset: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(hogwild.datasets.NAMES[dataset]).parameters


def _defaults(dataset: str, chosen: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the chosen options, and the defaults of the others."""
    parameters = _parameters(dataset).items()
    return {name: item.default for name, item in parameters if item.default is not item.empty} | dict(chosen)


def _nonzeros_per_row(dataset: str, chosen: Mapping[str, Scalar]) -> float:
    options = _defaults(dataset, chosen)
    if options.get("density") is not None:
        return float(options["density"] * options["n_features"])
    return float(options.get("nonzeros_per_row") or 75)  # those of the RCV1 twin
