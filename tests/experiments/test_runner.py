"""The runner: outcomes become rows, a run resumes, and nothing is mixed that should not be."""

import csv
import errno
import io
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.design.plan import Trial
from experiments.measure import environment, journal, machine, records, runner
from experiments.measure.outcome import Impossible, Outcome
from experiments.measure.runner import RunError
from tests.experiments import children
from tests.experiments.trials import TRIAL

TRIALS = [replace(TRIAL, replicate=number) for number in range(4)]


@pytest.fixture(autouse=True)
def _own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the machine's: a run that is timing now is none of a test's business."""
    monkeypatch.setattr(machine.exclusive.__wrapped__, "__defaults__", (tmp_path / "lock",))
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 10_000)
    monkeypatch.setattr(environment, "streaming", lambda: None)


def ok(trial: Trial) -> Outcome:
    return Outcome({"status": "ok", "train_seconds": 0.5}, [(0.0, 0, 0.0, 0.0, 0.0, 1.0, 1.0, None, None)])


def rows(directory: Path, name: str = "trials.csv") -> list[dict[str, str]]:
    with (directory / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_trial_is_a_row_and_every_checkpoint_another(tmp_path: Path) -> None:
    counts = runner.run(TRIALS, tmp_path / "run", preset="smoke", command="the command", execute=ok)
    assert counts == {"ok": 4}
    written = rows(tmp_path / "run")
    assert [row["trial"] for row in written] == [trial.key for trial in TRIALS]
    assert [row["trial"] for row in rows(tmp_path / "run", "history.csv")] == [trial.key for trial in TRIALS]
    row = written[1]
    wanted = {
        "experiment": "mine", "replicate": "1", "problem": "least_squares", "dataset": "synthetic",
        "n_examples": "60", "backend": "serial", "workers": "1", "step_rule": "constant", "step_size": "0.1",
        "step_parameter": "", "data_seed": "7", "order_seed": "3", "density": "0.5", "l2": "0.0",
        "status": "ok", "train_seconds": "0.5",
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    assert row["started_at"] > "2020"
    found = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (found["run"], found["preset"], found["command"]) == ("run", "smoke", "the command")
    assert {row["environment"] for row in written} == {found["fingerprint"]}
    assert all(float(row["total_seconds"]) > 0 for row in written)


def test_the_run_goes_on_after_errors_and_impossible_cells(tmp_path: Path) -> None:
    def execute(trial: Trial) -> Outcome:
        if trial.replicate == 0:
            raise ZeroDivisionError("of\nsome kind")
        if trial.replicate == 1:
            raise Impossible("no room")
        return ok(trial)

    planned = [*TRIALS[:3], replace(TRIALS[3], skip="too many workers")]
    assert runner.run(planned, tmp_path, preset="smoke", execute=execute) == {
        "error": 1,
        "skipped": 2,
        "ok": 1,
    }
    assert [(row["status"], row["reason"]) for row in rows(tmp_path)] == [
        ("error", "ZeroDivisionError: of some kind"),
        ("skipped", "no room"),
        ("ok", ""),
        ("skipped", "too many workers"),
    ]


def test_a_second_run_does_what_is_left(tmp_path: Path) -> None:
    def execute(trial: Trial) -> Outcome:
        if trial.replicate == 2:
            raise KeyboardInterrupt
        return ok(trial)

    with pytest.raises(KeyboardInterrupt):
        runner.run(TRIALS, tmp_path, preset="smoke", execute=execute)
    assert [row["replicate"] for row in rows(tmp_path)] == ["0", "1"]
    done: list[int] = []
    runner.run(
        TRIALS, tmp_path, preset="smoke", execute=lambda trial: done.append(trial.replicate) or ok(trial)
    )
    assert done == [2, 3]
    assert len(rows(tmp_path)) == 4
    done.clear()
    runner.run(
        TRIALS,
        tmp_path,
        preset="smoke",
        fresh=True,
        execute=lambda trial: done.append(trial.replicate) or ok(trial),
    )
    assert done == [0, 1, 2, 3]
    assert len(rows(tmp_path)) == 4


def test_the_tables_follow_the_journal_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "TABLES_SHARE", 1e9)
    seen: list[int] = []

    def execute(trial: Trial) -> Outcome:
        seen.append(len(rows(tmp_path)) if trial.replicate else 0)
        return ok(trial)

    runner.run(TRIALS, tmp_path, preset="smoke", execute=execute)
    assert seen == [0, 1, 2, 3]


def test_results_that_do_not_belong_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(TRIALS[:1], tmp_path, preset="smoke", execute=ok)
    before = (tmp_path / "trials.csv").read_text()
    with pytest.raises(RunError, match=r"preset smoke, not full; choose another --out, or --fresh"):
        runner.run(TRIALS, tmp_path, preset="full", execute=ok)
    monkeypatch.setattr(environment, "_cpu_model", lambda: "6502")
    with pytest.raises(RunError, match=r"processor: .* there, 6502 here.*--mix"):
        runner.run(TRIALS, tmp_path, preset="smoke", execute=ok)
    assert (tmp_path / "trials.csv").read_text() == before
    (tmp_path / journal.JOURNAL).unlink()
    with pytest.raises(RunError, match="without the journal"):
        runner.run(TRIALS, tmp_path, preset="smoke", execute=ok)
    assert (tmp_path / "trials.csv").read_text() == before


def test_another_machine_may_go_on_if_asked_to_and_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(TRIALS[:2], tmp_path, preset="smoke", execute=ok)
    monkeypatch.setattr(environment, "_cpu_model", lambda: "6502")
    for _ in range(2):  # the second time it is known
        runner.run(TRIALS, tmp_path, preset="smoke", execute=ok, mix=True)
    written = rows(tmp_path)
    assert [row["replicate"] for row in written] == ["0", "1", "2", "3"]
    found = json.loads((tmp_path / "environment.json").read_text())
    assert [other["machine"]["cpu_model"] for other in found["others"]] == ["6502"]
    first, other = found["fingerprint"], found["others"][0]["fingerprint"]
    assert [row["environment"] for row in written] == [first, first, other, other]
    monkeypatch.undo()


def test_trials_of_an_edited_spec_leave_the_tables_and_stay_in_the_journal(tmp_path: Path) -> None:
    done: list[float | None] = []

    def execute(trial: Trial) -> Outcome:
        done.append(trial.step_size)
        return ok(trial)

    edited = [replace(trial, step_size=0.2) for trial in TRIALS]
    other = [replace(TRIAL, experiment="another")]
    runner.run([*TRIALS, *other], tmp_path, preset="smoke", execute=execute)
    log = io.StringIO()
    runner.run(edited, tmp_path, preset="smoke", execute=execute, console=Console(file=log, width=40))
    assert "4 trials of an earlier spec stay in" in log.getvalue()
    assert done == [0.1] * 5 + [0.2] * 4
    assert sorted((row["experiment"], row["step_size"]) for row in rows(tmp_path)) == [
        ("another", "0.1"),
        *[("mine", "0.2")] * 4,
    ]
    assert len(journal.read(tmp_path)) == 9
    done.clear()
    runner.run(TRIALS, tmp_path, preset="smoke", execute=execute)  # the spec as it was
    assert done == []
    assert [row["step_size"] for row in rows(tmp_path)] == ["0.1"] * 5


def test_a_trial_that_was_disturbed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    def noisy(trial: Trial) -> Outcome:
        outcome = ok(trial)
        outcome.columns["disturbed"] = "a neighbour" if trial.replicate == 1 else ""
        return outcome

    done: list[int] = []
    runner.run(TRIALS, tmp_path, preset="smoke", execute=noisy)
    again = lambda trial: done.append(trial.replicate) or ok(trial)  # noqa: E731
    for _ in range(2):
        runner.run(TRIALS, tmp_path, preset="smoke", execute=again)
    assert done == [1]
    assert [row["disturbed"] for row in rows(tmp_path)] == [""] * 4


def test_tuning_decides_the_step_of_the_trials_that_are_reported(tmp_path: Path) -> None:
    tuning = [replace(TRIAL, step_size=step, purpose="tune") for step in (0.1, 0.4)]
    keys = tuple(trial.key for trial in tuning)
    unknown = {"step_rule": None, "step_size": None, "step_parameter": None, "tuned_on": keys}
    reports = [replace(trial, **unknown) for trial in TRIALS]
    steps: list[float | None] = []

    def execute(trial: Trial) -> Outcome:
        steps.append(trial.step_size)
        gap = 0.5 if trial.step_size == 0.1 else 1e-3
        history = [
            (0.0, 0, 0.0, 0.0, 0.0, 1.0, 1.0, None, None),
            (1.0, 9, 1.0, 0.0, 0.0, 1.0, gap, None, None),
        ]
        return Outcome({"status": "ok", "suboptimality": gap}, history)

    runner.run([*tuning, *reports[:2]], tmp_path, preset="smoke", execute=execute)
    runner.run([*tuning, *reports], tmp_path, preset="smoke", execute=execute)  # from the journal
    assert steps == [0.1, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert [(row["purpose"], row["step_size"]) for row in rows(tmp_path)] == [
        ("tune", "0.1"),
        *[("tune", "0.4")],
        *[("report", "0.4")] * 4,
    ]


def test_spare_trials_are_run_as_long_as_they_are_wanted(tmp_path: Path) -> None:
    asked: list[int] = []

    def wanted(directory: Path, left: list[Trial]) -> list[Trial]:
        asked.append(len(rows(directory)))
        return left[:1] if len(asked) < 3 else []

    log = io.StringIO()
    counts = runner.run(
        TRIALS[:1], tmp_path, preset="smoke", execute=ok, spare=TRIALS[1:], wanted=wanted,
        console=Console(file=log, width=40),
    )  # fmt: skip
    assert counts == {"ok": 3}
    assert asked == [1, 2, 3]
    assert "1 more trials, for narrower intervals" in log.getvalue()


def test_a_disk_that_takes_no_more_ends_the_run_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(TRIALS[:2], tmp_path, preset="smoke", execute=ok)

    def full(descriptor: int, line: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "write", full)
        with pytest.raises(journal.JournalError, match=r"free some disk space.*same command again"):
            runner.run(TRIALS, tmp_path, preset="smoke", execute=ok)
    done: list[int] = []
    runner.run(TRIALS, tmp_path, preset="smoke", execute=lambda t: done.append(t.replicate) or ok(t))
    assert done == [2, 3]


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with machine.exclusive(), pytest.raises(machine.BusyError, match=f"process {os.getpid()}"):
        runner.run(TRIALS, tmp_path / "run", preset="smoke", execute=ok)
    assert not (tmp_path / "run").exists()


def test_progress_is_a_few_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    log = io.StringIO()
    runner.run(TRIALS, tmp_path, preset="smoke", execute=ok, console=Console(file=log, width=40))
    assert log.getvalue() == "4 trials, 0 done before\n4/4 trials, about 0 s left\n"
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    runner.run(TRIALS, tmp_path, preset="smoke", execute=ok, console=console, fresh=True)
    assert "4/4" in screen.getvalue()
    assert "\x1b[" in screen.getvalue()


def test_a_kill_costs_the_trial_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "TABLES_SHARE", 1e9)
    monkeypatch.setattr(environment, "environment", lambda *_: {"preset": "smoke", "fingerprint": "0123"})
    in_flight = children.CONTEXT.Event()

    def execute(trial: Trial) -> Outcome:
        if trial.replicate == 2:
            in_flight.set()
            time.sleep(60)
        return ok(trial)

    def run() -> None:
        runner.run(TRIALS, tmp_path / "run", preset="smoke", execute=execute)

    process = children.started(run)
    assert in_flight.wait(60)
    assert children.killed(process) == -signal.SIGKILL
    assert [row["replicate"] for row in rows(tmp_path / "run")] == ["0", "1"]
    done: list[int] = []
    runner.run(
        TRIALS,
        tmp_path / "run",
        preset="smoke",
        execute=lambda trial: done.append(trial.replicate) or ok(trial),
    )
    assert done == [2, 3]


def test_tables_are_written_again_only_after_another_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(journal, "write_tables", written.append)
    kept = records.Records(tmp_path, [], "0123", Console(file=io.StringIO()))
    kept.write()
    kept.write()
    assert len(written) == 1
    kept.add("a", Outcome({"trial": "a"}))
    kept.write()
    kept.write()
    assert len(written) == 2
