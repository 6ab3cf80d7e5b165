"""The loop over segments: what is trained and evaluated when, on which clock, and when it is over."""

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hogwild.assembly import Setup
from hogwild.engine.steps import WeightDecay, in_epoch, log_scale_at, step_at
from hogwild.result import Checkpoint, Status
from hogwild.sharing.schedule import Segment
from hogwild.teams.borrowed import CollectorPause
from hogwild.teams.crew import Team

DIVERGENCE_FACTOR = 1e3  # an objective this many times the larger of f(0) and the start counts as exploded
_SMALL_SCALE = 2.0**-20  # below it the scale goes into the stored weights, which would overflow one day
_MOST_SHRINKAGE = 20.0  # logarithm of the factor that workers may apply between two looks at it


class Training:
    """The state of a run between segments."""

    def __init__(self, setup: Setup, team: Team, workers: int) -> None:
        given = setup.given
        self._problem, self._team, self._step, self._limits = given.problem, team, setup.step, given.limits
        self._suboptimality = given.problem.gauge(given.limits.target)
        self._batch_size = given.batch_size
        self.history: list[Checkpoint] = []
        self.status, self.message = Status.OK, "all epochs done"
        self.weights: np.ndarray  # of the last checkpoint, or of the last sound one
        self.updates: np.ndarray = np.zeros(workers, np.int64)
        self.cpu_seconds: np.ndarray = np.zeros(workers)
        self.starved_seconds: np.ndarray = np.zeros(workers)
        self._train_seconds = self._eval_seconds = 0.0
        self._too_much = math.inf

    def go(self, bounds: list[int], callback: Callable[[Checkpoint], Any]) -> None:
        """Run the epochs, evaluating at the given positions of each, until a stopping rule holds."""
        self._begin = time.perf_counter()
        callback(self._evaluate())
        if self._is_over("at the start", 0):
            return
        scales = (self._problem.objective_at_zero, self.history[0].objective)
        self._too_much = DIVERGENCE_FACTOR * max(filter(math.isfinite, scales))
        for epoch in range(self._limits.epochs):
            for first, last in itertools.pairwise(bounds):
                quiet = CollectorPause()
                try:
                    quiet.take()  # a collection of the caller's objects is not training
                    for part in itertools.pairwise(self._stops(epoch, first, last)):
                        self._train(epoch, *part)
                finally:
                    quiet.give_back()
                callback(self._evaluate())
                planned = self._copies * (epoch * self._problem.n_examples + last)
                if self._is_over(f"in epoch {epoch + 1}", planned, len(bounds) - 1):
                    return

    def _stops(self, epoch: int, first: int, last: int) -> list[int]:
        """Return the positions between which no more than `_MOST_SHRINKAGE` is to be expected."""
        if not isinstance(self._step, WeightDecay):
            return [first, last]
        passes = first / self._problem.n_examples, (last - first) / self._problem.n_examples
        rate = step_at(in_epoch(self._step, epoch), epoch + passes[0])  # which does not grow
        parts = math.ceil(min(self._step.strength * rate * passes[1] / _MOST_SHRINKAGE, last - first))
        return [first + bound for bound in bounds_of(last - first, max(parts, 1), self._batch_size)]

    def _train(self, epoch: int, first: int, last: int) -> None:
        left = self._limits.time_limit - self._train_seconds
        began, step = time.perf_counter(), self._step
        if isinstance(step, WeightDecay) and step.scale < _SMALL_SCALE:
            with np.errstate(invalid="ignore"):  # what has exploded
                self._team.weights[...] *= step.scale
            self._step = step._replace(logarithm=0.0)
        self._train_seconds += time.perf_counter() - began
        seconds, reports = self._team.run(Segment(self._step, epoch, first, last, left))
        self._train_seconds += seconds
        self.updates = np.array([report.updates for report in reports]) + (
            self.updates if self.updates.size else 0
        )
        self.cpu_seconds += [report.cpu_seconds for report in reports]
        self.starved_seconds += [report.starved_seconds for report in reports]
        if isinstance(self._step, WeightDecay):
            if self._team.schedule.whole_runs:
                self._bring_to_one_scale(self._step, epoch)
            self._step = self._step.after(epoch, self._passes)

    def _bring_to_one_scale(self, step: WeightDecay, epoch: int) -> None:
        """Bring workers' copies that a time limit ended at different updates to the scale of their mean."""
        rule, own = in_epoch(step, epoch), self.updates / self._problem.n_examples
        apart = [log_scale_at(rule, passes) - log_scale_at(rule, self._passes) for passes in own]
        if any(apart):
            self._team.weights[...] *= np.exp(apart)[:, None]

    @property
    def _passes(self) -> float:
        """All updates so far, in passes over the data."""
        return float(self.updates.sum() / self._problem.n_examples / self._copies)

    @property
    def _copies(self) -> int:
        """How many times each example is visited in an epoch."""
        return len(self._team.weights) if self._team.schedule.whole_runs else 1

    def _weights(self) -> np.ndarray:
        """Return the weights that count, while workers rest and nothing races with it."""
        with np.errstate(over="ignore", invalid="ignore"):  # what has exploded
            weights = np.array(self._team.schedule.combine(self._team.weights))
            if isinstance(self._step, WeightDecay):
                weights *= weights.dtype.type(self._step.scale)
            return self._problem.settle(weights)

    def _evaluate(self) -> Checkpoint:
        begin = time.perf_counter()
        weights = self._weights()
        objective = self._problem.objective(weights)
        errors = self._problem.weight_errors(weights)
        self._sound = math.isfinite(objective) and objective <= self._too_much
        if self._sound:  # the loss of an infinite weight may be finite
            self._sound = bool(np.isfinite(weights).all())
        if self._sound or not self.history:
            self.weights = weights
        now = time.perf_counter()
        self._eval_seconds += now - begin
        done = int(self.updates.sum())
        checkpoint = Checkpoint(
            self._passes,
            done,
            self._train_seconds,
            self._eval_seconds,
            now - self._begin,
            objective,
            self._suboptimality(objective),
            *errors,
        )
        self.history.append(checkpoint)
        return checkpoint

    def _is_over(self, when: str, planned: int, segments: int = 1) -> bool:
        """Apply the stopping rules after a checkpoint and so many updates; set status and message."""
        now, limits, status = self.history[-1], self._limits, Status.OK
        whole = limits.epochs * self._problem.n_examples * self._copies
        if not self._sound:
            status, message = Status.DIVERGED, f"diverged {when}: {self._what_exploded()}"
        elif limits.target is not None and now.suboptimality <= limits.target:  # never where it is nan
            message = f"reached the target suboptimality {limits.target:g} after {now.epoch:g} epochs"
        elif now.updates < (whole if self._train_seconds >= limits.time_limit else planned):
            status = Status.TIMEOUT
            message = f"the time limit of {limits.time_limit:g} s of training has passed"
        elif limits.tolerance is not None and 0 <= self._fall(segments) <= limits.tolerance:
            message = f"an epoch lowered the objective by no more than the tolerance {limits.tolerance:g}"
        elif now.updates == whole:
            message = "; ".join(["all epochs done", *self._missed(segments)])
        else:
            return False
        self.status, self.message = status, message
        return True

    def _what_exploded(self) -> str:
        start, now = self.history[0].objective, self.history[-1].objective
        if len(self.history) == 1:
            return f"its objective is {now:.3g}"
        infinite = ", with weights that are not finite" * (math.isfinite(now) and now <= self._too_much)
        return f"objective {start:.3g} at first, {now:.3g} now{infinite}"

    def _fall(self, segments: int) -> float:
        """Return by which share of itself the last epoch lowered the objective; nan before there is one."""
        if len(self.history) <= segments:
            return math.nan
        before, now = self.history[-1 - segments].objective, self.history[-1].objective
        return (before - now) / before if before else -now

    def _missed(self, segments: int) -> list[str]:
        """Return, in words, what the run should have reached and did not."""
        missed, limits = [], self._limits
        if limits.target is not None:
            missed.append(f"the target suboptimality {limits.target:g} was not reached")
        if limits.tolerance is not None:
            rose = ", and the last epoch raised the objective" * (self._fall(segments) < 0)
            missed.append(f"the tolerance {limits.tolerance:g} was never met{rose}")
        return missed


def bounds_of(examples: int, evaluations: int, batch_size: int) -> list[int]:
    """Return the positions of an epoch at which it is evaluated: about equal parts, whole batches."""
    batches = -(-examples // batch_size)
    marks = {min(batches * part // evaluations * batch_size, examples) for part in range(evaluations + 1)}
    return sorted(marks)
