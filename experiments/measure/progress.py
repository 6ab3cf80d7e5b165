"""The progress of a run: a bar with the time left on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from experiments.design.plan import Trial
from experiments.measure.outcome import Status

PLAIN_LINE_SECONDS = 10.0  # from one line to the next


class Reporter:
    """Shows a run's progress and the time left.

    A trial that is left is expected to take the mean of those of its experiment so far, in which what the
    spec plans for a trial counts as one more, scaled by how all trials so far compare with their plans.
    """

    def __init__(
        self, console: Console, trials: list[Trial], waiting: list[Trial], costs: Mapping[str, float]
    ) -> None:
        self.console, self.costs = console, costs
        self.total, self.done = len(trials), len(trials) - len(waiting)
        self.left = Counter(trial.experiment for trial in waiting)
        self.took: dict[str, list[float]] = {name: [] for name in self.left}
        self.last = self.spoke = time.monotonic()
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
        """Announce further replicates, if there are any."""
        if not trials:
            return
        self.total += len(trials)
        self.left.update(trial.experiment for trial in trials)
        self._say(f"{len(trials)} more trials, for narrower intervals")

    def seconds_left(self) -> float:
        """Return the estimate, after at least one trial."""
        planned = sum(self._cost(name) * len(times) for name, times in self.took.items())
        scale = sum(map(sum, self.took.values())) / planned
        means = {
            name: (sum(self.took.get(name, [])) + scale * self._cost(name))
            / (len(self.took.get(name, [])) + 1)
            for name in self.left
        }
        return sum(count * means[name] for name, count in self.left.items())

    def advance(self, trial: Trial, row: dict[str, Any]) -> None:
        self.done += 1
        now = time.monotonic()
        self.took.setdefault(trial.experiment, []).append(now - self.last)
        self.left[trial.experiment] -= 1
        self.last = now
        name = f"{trial.experiment} {trial.backend} × {trial.workers}"
        left = f"about {self.seconds_left():.0f} s"
        self.progress.update(self.task, advance=1, total=self.total, description=name, left=left)
        if row["status"] == Status.ERROR:
            self._say(f"{name} (trial {trial.key}): {row['reason']}")
        due = now - self.spoke > PLAIN_LINE_SECONDS or self.done == self.total
        if due and not self.console.is_terminal:
            self.spoke = now
            self._say(f"{self.done}/{self.total} trials, {left} left")

    def _cost(self, experiment: str) -> float:
        return self.costs.get(experiment, 1.0)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
