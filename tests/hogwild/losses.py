"""What the tests know of each loss, written slowly: a row for the problem that minimises it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import entr, expit


class Facts(NamedTuple):
    """A loss with its default settings; ``alpha`` is minus a slope of it.

    ``gain`` is ``−φ*(−alpha)``, from the definition of the conjugate; ``duals`` are the bounds of the alphas
    where it is finite, for a target.
    """

    value: Callable[[float, float], float]  # of a margin and a target, as these four
    slope: Callable[[float, float], float]
    gain: Callable[[float, float], float]  # of alpha and a target
    duals: Callable[[float], tuple[float, float]]
    dual_step: Callable[[float, float, float, float], float]  # of alpha, a margin, a target and a curvature
    mean_curvature: float
    least_dual_curvature: float
    smooth: bool = True  # then there is a certificate without a penalty, too


def between_zero_and(target):
    return min(0.0, target), max(0.0, target)


def logistic_dual_step(alpha, margin, target, curvature):
    def slope(z):  # in the margin's terms: in those of alpha it is infinite at both ends
        return z - target * margin - curvature * (expit(-z) - target * alpha)

    wide = abs(margin) + curvature + 1
    return target * float(expit(-brentq(slope, -wide, wide, xtol=1e-15, rtol=1e-15)))


FACTS = {
    "least_squares": Facts(
        value=lambda margin, target: (margin - target) ** 2,
        slope=lambda margin, target: 2 * (margin - target),
        gain=lambda alpha, target: alpha * target - alpha**2 / 4,
        duals=lambda target: (-math.inf, math.inf),
        # where the slope of a parabola is zero
        dual_step=lambda alpha, margin, target, curvature: (
            (target - margin + curvature * alpha) / (0.5 + curvature)
        ),
        mean_curvature=2.0,
        least_dual_curvature=0.5,
    ),
    "logistic": Facts(
        value=lambda margin, target: np.log1p(np.exp(-target * margin)),
        slope=lambda margin, target: -target / (1 + np.exp(target * margin)),
        gain=lambda alpha, target: entr(alpha * target) + entr(1 - alpha * target),
        duals=between_zero_and,
        dual_step=logistic_dual_step,
        mean_curvature=math.tanh(1.0) / 4,
        least_dual_curvature=4.0,
    ),
    "hinge": Facts(
        value=lambda margin, target: max(1 - target * margin, 0.0),
        slope=lambda margin, target: -target if target * margin < 1 else 0.0,
        gain=lambda alpha, target: alpha * target,
        duals=between_zero_and,
        dual_step=lambda alpha, margin, target, curvature: float(
            np.clip(alpha + (target - margin) / curvature, *between_zero_and(target))
        ),
        mean_curvature=0.5,
        least_dual_curvature=0.0,
        smooth=False,
    ),
}
BOUNDED = [name for name, facts in FACTS.items() if math.isfinite(facts.duals(1.0)[1])]
