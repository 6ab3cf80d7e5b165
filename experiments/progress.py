"""How far a run is: a bar with the time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

import hogwild
from experiments.plan import Trial

PLAIN_LINE_SECONDS = 10.0  # how often a log that is not a terminal hears of us


class Reporter:
    """Tells of a run's progress and of the time left.

    The time left is the planned cost of the trials left, times what the trials so far took for theirs.
    """

    def __init__(
        self, console: Console, trials: list[Trial], waiting: list[Trial], costs: Mapping[str, float]
    ) -> None:
        self.console, self.costs = console, costs
        self.total, self.done = len(trials), len(trials) - len(waiting)
        self.spent, self.left = 0.0, sum(map(self._cost, waiting))
        self.began = self.spoke = time.monotonic()
        columns = (*Progress.get_default_columns()[:2], TextColumn("{task.fields[left]} left"))
        columns = (*columns, MofNCompleteColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task("", total=self.total, completed=self.done, left="?")

    def __enter__(self) -> Reporter:
        self.progress.start()
        if not self.console.is_terminal:
            self._say(f"{self.total} trials, {self.done} done before")
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def more(self, trials: list[Trial]) -> None:
        """Announce further replicates."""
        self.total, self.left = self.total + len(trials), self.left + sum(map(self._cost, trials))
        self._say(f"{len(trials)} more trials, for narrower intervals")

    def seconds_left(self) -> float:
        """The estimate, after at least one trial."""
        return (time.monotonic() - self.began) / self.spent * self.left

    def advance(self, trial: Trial, row: dict[str, Any]) -> None:
        self.done += 1
        self.spent, self.left = self.spent + self._cost(trial), self.left - self._cost(trial)
        name = f"{trial.experiment} {trial.backend} × {trial.workers}"
        left = f"about {self.seconds_left():.0f} s"
        self.progress.update(self.task, advance=1, total=self.total, description=name, left=left)
        if row["status"] == hogwild.Status.ERROR:
            self._say(f"{name} (trial {trial.key}): {row['reason']}")
        now = time.monotonic()
        due = now - self.spoke > PLAIN_LINE_SECONDS or self.done == self.total
        if due and not self.console.is_terminal:
            self.spoke = now
            self._say(f"{self.done}/{self.total} trials, {left} left")

    def _cost(self, trial: Trial) -> float:
        return self.costs.get(trial.experiment, 1.0)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
