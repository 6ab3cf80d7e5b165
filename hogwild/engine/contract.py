"""What the loops ask of a problem's record and of a guard.

A problem has a body for each function that is asked of it. A guard has bodies for those points of an
update at which it acts; elsewhere the default does nothing, and costs nothing.
"""

from typing import Any

from hogwild.engine.compiling import abstract, generic

# Of a problem: the reading and the writing half of one example's update.


@abstract
def count(problem: Any) -> Any:
    """Return the number of examples."""


@abstract
def support(problem: Any, example: Any) -> Any:
    """Return the range (start, end) of the entries that an example touches."""


@generic
def gathers(problem: Any) -> Any:
    """Return whether even neighbouring examples touch memory so far apart that it is worth prefetching."""
    return False


@generic
def fetch_ahead(problem: Any, example: Any, weights: Any) -> Any:
    """Prefetch what an example's update reads; it is due a few updates later."""


@generic
def fetch_far_ahead(problem: Any, example: Any) -> Any:
    """Prefetch what `fetch_ahead` will read of an example."""


@abstract
def coefficient(
    problem: Any, example: Any, start: Any, end: Any, weights: Any, scale: Any, scratch: Any
) -> Any:
    """Read phase: return the one scalar that an update needs of the current weights.

    They are ``scale`` times those stored. What does not fit into a scalar goes into this worker's
    ``scratch``.
    """


@generic
def gradient_is_zero(problem: Any, scalar: Any) -> Any:
    """Return whether the scalar says that the update has nothing to write."""
    return False


@abstract
def write(
    problem: Any,
    guard: Any,
    example: Any,
    start: Any,
    end: Any,
    scalar: Any,
    rate: Any,
    weights: Any,
    scratch: Any,
) -> Any:
    """Write phase: add the step of an example to the weights, by the guard's `add`."""


@abstract
def variables(problem: Any, start: Any, end: Any) -> Any:
    """Return the range of places of an example's variables; a variable is what has a lock of its own."""


@abstract
def variable(problem: Any, example: Any, place: Any) -> Any:
    """Return the variable at a place, ascending along the places."""


@generic
def is_fixed(problem: Any, variable: Any) -> Any:
    """Return whether no update ever writes a variable, so that sharing it is no conflict."""
    return False


# On top, for mini-batches.


@abstract
def coordinate(problem: Any, entry: Any) -> Any:
    """Return the coordinate of an entry."""


@abstract
def component(problem: Any, entry: Any, scalar: Any, weight: Any) -> Any:
    """Return the gradient's component of an entry, given the scalar and the coordinate's current weight."""


@generic
def exceeds_threshold(problem: Any, slope: Any) -> Any:
    """Return whether a component of the gradient is applied."""
    return True


# Of linear models, in Python: weights that do not lie in their order.


@abstract
def relabelled(problem: Any, places: Any) -> Any:
    """Return the same record for weights that lie at these places; the indices are copied."""


# Of a guard: the points of an update at which it may act.


@generic
def enter(guard: Any) -> Any:
    """Begin an update: nothing of it has been read yet."""


@generic
def await_turn(guard: Any) -> Any:
    """Wait until this worker may write; its gradient is known."""


@generic
def lock(guard: Any, problem: Any, example: Any, start: Any, end: Any) -> Any:
    """Begin the writes of one example."""


@abstract
def add(guard: Any, weights: Any, coordinate: Any, seen: Any, change: Any) -> Any:
    """Add a change to one coordinate of the shared weights, whose value this worker has just seen."""


@generic
def unlock(guard: Any, problem: Any, example: Any, start: Any, end: Any) -> Any:
    """End the writes of one example."""


@generic
def leave(guard: Any, touches: Any) -> Any:
    """End an update of so many entries: all of it has been written."""
