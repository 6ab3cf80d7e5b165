"""The logistic loss: logistic regression."""

from typing import NamedTuple

import numpy as np

from hogwild.problems import losses
from hogwild.problems.linear import Classification

_CLOSE, _MOST_STEPS = 1e-6, 100  # of Newton's method: an error is about half the square of the last step


class LogisticLoss(NamedTuple):
    """``log(1 + exp(-target * margin))`` for targets -1 and +1."""


@losses.value.of(LogisticLoss)
def _value_of_logistic(loss, margin, target):
    return np.logaddexp(0.0, -target * margin)


@losses.derivative.of(LogisticLoss)
def _derivative_of_logistic(loss, margin, target):
    # exp may overflow to inf, and -target / inf is the right 0
    return -target / (1.0 + np.exp(target * margin))


@losses.second_derivative.of(LogisticLoss)
def _second_derivative_of_logistic(loss, margins, targets):
    slopes = np.abs(losses.derivative(loss, margins, targets))
    return slopes * (1 - slopes)


@losses.negative_conjugate.of(LogisticLoss)
def _negative_conjugate_of_logistic(loss, slopes, targets):
    from scipy.special import entr

    share = np.clip(-slopes * targets, 0.0, 1.0)  # rounding may have left the domain
    return entr(share) + entr(1.0 - share)


@losses.nearest_dual.of(LogisticLoss)
def _nearest_dual_of_logistic(loss, slopes, targets):
    return np.clip(slopes * targets, -1.0, 0.0) * targets


@losses.least_dual_curvature.of(LogisticLoss)
def _least_dual_curvature_of_logistic(loss):
    return 4.0


@losses.dual_step.of(LogisticLoss)
def _dual_step_of_logistic(loss, dual, margin, target, curvature):
    # The target times the margin after the step, z, solves z = target · margin + curvature (σ(−z) − share),
    # and the new share is σ(−z): one equation without limits, where Yu, Huang & Lin (2011, Machine Learning
    # 85) have two with limits. It is concave above 0 and convex below, so on the root's side of 0 Newton
    # converges from anywhere, and all steps but the first have the same sign.
    curvature = np.float64(curvature)
    share = np.float64(target * dual)
    offset = np.float64(target * margin) - curvature * share
    z, above = np.float64(target * margin), offset + 0.5 * curvature > 0
    new, step, steps = np.float64(0.0), np.float64(1.0), 0
    while abs(step) > _CLOSE and steps < _MOST_STEPS:
        if (z > 0) != above:
            z = np.float64(0.0)
        new = 1.0 / (1.0 + np.exp(z))
        step = (z - offset - curvature * new) / (1.0 + curvature * new * (1.0 - new))
        z -= step
        steps += 1
    return target * (new + new * (1.0 - new) * step)  # what new becomes by the last step, to first order


class Logistic(Classification):
    """Logistic regression, ``loss = log(1 + exp(−y x·w))``."""

    name, loss = "logistic", LogisticLoss()
