"""How far an update goes: step sizes as records. ``passes`` counts epochs with their fraction."""

from typing import Any, NamedTuple

from hogwild import checks
from hogwild.compiling import generic


class Constant(NamedTuple):
    """The same step for every update."""

    initial: float


class InverseTime(NamedTuple):
    """``initial / (1 + decay * passes)``: the diminishing 1/k step (Robbins & Monro 1951).

    With ``decay = 2 * l2 * initial`` it tends to ``1 / (2 * l2 * passes)``: after k updates, 1/k over the
    strong convexity ``2 * l2 / n_examples`` that the penalty gives (Nemirovski et al. 2009, section 2.1).
    """

    initial: float
    decay: float = 1.0


class ExponentialBackoff(NamedTuple):
    """``initial * factor**epoch``: multiplied at the end of each epoch (Niu et al. 2011, section 7)."""

    initial: float
    factor: float = 0.9


StepSize = Constant | InverseTime | ExponentialBackoff


class Hyperbola(NamedTuple):
    """``initial / (offset + slope * passes)``: `InverseTime` for kernels, whatever the pace of time."""

    initial: float
    offset: float
    slope: float


@generic
def step_at(step: Any, passes: Any) -> Any:
    """Return the step size after a number of passes over the data."""


@step_at.of(Constant)
def _(step, passes):
    return step.initial


@step_at.of(Hyperbola)
def _(step, passes):
    return step.initial / (step.offset + step.slope * passes)


def in_epoch(step: StepSize, epoch: int, pace: int = 1, ahead: float = 0.0) -> Constant | Hyperbola:
    """Return the rule that holds within an epoch, so that kernels know two rules only.

    Parameters
    ----------
    step : Constant, InverseTime or ExponentialBackoff
    epoch : int
        Number of finished epochs.
    pace : int
        How fast time passes: several workers have done that many updates when one of them has done one.
    ahead : float
        By how many passes time is ahead of ``pace`` times the passes that a kernel counts.
    """
    if isinstance(step, InverseTime):
        return Hyperbola(step.initial, 1.0 + step.decay * ahead, step.decay * pace)
    return Constant(step.initial * getattr(step, "factor", 1.0) ** epoch)


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
