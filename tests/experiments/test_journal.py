"""The journal: whatever a kill, a full disk or a second process does, what was recorded is not lost."""

import csv
import errno
import os
import resource
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.measure import journal
from experiments.measure.journal import JournalError
from tests.experiments import children

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


def record(directory: Path, *keys: str, **columns: object) -> bytes:
    for key in keys:
        journal.append(directory, {**ROW, "trial": key, **columns}, HISTORY)
    return (directory / journal.JOURNAL).read_bytes()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record(tmp_path, "a", "b")
    records = journal.read(tmp_path)
    assert list(records) == ["a", "b"]
    assert records["a"]["trial"] == {**ROW, "objective": None}
    assert records["a"]["history"][0][6] is None
    assert records["a"]["history"][1][:2] == [1.0, 10]


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert journal.read(tmp_path) == journal.current(tmp_path) == {}
    assert journal.read(tmp_path / "gone") == {}


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
    whole = record(tmp_path, "a", "b", "c")
    second = whole.index(b"\n") + 1
    garbled = whole[:second] + whole[second:].replace(b"0.25", b"0.26", 1)
    (tmp_path / journal.JOURNAL).write_bytes(garbled)
    with pytest.warns(UserWarning, match="line 2: torn or garbled"):
        assert list(journal.read(tmp_path, repair=True)) == ["a", "c"]
    assert (tmp_path / journal.JOURNAL).read_bytes() == garbled  # only a tail is cut off


def test_of_two_records_of_a_trial_the_last_counts(tmp_path: Path) -> None:
    record(tmp_path, "a", "b")
    record(tmp_path, "a", status="timeout")
    assert {key: each["trial"]["status"] for key, each in journal.read(tmp_path).items()} == {
        "a": "timeout",
        "b": "ok",
    }
    journal.write_tables(tmp_path)
    assert [row["trial"] for row in rows(tmp_path / "trials.csv")] == ["a", "b"]
    assert len(rows(tmp_path / "history.csv")) == 4


def test_retired_trials_are_kept_but_not_in_the_tables(tmp_path: Path) -> None:
    record(tmp_path, "a", "b", "c")
    journal.retire(tmp_path, ["a", "c"])
    assert list(journal.read(tmp_path)) == ["a", "b", "c"]
    assert list(journal.current(tmp_path)) == ["b"]
    journal.write_tables(tmp_path)
    for name in ("trials.csv", "history.csv"):
        assert {row["trial"] for row in rows(tmp_path / name)} == {"b"}
    journal.retire(tmp_path, {"c"})  # "a" is planned again
    assert list(journal.current(tmp_path)) == ["a", "b"]
    size = (tmp_path / journal.JOURNAL).stat().st_size
    journal.retire(tmp_path, iter(["c"]))
    assert (tmp_path / journal.JOURNAL).stat().st_size == size  # said once


def test_a_torn_retirement_is_none(tmp_path: Path) -> None:
    record(tmp_path, "a")
    journal.retire(tmp_path, ["a"])
    whole = (tmp_path / journal.JOURNAL).read_bytes()
    (tmp_path / journal.JOURNAL).write_bytes(whole[:-2])
    assert list(journal.current(tmp_path)) == ["a"]


def test_tables_have_the_columns_and_every_value(tmp_path: Path) -> None:
    record(tmp_path, "a", "b")
    journal.write_tables(tmp_path)
    written = rows(tmp_path / "trials.csv")
    assert list(written[0]) == list(journal.TRIAL_COLUMNS)
    assert [row["trial"] for row in written] == ["a", "b"]
    assert float(written[0]["train_seconds"]) == ROW["train_seconds"]
    assert (written[0]["objective"], written[0]["backend"], written[0]["reason"]) == ("", "", ROW["reason"])
    with (tmp_path / "history.csv").open(newline="") as file:
        checkpoints = list(csv.reader(file))
    assert checkpoints[0] == list(journal.HISTORY_COLUMNS)
    assert checkpoints[4] == ["b", "1.0", "10", "0.5", "0.1", "0.6", "0.25", "0.01", "", ""]


