"""High-precision minima with a certificate: what suboptimality is measured against."""

import time
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize as scipy_minimize
from scipy.sparse.linalg import lsmr

from hogwild.compiling import compiled
from hogwild.losses import HingeLoss, LogisticLoss, SquaredLoss, derivative, negative_conjugates, values
from hogwild.sampling import epoch_key, permuted

_RELATIVE_GAP = 1e-7  # of the hinge objective at zero, which is 1
_EPOCHS_PER_CHECK = 10
_MOST_EPOCHS = 2_000


class Optimum(NamedTuple):
    """A minimum and what vouches for it.

    Attributes
    ----------
    objective : float
        The smallest objective found.
    weights : ndarray of shape (n_features,)
    certificate : str
        ``"duality_gap"``: the objective exceeds the true minimum by at most ``value``; ``"gradient_norm"``:
        ``value`` is the Euclidean norm of the gradient there (problems without a penalty have no dual bound
        of this form).
    value : float
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


def solve(loss: Any, X: Any, y: np.ndarray, l2: float) -> Optimum:
    """Minimise ``mean(loss) + l2/m ‖w‖²`` to high precision.

    Parameters
    ----------
    loss : SquaredLoss, LogisticLoss or HingeLoss
    X : csr_array of shape (m, n)
    y : ndarray of shape (m,)
    l2 : float
        The λ of the paper: on the sum over the examples.

    Raises
    ------
    ValueError
        For the hinge loss without a penalty, whose minimum has no certificate here.
    """
    begin = time.perf_counter()
    X, y = X.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    if isinstance(loss, HingeLoss):
        if l2 == 0:
            raise ValueError(
                "l2 is 0: the optimum of the hinge loss is certified by a duality gap, which needs l2 > 0"
            )
        weights, slopes = _hinge(X, y, l2)
        solver = "dual coordinate descent"
    else:
        least_squares = isinstance(loss, SquaredLoss)
        weights, solver = (
            (_least_squares(X, y, l2), "lsmr") if least_squares else (_logistic(X, y, l2), "L-BFGS")
        )
        slopes = derivative(loss, X @ weights, y)
    objective = float(values(loss, X @ weights, y).mean() + l2 / y.size * (weights @ weights))
    if l2 > 0:
        certificate, value = "duality_gap", objective - _lower_bound(loss, X, y, l2, slopes)
    else:
        certificate, value = "gradient_norm", float(np.linalg.norm(X.T @ slopes / y.size))
    return Optimum(objective, weights, certificate, max(value, 0.0), solver, time.perf_counter() - begin)


def _lower_bound(loss: Any, X: Any, y: np.ndarray, l2: float, slopes: np.ndarray) -> float:
    """Return the Fenchel dual at given slopes of the losses (Shalev-Shwartz & Zhang 2013, eq. 2)."""
    dual_weights = -(X.T @ slopes) / (2 * l2)
    return float(negative_conjugates(loss, slopes, y).mean() - l2 / y.size * (dual_weights @ dual_weights))


def _least_squares(X: Any, y: np.ndarray, l2: float) -> np.ndarray:
    most = 20 * min(X.shape) + 1000
    return lsmr(X, y, damp=np.sqrt(l2), atol=1e-15, btol=1e-15, conlim=0, maxiter=most)[0]


def _logistic(X: Any, y: np.ndarray, l2: float) -> np.ndarray:
    def value_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = X @ weights
        value = values(LogisticLoss(), margins, y).mean() + l2 / y.size * (weights @ weights)
        with np.errstate(over="ignore"):
            slopes = derivative(LogisticLoss(), margins, y) / y.size
        return value, X.T @ slopes + 2 * l2 / y.size * weights

    options = {"maxiter": 5_000, "maxfun": 10_000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-10}
    return scipy_minimize(
        value_and_gradient, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options=options
    ).x


@compiled
def _hinge_epochs(
    indptr: Any,
    indices: Any,
    data: Any,
    y: Any,
    l2: float,
    dual: Any,
    weights: Any,
    first_epoch: int,
    epochs: int,
) -> None:
    """Dual coordinate descent for the SVM (Hsieh et al. 2008, Algorithm 1), without shrinking."""
    for epoch in range(first_epoch, first_epoch + epochs):
        key = epoch_key(0, epoch)
        for position in range(y.size):
            i = permuted(np.uint64(position), np.uint64(y.size), key)
            margin, square = 0.0, 0.0
            for entry in range(indptr[i], indptr[i + 1]):
                margin += data[entry] * weights[indices[entry]]
                square += data[entry] ** 2
            if square > 0:
                new = min(max(dual[i] - (y[i] * margin - 1.0) * 2 * l2 / square, 0.0), 1.0)
                change = (new - dual[i]) * y[i] / (2 * l2)
                dual[i] = new
                if change != 0.0:
                    for entry in range(indptr[i], indptr[i + 1]):
                        weights[indices[entry]] += change * data[entry]
            else:
                dual[i] = 1.0  # an empty row costs 1 whatever the weights are


def _hinge(X: Any, y: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    dual, weights = np.zeros(y.size), np.zeros(X.shape[1])
    for epoch in range(0, _MOST_EPOCHS, _EPOCHS_PER_CHECK):
        _hinge_epochs(X.indptr, X.indices, X.data, y, l2, dual, weights, epoch, _EPOCHS_PER_CHECK)
        objective = values(HingeLoss(), X @ weights, y).mean() + l2 / y.size * (weights @ weights)
        if objective - _lower_bound(HingeLoss(), X, y, l2, -dual * y) <= _RELATIVE_GAP:
            break
    return weights, -dual * y
