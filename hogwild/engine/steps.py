"""How far an update goes, and by how much it shrinks all weights. ``epochs`` may be a fraction."""

import math
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks
from hogwild.engine.compiling import abstract, generic


class Constant(NamedTuple):
    """The same step for every update."""

    initial: float


class InverseTime(NamedTuple):
    """``initial / (1 + decay * epochs)``: the diminishing 1/k step (Robbins & Monro 1951).

    With ``decay = 2 * l2 * initial`` it tends to ``1 / (2 * l2 * epochs)``: after k updates, 1/k over the
    strong convexity ``2 * l2 / n_examples`` that the penalty gives (Nemirovski et al. 2009, section 2.1).
    """

    initial: float
    decay: float = 1.0


class ExponentialBackoff(NamedTuple):
    """``initial * factor**epoch``: multiplied at the end of each epoch (Niu et al. 2011, section 7)."""

    initial: float
    factor: float = 0.9


StepSize = Constant | InverseTime | ExponentialBackoff


class InverseTimeInEpoch(NamedTuple):
    """``initial / (offset + slope * epochs)``: `InverseTime` for kernels, whatever the pace of time."""

    initial: float
    offset: float
    slope: float


class WeightDecay(NamedTuple):
    """A step-size rule whose updates also shrink all weights by a common factor, the penalty ``l2 ‖w‖²``.

    An update with step γ multiplies all weights by ``exp(-2 l2 γ / n_examples)``: to first order, a step
    along the penalty's gradient. Weights v are stored without these factors, beside a scale s: ``w = s v``.
    So an update touches only the coordinates of its example (Shalev-Shwartz et al. 2011, Mathematical
    Programming 127, section 2; Bottou 2010, COMPSTAT). Here the scale is a function of the position in the
    epoch: workers need not share it while they are at about the same position
    (`hogwild.sharing.shares.run_pieces`).
    """

    step: StepSize
    strength: float  # 2 l2
    since: float = 0.0  # epochs at which the logarithm of the scale is known
    logarithm: float = 0.0

    @property
    def scale(self) -> float:
        """s, at the time at which it is known."""
        return math.exp(self.logarithm)

    def after(self, epoch: int, epochs: float) -> "WeightDecay":
        """Return the rule that knows the scale after so many epochs, within an epoch or at its end."""
        rule = _decaying(self, epoch)
        return self._replace(since=epochs, logarithm=float(log_scale_at(rule, epochs)))


class WeightDecayInEpoch(NamedTuple):
    """`WeightDecay` for kernels: the logarithm of the scale is ``start - power * elapsed(step, epochs)``."""

    step: Constant | InverseTimeInEpoch
    start: float
    power: float


_STEADY = 1e-12  # below it, 1 + decay would lose most of the decay's digits
StepRule = StepSize | WeightDecay
KernelStep = Constant | InverseTimeInEpoch | WeightDecayInEpoch


@abstract
def step_at(step: Any, epochs: Any) -> Any:
    """Return the step size after a number of epochs."""


@step_at.of(Constant)
def _constant_step(step, epochs):
    return step.initial


@step_at.of(InverseTimeInEpoch)
def _inverse_time_step(step, epochs):
    return step.initial / (step.offset + step.slope * epochs)


@step_at.of(WeightDecayInEpoch)
def _step_under_decay(step, epochs):
    return step_at(step.step, epochs)


@abstract
def elapsed(step: Any, epochs: Any) -> Any:
    """Return the integral of the step size over the epochs, up to a factor and a constant."""


@elapsed.of(Constant)
def _time_elapsed(step, epochs):
    return epochs


@elapsed.of(InverseTimeInEpoch)
def _inverse_time_elapsed(step, epochs):
    return np.log(step.offset + step.slope * epochs)


@generic
def scale_at(step: Any, epochs: Any) -> Any:
    """Return the factor from the stored weights to the weights after a number of epochs."""
    return 1.0


@scale_at.of(WeightDecayInEpoch)
def _scale_of_decay(step, epochs):
    return np.exp(log_scale_at(step, epochs))


@generic
def log_scale_at(step: Any, epochs: Any) -> Any:
    """Return the logarithm of `scale_at`."""
    return 0.0


@log_scale_at.of(WeightDecayInEpoch)
def _log_scale_of_decay(step, epochs):
    return step.start - step.power * elapsed(step.step, epochs)


@generic
def restarted(step: Any, epochs: Any, logarithm: Any) -> Any:
    """Return the same rule with the scale that has this logarithm after a number of epochs."""
    return step


@restarted.of(WeightDecayInEpoch)
def _restarted_decay(step, epochs, logarithm):
    start = logarithm + step.power * elapsed(step.step, epochs)
    return WeightDecayInEpoch(step.step, start, step.power)


def in_epoch(step: StepRule, epoch: int, pace: int = 1, ahead: float = 0.0) -> KernelStep:
    """Return the rule that holds within an epoch, so that kernels know two rules only.

    Parameters
    ----------
    step : Constant, InverseTime, ExponentialBackoff or WeightDecay
    epoch : int
        Number of finished epochs.
    pace : int
        How fast time passes: how many updates all workers make while one of them makes one. A rule that
        shrinks weights always has pace 1.
    ahead : float
        How many epochs time is ahead of ``pace`` times those that a kernel counts.
    """
    if isinstance(step, WeightDecay):
        return _decaying(step, epoch)
    return _plain(step, epoch, pace, ahead)


def _plain(step: StepSize, epoch: int, pace: int, ahead: float) -> Constant | InverseTimeInEpoch:
    if isinstance(step, InverseTime):
        return InverseTimeInEpoch(step.initial, 1.0 + step.decay * ahead, step.decay * pace)
    return Constant(step.initial * getattr(step, "factor", 1.0) ** epoch)


def _decaying(step: WeightDecay, epoch: int) -> WeightDecayInEpoch:
    if isinstance(step.step, InverseTime) and step.step.decay < _STEADY:
        step = step._replace(step=Constant(step.step.initial))
    rule = _plain(step.step, epoch, 1, 0.0)
    if isinstance(step.step, InverseTime):  # elapsed: log(1 + decay * time)
        power = step.strength * step.step.initial / step.step.decay
        return WeightDecayInEpoch(
            rule, step.logarithm + power * math.log1p(step.step.decay * step.since), power
        )
    power = step.strength * rule.initial
    return WeightDecayInEpoch(rule, step.logarithm + power * step.since, power)


def as_step(given: Any) -> StepSize:
    """Return a step-size record with float fields for a number or a record, checked.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or if a field is not a positive finite number (a back-off factor must also be at
        most 1).
    """
    if isinstance(given, StepSize):
        fields = zip(given._fields, given, strict=True)
        step: StepSize = type(given)(*(checks.positive(f"step_size.{name}", value) for name, value in fields))
    elif isinstance(given, tuple | str | type(None)):
        allowed = "a positive number, or Constant, InverseTime or ExponentialBackoff of hogwild.steps"
        raise TypeError(f"step_size is {given!r}; it must be {allowed}")
    else:
        step = Constant(checks.positive("step_size", given))
    if isinstance(step, ExponentialBackoff) and step.factor > 1:
        raise ValueError(f"step_size.factor is {step.factor!r}; it must be a number in (0, 1]")
    return step
