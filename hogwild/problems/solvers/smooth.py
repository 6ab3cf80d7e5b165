"""The minimum of a smooth loss by Newton's method; every step brings a lower bound with it."""

import math
from typing import Any

import numpy as np
from scipy import sparse

from hogwild.problems import losses
from hogwild.problems.solvers.newton import Bounds, Model, Step, SumOfLosses, Work, minimise

_NEAR = 0.01  # of the way down: what may be left where a problem without a penalty is certified
_LARGEST = 100.0  # margins of a minimiser, over those of what was found
_ONE_STEP = 1e-10  # of the residual that the only step of a quadratic loss may leave


class SmoothSum:
    """``Σ_i φ(x_i·w, y_i) + l2 ‖w‖²``, and the dual points that certify its minimum.

    Slopes of the losses are a dual point (Shalev-Shwartz & Zhang 2013, eq. 2). After an exact Newton step d
    the linearised slopes ``s + φ''·(X d)`` have ``Xᵀs = −2 l2 (w + d)``, which is what a dual point of
    problems without a penalty must obey, too.
    """

    def __init__(
        self, loss: Any, X: sparse.csr_array, y: np.ndarray, l2: float, precision: float, work: Work
    ) -> None:
        self.loss, self.X, self.y, self.l2, self.precision = loss, X, y, l2, precision
        self.total = SumOfLosses(X, l2, self._values, self._slopes, self._curvatures, work)
        self.work, self.lower, self.certificate = work, 0.0, "duality_gap"
        self.quadratic = bool(losses.is_quadratic(loss))

    def solve(self) -> Bounds:
        """Return the best weights, and what their objective and the minimum lie between."""
        zero, total = np.zeros(self.X.shape[1]), self.total
        self.start = total.value(zero)
        forcing = _ONE_STEP if self.quadratic else 0.1
        weights = minimise(total.value, total.model_at, zero, self._enough, self.work, forcing=forcing)
        return Bounds(total.value(weights), weights, self.lower)

    def _values(self, margins: np.ndarray) -> np.ndarray:
        return np.asarray(losses.value(self.loss, margins, self.y))

    def _slopes(self, margins: np.ndarray) -> np.ndarray:
        return np.asarray(losses.derivative(self.loss, margins, self.y))

    def _curvatures(self, margins: np.ndarray) -> np.ndarray:
        return np.asarray(losses.second_derivative(self.loss, margins, self.y))

    def _enough(self, weights: np.ndarray, model: Model, step: Step) -> bool:
        margins, ahead = self.X @ weights, self.X @ step.direction
        self.work.spend(3 * self.X.nnz)
        here, there = self.total.value(weights), weights + step.direction
        slopes = self._slopes(margins) + self._curvatures(margins) * ahead
        # far from the minimum, nothing is known of the size of its weights
        near = self.quadratic or step.predicted <= _NEAR * (self.start - here)
        if self.l2 > 0 or near:
            lower = self._lower_bound(slopes, margins + ahead, there, model, step)
            if lower > self.lower:
                self.lower = lower
                self.certificate = "duality_gap" if self.l2 > 0 else "projected_duality_gap"
        upper = self._values(margins + ahead).sum() + self.l2 * float(there @ there)
        return bool(min(upper, here) - self.lower <= self.precision * (self.start - self.lower))

    def _lower_bound(
        self, slopes: np.ndarray, margins: np.ndarray, weights: np.ndarray, model: Model, step: Step
    ) -> float:
        dual = losses.nearest_dual(self.loss, slopes, self.y)
        bound = float(losses.negative_conjugate(self.loss, dual, self.y).sum())
        if self.l2 > 0:
            image = self.X.T @ dual
            return bound - float(image @ image) / (4 * self.l2)
        image = self.X.T @ slopes
        left = max(float(image @ model.inverse(image)), 0.0) / max(step.smallest, 1e-300)
        fitted = max(float(weights @ model.product(weights)), 0.0)
        return bound - _LARGEST * (math.sqrt(left * fitted) + float(np.abs(dual - slopes) @ np.abs(margins)))
