"""High-precision minima with a certificate: what suboptimality is measured against."""

import math
import time
from typing import Any, NamedTuple

import numpy as np

from hogwild.problems import support_vectors
from hogwild.problems.losses import (
    HingeLoss,
    LogisticLoss,
    SquaredLoss,
    derivative,
    negative_conjugates,
    values,
)
from hogwild.problems.newton import Model, Step, SumOfLosses, Work, minimise

VERSION = 2  # of the solvers: what is kept on disk is kept by it
MOST_VISITS = 2e10  # of entries: a minute or two
_NEAR = 0.01  # of the way down: so much may be left where a problem without a penalty is certified
_LARGEST = 100.0  # margins of a minimiser, over those of what was found


class UncertifiedOptimum(RuntimeError):
    """No minimum could be found that is certified as well as was asked for."""


class Optimum(NamedTuple):
    """A minimum and what vouches for it.

    Attributes
    ----------
    objective : float
        The smallest objective found.
    weights : ndarray of shape (n_features,)
    certificate : str
        Why ``value`` holds. ``"duality_gap"``: a dual feasible point is that far below (for losses of at
        least 0, 0 is such a point); up to rounding a proof. ``"projected_duality_gap"``, of problems without
        a penalty: a dual point that a Newton step made feasible up to rounding; what is left of that counts
        as if a minimiser's margins were at most 100 times as large as those here, and, where there are too
        many columns to factor a Hessian, as if conjugate gradients had met its smallest eigenvalue: an
        estimate. ``"best_of_N_starts"``, of problems that are not convex: ``value`` says how far below a
        *local* minimum may lie, by the last Newton step: an estimate, and of the global minimum it says
        nothing.
    value : float
        The objective exceeds the minimum by at most so much.
    solver : str
    seconds : float
        What the solve took when it was done.
    """

    objective: float
    weights: Any
    certificate: str
    value: float
    solver: str
    seconds: float


def solve(loss: Any, X: Any, y: np.ndarray, l2: float, precision: float) -> Optimum:
    """Minimise ``mean(loss) + l2/m ‖w‖²`` to high precision.

    Work ends when ``value`` is within the precision, or when `MOST_VISITS` entries were visited; the caller
    looks at ``value``.

    Parameters
    ----------
    loss : SquaredLoss, LogisticLoss or HingeLoss
    X : csr_array of shape (m, n)
    y : ndarray of shape (m,)
    l2 : float
        The λ of the paper: on the sum over the examples.
    precision : float
        Of the certificate, as a share of f(0) − f*.

    Raises
    ------
    UncertifiedOptimum
        For the hinge loss without a penalty, whose minimum has no certificate here, and for values whose
        squares are no numbers.
    """
    begin = time.perf_counter()
    X, y = X.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    check_sizes("X, in its columns,", abs(X).max(axis=0).toarray(), 1e140)
    check_sizes("y", np.array([np.abs(y).max()]), 1e140)
    work = Work(MOST_VISITS)
    if isinstance(loss, HingeLoss):
        if l2 == 0:
            raise UncertifiedOptimum(
                "l2 is 0: the optimum of the hinge loss is certified by a duality gap, which needs l2 > 0"
            )
        pair, solver = support_vectors.solve(X, y, l2, precision, work)
        certificate = "duality_gap"
    else:
        smooth = _Smooth(loss, X, y, l2, precision, work)
        pair, solver, certificate = smooth.solve(), "Newton's method", smooth.certificate
    upper, value = pair.upper / y.size, max(pair.gap, 0.0) / y.size
    return Optimum(upper, pair.weights, certificate, value, solver, time.perf_counter() - begin)


def check_sizes(name: str, sizes: np.ndarray, most: float) -> None:
    """Refuse to certify a minimum by powers of sizes that float64 does not hold, or takes for 0."""
    sizes = sizes[sizes > 0]
    if sizes.size and not 1 / most < sizes.min() <= sizes.max() < most:
        raise UncertifiedOptimum(
            f"{name} has entries of size {sizes.min():.1e} to {sizes.max():.1e}; a minimum is certified "
            f"between {1 / most:.0e} and {most:.0e}"
        )


class _Smooth:
    """Newton's method for the smooth losses; every step brings a lower bound with it.

    Slopes of the losses are a dual point (Shalev-Shwartz & Zhang 2013, eq. 2). After an exact Newton step d
    the linearised slopes ``s + φ''·(X d)`` have ``Xᵀs = −2 l2 (w + d)``, which is what a dual point of
    problems without a penalty must obey, too.
    """

    def __init__(self, loss: Any, X: Any, y: np.ndarray, l2: float, precision: float, work: Work) -> None:
        self.loss, self.X, self.y, self.l2, self.precision = loss, X, y, l2, precision
        self.total = SumOfLosses(X, l2, self._values, self._slopes, self._curvatures, work)
        self.work, self.lower, self.certificate = work, 0.0, "duality_gap"

    def solve(self) -> support_vectors.Pair:
        zero = np.zeros(self.X.shape[1])
        self.start = self.total.value(zero)
        forcing = 1e-10 if isinstance(self.loss, SquaredLoss) else 0.1  # which needs but one step
        weights = minimise(
            self.total.value, self.total.model_at, zero, self._enough, self.work, forcing=forcing
        )
        return support_vectors.Pair(self.total.value(weights), weights, self.lower)

    def _values(self, margins: np.ndarray) -> np.ndarray:
        return values(self.loss, margins, self.y)

    def _slopes(self, margins: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(derivative(self.loss, margins, self.y))

    def _curvatures(self, margins: np.ndarray) -> np.ndarray:
        if isinstance(self.loss, SquaredLoss):
            return np.full(self.y.size, 2.0)
        slope = np.abs(self._slopes(margins))
        return slope * (1 - slope)

    def _enough(self, weights: np.ndarray, model: Model, step: Step) -> bool:
        margins, ahead = self.X @ weights, self.X @ step.direction
        self.work.spend(3 * self.X.nnz)
        here, there = self.total.value(weights), weights + step.direction
        slopes = self._slopes(margins) + self._curvatures(margins) * ahead
        # what is far from the minimum tells nothing of the size of its weights
        near = isinstance(self.loss, SquaredLoss) or step.predicted <= _NEAR * (self.start - here)
        if self.l2 > 0 or near:
            lower = self._lower_bound(slopes, margins + ahead, there, model, step)
            if lower > self.lower:
                self.lower = lower
                self.certificate = "duality_gap" if self.l2 > 0 else "projected_duality_gap"
        upper = self._values(margins + ahead).sum() + self.l2 * float(there @ there)
        return min(upper, here) - self.lower <= self.precision * (self.start - self.lower)

    def _lower_bound(
        self, slopes: np.ndarray, margins: np.ndarray, weights: np.ndarray, model: Model, step: Step
    ) -> float:
        dual = slopes
        if isinstance(self.loss, LogisticLoss):
            dual = np.clip(slopes * self.y, -1.0, 0.0) * self.y
        bound = float(negative_conjugates(self.loss, dual, self.y).sum())
        if self.l2 > 0:
            image = self.X.T @ dual
            return bound - float(image @ image) / (4 * self.l2)
        image = self.X.T @ slopes
        left = max(float(image @ model.inverse(image)), 0.0) / max(step.smallest, 1e-300)
        fitted = max(float(weights @ model.product(weights)), 0.0)
        return bound - _LARGEST * (math.sqrt(left * fitted) + float(np.abs(dual - slopes) @ np.abs(margins)))
