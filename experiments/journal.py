"""The record of a run: an append-only journal that no kill can tear, and the CSVs derived from it.

A trial is one line of JSON with a checksum, written by one ``write`` and synced. A kill leaves at most a
prefix of a line behind; it is recognised, reported and cut off, and its trial is run again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

JOURNAL, TRIALS, HISTORY, ENVIRONMENT = "journal.jsonl", "trials.csv", "history.csv", "environment.json"

TRIAL_COLUMNS = tuple(
    """
    trial experiment grid replicate
    problem dataset n_examples n_features nonzeros density zipf_exponent l2 dtype data_hash
    omega delta rho rho_error meeting_share rank
    backend workers sampling step_rule step_size step_parameter batch_size gradient_threshold epochs
    gradient_delay instrument
    data_seed order_seed
    status reason setup_seconds compile_seconds train_seconds eval_seconds wall_seconds cpu_seconds updates
    updates_per_second ns_per_nonzero
    objective_zero optimum optimum_certificate optimum_error objective suboptimality
    weight_error_l1 weight_error_l2
    mean_absolute_residual train_error_rate test_error_rate train_rmse test_rmse cut
    measured_delay_seconds
    staleness_mean staleness_99 staleness_largest staleness_length_correlation
    lost_share collision_rate expected_collision_rate wait_share
    started_at load_average spin_efficiency spin_tests
    """.split()
)
CHECKPOINT_COLUMNS = tuple(
    """
    epoch updates train_seconds eval_seconds wall_seconds objective suboptimality
    weight_error_l1 weight_error_l2
    """.split()
)
HISTORY_COLUMNS = ("trial", *CHECKPOINT_COLUMNS)

Record = dict[str, Any]


def append(directory: Path, trial: Record, history: Iterable[Iterable[Any]]) -> None:
    """Add a trial: one write, one sync."""
    body: Record = {"trial": plain(trial), "history": plain([list(row) for row in history])}
    line = (json.dumps({"checksum": _checksum(body), **body}, allow_nan=False) + "\n").encode()
    descriptor = os.open(directory / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{directory / JOURNAL}: the disk took only part of a line")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(directory: Path, *, repair: bool = False) -> dict[str, Record]:
    """All whole records by trial key; lines that are not whole are skipped with a warning.

    With ``repair`` a torn tail is cut off, so that the next record starts on a line of its own.
    """
    path = directory / JOURNAL
    records: dict[str, Record] = {}
    end = position = 0
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        position += len(line)
        record = _parse(line)
        if record is None:
            warnings.warn(
                f"{path}, line {number}: torn or garbled, ignored; its trial will be run again", stacklevel=2
            )
            continue
        records[record["trial"]["trial"]] = record
        end = position
    if repair and end < len(content):
        os.truncate(path, end)
    return records


def write_tables(directory: Path, records: Iterable[Record]) -> None:
    """Derive ``trials.csv`` and ``history.csv``; each is replaced as a whole."""
    trials, rows = io.StringIO(newline=""), io.StringIO(newline="")
    trial_writer = csv.DictWriter(trials, TRIAL_COLUMNS, lineterminator="\n", restval="")
    history_writer = csv.writer(rows, lineterminator="\n")
    trial_writer.writeheader()
    history_writer.writerow(HISTORY_COLUMNS)
    for record in records:
        trial_writer.writerow(record["trial"])
        history_writer.writerows([record["trial"]["trial"], *row] for row in record["history"])
    replace(directory / TRIALS, trials.getvalue())
    replace(directory / HISTORY, rows.getvalue())


def replace(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a kill, sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        checksum = record.pop("checksum")
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    return record if checksum == _checksum(record) else None


def _checksum(body: Record) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """Turn a value into plain JSON; what is not a finite number is missing."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
