"""What a run has measured: its journal, and the CSVs that follow it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from experiments.design.plan import Trial, describe
from experiments.design.workloads import ChangedData
from experiments.measure import journal
from experiments.measure.outcome import Outcome
from experiments.measure.progress import PLAIN_LINE_SECONDS

TABLES_SHARE = 0.001  # of the time goes at most into the CSVs that follow the journal
ADVICE = "choose another --out, or --fresh to measure again from nothing"


class Records:
    """The records of a directory, old and new; as a context it leaves the CSVs up to date.

    Trials of the planned ones' experiments that are not planned leave the tables (`journal.retire`).
    """

    def __init__(self, directory: Path, planned: Iterable[Trial], fingerprint: str, console: Console) -> None:
        self.directory, self.fingerprint, self.console = directory, fingerprint, console
        self.rows = journal.read(directory, repair=True)
        self._retire(list(planned))
        current = [record["trial"] for record in journal.current(directory).values()]
        # what data hold in the trials of the tables, by what was asked for
        self.hashes = {
            (row.get("data_id"), row.get("file_hash")): row["data_hash"]
            for row in current
            if row.get("data_hash")
        }
        self.began = self.due = time.monotonic()
        self.behind = True  # the CSVs may be
        self.seconds = 0.0  # that records and readings have cost

    def __enter__(self) -> Records:
        self.began = self.due = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.write()
        if (elapsed := time.monotonic() - self.began) > PLAIN_LINE_SECONDS:
            self._say(f"the harness itself took {self.seconds / elapsed:.1%} of {elapsed:.0f} s")

    def missing(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return the trials that are still to be run: one that was disturbed is run again each time."""
        done = {key for key, record in self.rows.items() if not record["trial"].get("disturbed")}
        return [trial for trial in trials if trial.key not in done]

    def check_data(self, trial: Trial, outcome: Outcome) -> None:
        """Make sure that a trial's data hold what they did in other trials, whoever made or installed them.

        Raises
        ------
        ChangedData
            If not.
        """
        asked, found = describe(trial), outcome.columns.get("data_hash") or ""
        same = asked["data_id"], asked["file_hash"]
        before = self.hashes.setdefault(same, found) if found else ""
        if found != before:
            sides = f"data_hash {before[:12]}… there, {found[:12]}… here"
            name = trial.workload.dataset
            raise ChangedData(f"{name} is not what it was in other trials: {sides}; {ADVICE}")

    def add(self, key: str, outcome: Outcome) -> None:
        """Write a trial down; the CSVs follow if they have not cost much of the time so far."""
        outcome.columns["environment"] = self.fingerprint
        with self.counted():
            journal.append(self.directory, outcome.columns, outcome.history)
        self.seconds += outcome.columns.get("reading_seconds", 0.0)
        self.rows[key] = {"trial": outcome.columns, "history": outcome.history}
        self.behind = True
        if time.monotonic() > self.due:
            self.write()

    def write(self) -> None:
        """Bring the CSVs up to date."""
        if not self.behind:
            return
        spent = self.seconds
        with self.counted():
            journal.write_tables(self.directory)
        self.behind = False
        self.due = time.monotonic() + (self.seconds - spent) / TABLES_SHARE

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the seconds of the block as the harness's own."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began

    def _retire(self, planned: list[Trial]) -> None:
        """Keep what these experiments no longer plan out of the tables, and bring back what they do."""
        names, keys = {trial.experiment for trial in planned}, {trial.key for trial in planned}
        before = set(self.rows) - set(journal.current(self.directory))
        ours = {key for key, record in self.rows.items() if record["trial"]["experiment"] in names}
        retired = (before - keys) | (ours - keys)
        if retired != before:
            journal.retire(self.directory, retired)
        files = {trial.workload.data_id: trial.workload for trial in planned if trial.workload.file_hash}
        why: Counter[str] = Counter()
        for row in (self.rows[key]["trial"] for key in retired):
            now = files.get(row.get("data_id"))
            if now and now.file_hash != row["file_hash"]:
                why[f"what {dict(now.data)['path']} held before it changed"] += 1
            else:
                why["an earlier spec"] += 1
        for reason, count in sorted(why.items()):
            where = self.directory / journal.JOURNAL
            self._say(f"{count} trials of {reason} stay in {where}, not in the tables")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
