"""A run that is killed again and again is, in the end, a run that nobody touched."""

import csv
import io
import random
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.design.plan import Trial
from experiments.judge import verify
from experiments.measure import environment, journal, machine, records, runner
from experiments.measure.outcome import Outcome
from tests.experiments import children
from tests.experiments.trials import TRIAL

KILLS = 20
TRIALS = [replace(TRIAL, replicate=number) for number in range(40)]
CHECKPOINTS = 30


def execute(trial: Trial) -> Outcome:
    """A trial of some milliseconds whose record is long enough to be torn."""
    time.sleep(0.003)
    history = [
        (float(at), 60 * at, 1e-3 * at, 0.0, 1e-3 * at, 1 / 3**at, 0.1, None, None)
        for at in range(CHECKPOINTS)
    ]
    final = dict(zip(journal.CHECKPOINT_COLUMNS[1:], history[-1][1:], strict=True))
    return Outcome({**final, "status": "ok"}, history)


def run(directory: Path) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*torn or garbled")
        return runner.run(
            TRIALS, directory, preset="smoke", execute=execute, console=Console(file=io.StringIO())
        )


@pytest.fixture(autouse=True)
def _fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of our own, a machine that need not be looked at, and tables that follow every trial."""
    known: dict[str, Any] = {"preset": "smoke", "fingerprint": "0123"}
    monkeypatch.setattr(machine.exclusive.__wrapped__, "__defaults__", (tmp_path / "lock",))
    monkeypatch.setattr(environment, "environment", lambda *_: {**known})
    monkeypatch.setattr(records, "TABLES_SHARE", 1.0)


def killed_after(seconds: float, directory: Path) -> int | None:
    """Start a run in a process of its own, kill it, and return its exit status."""
    process = children.started(run, directory)
    process.join(seconds)
    return children.killed(process)


def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    directory, moments = tmp_path / "run", random.Random(0)
    path, whole, limit, kills = directory / journal.JOURNAL, b"", 0.05, 0
    while kills < KILLS:
        status = killed_after(moments.uniform(0.0, limit), directory)
        assert status in (-signal.SIGKILL, 0)  # not an exception
        kills += status != 0
        content = path.read_bytes() if path.exists() else b""
        assert content.startswith(whole)  # what was whole before is there still, to the bit
        for name, text in journal.tables(journal.current(directory).values()).items():
            if (directory / name).exists():  # perhaps of an earlier moment, but whole
                table = (directory / name).read_text()
                assert table.endswith("\n")
                assert text.startswith(table)
        found = content[: content.rfind(b"\n") + 1]
        # so that the kills are spread over the whole run, on a machine of whatever speed
        limit *= 0.5 if status == 0 else 1.15 if found == whole else 0.75
        whole = found
        if whole and moments.random() < 0.3:  # a kill inside a write, which real ones hardly ever meet
            with path.open("ab") as file:
                file.write(whole[: moments.randrange(whole.index(b"\n"))])
    assert whole.count(b"\n") > 1  # some trials survived their run's end
    assert run(directory) == {"ok": len(TRIALS)}
    assert path.read_bytes().startswith(whole)
    planned = sorted(trial.key for trial in TRIALS)
    with (directory / journal.TRIALS).open(newline="") as file:
        assert sorted(row["trial"] for row in csv.DictReader(file)) == planned
    assert path.read_bytes().count(b"\n") == len(TRIALS)  # none was measured twice
    with (directory / journal.HISTORY).open(newline="") as file:
        rows = [row["trial"] for row in csv.DictReader(file)]
    assert sorted(rows) == sorted(planned * CHECKPOINTS)
    assert verify.problems(directory) == []
    left = {journal.JOURNAL, journal.TRIALS, journal.HISTORY, journal.ENVIRONMENT, journal.LOCK}
    assert {entry.name for entry in directory.iterdir()} == left