def test_a_column_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    record(tmp_path, "a", speed=1)
    with pytest.raises(ValueError, match="speed"):
        journal.write_tables(tmp_path)


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_costs_the_line_that_it_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = record(tmp_path, "a")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(JournalError, match=r"journal\.jsonl: No space left.* free some disk space"):
            record(tmp_path, "b")
    assert (tmp_path / journal.JOURNAL).read_bytes() == before
    record(tmp_path, "c")
    assert list(journal.read(tmp_path)) == ["a", "c"]


def test_a_line_of_which_the_disk_took_a_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = record(tmp_path, "a"), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:50]))
        with pytest.raises(JournalError, match=r"took only part of a line.* free some disk space"):
            record(tmp_path, "b")
    assert (tmp_path / journal.JOURNAL).read_bytes() == before


def fill(directory: Path, said: Connection) -> None:
    """Write where the system takes 100 bytes more, and send what is said of it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    room = (directory / journal.JOURNAL).stat().st_size + 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    for act in (
        lambda: journal.append(directory, {"trial": "z" * 300}, []),
        lambda: journal.write_tables(directory),
    ):
        try:
            act()
        except JournalError as error:
            said.send(str(error))


def test_a_limit_of_the_system_leaves_journal_and_tables_whole(tmp_path: Path) -> None:
    before = record(tmp_path, "a")
    journal.write_tables(tmp_path)
    old = (tmp_path / "trials.csv").read_bytes()
    heard, said = children.CONTEXT.Pipe(duplex=False)
    process = children.started(fill, tmp_path, said)
    said.close()
    first, second = heard.recv(), heard.recv()
    process.join()
    assert process.exitcode == 0
    assert "journal.jsonl: the disk took only part of a line" in first
    assert "trials.csv: File too large" in second
    assert "free some disk space" in second
    assert (tmp_path / journal.JOURNAL).read_bytes() == before
    assert (tmp_path / "trials.csv").read_bytes() == old
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.replace(tmp_path / "trials.csv", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match=r"trials\.csv: No space left"):
        journal.replace(tmp_path / "trials.csv", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]
    assert (tmp_path / "trials.csv").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = record(tmp_path, "a")

    def refuse(*_: object, **__: object) -> int:  # a superuser may write wherever it likes
        raise PermissionError(errno.EACCES, "Permission denied")

    advice = rf"Permission denied.* make {tmp_path} a folder that you can write to, or choose another --out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(JournalError, match=advice):
            record(tmp_path, "b")
    acts = (journal.read, lambda directory: journal.owned(directory).__enter__())
    for act in (*acts, lambda directory: journal.replace(directory / "trials.csv", "")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            with pytest.raises(JournalError, match=advice):
                act(tmp_path)
    assert (tmp_path / journal.JOURNAL).read_bytes() == before


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    for act in (journal.owned(tmp_path / "run").__enter__, lambda: record(tmp_path / "run", "a")):
        with pytest.raises(JournalError, match=f"make {tmp_path / 'run'} a folder"):
            act()


def own(directory: Path, ready: Event) -> None:
    with journal.owned(directory):
        ready.set()
        time.sleep(600)


def test_a_folder_has_one_owner_and_a_killed_one_does_not_block(tmp_path: Path) -> None:
    directory, ready = tmp_path / "new" / "run", children.CONTEXT.Event()
    process = children.started(own, directory, ready)
    try:
        assert ready.wait(60)
        message = f"{directory}: process {process.pid} since .* works in it; wait .* another --out"
        with pytest.raises(JournalError, match=message), journal.owned(directory):
            pass
    finally:
        children.killed(process)
    with journal.owned(directory), pytest.raises(JournalError, match=f"process {os.getpid()} "):
        journal.owned(directory).__enter__()
    with journal.owned(directory):
        record(directory, "a")
