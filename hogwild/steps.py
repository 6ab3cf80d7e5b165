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


@generic
def step_at(step: Any, passes: Any) -> Any:
    """Return the step size after a number of passes over the data."""


@step_at.of(Constant)
def _(step, passes):
    return step.initial


@step_at.of(InverseTime)
def _(step, passes):
    return step.initial / (1.0 + step.decay * passes)


def in_epoch(step: StepSize, epoch: int) -> StepSize:
    """Return the rule that holds within an epoch, so that kernels know two rules only.

    Parameters
    ----------
    step : Constant, InverseTime or ExponentialBackoff
    epoch : int
        Number of finished epochs.
    """
    if isinstance(step, ExponentialBackoff):
        return Constant(step.initial * step.factor**epoch)
    return step


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
