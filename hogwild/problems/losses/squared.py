"""The squared loss: least squares."""

from typing import NamedTuple

import numpy as np

from hogwild.problems import losses
from hogwild.problems.linear import Regression


class SquaredLoss(NamedTuple):
    """``(margin - target)**2`` with derivative ``2 (margin - target)``: the tutorial's -2 Xᵀ(y - Xw)/b."""


@losses.value.of(SquaredLoss)
def _value_of_squared(loss, margin, target):
    return (margin - target) ** 2


@losses.derivative.of(SquaredLoss)
def _derivative_of_squared(loss, margin, target):
    return 2.0 * (margin - target)


@losses.second_derivative.of(SquaredLoss)
def _second_derivative_of_squared(loss, margins, targets):
    return np.full(margins.size, 2.0)


@losses.is_quadratic.of(SquaredLoss)
def _squared_is_quadratic(loss):
    return True


@losses.negative_conjugate.of(SquaredLoss)
def _negative_conjugate_of_squared(loss, slopes, targets):
    return -(slopes**2 / 4 + slopes * targets)


@losses.nearest_dual.of(SquaredLoss)
def _nearest_dual_of_squared(loss, slopes, targets):
    return slopes


@losses.least_dual_curvature.of(SquaredLoss)
def _least_dual_curvature_of_squared(loss):
    return 0.5


@losses.dual_step.of(SquaredLoss)
def _dual_step_of_squared(loss, dual, margin, target, curvature):
    return dual + (target - margin - 0.5 * dual) / (0.5 + curvature)


class LeastSquares(Regression):
    """Mean squared error, ``loss = (x·w − y)²``; the gradient has the factor 2, as in the tutorial."""

    name, loss = "least_squares", SquaredLoss()
