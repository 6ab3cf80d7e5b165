"""Running a plan: one timed trial at a time, each outcome a row; a kill costs at most the trial in flight."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from threadpoolctl import threadpool_limits

import hogwild
from experiments import journal, machine, peers, tables, workloads
from experiments.plan import FIXED, SWEPT, Trial
from hogwild import delays, sparsity, steps

SPIN_TESTS = 6  # at most, before a trial
PLAIN_LINE_SECONDS = 10.0  # how often a log that is not a terminal hears of us
TABLES_SECONDS = 5.0  # how often the CSVs follow the journal
ADVICE = "choose another --out, or --fresh to measure again from nothing"

OPTIONS = (*SWEPT, *(name for name in FIXED if name != "initial_weights"))
STEPS: dict[str, Callable[..., Any]] = {
    "constant": lambda initial, _: steps.Constant(initial),
    "inverse_time": steps.InverseTime,
    "exponential_backoff": steps.ExponentialBackoff,
}


class RunError(RuntimeError):
    """A run that must not start: the message says what to do."""


class Impossible(RuntimeError):
    """A trial that cannot run here: the message is its reason."""


@dataclass
class Outcome:
    """What one trial left: values for columns of ``trials.csv`` and rows for ``history.csv``."""

    columns: dict[str, Any]
    history: list[tuple[Any, ...]] = field(default_factory=list)


def execute(trial: Trial) -> Outcome:
    """Build the problem (kept from trial to trial), solve it off the clock, and run one backend on it.

    Raises
    ------
    Impossible
        If a cell cannot run here, with the reason.
    """
    need, free = workloads.memory_need(trial.workload) / 2**30, psutil.virtual_memory().available / 2**30
    if need > free:
        raise Impossible(f"needs {need:.1f} GiB of memory, {free:.1f} GiB are free")
    try:
        built = workloads.build(trial.workload)
        spin_efficiency, spin_tests = _quiet_moment()
        result = _minimize(trial, built.problem)
    except (ImportError, ConnectionError, NotImplementedError) as error:
        raise Impossible(str(error)) from error
    seconds, updates = result.train_seconds, sum(result.updates)
    nonzeros = updates * built.problem.nonzeros / built.problem.n_examples
    columns = {
        **built.columns,
        **result.history[-1]._asdict(),
        "status": str(result.status),
        "reason": "" if result.status == hogwild.Status.OK else result.message,
        "setup_seconds": result.setup_seconds,
        "compile_seconds": result.compile_seconds,
        "cpu_seconds": sum(result.cpu_seconds),
        "updates_per_second": updates / seconds if seconds > 0 else None,
        "ns_per_nonzero": 1e9 * seconds / nonzeros if nonzeros > 0 else None,
        "spin_efficiency": spin_efficiency,
        "spin_tests": spin_tests,
    }
    del columns["epoch"]
    if result.status != hogwild.Status.DIVERGED:
        errors = built.problem.errors(result.weights)
        columns["mean_absolute_residual"] = errors.get("mean_absolute_residual")
        columns["cut"] = errors.get("cut")
        held_out = built.held_out.errors(result.weights) if built.held_out is not None else {}
        for name in ("error_rate", "rmse"):
            columns |= {f"train_{name}": errors.get(name), f"test_{name}": held_out.get(name)}
    if result.observations is not None:
        columns |= _observed(result.observations, built.columns["meeting_share"], trial.workers)
    if trial.gradient_delay:
        columns["measured_delay_seconds"] = delays.measured(delays.delay_of(trial.gradient_delay))
    return Outcome(columns, [tuple(row) for row in result.history])


def _observed(seen: Any, meeting_share: float, workers: int) -> dict[str, Any]:
    """Put what an instrumented run saw into columns."""
    return {
        "lost_share": seen.lost_share,
        "staleness_mean": seen.staleness.mean,
        "staleness_99": seen.staleness.percentile_99,
        "staleness_largest": seen.staleness.largest,
        "staleness_length_correlation": seen.staleness.length_correlation,
        "collision_rate": seen.collision_rate,
        "expected_collision_rate": sparsity.expected_collision_rate(meeting_share, workers),
        "wait_share": seen.wait_share,
    }


def run(
    trials: Iterable[Trial],
    directory: Path,
    *,
    preset: str,
    command: str = "",
    execute: Callable[[Trial], Outcome] = execute,
    console: Console | None = None,
    fresh: bool = False,
) -> Counter[str]:
    """Run the trials that the directory does not hold yet; return how many rows of each status it holds now.

    An exception in a trial becomes a row with status ``error``; an interrupt ends the run, tables written.

    Raises
    ------
    RunError
        If the directory holds results of another machine, other software, another preset or another spec.
    machine.BusyError
        If another run is timing on this machine.
    """
    trials = list(trials)
    console = console or Console(stderr=True)
    # idle BLAS threads go on spinning for a while on cores that workers are to have for themselves
    with machine.exclusive(), threadpool_limits(limits=1):
        directory.mkdir(parents=True, exist_ok=True)
        records = _open(directory, preset, command, fresh=fresh)
        names, keys = {trial.experiment for trial in trials}, {trial.key for trial in trials}
        for key, record in records.items():
            if record["trial"]["experiment"] in names and key not in keys:
                name = record["trial"]["experiment"]
                raise RunError(f"{directory} holds trials of {name} that its spec no longer plans; {ADVICE}")
        waiting = [trial for trial in trials if trial.key not in records]
        written = time.monotonic()
        with _Reporter(console, len(trials), len(trials) - len(waiting)) as reporter:
            try:
                for trial in waiting:
                    outcome = _attempt(trial, execute)
                    journal.append(directory, outcome.columns, outcome.history)
                    reporter.advance(trial, outcome.columns)
                    if time.monotonic() - written > TABLES_SECONDS:
                        journal.write_tables(directory, journal.read(directory).values())
                        written = time.monotonic()
            finally:
                records = journal.read(directory)
                journal.write_tables(directory, records.values())
    return Counter(record["trial"]["status"] for record in records.values())


def describe(trial: Trial) -> dict[str, Any]:
    """The columns of ``trials.csv`` that are known before a trial is run."""
    columns = {name: getattr(trial, name) for name in journal.TRIAL_COLUMNS if hasattr(trial, name)}
    workload = trial.workload
    columns |= {name: getattr(workload, name) for name in ("problem", "dataset", "l2", "dtype", "data_seed")}
    known = ("n_examples", "n_features", "density", "zipf_exponent")
    columns |= {name: value for name, value in workload.data if name in known}
    return {"trial": trial.key, **columns}


def _attempt(trial: Trial, execute: Callable[[Trial], Outcome]) -> Outcome:
    """Run a trial, whatever becomes of it, and add the columns that describe it."""
    row = describe(trial)
    row["started_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    row["load_average"] = os.getloadavg()[0]
    try:
        if trial.skip is not None:
            raise Impossible(trial.skip)
        outcome = execute(trial)
    except Impossible as reason:
        outcome = Outcome({"status": str(hogwild.Status.SKIPPED), "reason": str(reason)})
    except Exception as error:  # whatever it is, it is a row, and the next trial has its turn
        text = " ".join(f"{type(error).__name__}: {error}".split())
        outcome = Outcome({"status": str(hogwild.Status.ERROR), "reason": text})
    return Outcome({**row, **outcome.columns}, outcome.history)


def _quiet_moment() -> tuple[float, int]:
    """Wait a little for the cores to be really free; return the last spin test's efficiency, and how many."""
    tests, found = 0, 0.0
    while tests < SPIN_TESTS and found < tables.FREE_CORES:  # a nan, on one core, is not below
        tests, found = tests + 1, machine.spin_efficiency()
    return found, tests


