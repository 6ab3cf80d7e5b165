"""Whether the files of a run can be trusted: every reason why not, in words, and what to do about it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.judge import claims, quotations, tables
from experiments.measure import journal
from experiments.measure.outcome import MEASURED, Status

# A trial's final figures are its last checkpoint's.
FINAL = [name for name in journal.CHECKPOINT_COLUMNS if name in journal.TRIAL_COLUMNS]
# What tells data sets apart in runs from before `data_id`.
AS_FAR_AS_KNOWN = ("experiment", "grid", "n_examples", "n_features", "density", "zipf_exponent")
SAME = 1e-9  # what is computed may differ in its last digits from processor to processor
AGAIN = "give the run's command again"


def problems(directory: Path) -> list[str]:
    """Return every reason why a run's files cannot be trusted.

    The journal is whole, and ``trials.csv`` and ``history.csv`` are what it gives, byte for byte; a committed
    run has none, but its CSVs still agree with each other. claims.csv and numbers.json, where they are
    there, are what the CSVs give.
    """
    raw = (journal.TRIALS, journal.HISTORY, journal.ENVIRONMENT)
    if missing := [name for name in raw if not (directory / name).is_file()]:
        return [f"{name} is missing: {AGAIN}" for name in missing]
    try:
        found = [*_journal(directory), *_tables(directory)]
        return found or [*_products(directory)]
    except Exception as error:  # whatever a file holds, it is a reason
        return [f"{directory} cannot be checked: {type(error).__name__}: {error}"]


def _journal(directory: Path) -> Iterator[str]:
    """Compare the CSVs with the journal that they come from."""
    if not (directory / journal.JOURNAL).exists():
        return
    for number in journal.scan(directory).torn:
        yield (
            f"{journal.JOURNAL}, line {number} is torn or garbled: {AGAIN}, which measures its trial again; "
            "if the line is still there then, remove it"
        )
    for name, right in journal.tables(journal.current(directory).values()).items():
        yield from _differences(name, _text(directory / name), right, AGAIN)


def _tables(directory: Path) -> Iterator[str]:
    """Compare the CSVs and environment.json with each other."""
    trials = _rows(directory / journal.TRIALS, journal.TRIAL_COLUMNS)
    yield from _data(trials)
    history = _rows(directory / journal.HISTORY, journal.HISTORY_COLUMNS)
    environment = _json(directory / journal.ENVIRONMENT)
    known = {side.get("fingerprint") for side in (environment, *environment.get("others", []))}
    last = {row["trial"]: row for row in history}
    seen: set[str] = set()
    for row in trials:
        key, status = row["trial"], row["status"]
        where = f"{journal.TRIALS}, trial {key}"
        if key in seen:
            yield f"{where}: is there twice"
        seen.add(key)
        if status not in list(Status):
            yield f"{where}: {status!r} is no status"
        if row["environment"] not in known:
            yield f"{where}: {journal.ENVIRONMENT} knows no environment {row['environment']!r}"
        if key not in last and status in MEASURED:
            yield f"{where}: is {status}, but {journal.HISTORY} has no checkpoint of it"
        for name in FINAL if key in last else ():
            if row[name] != last[key][name]:
                yield f"{where}: {name} is {row[name]!r}, but {last[key][name]!r} at its last checkpoint"
    for key in last:
        if key not in seen:
            yield f"{journal.HISTORY}: trial {key} is not in {journal.TRIALS}"


def _data(trials: list[dict[str, str]]) -> Iterator[str]:
    """Find trials that should have had the same data and did not: a file was replaced, or a package."""
    sides: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for row in trials:
        same = ("data_id",) if row["data_id"] != journal.ADDED["data_id"] else AS_FAR_AS_KNOWN
        if row["data_hash"]:
            found = sides.setdefault(tuple(row[name] for name in ("dataset", "data_seed", *same)), {})
            found.setdefault(row["data_hash"], []).append(row["trial"])
    for (dataset, seed, *_), found in sides.items():
        if len(found) > 1:
            each = "; ".join(f"{len(keys)} like {keys[0]} with {data}" for data, keys in found.items())
            yield (
                f"{journal.TRIALS}: trials on {dataset} with data_seed {seed} are on {len(found)} different "
                f"data, by their data_hash: {each}. They cannot be compared: run their experiments again, "
                "if need be with --fresh"
            )


def _products(directory: Path) -> Iterator[str]:
    """Compare claims.csv and numbers.json, where they are there, with what the CSVs give."""
    path, numbers = directory / "claims.csv", directory / "numbers.json"
    if path.exists():
        run = tables.load(directory)
        yield from _claims(path, run)
        if numbers.exists():
            yield from _numbers(numbers, run)
    elif numbers.exists():  # `claims.read` would write claims.csv
        yield f"{numbers.name} is there without {path.name}, from which it comes"


def _claims(path: Path, run: tables.Run) -> Iterator[str]:
    """Compare claims.csv; claims newer than the run, which has no trials of them, may be missing."""
    ledger, known = claims.ledger(), set(claims.read(path.parent)["claim"])
    newer = [claim.id for claim in ledger if claim.id not in known and not claims.measured_in(run, claim)]
    right = claims.frame(run)
    right = right[~right["claim"].isin(newer)]
    cure = f"python -m experiments claims {path.parent}"
    yield from _differences(path.name, _text(path), right.to_csv(index=False), cure, tolerance=SAME)


def _numbers(path: Path, run: tables.Run) -> Iterator[str]:
    right = quotations.numbers(run, claims.read(path.parent))
    rows = [_leaves(given) for given in (_json(path), json.loads(json.dumps(right)))]
    for name in rows[0] | rows[1]:
        found, wanted = (row.get(name, "missing") for row in rows)
        if found != wanted:
            cure = f"python -m experiments paper {path.parent}"
            yield f"{path.name}: {name} is {found!r}, should be {wanted!r}: {cure}"


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Every value inside nested dictionaries, by its path."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{name}/{key}" if name else key)
    return found


def _differences(
    name: str, found: str, right: str, cure: str, tolerance: float | None = None
) -> Iterator[str]:
    """Say where a CSV is not what it should be: which row and which column."""
    if found == right:
        return
    (header, *rows), (wanted_header, *wanted_rows) = _cells(name, found), _cells(name, right)
    if header != wanted_header:
        yield f"{name}: its columns are {header}, should be {wanted_header}: {cure}"
    elif len(rows) != len(wanted_rows):
        yield f"{name} has {len(rows)} rows, should have {len(wanted_rows)}: {cure}"
    else:
        different = [
            f"{name}, row {number} ({wanted[0]}): {column} is {cell!r}, should be {truth!r}: {cure}"
            for number, (row, wanted) in enumerate(zip(rows, wanted_rows, strict=True), 1)
            for column, cell, truth in zip(header, row, wanted, strict=True)
            if cell != truth and not _close(cell, truth, tolerance)
        ]
        if not different and tolerance is None:
            different = [f"{name}: the right cells in other bytes: {cure}"]
        yield from different


def _close(cell: str, truth: str, tolerance: float | None) -> bool:
    try:
        return tolerance is not None and math.isclose(float(cell), float(truth), rel_tol=tolerance)
    except ValueError:
        return False


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    header, *rows = _cells(path.name, _text(path))
    added = [name for name in journal.ADDED if name in columns and name not in header]
    if different := set(header) ^ set(columns) ^ set(added):
        raise ValueError(f"{path.name} is of another version, by its columns: {', '.join(sorted(different))}")
    before = {name: str(journal.ADDED[name]) for name in added}
    return [before | dict(zip(header, row, strict=True)) for row in rows]


def _cells(name: str, text: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"{name}: {error}") from None
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"{name}, row {number}: {len(row)} cells instead of {len(rows[0])}")
    if not rows:
        raise ValueError(f"{name} is empty")
    return rows


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
