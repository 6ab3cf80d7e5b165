"""The minimum of the hinge loss: dual coordinate descent and, where that crawls, interior points."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from hogwild.engine.compiling import compiled
from hogwild.engine.sampling import mix
from hogwild.problems.solvers.newton import MOST_DENSE, Apply, Array, Bounds, Work, system

_PASSES = 500  # entries' visits that coordinate descent has where columns are few
_SHARE = 0.75  # of the work, where they are many
_FIRST_RANGE = 0.1  # of projected gradients, where coordinate descent looks at the gap for the first time
_BACK = 0.995  # of the way to the bounds that an interior point goes
_MOST_STEPS = 300  # of interior points: some tens are usual
_CALL = 1_000  # visits that a pass over hardly any data counts as
_SHORT = 1e-6  # a step of this share of a Newton step does not come from the bounds, but from rounding


@compiled
def _descend(
    indptr: Array,
    indices: Array,
    data: Array,
    y: Array,
    l2: float,
    squares: Array,
    dual: Array,
    weights: Array,
    active: Array,
    count: int,
    limits: Array,
    seed: np.uint64,
) -> tuple[int, float, float, int]:
    """Pass once over the active examples, shrinking them (Hsieh et al. 2008, Algorithm 3).

    Returns how many stay active, the largest and the smallest projected gradient, and the visits.
    """
    largest, smallest, visits, place = -np.inf, np.inf, 0, 0
    for first in range(count):
        other = first + np.int64(mix(seed + np.uint64(first)) % np.uint64(count - first))
        active[first], active[other] = active[other], active[first]
    while place < count:
        i = active[place]
        margin = 0.0
        for entry in range(indptr[i], indptr[i + 1]):
            margin += data[entry] * weights[indices[entry]]
        visits += indptr[i + 1] - indptr[i]
        slope = y[i] * margin - 1.0
        if (dual[i] == 0.0 and slope > limits[0]) or (dual[i] == 1.0 and slope < limits[1]):
            count -= 1
            active[place], active[count] = active[count], active[place]
            continue
        place += 1
        projected = slope
        if dual[i] == 0.0:
            projected = min(slope, 0.0)
        elif dual[i] == 1.0:
            projected = max(slope, 0.0)
        largest, smallest = max(largest, projected), min(smallest, projected)
        new = min(max(dual[i] - slope * 2 * l2 / squares[i], 0.0), 1.0)
        if new != dual[i]:
            change = (new - dual[i]) * y[i] / (2 * l2)
            dual[i] = new
            for entry in range(indptr[i], indptr[i + 1]):
                weights[indices[entry]] += change * data[entry]
    return count, largest, smallest, visits


class Hinge:
    """``Σ max(1 − y_i x_i·w, 0) + l2 ‖w‖²`` and its dual.

    Parameters
    ----------
    X : csr_array of shape (m, n)
    y : ndarray of shape (m,)
    l2 : float
        Above 0.
    """

    def __init__(self, X: sparse.csr_array, y: np.ndarray, l2: float) -> None:
        self.X, self.y, self.l2 = X, y, l2
        zeros = np.zeros(X.shape[1])
        self.best = Bounds(float(y.size), zeros, 0.0)

    def see(self, weights: np.ndarray, dual: np.ndarray) -> float:
        """Keep what is better than before, of the weights and those of the dual; return the gap."""
        own = self.X.T @ (dual * self.y) / (2 * self.l2)
        lower = float(dual.sum() - self.l2 * (own @ own))
        best = self.best._replace(lower=max(self.best.lower, lower))
        for candidate in (weights, own):
            upper = self.objective(candidate)
            if upper < best.upper:
                best = best._replace(upper=upper, weights=candidate.copy())
        self.best = best
        return best.gap

    def objective(self, weights: np.ndarray) -> float:
        """Return the objective."""
        losses = np.maximum(1.0 - self.y * (self.X @ weights), 0.0)
        return float(losses.sum() + self.l2 * (weights @ weights))

    def enough(self, tolerance: float) -> bool:
        """Return whether the gap is within a share of what lies between 0 and the minimum."""
        return self.best.gap <= tolerance * (self.y.size - self.best.lower)


def solve(X: Any, y: np.ndarray, l2: float, tolerance: float, work: Work) -> tuple[Bounds, str]:
    """Return the best bounds found, of sums over the examples, and the name of what found them."""
    hinge = Hinge(X, y, l2)
    _coordinate_descent(hinge, tolerance, work)
    if hinge.enough(tolerance):
        return hinge.best, "dual coordinate descent"
    _interior_point(hinge, tolerance, work)
    return hinge.best, "interior points"


def _coordinate_descent(hinge: Hinge, tolerance: float, work: Work) -> None:
    X, y = hinge.X, hinge.y
    squares = np.asarray(type(X)((X.data**2, X.indices, X.indptr), shape=X.shape).sum(axis=1)).ravel()
    dual = (squares == 0).astype(np.float64)  # an empty row costs 1 whatever the weights are
    weights = np.zeros(X.shape[1])
    active = np.flatnonzero(squares > 0)
    count, limits = active.size, np.array([math.inf, -math.inf])
    # with few columns the system is factored, and interior points are sure to succeed
    most = min(_PASSES * X.nnz, work.left) if X.shape[1] <= MOST_DENSE else _SHARE * work.left
    own, narrow, seed = Work(most), _FIRST_RANGE, np.uint64(0)
    while own.left > 0 and active.size:
        seed += np.uint64(X.shape[0])
        arrays = X.indptr, X.indices, X.data, y
        count, largest, smallest, visits = _descend(
            *arrays, hinge.l2, squares, dual, weights, active, count, limits, seed
        )
        own.spend(2 * visits + y.size + _CALL)
        if largest - smallest > narrow:
            limits[:] = (largest if largest > 0 else math.inf), (smallest if smallest < 0 else -math.inf)
            continue
        if count == active.size:
            own.spend(4 * X.nnz)
            hinge.see(weights, dual)
            if hinge.enough(tolerance):
                break
            narrow /= 4
        count, limits[:] = active.size, (math.inf, -math.inf)
    work.spend(most - own.left)
    hinge.see(weights, dual)


class _Interior(NamedTuple):
    """Dual variables in (0, 1), their slack to 1, and the multipliers of both bounds."""

    dual: np.ndarray
    slack: np.ndarray
    below: np.ndarray
    above: np.ndarray

    @property
    def centre(self) -> float:
        """The mean product of a distance to a bound and its multiplier: 0 at the optimum."""
        return float(self.dual @ self.below + self.slack @ self.above) / (2 * self.dual.size)

    def longest(self, change: "_Interior") -> float:
        """Return the longest step that keeps all above 0."""
        ratios = [values[moves < 0] / -moves[moves < 0] for values, moves in zip(self, change, strict=True)]
        return min(float(ratio.min(initial=math.inf)) for ratio in ratios)

    def after(self, change: "_Interior", length: float) -> "_Interior":
        """Return where a step leads."""
        return _Interior(*(values + length * moves for values, moves in zip(self, change, strict=True)))

    def newton(
        self, rows: sparse.csr_array, weights: np.ndarray, l2: float, solve: Apply, low: Any, high: Any
    ) -> tuple["_Interior", np.ndarray]:
        """Return the step, and the weights', to where ``dual·below`` and ``slack·above`` are these."""
        inverse = 1 / (self.below / self.dual + self.above / self.slack)
        right = low / self.dual - high / self.slack - (rows @ weights - 1)
        move = solve(rows.T @ (inverse * right + self.dual) - 2 * l2 * weights)
        change = inverse * (right - rows @ move)
        below = (low - self.below * change) / self.dual - self.below
        above = (high + self.above * change) / self.slack - self.above
        return _Interior(change, -change, below, above), move


