"""How a worker's replica shows its own moves, and how much of them counts."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.compiling import abstract


class AsMade(NamedTuple):
    """A replica shows a worker's own moves as they are."""


class Multiplied(NamedTuple):
    """A replica shows a worker's own moves multiplied, since the others make similar ones meanwhile.

    A merge adds them as made.
    """

    factors: np.ndarray  # of shape (n_weights,), at least 1


@abstract
def shown(moves: Any, coordinate: Any, change: Any) -> Any:
    """Return how far a change of one coordinate moves the worker's own replica."""


@abstract
def counted(moves: Any, coordinate: Any, own: Any, base: Any) -> Any:
    """Return the base plus a worker's own move of one coordinate, given what its replica shows."""


@shown.of(AsMade)
def _shown_as_made(moves, coordinate, change):
    return change


@shown.of(Multiplied)
def _shown_multiplied(moves, coordinate, change):
    return change * moves.factors[coordinate]


@counted.of(AsMade)
def _counted_as_made(moves, coordinate, own, base):
    return own


@counted.of(Multiplied)
def _counted_divided(moves, coordinate, own, base):
    one = moves.factors.dtype.type(1)
    return own - (own - base) * (one - one / moves.factors[coordinate])
