"""Newton steps by preconditioned conjugate gradients in a trust region: what the reference solvers share."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigvalsh_tridiagonal

from hogwild.engine.compiling import compiled

MOST_DENSE = 2_000  # columns up to which a Hessian is factored
_WELL_CONDITIONED = 1e-4  # the smallest pivot, of columns with norm 1, that a Cholesky factor is trusted with
_CLEAR = 1e-10  # eigenvalues above this share of the largest have enough digits
_DEPENDENT = 1e-13  # singular values below this share of the largest are those of dependent columns
_MOST_CELLS = 20_000_000
_ROUNDING = 1e-15
_INEXACT = 1e-4  # of a right-hand side: what the steps of an interior point may leave, which look again
Array = np.ndarray
Apply = Callable[[Array], Array]


class Bounds(NamedTuple):
    """The best weights so far, their objective, and a lower bound of the minimum."""

    upper: float
    weights: np.ndarray
    lower: float

    @property
    def gap(self) -> float:
        """By how much the objective at the weights exceeds the minimum, at most."""
        return self.upper - self.lower


class Work:
    """How many entries of the data a solver may still visit: a limit that no clock decides."""

    def __init__(self, visits: float) -> None:
        self.left = visits

    def spend(self, visits: float) -> None:
        """Count visits."""
        self.left -= visits


class Model(NamedTuple):
    """An objective to second order around a point.

    Attributes
    ----------
    gradient : ndarray of shape (n,)
    product : callable
        Multiplies a direction by the Hessian.
    inverse : callable
        Multiplies by the inverse of the Hessian, or of what is like it: the preconditioner.
    """

    gradient: np.ndarray
    product: Apply
    inverse: Apply


class Step(NamedTuple):
    """A step that nearly minimises a model.

    Attributes
    ----------
    direction : ndarray of shape (n,)
    predicted : float
        By how much the model falls.
    length : float
        In the norm of the preconditioner's inverse, that of the trust region.
    smallest : float
        The smallest eigenvalue of the preconditioned Hessian that conjugate gradients have met.
    """

    direction: np.ndarray
    predicted: float
    length: float
    smallest: float


def newton_step(model: Model, radius: float, forcing: float, work: Work) -> Step:
    """Minimise a model by conjugate gradients until the residual has shrunk by a factor (Steihaug 1983)."""
    residual, direction = model.gradient.copy(), np.zeros(model.gradient.size)
    ahead = -model.inverse(residual)
    product = first = float(-residual @ ahead)
    along, square, cross, predicted = product, 0.0, 0.0, 0.0  # squared lengths in the preconditioner's norm
    moves: list[float] = []
    turns: list[float] = []
    while product > max(forcing * forcing * first, 0.0) and work.left > 0:
        image = model.product(ahead)
        curvature = float(ahead @ image)
        move = product / curvature if curvature > 0 else math.inf
        after = square + 2 * move * cross + move * move * along if math.isfinite(move) else math.inf
        if not after < radius * radius:
            if math.isfinite(radius):
                move = (
                    math.sqrt(max(cross * cross + along * (radius * radius - square), 0.0)) - cross
                ) / along
                direction += move * ahead
                predicted += move * product - move * move * curvature / 2
                square = radius * radius
            break
        direction += move * ahead
        predicted += move * product / 2
        square = after
        residual += move * image
        inverse = model.inverse(residual)
        product, before = float(residual @ inverse), product
        turn = product / before
        ahead = turn * ahead - inverse
        cross = turn * (cross + move * along)
        along = product + turn * turn * along
        moves.append(move)
        turns.append(turn)
    return Step(direction, predicted, math.sqrt(square), _smallest_eigenvalue(moves, turns))


def _smallest_eigenvalue(moves: list[float], turns: list[float]) -> float:
    """Return the smallest Ritz value of conjugate gradients' steps (Golub & Van Loan 2013, section 11.3)."""
    if not moves:
        return 1.0
    move, turn = np.array(moves), np.maximum(turns, 0.0)
    diagonal = 1 / move
    diagonal[1:] += turn[:-1] / move[:-1]
    beside = np.sqrt(turn[:-1]) / move[:-1]
    return float(eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(0, 0))[0])


