"""Running a plan: one timed trial at a time, each outcome a row; a kill costs at most the trial in flight."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from experiments.design.plan import Trial, describe
from experiments.design.workloads import ChangedData
from experiments.measure import environment, journal, machine
from experiments.measure.execution import execute
from experiments.measure.outcome import Impossible, Outcome, Status
from experiments.measure.progress import PLAIN_LINE_SECONDS, Reporter
from experiments.measure.tuning import settled

TABLES_SHARE = 0.001  # of the time goes at most into the CSVs that follow the journal
ADVICE = "choose another --out, or --fresh to measure again from nothing"


class RunError(RuntimeError):
    """A run that must not start: the message says what to do."""


def run(
    trials: Iterable[Trial],
    directory: Path,
    *,
    preset: str,
    command: str = "",
    execute: Callable[[Trial], Outcome] = execute,
    console: Console | None = None,
    fresh: bool = False,
    mix: bool = False,
    spare: Iterable[Trial] = (),
    wanted: Callable[[Path, list[Trial]], list[Trial]] = lambda directory, spare: [],
    costs: Mapping[str, float] | None = None,
) -> Counter[str]:
    """Run the trials that the directory does not hold yet; return how many rows of each status it holds now.

    An exception in a trial becomes a row with status ``error``; an interrupt ends the run, tables written.
    Trials of the same experiments that are neither planned nor spare are of an earlier spec, or of what a
    file held before: they stay in the journal and leave the tables. A trial on other data than the ones
    before it, for the same data set, options and seed, is an error, and has another chance in the next run.

    Parameters
    ----------
    fresh : bool
        Drop what the directory holds.
    mix : bool
        Go on in a directory that holds results of another machine or of other software.
    spare : trials
        Of further replicates.
    wanted : function of the directory and the spare trials that are left
        Chooses those that are to be run next, none to end the run.
    costs : mapping
        Seconds that a trial of an experiment takes, about, by its name: what the time left is told by.

    Raises
    ------
    RunError
        If the directory holds results of another preset, or of another machine or other software.
    journal.JournalError
        If the directory cannot be written, or another process runs trials into it.
    machine.BusyError
        If another run is timing on this machine.
    """
    trials, left = list(trials), list(spare)
    console = console or Console(stderr=True)
    # idle BLAS threads go on spinning for a while on cores that workers are to have for themselves
    with machine.exclusive(), journal.owned(directory), threadpool_limits(limits=1):
        fingerprint = _open(directory, preset, command, fresh=fresh, mix=mix)
        records = journal.read(directory, repair=True)
        _retire(directory, records, [*trials, *left], console)
        # a trial that was disturbed has another chance each time
        done = {key for key, record in records.items() if not record["trial"].get("disturbed")}
        waiting = [trial for trial in trials if trial.key not in done]
        hashes = _data_hashes(directory)
        with Reporter(console, trials, waiting, costs or {}) as reporter:
            kept, began = _Records(directory), time.monotonic()
            try:
                while waiting or left:
                    for trial in waiting:
                        outcome = _attempt(trial, execute, records, hashes)
                        outcome.columns["environment"] = fingerprint
                        kept.add(outcome)
                        records[trial.key] = {"trial": outcome.columns, "history": outcome.history}
                        reporter.advance(trial, outcome.columns)
                        kept.follow()
                    kept.write()
                    asked = time.monotonic()
                    chosen = {trial.key for trial in wanted(directory, left)}
                    kept.seconds += time.monotonic() - asked
                    if not chosen:
                        break
                    waiting = [trial for trial in left if trial.key in chosen and trial.key not in done]
                    left = [trial for trial in left if trial.key not in chosen]
                    if waiting:
                        reporter.more(waiting)
            finally:
                kept.write()
                if (elapsed := time.monotonic() - began) > PLAIN_LINE_SECONDS:
                    text = f"the harness itself took {kept.seconds / elapsed:.1%} of {elapsed:.0f} s"
                    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return Counter(record["trial"]["status"] for record in journal.current(directory).values())


class _Records:
    """The journal, and the CSVs, which follow it now and then, for a small share of the time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.due = time.monotonic()
        self.behind = True  # the CSVs may be
        self.seconds = 0.0  # that records and readings have cost

    def add(self, outcome: Outcome) -> None:
        began = time.monotonic()
        journal.append(self.directory, outcome.columns, outcome.history)
        self.behind = True
        self.seconds += time.monotonic() - began + outcome.columns.get("reading_seconds", 0.0)

    def follow(self) -> None:
        if time.monotonic() > self.due:
            self.write()

    def write(self) -> None:
        if not self.behind:
            return
        began = time.monotonic()
        journal.write_tables(self.directory)
        self.behind = False
        spent = time.monotonic() - began
        self.seconds += spent
        self.due = time.monotonic() + spent / TABLES_SHARE


