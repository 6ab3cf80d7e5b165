"""Verify: a sound run has no problems, and every kind of damage is one, named by file, row and column."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.judge import claims, quotations, tables, verify
from experiments.measure import journal
from tests.experiments import fake_run

Rows = list[dict[str, str]]


def rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, table: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a journal, claims and numbers, like one that was really measured."""
    directory = fake_run.write(tmp_path_factory.mktemp("run"), experiments=("guide",), replicates=3)
    history: dict[str, list[list[Any]]] = {}
    for row in rows(directory / "history.csv"):
        history.setdefault(row.pop("trial"), []).append(list(row.values()))
    path = directory / "environment.json"
    environment = {**json.loads(path.read_text(encoding="utf-8")), "fingerprint": "0123", "others": []}
    path.write_text(json.dumps(environment), encoding="utf-8")
    for row in rows(directory / "trials.csv"):
        checkpoints = history[row["trial"]]
        final = dict(zip(journal.CHECKPOINT_COLUMNS, checkpoints[-1], strict=True))
        del final["epoch"]
        journal.append(directory, {**row, **final, "environment": "0123"}, checkpoints)
    journal.write_tables(directory)
    claims.judge(directory)
    numbers = quotations.numbers(tables.load(directory), claims.read(directory))
    (directory / "numbers.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return directory


@pytest.fixture
def run(measured: Path, tmp_path: Path) -> Path:
    return shutil.copytree(measured, tmp_path / "run")


@pytest.fixture
def committed(run: Path) -> Path:
    """A run without its journal."""
    (run / journal.JOURNAL).unlink()
    return run


def test_a_sound_run_has_no_problems(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert verify.problems(run) == []
    (run / journal.JOURNAL).unlink()
    assert verify.problems(run) == []
    (run / "numbers.json").unlink()
    (run / "claims.csv").unlink()
    assert verify.problems(run) == []
    assert {path.name: path.read_bytes() for path in run.iterdir()}.items() <= before.items()


@pytest.mark.parametrize("name", ["trials.csv", "history.csv", "environment.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    assert verify.problems(run) == [f"{name} is missing: give the run's command again"]


def test_a_line_of_the_journal_that_is_not_whole_is_numbered(run: Path) -> None:
    path = run / journal.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    garbled = lines[3].replace(b"least_squares", b"least_sqaures")
    assert garbled != lines[3]
    path.write_bytes(b"".join([*lines[:3], garbled, *lines[4:]]))
    found = verify.problems(run)
    assert "journal.jsonl, line 4 is torn or garbled" in found[0]
    assert f"trials.csv has {len(lines)} rows, should have {len(lines) - 1}" in found[1]


@pytest.mark.parametrize("name", ["trials.csv", "history.csv"])
def test_a_table_that_the_journal_does_not_give_is_found_by_row_and_column(run: Path, name: str) -> None:
    table = rows(run / name)
    right = table[2]["train_seconds"]
    table[2]["train_seconds"] = wrong = right + "0"  # the same number, in other digits
    write(run / name, table)
    wanted = f"{name}, row 3 ({table[2]['trial']}): train_seconds is '{wrong}', should be '{right}'"
    assert any(problem.startswith(wanted) for problem in verify.problems(run))


def test_the_right_cells_in_other_bytes_are_told_apart(run: Path) -> None:
    path = run / "trials.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert verify.problems(run) == [
        "trials.csv: the right cells in other bytes: give the run's command again"
    ]


def test_a_retired_trial_belongs_in_no_table(run: Path) -> None:
    trial = rows(run / "trials.csv")[0]["trial"]
    journal.retire(run, [trial])
    assert "trials.csv has" in verify.problems(run)[0]
    journal.write_tables(run)
    for product in ("claims.csv", "numbers.json"):
        (run / product).unlink()
    assert verify.problems(run) == []


def edit(table: Rows, damage: str) -> str:
    """Damage a table of trials; return what must be said of it."""
    row = table[1]
    where = f"trials.csv, trial {row['trial']}: "
    if damage == "twice":
        table.append(row)
        return where + "is there twice"
    if damage == "status":
        row["status"] = "fine"
        return where + "'fine' is no status"
    if damage == "environment":
        row["environment"] = "4567"
        return where + "environment.json knows no environment '4567'"
    if damage == "gone":
        del table[1]
        return f"history.csv: trial {row['trial']} is not in trials.csv"
    row["objective"], last = "0.125", row["objective"]
    return where + f"objective is '0.125', but '{last}' at its last checkpoint"


@pytest.mark.parametrize("damage", ["twice", "status", "environment", "gone", "objective"])
def test_tables_without_a_journal_must_agree_with_each_other(committed: Path, damage: str) -> None:
    table = rows(committed / "trials.csv")
    said = edit(table, damage)
    write(committed / "trials.csv", table)
    assert verify.problems(committed) == [said]


def test_an_environment_that_joined_later_is_known(committed: Path) -> None:
    path = committed / "environment.json"
    environment = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(environment | {"fingerprint": "8", "others": [{"fingerprint": "0123"}]}))
    assert not [problem for problem in verify.problems(committed) if "knows no environment" in problem]


def test_a_measured_trial_has_checkpoints_and_a_skipped_one_needs_none(committed: Path) -> None:
    table = rows(committed / "trials.csv")
    gone = table[0]["trial"]
    history = [row for row in rows(committed / "history.csv") if row["trial"] != gone]
    write(committed / "history.csv", history)
    assert verify.problems(committed) == [
        f"trials.csv, trial {gone}: is ok, but history.csv has no checkpoint of it"
    ]
    table[0]["status"] = "skipped"
    write(committed / "trials.csv", table)
    assert not [problem for problem in verify.problems(committed) if gone in problem]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("environment.json", b"{", "environment.json: Expecting property name"),
        ("environment.json", b"[]", "cannot be checked"),
        ("trials.csv", b"", "trials.csv is empty"),
        ("trials.csv", b"trial,status\na\n", "trials.csv, row 1: 1 cells instead of 2"),
        (
            "trials.csv",
            b"trial,status\na,ok\n",
            "trials.csv is of another version, by its columns: attempts,",
        ),
        ("history.csv", b'trial,"epoch', "history.csv: unexpected end of data"),
        ("history.csv", b"\xff", "history.csv: 'utf-8' codec"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(committed: Path, name: str, content: bytes, said: str) -> None:
    (committed / name).write_bytes(content)
    (found,) = verify.problems(committed)
    assert said in found


def test_claims_that_the_tables_do_not_give_are_found(run: Path) -> None:
    table = rows(run / "claims.csv")
    judged = next(row for row in table if row["n"] != "0")
    judged["measured"] = repr(float(judged["measured"]) * (1 + 1e-13))  # another processor's last digits
    write(run / "claims.csv", table)
    assert verify.problems(run) == []
    judged["verdict"] = "so so"
    write(run / "claims.csv", table)
    found = verify.problems(run)
    assert f"({judged['claim']}): verdict is 'so so', should be" in found[0]
    assert found[0].endswith(f"python -m experiments claims {run}")


def test_a_claim_that_is_newer_than_the_run_may_be_missing_where_it_has_no_trials(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = claims.ledger()
    (like,) = (claim for claim in known if claim.id == "K4")
    for where, problems in (({"experiment": "another"}, 0), ({"experiment": "guide"}, 1)):
        newer = like.model_copy(update={"id": "X1", "where": where})
        monkeypatch.setattr(claims, "ledger", lambda *_, newer=newer: [*known, newer])
        found = verify.problems(run)
        assert len(found) == problems, found
    assert "claims.csv has" in found[0]


def test_numbers_that_the_tables_do_not_give_are_found(run: Path) -> None:
    path = run / "numbers.json"
    numbers = json.loads(path.read_text(encoding="utf-8"))
    right = numbers["counts"]["trials"]
    numbers["counts"]["trials"] = 7
    numbers["stray"] = "x"
    path.write_text(json.dumps(numbers), encoding="utf-8")
    cure = f"python -m experiments paper {run}"
    assert verify.problems(run) == [
        f"numbers.json: counts/trials is 7, should be {right}: {cure}",
        f"numbers.json: stray is 'x', should be 'missing': {cure}",
    ]
    (run / "claims.csv").unlink()
    assert verify.problems(run) == ["numbers.json is there without claims.csv, from which it comes"]