def _interior_point(hinge: Hinge, tolerance: float, work: Work) -> None:
    """Follow the central path of the dual, by predictor and corrector (Mehrotra 1992): l2 hardly matters.

    In each step the rows' system ``(X Xᵀ/(2 l2) + Θ) Δα = b`` is solved by the features' one,
    ``(2 l2 + Xᵀ Θ⁻¹ X) Δw = Xᵀ Θ⁻¹ b``. Weights that are the sum of their steps are more exact than
    those that follow from dual variables: where l2 is small, these cancel.
    """
    signed, l2 = hinge.X.multiply(hinge.y[:, None]).tocsr(), hinge.l2
    half = np.full(hinge.y.size, 0.5)
    weights = signed.T @ half / (2 * l2)
    slope = signed @ weights - 1
    here = _Interior(half, half, np.maximum(slope, 0) + 1, np.maximum(-slope, 0) + 1)
    for _ in range(_MOST_STEPS):
        if work.left <= 0:
            break
        solve = system(signed, 1 / (here.below / here.dual + here.above / here.slack), 2 * l2, work)
        ahead, _ = here.newton(signed, weights, l2, solve, 0.0, 0.0)
        reached = here.after(ahead, min(1.0, here.longest(ahead))).centre
        target = here.centre * (reached / here.centre) ** 3
        low, high = target - ahead.dual * ahead.below, target - ahead.slack * ahead.above
        change, move = here.newton(signed, weights, l2, solve, low, high)
        length = min(1.0, _BACK * here.longest(change))
        here, weights = here.after(change, length), weights + length * move
        before = hinge.best.gap
        hinge.see(weights, here.dual)
        if hinge.enough(tolerance) or (not length >= _SHORT and hinge.best.gap == before):  # or it is nan
            break
