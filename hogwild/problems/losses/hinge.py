"""The hinge loss: the support vector machine."""

from typing import NamedTuple

import numpy as np

from hogwild.problems import losses, optimum
from hogwild.problems.linear import Classification
from hogwild.problems.solvers import support_vectors


class HingeLoss(NamedTuple):
    """``max(1 - target * margin, 0)`` for targets ±1; slope 0 at the kink (Niu et al. 2011, eq. 2.3)."""


@losses.value.of(HingeLoss)
def _value_of_hinge(loss, margin, target):
    return np.maximum(1.0 - target * margin, 0.0)


@losses.derivative.of(HingeLoss)
def _derivative_of_hinge(loss, margin, target):
    return -target if target * margin < 1.0 else 0.0 * target


@losses.slope_is_zero.of(HingeLoss)
def _slope_of_hinge_is_zero(loss, slope):
    return slope == 0


@losses.mean_curvature.of(HingeLoss)
def _mean_curvature_of_hinge(loss):
    # examples gather at the kink, which counts: over a wider range it counts less, and replicas overshoot
    return losses.curvature_within(loss, 1.0)


@losses.dual_step.of(HingeLoss)
def _dual_step_of_hinge(loss, dual, margin, target, curvature):
    # Hsieh et al. 2008, ICML, Algorithm 1, with their α = target · dual in [0, 1]
    return target * min(max(target * dual + (1.0 - target * margin) / curvature, 0.0), 1.0)


@optimum.minimum.of(HingeLoss)
def _minimum_of_hinge(loss, X, y, l2, precision, work):
    if l2 == 0:
        raise optimum.UncertifiedOptimum(
            "l2 is 0: the optimum of the hinge loss is certified by a duality gap, which needs l2 > 0"
        )
    bounds, solver = support_vectors.solve(X, y, l2, precision, work)
    return optimum.Minimum(bounds, solver, "duality_gap")


class HingeSVM(Classification):
    """The sparse support vector machine of Niu et al. 2011, eq. 2.3, ``loss = max(1 − y x·w, 0)``."""

    name, loss = "hinge", HingeLoss()
