"""The record of a run: an append-only journal that survives kills, and the CSVs derived from it.

A trial is one line of JSON with a checksum, written by one ``write`` and synced. A kill leaves at most part
of a line, which is recognised, reported and cut off; its trial is run again. A full disk costs only the line
that was being written. A line of another kind lists the trials of specs that have been edited since.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from experiments.design import options
from experiments.measure import locks

JOURNAL, TRIALS, HISTORY, ENVIRONMENT = "journal.jsonl", "trials.csv", "history.csv", "environment.json"
LOCK = ".lock"

# Columns that an older file may lack, and what that says of its trials.
ADDED: dict[str, Any] = {
    **options.DEFAULTS,
    "check_seconds": 0.0,
    "data_id": "unknown",
    "file_hash": "none",
    "optimum_certified": "",
}
_BEFORE, _AFTER = (
    """
    trial experiment grid replicate purpose
    problem dataset n_examples n_features nonzeros density zipf_exponent l2 dtype
    data_id file_hash data_hash
    omega delta rho rho_error meeting_share rank
    """,
    """
    data_seed order_seed
    status reason check_seconds setup_seconds compile_seconds train_seconds eval_seconds wall_seconds
    cpu_seconds updates updates_per_second ns_per_nonzero
    objective_zero optimum optimum_certificate optimum_error optimum_certified objective suboptimality
    weight_error_l1 weight_error_l2
    mean_absolute_residual train_error_rate test_error_rate train_rmse test_rmse cut
    measured_delay_seconds
    staleness_mean staleness_99 staleness_largest staleness_length_correlation
    lost_share collision_rate expected_collision_rate wait_share
    build_seconds total_seconds started_at environment
    load_average spin_speed spin_efficiency steal_share starved_share
    spin_tests reading_seconds attempts disturbed
    """,
)
TRIAL_COLUMNS = (*_BEFORE.split(), *options.COLUMNS, *_AFTER.split())
CHECKPOINT_COLUMNS = tuple(
    """
    epoch updates train_seconds eval_seconds wall_seconds objective suboptimality
    weight_error_l1 weight_error_l2
    """.split()
)
HISTORY_COLUMNS = ("trial", *CHECKPOINT_COLUMNS)

Record = dict[str, Any]


class JournalError(RuntimeError):
    """A run directory that cannot be used: the message names the file and says what to do."""


class Content(NamedTuple):
    """What a journal holds: records by trial key, retired keys, and the numbers of damaged lines."""

    records: dict[str, Record]
    retired: frozenset[str]
    torn: list[int]
    end: int  # of the last whole line
    size: int


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Lock a directory, made if need be, for this process until the end of the block.

    Raises
    ------
    JournalError
        If another process has locked it, or if it cannot be written.
    """
    with ExitStack() as stack:
        with _explained(directory / LOCK):
            directory.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locks.hold(directory / LOCK))
            except locks.HeldError as owner:
                raise JournalError(
                    f"{directory}: {owner} works in it; wait for its end, or choose another --out"
                ) from None
        yield


def append(directory: Path, trial: Record, history: Iterable[Iterable[Any]]) -> None:
    """Add a trial: one write, one sync.

    Raises
    ------
    JournalError
        If it could not be written as a whole; the journal is then as it was before.
    """
    _write(directory, {"trial": plain(trial), "history": plain([list(row) for row in history])})


def retire(directory: Path, keys: Iterable[str]) -> None:
    """Mark trials as of no current spec: they stay in the journal but leave the CSVs."""
    if (wanted := frozenset(keys)) != scan(directory).retired:
        _write(directory, {"retired": sorted(wanted)})


def read(directory: Path, *, repair: bool = False) -> dict[str, Record]:
    """Return all whole records by trial key; damaged lines are skipped with a warning.

    With ``repair`` a torn last line is cut off, so that the next record starts on a line of its own.
    """
    content, path = scan(directory), directory / JOURNAL
    for number in content.torn:
        warnings.warn(
            f"{path}, line {number}: torn or garbled, ignored; its trial will be run again", stacklevel=2
        )
    if repair and content.end < content.size:
        with _explained(path):
            os.truncate(path, content.end)
    return content.records


def current(directory: Path) -> dict[str, Record]:
    """Return all whole records that are not retired, by trial key."""
    content = scan(directory)
    return {key: record for key, record in content.records.items() if key not in content.retired}


def scan(directory: Path) -> Content:
    """Read a journal without changing it; a missing one is empty."""
    path = directory / JOURNAL
    with _explained(path):
        content = path.read_bytes() if path.exists() else b""
    records: dict[str, Record] = {}
    retired: frozenset[str] = frozenset()
    torn = []
    end = position = 0
    for number, line in enumerate(io.BytesIO(content), 1):
        position += len(line)
        body = _parse(line)
        if body is None:
            torn.append(number)
            continue
        end = position
        if "retired" in body:
            retired = frozenset(body["retired"])
        else:
            records[body["trial"]["trial"]] = body
    return Content(records, retired, torn, end, len(content))


def write_tables(directory: Path) -> None:
    """Derive ``trials.csv`` and ``history.csv`` from the journal; each is replaced as a whole."""
    for name, text in tables(current(directory).values()).items():
        replace(directory / name, text)


def tables(records: Iterable[Record]) -> dict[str, str]:
    """Return the texts of ``trials.csv`` and ``history.csv``, by these names."""
    trials, rows = io.StringIO(newline=""), io.StringIO(newline="")
    trial_writer = csv.DictWriter(trials, TRIAL_COLUMNS, lineterminator="\n", restval="")
    history_writer = csv.writer(rows, lineterminator="\n")
    trial_writer.writeheader()
    history_writer.writerow(HISTORY_COLUMNS)
    for record in records:
        trial_writer.writerow(ADDED | record["trial"])
        history_writer.writerows([record["trial"]["trial"], *row] for row in record["history"])
    return {TRIALS: trials.getvalue(), HISTORY: rows.getvalue()}


def replace(path: Path, text: str) -> None:
    """Replace a file so that readers see the old one or the new one, even after a kill."""
    temporary = path.with_name(f".{path.name}.tmp")  # one name: the next call replaces what a kill left
    with _explained(path):
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def plain(value: Any) -> Any:
    """Turn a value into plain JSON; numbers that are not finite become null."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(directory: Path, body: Record) -> None:
    line = (json.dumps({"checksum": _checksum(body), **body}, allow_nan=False) + "\n").encode()
    with _explained(directory / JOURNAL):
        descriptor = os.open(directory / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, "the disk took only part of a line")
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):  # else the next run cuts it off
                    os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        body = json.loads(line)
        checksum = body.pop("checksum")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return body if checksum == _checksum(body) and _known(body) else None


def _known(body: Record) -> bool:
    """Return whether a line is of one of the two kinds: a valid checksum does not tell."""
    match body:
        case {"retired": list(keys)}:
            return all(isinstance(key, str) for key in keys)
        case {"trial": {"trial": str()}, "history": list(rows)}:
            return all(isinstance(row, list) for row in rows)
    return False


def _checksum(body: Record) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some disk space" if full else f"make {path.parent} a folder that you can write to"
        raise JournalError(
            f"{path}: {error.strerror or error}. What was recorded before is safe: {advice}"
            f"{'' if full else ', or choose another --out'}, and give the same command again"
        ) from error
