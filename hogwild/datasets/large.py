"""Synthetic rows of any number, made block by block in files, for data larger than memory."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hogwild import checks
from hogwild.datasets import patterns, targets
from hogwild.datasets.record import Dataset
from hogwild.datasets.rows import from_rows, unit_rows
from hogwild.datasets.stored import RowsWriter, open_rows

_ENTRIES = 1 << 22  # of a block: part of what decides the data


def large_synthetic(
    n_examples: int,
    n_features: int = 47_236,
    *,
    nonzeros_per_row: int = 75,
    zipf_exponent: float = 1.0,
    noise: float = 0.1,
    task: str = "regression",
    seed: int = 0,
    dtype: Any = np.float64,
    mapped: bool = True,
) -> Dataset:
    """Return rows as `hogwild.datasets.synthetic` draws them, of unit norm, in files.

    They are made once, a block at a time, and kept in the user's cache (``$HOGWILD_CACHE_DIR``) until nobody
    has asked for them for 30 days: about 12 bytes a non-zero. The rows are independent, so they may be
    streamed as stored.

    Parameters
    ----------
    n_examples, n_features, nonzeros_per_row : int
    zipf_exponent : float >= 0
    noise : float
    task : {"regression", "classification"}
        Targets as of `hogwild.datasets.synthetic`; ``X @ true_weights`` has unit variance in the first block.
    seed : int
    dtype : float32 or float64
    mapped : bool
        As for `hogwild.datasets.open_rows`.

    Returns
    -------
    Dataset
    """
    features = checks.integer("n_features", n_features, 1, np.iinfo(np.int32).max)
    settings = {
        "n_examples": checks.integer("n_examples", n_examples, 1),
        "n_features": features,
        "nonzeros_per_row": checks.integer("nonzeros_per_row", nonzeros_per_row, 1, features),
        "zipf_exponent": checks.real("zipf_exponent", zipf_exponent, "a number >= 0"),
        "task": checks.choice("task", task, targets.TASKS),
        "noise": targets.check_noise(noise, task),
        "seed": checks.integer("seed", seed),
        "dtype": checks.floating(dtype).name,
    }
    if not isinstance(mapped, bool):
        raise TypeError(f"mapped is {mapped!r}; it must be True or False")
    folder = _kept(settings)
    data = open_rows(folder, mapped=mapped)
    description = (
        f"Synthetic {task} in files: {n_examples:,} x {features:,}, {nonzeros_per_row} normal values a row, "
        f"Zipf exponent {zipf_exponent:g}, noise {noise:g}; seed {seed}."
    )
    true_weights = np.load(folder / "true_weights.npy")
    return data._replace(true_weights=true_weights, name="large_synthetic", description=description)


def _kept(settings: dict[str, Any]) -> Path:
    """Return the folder of these rows, made if it is not there; remove those not asked for in a long time."""
    from hogwild.engine.compiling import UNUSED_CACHE_DAYS, user_cache

    digest = hashlib.sha256(json.dumps([settings, np.__version__]).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):  # other code may make other rows
        digest.update(source.read_bytes())
    root = user_cache() / "rows"
    folder = root / digest.hexdigest()[:16]
    root.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        scratch = Path(tempfile.mkdtemp(prefix="new-", dir=root))
        try:
            _write(scratch / "rows", **settings)
            if not folder.exists():  # another process may have been faster
                (scratch / "rows").rename(folder)
        finally:
            shutil.rmtree(scratch)
    os.utime(folder)
    for other in root.iterdir():
        with contextlib.suppress(OSError):  # another process may be faster here, too
            if time.time() - other.stat().st_mtime > UNUSED_CACHE_DAYS * 86_400:
                shutil.rmtree(other)
    return folder


def _write(
    path: Path,
    n_examples: int,
    n_features: int,
    nonzeros_per_row: int,
    zipf_exponent: float,
    task: str,
    noise: float,
    seed: int,
    dtype: str,
) -> None:
    rng = np.random.default_rng(seed)
    popularity = patterns.zipf(rng, n_features, zipf_exponent)
    weights = rng.standard_normal(n_features)
    step = max(1, _ENTRIES // nonzeros_per_row)
    with RowsWriter(path, n_features, dtype=dtype) as writer:
        for first in range(0, n_examples, step):
            lengths = np.full(min(step, n_examples - first), nonzeros_per_row)
            indices = patterns.distinct_columns(rng, lengths, popularity)
            X = from_rows(lengths, indices, rng.standard_normal(indices.size), n_features)
            unit_rows(X)
            if first == 0:
                weights /= float((X @ weights).std()) or 1.0
            writer.append(X, targets.observed(rng, X @ weights, task, noise))
    np.save(path / "true_weights.npy", weights.astype(dtype))
