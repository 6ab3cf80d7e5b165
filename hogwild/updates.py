"""What the loops ask of a problem's record: the reading and the writing half of one example's update.

A problem gives a body to each of these for its record; `coordinate`, `component` and `passes` are what
mini-batches need on top, of linear models.
"""

from typing import Any

from hogwild.compiling import generic


@generic
def count(problem: Any) -> Any:
    """Return the number of examples."""


@generic
def support(problem: Any, example: Any) -> Any:
    """Return the range (start, end) of the entries that an example touches."""


@generic
def gathers(problem: Any) -> Any:
    """Return whether even neighbouring examples touch memory far apart, worth asking for ahead of its use."""


@generic
def fetch_ahead(problem: Any, example: Any, weights: Any) -> Any:
    """Prefetch what the update of an example reads that is due a few updates later."""


@generic
def fetch_far_ahead(problem: Any, example: Any) -> Any:
    """Prefetch what `fetch_ahead` will read of an example."""


@generic
def coefficient(problem: Any, example: Any, start: Any, end: Any, weights: Any, scale: Any, room: Any) -> Any:
    """Read phase: return the one scalar that an update needs of the current weights.

    They are ``scale`` times those stored. What does not fit into a scalar goes into ``room``, this worker's
    scratch.
    """


@generic
def idle(problem: Any, scalar: Any) -> Any:
    """Return whether the scalar says that the update has nothing to write."""


@generic
def write(
    problem: Any,
    policy: Any,
    example: Any,
    start: Any,
    end: Any,
    scalar: Any,
    rate: Any,
    weights: Any,
    room: Any,
) -> Any:
    """Write phase: add the step of an example to the weights, by `hogwild.policies.add`."""


@generic
def variables(problem: Any, start: Any, end: Any) -> Any:
    """Return the range of places of the variables that an example touches: what a lock of its own guards."""


@generic
def variable(problem: Any, example: Any, place: Any) -> Any:
    """Return the variable at a place, ascending along the places."""


@generic
def constant(problem: Any, variable: Any) -> Any:
    """Return whether no update ever writes a variable: to share it is then no conflict."""


@generic
def coordinate(problem: Any, entry: Any) -> Any:
    """Return the coordinate of an entry (mini-batches of linear models)."""


@generic
def component(problem: Any, entry: Any, scalar: Any, weight: Any) -> Any:
    """Return the gradient's component of an entry, given the scalar and the coordinate's current weight."""


@generic
def passes(problem: Any, slope: Any) -> Any:
    """Return whether a component of the gradient is applied."""
