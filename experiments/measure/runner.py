"""Running a plan: one timed trial at a time, a row for each outcome; a kill costs at most one trial."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_limits

from experiments.design.plan import Trial, describe
from experiments.design.workloads import ChangedData
from experiments.measure import environment, journal, machine
from experiments.measure.execution import execute
from experiments.measure.outcome import Impossible, Outcome, Status
from experiments.measure.progress import Reporter
from experiments.measure.records import ADVICE, Records
from experiments.measure.tuning import settled

Wanted = Callable[[Path, list[Trial]], list[Trial]]


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
    wanted: Wanted = lambda directory, spare: [],
    costs: Mapping[str, float] | None = None,
) -> Counter[str]:
    """Run the trials that the directory does not hold yet; return how many rows of each status it holds now.

    An exception in a trial becomes a row with status ``error``; an interrupt ends the run, tables written.
    Trials of the same experiments that are neither planned nor spare are of an earlier spec, or of what a
    file held before: they stay in the journal and leave the tables. A trial on other data than the ones
    before it, for the same data set, options and seed, is an error, and is run again by the next run.

    ``fresh`` drops what the directory holds; ``mix`` goes on among results of another machine or of other
    software. When all trials are done, ``wanted`` chooses from the ``spare`` ones that are left, until it
    chooses none. ``costs`` are the seconds that a trial of each experiment takes, about.

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
    # idle BLAS threads spin for a while on cores that workers need for themselves
    with machine.exclusive(), journal.owned(directory), threadpool_limits(limits=1):
        fingerprint = _open(directory, preset, command, fresh=fresh, mix=mix)
        records = Records(directory, [*trials, *left], fingerprint, console)
        waiting = records.missing(trials)
        with Reporter(console, trials, waiting, costs or {}) as reporter, records:
            _measure(waiting, left, wanted, execute, records, reporter)
    return Counter(record["trial"]["status"] for record in journal.current(directory).values())


def _measure(
    waiting: list[Trial],
    left: list[Trial],
    wanted: Wanted,
    execute: Callable[[Trial], Outcome],
    records: Records,
    reporter: Reporter,
) -> None:
    """Run the trials that are waiting, then those that are wanted of the others, until none is."""
    while waiting or left:
        for trial in waiting:
            outcome = _attempt(trial, execute, records)
            records.add(trial.key, outcome)
            reporter.advance(trial, outcome.columns)
        records.write()
        with records.counted():
            chosen = {trial.key for trial in wanted(records.directory, left)}
        if not chosen:
            break
        waiting = records.missing(trial for trial in left if trial.key in chosen)
        left = [trial for trial in left if trial.key not in chosen]
        reporter.more(waiting)


def _attempt(trial: Trial, execute: Callable[[Trial], Outcome], records: Records) -> Outcome:
    """Run a trial; whatever happens, return an outcome, with the columns that describe the trial."""
    began, started_at = time.perf_counter(), datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        if trial.skip is not None:
            raise Impossible(trial.skip)
        trial = settled(trial, records.rows)
        outcome = execute(trial)
        records.check_data(trial, outcome)
    except ChangedData as change:  # the next run may find the data restored
        outcome = Outcome({"status": str(Status.ERROR), "reason": str(change), "disturbed": "its data"})
    except (Impossible, LookupError) as reason:
        outcome = Outcome({"status": str(Status.SKIPPED), "reason": str(reason)})
    except Exception as error:  # any exception becomes a row, and the run goes on
        text = " ".join(f"{type(error).__name__}: {error}".split())
        outcome = Outcome({"status": str(Status.ERROR), "reason": text})
    row = describe(trial) | {"started_at": started_at, "total_seconds": time.perf_counter() - began}
    return Outcome({**row, **outcome.columns}, outcome.history)


def _open(directory: Path, preset: str, command: str, *, fresh: bool, mix: bool) -> str:
    """Make sure that the directory's results and ours may share a table; return our fingerprint."""
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