def _minimize(trial: Trial, problem: Any) -> Any:
    if trial.backend in peers.PEERS:
        return peers.fit(
            problem, trial.backend, step_size=trial.step_size, epochs=trial.epochs, seed=trial.order_seed
        )
    return hogwild.minimize(
        problem,
        **{name: getattr(trial, name) for name in OPTIONS},
        step_size=STEPS[trial.step_rule](trial.step_size, trial.step_parameter),
        initial_weights=None if trial.initial_weights == "default" else trial.initial_weights,
        seed=trial.order_seed,
        pin=True,
    )


def _open(directory: Path, preset: str, command: str, *, fresh: bool) -> dict[str, Any]:
    """Make sure that the directory's results and ours can stand in one table; return what it holds."""
    if fresh:
        for name in (journal.JOURNAL, journal.TRIALS, journal.HISTORY, journal.ENVIRONMENT):
            (directory / name).unlink(missing_ok=True)
    environment = machine.environment(directory.name, preset, command)
    path = directory / journal.ENVIRONMENT
    if path.exists():
        different = machine.difference(json.loads(path.read_text(encoding="utf-8")), environment)
        if different:
            raise RunError(
                f"{directory} holds results that cannot be mixed with ours ({different}); {ADVICE}"
            )
    if (directory / journal.TRIALS).exists() and not (directory / journal.JOURNAL).exists():
        raise RunError(f"{directory} holds results without the journal that could be resumed; {ADVICE}")
    if not path.exists():
        journal.replace(path, json.dumps(journal.plain(environment), indent=1) + "\n")
    return journal.read(directory, repair=True)


class _Reporter:
    """A bar with the time left on a terminal, a plain line now and then elsewhere."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total, self.done = console, total, done
        self.began = self.spoke = time.monotonic()
        self.resumed = done
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())  # among them the time left
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task("", total=total, completed=done)

    def __enter__(self) -> _Reporter:
        self.progress.start()
        if not self.console.is_terminal:
            self._say(f"{self.total} trials, {self.done} done before")
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def advance(self, trial: Trial, row: dict[str, Any]) -> None:
        self.done += 1
        name = f"{trial.experiment} {trial.backend} × {trial.workers}"
        self.progress.update(self.task, advance=1, description=name)
        if row["status"] == hogwild.Status.ERROR:
            self._say(f"{name} (trial {trial.key}): {row['reason']}")
        now = time.monotonic()
        due = now - self.spoke > PLAIN_LINE_SECONDS or self.done == self.total
        if due and not self.console.is_terminal:
            self.spoke = now
            left = (now - self.began) / (self.done - self.resumed) * (self.total - self.done)
            self._say(f"{self.done}/{self.total} trials, about {left:.0f} s left")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