def minimise(
    value: Callable[[np.ndarray], float],
    model_at: Callable[[np.ndarray], Model],
    start: np.ndarray,
    enough: Callable[[np.ndarray, Model, Step], bool],
    work: Work,
    *,
    radius: float = math.inf,
    forcing: float = 0.1,
) -> np.ndarray:
    """Take steps that lower the objective until enough is done, nothing moves, or the work is spent.

    Parameters
    ----------
    value, model_at : callable
        The objective at a point, and its `Model` there.
    start : ndarray of shape (n,)
    enough : callable
        Is shown every point with its model and step before the step is taken; the step that ends the search
        is still taken, if it goes down.
    work : Work
    radius : float
        Of the first trust region; an infinite one is for convex objectives.
    forcing : float
        The share of the first residual that a step may leave; less, the smaller the gradient gets.
    """
    point, height = start, value(start)
    model, first = model_at(point), 0.0
    while work.left > 0:
        size = float(model.gradient @ model.inverse(model.gradient))
        first = first or size
        if not size > 0:
            enough(point, model, Step(np.zeros(point.size), 0.0, 0.0, 1.0))
            break
        share = min(forcing, math.sqrt(size / first))
        step = newton_step(model, radius, share, work)
        over = enough(point, model, step)
        there = point + step.direction
        now = value(there)
        ratio = (height - now) / step.predicted if step.predicted > 0 else 0.0
        if not ratio > 0.25:
            radius = step.length / 4
        elif ratio > 0.75 and step.length > 0.99 * radius:
            radius *= 2
        if now < height:
            point, height = there, now
            if not over:
                model = model_at(point)
        if over or step.predicted <= _ROUNDING * abs(height):
            break
    return point


def system(rows: sparse.csr_array, curvatures: np.ndarray, ridge: float, work: Work) -> Apply:
    """Return a multiplication by ``(Xᵀ D X + ridge)⁻¹``, but for a small residual."""
    inverse = _preconditioner(rows, curvatures, ridge, work)

    def product(direction: np.ndarray) -> np.ndarray:
        work.spend(2 * rows.nnz + sum(rows.shape))
        return np.asarray(rows.T @ (curvatures * (rows @ direction)) + ridge * direction)

    return lambda right: newton_step(Model(-right, product, inverse), math.inf, _INEXACT, work).direction


class SumOfLosses:
    """``Σ_i φ_i(x_i·w) + l2 ‖w‖²`` for smooth φ_i.

    Parameters
    ----------
    X : csr_array of shape (m, n)
    l2 : float
    values, slopes, curvatures : callable
        φ, φ' and φ'' of margins of shape (m,).
    work : Work
    """

    def __init__(
        self, X: sparse.csr_array, l2: float, values: Apply, slopes: Apply, curvatures: Apply, work: Work
    ) -> None:
        self.X, self.l2, self.work = X, l2, work
        self.values, self.slopes, self.curvatures = values, slopes, curvatures

    def value(self, weights: np.ndarray) -> float:
        """Return the objective."""
        self.work.spend(self.X.nnz + sum(self.X.shape))
        return float(self.values(self.X @ weights).sum() + self.l2 * (weights @ weights))

    def model_at(self, weights: np.ndarray) -> Model:
        """Return the objective to second order: rows without curvature have no part in products."""
        margins = self.X @ weights
        gradient = self.X.T @ self.slopes(margins) + 2 * self.l2 * weights
        curvatures, rows = self.curvatures(margins), self.X
        curved = np.flatnonzero(curvatures)
        if 2 * curved.size < curvatures.size:
            rows, curvatures = self.X[curved], curvatures[curved]

        def product(direction: np.ndarray) -> np.ndarray:
            self.work.spend(2 * rows.nnz + sum(rows.shape))
            return np.asarray(rows.T @ (curvatures * (rows @ direction)) + 2 * self.l2 * direction)

        return Model(gradient, product, _preconditioner(rows, curvatures, 2 * self.l2, self.work))