def _retire(directory: Path, records: Mapping[str, Any], planned: list[Trial], console: Console) -> None:
    """Keep trials that these experiments no longer plan out of the tables, and bring back those they do."""
    names, keys = {trial.experiment for trial in planned}, {trial.key for trial in planned}
    before = set(records) - set(journal.current(directory))
    ours = {key for key, record in records.items() if record["trial"]["experiment"] in names}
    retired = (before - keys) | (ours - keys)
    if retired != before:
        journal.retire(directory, retired)
    files = {trial.workload.data_id: trial.workload for trial in planned if trial.workload.file_hash}
    why: Counter[str] = Counter()
    for row in (records[key]["trial"] for key in retired & set(records)):
        now = files.get(row.get("data_id"))
        if now and now.file_hash != row["file_hash"]:
            why[f"what {dict(now.data)['path']} held before it changed"] += 1
        else:
            why["an earlier spec"] += 1
    for reason, count in sorted(why.items()):
        text = f"{count} trials of {reason} stay in {directory / journal.JOURNAL}, not in the tables"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _data_hashes(directory: Path) -> dict[Any, str]:
    """Return what data hold in the trials of the tables, by what was asked for."""
    rows = [record["trial"] for record in journal.current(directory).values()]
    return {
        (row.get("data_id"), row.get("file_hash")): row["data_hash"] for row in rows if row.get("data_hash")
    }


def _check_data(trial: Trial, outcome: Outcome, hashes: dict[Any, str]) -> None:
    """Make sure that a trial's data hold what they did in other trials, whoever made or installed them."""
    asked, found = describe(trial), outcome.columns.get("data_hash") or ""
    before = hashes.setdefault((asked["data_id"], asked["file_hash"]), found) if found else ""
    if found != before:
        sides = f"data_hash {before[:12]}… there, {found[:12]}… here"
        raise ChangedData(f"{trial.workload.dataset} is not what it was in other trials: {sides}; {ADVICE}")


def _attempt(
    trial: Trial,
    execute: Callable[[Trial], Outcome],
    records: Mapping[str, journal.Record],
    hashes: dict[Any, str],
) -> Outcome:
    """Run a trial, whatever becomes of it, and add the columns that describe it."""
    began, started_at = time.perf_counter(), datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        if trial.skip is not None:
            raise Impossible(trial.skip)
        trial = settled(trial, records)
        outcome = execute(trial)
        _check_data(trial, outcome, hashes)
    except ChangedData as change:  # which the next run may find undone
        outcome = Outcome({"status": str(Status.ERROR), "reason": str(change), "disturbed": "its data"})
    except (Impossible, LookupError) as reason:
        outcome = Outcome({"status": str(Status.SKIPPED), "reason": str(reason)})
    except Exception as error:  # whatever it is, it is a row, and the next trial has its turn
        text = " ".join(f"{type(error).__name__}: {error}".split())
        outcome = Outcome({"status": str(Status.ERROR), "reason": text})
    row = describe(trial) | {"started_at": started_at, "total_seconds": time.perf_counter() - began}
    return Outcome({**row, **outcome.columns}, outcome.history)


def _open(directory: Path, preset: str, command: str, *, fresh: bool, mix: bool) -> str:
    """Make sure that the directory's results and ours can stand in one table; return our fingerprint."""
    if fresh:
        derived = ("claims.csv", "numbers.json", "precision.csv")
        for name in (journal.JOURNAL, journal.TRIALS, journal.HISTORY, journal.ENVIRONMENT, *derived):
            (directory / name).unlink(missing_ok=True)
    if (directory / journal.TRIALS).exists() and not (directory / journal.JOURNAL).exists():
        raise RunError(f"{directory} holds results without the journal that could be resumed; {ADVICE}")
    here = environment.environment(directory.name, preset, command)
    path = directory / journal.ENVIRONMENT
    first = json.loads(path.read_text(encoding="utf-8")) if path.exists() else here
    others = first.setdefault("others", [])
    if first["preset"] != preset:
        raise RunError(f"{directory} holds results of preset {first['preset']}, not {preset}; {ADVICE}")
    if here["fingerprint"] not in {side["fingerprint"] for side in (first, *others)}:
        if not mix:
            different = environment.difference(first, here)
            raise RunError(
                f"{directory} holds results that cannot be mixed with ours ({different}); {ADVICE}, "
                "or --mix to put both into one table, where a column tells them apart"
            )
        others.append(here)
    journal.replace(path, json.dumps(journal.plain(first), indent=1) + "\n")
    return str(here["fingerprint"])
