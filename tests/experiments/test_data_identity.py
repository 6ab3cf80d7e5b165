"""What data hold belongs to a trial: a file that was replaced makes new trials, and no table mixes both."""

import csv
import inspect
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import hogwild
from experiments.design import plan, spec, workloads
from experiments.design.plan import Trial
from experiments.judge import verify
from experiments.measure import environment, execution, journal, machine, runner
from experiments.measure.outcome import Outcome
from hogwild.datasets import save_rows
from tests.experiments.trials import TRIAL, WORKLOAD

SPEC = """
question = "Is this still the same file?"
[[grid]]
name = "rows"
problem = "least_squares"
dataset = "open_rows"
data = {{path = "{path}", mapped = {mapped}}}
run = {{backend = ["serial"], epochs = [1, 2]}}
"""
RATINGS = "userId,movieId,rating\n1,1,3\n1,2,4\n2,1,5\n"


@pytest.fixture(autouse=True)
def _own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.exclusive.__wrapped__, "__defaults__", (tmp_path / "lock",))
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 10_000)
    monkeypatch.setattr(environment, "streaming", lambda: None)
    undisturbed = SimpleNamespace(around=lambda work, starved: (work(), {}))
    monkeypatch.setattr(execution, "WATCH", undisturbed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "rows", 1.0)
    return tmp_path / "rows"


def write(folder: Path, target: float) -> None:
    for file in folder.glob("*"):
        file.unlink()
    save_rows(folder, np.eye(6, 4), np.full(6, target))


def overwrite(folder: Path, target: float) -> None:
    """In place: in the same file, which a worker may have mapped."""
    np.load(folder / "targets.npy", mmap_mode="r+")[:] = target


def planned(folder: Path, mapped: bool = False) -> list[Trial]:
    path = folder.parent / "mine.toml"
    path.write_text(SPEC.format(path=folder, mapped=str(mapped).lower()), encoding="utf-8")
    return plan.make([spec.load(path)], 2)


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def measure(
    trials: list[Trial], directory: Path, execute: Callable[[Trial], Outcome] = execution.execute
) -> str:
    log = io.StringIO()
    console = Console(file=log, width=40)
    runner.run(trials, directory, preset="smoke", execute=execute, console=console)
    return log.getvalue()


def test_whoever_reads_files_is_told_which_by_an_option_named_path() -> None:
    for maker in hogwild.datasets.NAMES.values():
        for name, parameter in inspect.signature(maker).parameters.items():
            assert ("PathLike" in str(parameter.annotation)) == (name == "path")


def test_the_key_depends_on_what_the_file_holds_and_not_on_its_times(folder: Path) -> None:
    first = planned(folder)
    os.utime(folder / "targets.npy", (1, 1))
    assert [trial.key for trial in planned(folder)] == [trial.key for trial in first]
    overwrite(folder, 2.0)
    second = planned(folder)
    assert not {trial.key for trial in second} & {trial.key for trial in first}
    assert {trial.workload.data_id for trial in (*first, *second)} == {first[0].workload.data_id}
    overwrite(folder, 1.0)
    assert [trial.key for trial in planned(folder)] == [trial.key for trial in first]


def test_what_is_hashed_is_the_file_as_others_hash_it(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS, encoding="utf-8")
    wanted = "b8e1e0138090854ed083b920d75002bee344422ba93a982c967fa218f6ee684e"
    assert workloads.file_hash("load_ratings", {"path": str(path)}) == wanted
    assert workloads.file_hash("synthetic", {"n_examples": 3}) == ""


def test_a_large_file_is_read_once_as_long_as_nobody_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "YOUNG_NANOSECONDS", -1e18)
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS, encoding="utf-8")
    before = workloads._read_hash.cache_info().misses
    hashes = {workloads.file_hash("load_ratings", {"path": str(path)}) for _ in range(5)}
    assert (len(hashes), workloads._read_hash.cache_info().misses) == (1, before + 1)
    os.utime(path, ns=(1, 1))
    hashes.add(workloads.file_hash("load_ratings", {"path": str(path)}))
    assert (len(hashes), workloads._read_hash.cache_info().misses) == (1, before + 2)


