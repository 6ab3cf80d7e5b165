"""What is asked of a loss: a convex function φ of the margin x·w and the target.

Each has a file: a record, its bodies of the functions here, and the problem that minimises it. `value` and
`derivative` are asked of every loss. The optimum of a smooth one is found and certified with
`second_derivative`, `negative_conjugate` and `nearest_dual`; any other has a body of
`hogwild.problems.optimum.minimum` instead. Dual coordinate ascent asks for `dual_step`. The fields of the
record are the loss's settings: they are arguments of its problem's `from_data`.
"""

from typing import Any

import numpy as np

from hogwild import checks
from hogwild.engine.compiling import abstract, generic

_REACH = 2.0  # margins of an ordinary fit


@abstract
def value(loss: Any, margin: Any, target: Any) -> Any:
    """Return the loss; of arrays, elementwise."""


@abstract
def derivative(loss: Any, margin: Any, target: Any) -> Any:
    """Return the derivative of the loss by the margin; for arrays, too, if the loss is smooth."""


@generic
def slope_is_zero(loss: Any, slope: Any) -> bool:
    """Return whether a derivative leaves nothing to correct, where the loss has a flat part."""
    return False


@generic
def is_quadratic(loss: Any) -> bool:
    """Return whether the loss is a parabola, so that a single Newton step minimises it."""
    return False


@generic
def mean_curvature(loss: Any) -> float:
    """Return the second derivative of the loss, averaged over margins from -2 to 2."""
    return curvature_within(loss, _REACH)


def curvature_within(loss: Any, reach: float) -> float:
    """Return the second derivative of the loss, averaged over margins up to a reach, for the target 1."""
    return float(derivative(loss, reach, 1.0) - derivative(loss, -reach, 1.0)) / (2 * reach)


@abstract
def second_derivative(loss: Any, margins: np.ndarray, targets: np.ndarray) -> Any:
    """Return the second derivative of a smooth loss with respect to the margin, elementwise."""


@abstract
def negative_conjugate(loss: Any, slopes: np.ndarray, targets: np.ndarray) -> Any:
    """Return ``-φ*(slope)``, elementwise, for slopes in the domain of the convex conjugate φ*.

    Its sum over the examples is a lower bound of the minimum: the dual objective of the certificates.
    """


@abstract
def nearest_dual(loss: Any, slopes: np.ndarray, targets: np.ndarray) -> Any:
    """Return the slopes nearest to the given ones in the domain of the conjugate, elementwise."""


@generic
def least_dual_curvature(loss: Any) -> float:
    """Return a lower bound of the second derivative of φ*."""
    return 0.0


@abstract
def dual_step(loss: Any, dual: Any, margin: Any, target: Any, curvature: Any) -> Any:
    """Return the α that maximises ``−φ*(−α) − (α − dual) margin − (α − dual)² curvature / 2``."""


@generic
def checked(loss: Any) -> Any:
    """Return the loss if its settings are allowed: by default, if all of them are positive numbers."""
    return loss._make(checks.positive(name, setting) for name, setting in loss._asdict().items())


def with_settings(loss: Any, settings: dict[str, Any]) -> Any:
    """Return the loss with some of its settings changed, checked.

    Raises
    ------
    TypeError, ValueError
        Naming a setting that the loss does not have, or whose value is not allowed.
    """
    for name in settings:
        if name not in loss._fields:
            allowed = ", ".join(loss._fields) or "none"
            raise TypeError(f"{name} is no setting of {type(loss).__name__}; its settings: {allowed}")
    return checked(loss._replace(**settings))