def _preconditioner(rows: sparse.csr_array, curvatures: np.ndarray, ridge: float, work: Work) -> Apply:
    """Return a multiplication by ``(Xᵀ D X + ridge)⁻¹`` for few columns, by its diagonal's for many."""
    squares = type(rows)((rows.data**2, rows.indices, rows.indptr), shape=rows.shape)
    diagonal = squares.T @ curvatures + ridge
    used = np.flatnonzero(diagonal > 0)
    scale = 1 / np.sqrt(diagonal[used])
    if used.size == 0:
        return np.zeros_like
    lengths = np.diff(rows.indptr).astype(np.float64)
    if used.size > MOST_DENSE or lengths @ lengths > work.left / 10:
        inverse = np.zeros(diagonal.size)
        inverse[used] = scale**2
        return lambda vector: inverse * vector
    work.spend(lengths @ lengths / 2 + used.size**3 / 10)
    place = np.zeros(diagonal.size, np.int64)
    place[used] = np.arange(used.size)
    gram = np.zeros((used.size, used.size))
    _add_gram(rows.indptr, rows.indices, rows.data, curvatures, place, gram)
    gram[np.diag_indices(used.size)] += ridge
    gram *= scale[:, None] * scale
    solve = _factored(gram, rows, curvatures, ridge, used, scale)

    def apply(vector: np.ndarray) -> np.ndarray:
        found = np.zeros(vector.size)
        found[used] = scale * solve(scale * vector[used])
        return found

    return apply


@compiled
def _add_gram(
    indptr: Array, indices: Array, data: Array, curvatures: Array, place: Array, gram: Array
) -> None:
    """Add ``Xᵀ D X`` to a lower triangle; a row's indices are sorted."""
    for i in range(curvatures.size):
        for left in range(indptr[i], indptr[i + 1]):
            value, row = curvatures[i] * data[left], place[indices[left]]
            for right in range(indptr[i], left + 1):
                gram[row, place[indices[right]]] += value * data[right]


def _factored(
    gram: Array, rows: sparse.csr_array, curvatures: Array, ridge: float, used: Array, scale: Array
) -> Apply:
    """Return a multiplication by the pseudo-inverse of a matrix whose lower triangle is given, scaled.

    Squaring cost small singular values their digits. Where the smallest is small, directions that the matrix
    hardly sees are multiplied by the rows again.
    """
    if not np.isfinite(gram).all():  # values too large to be squared
        return lambda vector: vector
    try:
        factor = cho_factor(gram, lower=True, check_finite=False)
        if np.diag(factor[0]).min() > _WELL_CONDITIONED:
            return lambda vector: cho_solve(factor, vector, check_finite=False)
    except LinAlgError:
        pass
    eigenvalues, vectors = np.linalg.eigh(gram)
    clear = eigenvalues > _CLEAR * eigenvalues[-1]
    basis, dim = vectors[:, clear] / np.sqrt(eigenvalues[clear]), vectors[:, ~clear]
    if dim.shape[1] * rows.shape[0] <= _MOST_CELLS:
        whole = np.zeros((rows.shape[1], dim.shape[1]))
        whole[used] = scale[:, None] * dim
        images = np.vstack([np.sqrt(curvatures)[:, None] * (rows @ whole), math.sqrt(ridge) * whole[used]])
        _, found, turned = np.linalg.svd(np.linalg.qr(images, mode="r"))
        seen = found > _DEPENDENT * math.sqrt(eigenvalues[-1])
        basis = np.hstack([basis, dim @ (turned[seen].T / found[seen])])
    return lambda vector: basis @ (basis.T @ vector)