def test_source_code_is_what_is_read_of_a_folder(tmp_path: Path) -> None:
    chosen = {"path": str(tmp_path)}
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "code.py").write_text("def one(): raise ValueError\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    first = workloads.file_hash("python_source", chosen)
    (tmp_path / "results.csv").write_text("1")  # as a run might write
    assert workloads.file_hash("python_source", chosen) == first
    (tmp_path / "below" / "code.py").rename(tmp_path / "below" / "other.py")
    assert workloads.file_hash("python_source", chosen) != first


def test_a_file_that_is_not_there_is_an_error_before_any_trial(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match=r"mine: rows\.data\.path: .*No such file.*nowhere"):
        planned(tmp_path / "nowhere")


@pytest.mark.parametrize("mapped", [False, True])
def test_a_replaced_file_is_measured_again_and_said_so(folder: Path, tmp_path: Path, mapped: bool) -> None:
    run = tmp_path / "run"
    assert "stay" not in measure(planned(folder, mapped), run)
    before = rows(run)
    write(folder, 2.0)
    text = measure(planned(folder, mapped), run)
    assert f"2 trials of what {folder} held before it changed stay in {run / 'journal.jsonl'}" in text
    after = rows(run)
    assert [row["status"] for row in after] == ["ok"] * 2
    assert not {row["trial"] for row in after} & {row["trial"] for row in before}
    for name in ("data_hash", "file_hash"):
        (one,), (other,) = ({row[name] for row in side} for side in (before, after))
        assert one != other
    assert len(journal.read(run)) == 4
    assert verify.problems(run) == []
    write(folder, 1.0)  # what it was
    never: Callable[[Trial], Outcome] = lambda trial: pytest.fail("it is done")  # noqa: E731
    assert "2 trials of what" in measure(planned(folder, mapped), run, never)
    assert rows(run) == before


def test_an_edited_spec_is_not_taken_for_another_file(folder: Path, tmp_path: Path) -> None:
    trials = planned(folder)
    measure(trials, tmp_path / "run")
    text = measure([replace(trial, step_size=0.2) for trial in trials], tmp_path / "run")
    assert "2 trials of an earlier spec stay in" in text
    assert "held" not in text


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_changes_during_a_run_is_no_result_of_the_trial_that_was_planned(
    folder: Path, tmp_path: Path, mapped: bool
) -> None:
    """Between two trials, or while a trial runs: its error is in the table, and the next run measures."""
    trials, run = planned(folder, mapped), tmp_path / "run"

    def execute(trial: Trial) -> Outcome:
        outcome = execution.execute(trial)
        if trial is trials[0]:
            overwrite(folder, 2.0)
        return outcome

    measure(trials, run, execute)
    assert [row["status"] for row in rows(run)] == ["ok", "error"]
    assert rows(run)[1]["reason"] == (
        f"{folder} has changed since this trial was planned: give the run's command again"
    )
    assert rows(run)[1]["data_hash"] == ""
    overwrite(folder, 1.0)
    measure(planned(folder, mapped), run)  # another chance
    assert [row["status"] for row in rows(run)] == ["ok", "ok"]
    assert len({row["data_hash"] for row in rows(run)}) == 1
    assert verify.problems(run) == []


def test_a_file_that_changed_before_it_was_read_is_not_kept_for_the_planned_one(folder: Path) -> None:
    trial = planned(folder)[0]
    overwrite(folder, 2.0)
    with pytest.raises(workloads.ChangedData, match="has changed since this trial was planned"):
        execution.execute(trial)
    overwrite(folder, 1.0)
    assert workloads.build(trial.workload).problem.y.tolist() == [1.0] * 6
    (folder / "targets.npy").unlink()
    with pytest.raises(workloads.ChangedData, match="has changed"):
        execution.execute(trial)


def test_made_data_that_are_others_than_before_are_no_result(tmp_path: Path) -> None:
    """An installed package, whose text is read, may be another one in the next run."""

    def execute(content: str) -> Callable[[Trial], Outcome]:
        history = [(0.0, 0, 0.0, 0.0, 0.0, 1.0, 1.0, None, None)]
        final = dict(zip(journal.CHECKPOINT_COLUMNS[1:], history[0][1:], strict=True))
        return lambda trial: Outcome({"status": "ok", "data_hash": content, **final}, history)

    trials = [replace(TRIAL, replicate=number) for number in range(3)]
    other = replace(TRIAL, workload=replace(WORKLOAD, data_seed=8))
    measure(trials[:1], tmp_path, execute("a" * 64))
    measure([*trials[:2], other], tmp_path, execute("b" * 64))
    found = {row["trial"]: row for row in rows(tmp_path)}
    assert found[other.key]["status"] == "ok"
    assert found[trials[1].key]["status"] == "error"
    assert found[trials[1].key]["reason"].startswith(
        "synthetic is not what it was in other trials: data_hash aaaaaaaaaaaa… there, bbbbbbbbbbbb… here"
    )
    assert verify.problems(tmp_path) == []
    measure([*trials, other], tmp_path, execute("a" * 64))
    assert [row["status"] for row in rows(tmp_path) if row["data_seed"] == "7"] == ["ok"] * 3


@pytest.mark.parametrize("age", ["today's", "from before there was a column for it", "committed"])
def test_a_table_of_two_contents_is_not_consistent(folder: Path, tmp_path: Path, age: str) -> None:
    run = tmp_path / "run"
    trials = planned(folder)
    measure(trials, run)
    write(folder, 2.0)
    other = next(trial for trial in planned(folder) if trial.epochs == 2)
    outcome = execution.execute(other)
    columns = plan.describe(other) | outcome.columns | {"environment": rows(run)[0]["environment"]}
    gone = next(trial.key for trial in trials if trial.epochs == 2)
    journal.append(run, columns, outcome.history)  # as older code did, under the key of the planned trial
    journal.retire(run, [gone])
    journal.write_tables(run)
    if age == "committed":
        (run / journal.JOURNAL).unlink()
    elif age != "today's":
        (run / journal.JOURNAL).unlink()
        text = (run / "trials.csv").read_text(encoding="utf-8")
        (run / "trials.csv").write_text(text.replace(other.workload.data_id, "unknown"), encoding="utf-8")
    (problem,) = verify.problems(run)
    assert "trials on open_rows with data_seed" in problem
    assert "are on 2 different data, by their data_hash: 1 like" in problem
    assert problem.endswith("run their experiments again, if need be with --fresh")
