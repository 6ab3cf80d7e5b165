"""The journal: whatever a kill leaves behind, whole records are read and the rest is cut off."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import journal

ROW = {
    "trial": "a",
    "status": "ok",
    "train_seconds": 0.1 + 0.2,
    "objective": float("nan"),
    "reason": 'he said "no",\nand left',
}
HISTORY = [
    (0.0, 0, 0.0, 0.0, 0.0, 1.0, float("inf"), None, None),
    (1.0, 10, 0.5, 0.1, 0.6, 0.25, 0.01, None, None),
]


def record(directory: Path, *keys: str) -> bytes:
    for key in keys:
        journal.append(directory, {**ROW, "trial": key}, HISTORY)
    return (directory / journal.JOURNAL).read_bytes()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record(tmp_path, "a", "b")
    records = journal.read(tmp_path)
    assert list(records) == ["a", "b"]
    assert records["a"]["trial"] == {**ROW, "objective": None}
    assert records["a"]["history"][0][6] is None
    assert records["a"]["history"][1][:2] == [1.0, 10]


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert journal.read(tmp_path) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_a_torn_tail_costs_one_record(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / journal.JOURNAL
    path.unlink(missing_ok=True)
    whole = record(tmp_path, "a", "b", "c")
    first = whole.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(whole) - 1))
    left = whole[:cut].count(b"\n")
    path.write_bytes(whole[:cut] + data.draw(st.sampled_from([b"", b"\0\0\0", b"\xff{", b"[1]\n"])))
    if path.read_bytes()[-1:] != b"\n" or path.read_bytes().count(b"\n") > left:
        with pytest.warns(UserWarning, match="torn or garbled"):
            assert list(journal.read(tmp_path, repair=True)) == ["a", "b"][:left]
    journal.append(tmp_path, {**ROW, "trial": "d"}, [])
    assert list(journal.read(tmp_path)) == [*["a", "b"][:left], "d"]


def test_a_garbled_record_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    whole = record(tmp_path, "a", "b")
    (tmp_path / journal.JOURNAL).write_bytes(whole.replace(b"0.25", b"0.26", 1))
    with pytest.warns(UserWarning, match="line 1"):
        assert list(journal.read(tmp_path, repair=True)) == ["b"]
    assert len((tmp_path / journal.JOURNAL).read_bytes()) == len(whole)  # only a tail is cut off


def test_tables_have_the_columns_and_every_value(tmp_path: Path) -> None:
    record(tmp_path, "a", "b")
    journal.write_tables(tmp_path, journal.read(tmp_path).values())
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(journal.TRIAL_COLUMNS)
    assert [row["trial"] for row in rows] == ["a", "b"]
    assert float(rows[0]["train_seconds"]) == ROW["train_seconds"]
    assert (rows[0]["objective"], rows[0]["backend"], rows[0]["reason"]) == ("", "", ROW["reason"])
    with (tmp_path / "history.csv").open(newline="") as file:
        checkpoints = list(csv.reader(file))
    assert checkpoints[0] == list(journal.HISTORY_COLUMNS)
    assert checkpoints[4] == ["b", "1.0", "10", "0.5", "0.1", "0.6", "0.25", "0.01", "", ""]


def test_a_column_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speed"):
        journal.write_tables(tmp_path, [{"trial": {**ROW, "speed": 1}, "history": []}])


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.replace(tmp_path / "trials.csv", "old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        journal.replace(tmp_path / "trials.csv", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]
    assert (tmp_path / "trials.csv").read_text() == "old"
