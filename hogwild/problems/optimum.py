"""High-precision minima with a certificate: what suboptimality is measured against."""

import time
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from hogwild.engine.compiling import generic
from hogwild.problems.solvers.newton import Bounds, Work
from hogwild.problems.solvers.smooth import SmoothSum

VERSION = 2  # of the solvers: what is kept on disk is kept by it
MOST_VISITS = 2e10  # of entries: a minute or two


class UncertifiedOptimum(RuntimeError):
    """No minimum could be found that is certified as well as was asked for."""


class Optimum(NamedTuple):
    """A minimum and its certificate.

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
    weights: np.ndarray
    certificate: str
    value: float
    solver: str
    seconds: float


class Minimum(NamedTuple):
    """What a solver has found of a sum over the examples, its own name and that of the certificate."""

    bounds: Bounds
    solver: str
    certificate: str


@generic
def minimum(loss: Any, X: csr_array, y: np.ndarray, l2: float, precision: float, work: Work) -> Minimum:
    """Minimise ``Σ loss + l2 ‖w‖²``: smooth losses by Newton's method, any other by a body of its own."""
    smooth = SmoothSum(loss, X, y, l2, precision, work)
    return Minimum(smooth.solve(), "Newton's method", smooth.certificate)


def solve(loss: Any, X: csr_array, y: np.ndarray, l2: float, precision: float) -> Optimum:
    """Minimise ``mean(loss) + l2/m ‖w‖²`` to high precision.

    Work ends when ``value`` is within the precision, or when `MOST_VISITS` entries were visited; the caller
    looks at ``value``.

    Parameters
    ----------
    loss : a record of `hogwild.problems.losses`
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
    TypeError
        If the loss lacks what its solver asks for, naming it.
    """
    begin = time.perf_counter()
    X, y = X.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    check_sizes("X, in its columns,", abs(X).max(axis=0).toarray(), 1e140)
    check_sizes("y", np.array([np.abs(y).max()]), 1e140)
    bounds, solver, certificate = minimum(loss, X, y, l2, precision, Work(MOST_VISITS))
    upper, value = bounds.upper / y.size, max(bounds.gap, 0.0) / y.size
    return Optimum(upper, bounds.weights, certificate, value, solver, time.perf_counter() - begin)


def check_sizes(name: str, sizes: np.ndarray, most: float) -> None:
    """Refuse to certify a minimum by powers of sizes that float64 does not hold, or takes for 0."""
    sizes = sizes[sizes > 0]
    if sizes.size and not 1 / most < sizes.min() <= sizes.max() < most:
        raise UncertifiedOptimum(
            f"{name} has entries of size {sizes.min():.1e} to {sizes.max():.1e}; a minimum is certified "
            f"between {1 / most:.0e} and {most:.0e}"
        )
