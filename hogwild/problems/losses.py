"""Losses of a linear model, functions of the margin x·w and the target: value, derivative, conjugate."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.compiling import abstract

MARGIN, KINK = 2.0, 1.0


class SquaredLoss(NamedTuple):
    """``(margin - target)**2`` with derivative ``2 (margin - target)``: the tutorial's -2 Xᵀ(y - Xw)/b."""


class LogisticLoss(NamedTuple):
    """``log(1 + exp(-target * margin))`` for targets -1 and +1."""


class HingeLoss(NamedTuple):
    """``max(1 - target * margin, 0)`` for targets ±1; slope 0 at the kink (Niu et al. 2011, eq. 2.3)."""


@abstract
def derivative(loss: Any, margin: Any, target: Any) -> Any:
    """Return the derivative of the loss by the margin."""


@derivative.of(SquaredLoss)
def _(loss, margin, target):
    return 2.0 * (margin - target)


@derivative.of(LogisticLoss)
def _(loss, margin, target):
    # exp may overflow to inf, and -target / inf is the right 0
    return -target / (1.0 + np.exp(target * margin))


@derivative.of(HingeLoss)
def _(loss, margin, target):
    return -target if target * margin < 1.0 else 0.0 * target


@abstract
def slope_is_zero(loss: Any, slope: Any) -> Any:
    """Return whether an example has nothing to correct: only the hinge loss has a flat part."""


@slope_is_zero.of(SquaredLoss, LogisticLoss)
def _(loss, slope):
    return False


@slope_is_zero.of(HingeLoss)
def _(loss, slope):
    return slope == 0


def mean_curvature(loss: Any) -> float:
    """Return the second derivative by the margin, on average over margins from -2 to 2.

    Of the hinge loss from -1 to 1: examples gather at its kink, which counts. With less, replicas overshoot.
    """
    reach = KINK if isinstance(loss, HingeLoss) else MARGIN
    return float(derivative(loss, reach, 1.0) - derivative(loss, -reach, 1.0)) / (2 * reach)


def least_dual_curvature(loss: Any) -> float:
    """Return the least second derivative of φ*, the convex conjugate of the loss of one example."""
    if isinstance(loss, SquaredLoss):
        return 0.5
    return 4.0 if isinstance(loss, LogisticLoss) else 0.0


def values(loss: Any, margins: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the losses, elementwise in float64."""
    margins = margins.astype(np.float64, copy=False)
    if isinstance(loss, SquaredLoss):
        return (margins - targets) ** 2
    if isinstance(loss, LogisticLoss):
        return np.logaddexp(0.0, -targets * margins)
    return np.maximum(1.0 - targets * margins, 0.0)


def negative_conjugates(loss: Any, slopes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return ``-φ*(slope)``, elementwise, where φ is the loss of one example and φ* its convex conjugate.

    Every slope that a derivative can take is inside the conjugate's domain, so the sum is a lower bound of
    the minimum: the dual objective of the solvers' certificates.
    """
    if isinstance(loss, SquaredLoss):
        return -(slopes**2 / 4 + slopes * targets)
    dual = np.clip(-slopes * targets, 0.0, 1.0)
    if isinstance(loss, LogisticLoss):
        from scipy.special import entr

        return entr(dual) + entr(1.0 - dual)
    return dual
