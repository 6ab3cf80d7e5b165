"""What happens inside one update while others may work on the same weights.

A guard is a record. It may act at the points of an update that `hogwild.engine.contract` lists, and it adds
each component; where it has no body of its own it does nothing, and costs nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hogwild.engine.atomics import fetch_add, load, load_acquire, store, store_release
from hogwild.engine.cells import acquire, release, rows_apart, spin
from hogwild.engine.compiling import compiled, generic, inlined, lineage
from hogwild.engine.contract import add, await_turn, enter, leave, lock, unlock, variable, variables

_OPEN, _CLOSED = 0, 1  # a lock; a worker that is done has closed
K = TypeVar("K", bound=type)


class Traits(NamedTuple):
    """What a guard promises; tests and checks of arguments read it.

    Attributes
    ----------
    lossless : bool
        Every change to a shared weight arrives.
    applies_all : bool
        Every component of an update is written, as it is.
    serial_alone : bool
        A single worker computes the bits of `serial`.
    observable : bool
        An instrument can be put around it.
    """

    lossless: bool = True
    applies_all: bool = True
    serial_alone: bool = True
    observable: bool = True


def promises(**traits: bool) -> Callable[[K], K]:
    """Note the `Traits` in which a type of guard differs from the default."""

    def register(guard: K) -> K:
        guard._traits = Traits(**traits)  # type: ignore[attr-defined]
        return guard

    return register


def traits_of(guard: type) -> Traits:
    """Return what a type of guard promises."""
    return next((vars(kind)["_traits"] for kind in lineage(guard) if "_traits" in vars(kind)), Traits())


def make_guard(kind: type, workers: int, variables: int) -> Any:
    """Return a guard of a type for so many workers and variables, with open locks."""
    for each in lineage(kind):
        if "for_run" in vars(each):
            return vars(each)["for_run"].__func__(kind, workers, variables)
    fields: tuple[str, ...] = getattr(kind, "_fields", ())
    if fields:
        raise TypeError(f"{kind.__name__} has cells: give it a class method for_run(workers, variables)")
    return kind()


@promises(lossless=False)
class Unguarded(NamedTuple):
    """Read, add, write, while others do the same: Hogwild! as everybody runs it (no compare-and-swap)."""


class Atomic(NamedTuple):
    """Every component is added atomically: what the theory assumes (Niu et al. 2011, section 2)."""


class GlobalLock(NamedTuple):
    """One spin lock around reading, computing and writing: updates happen strictly one after another."""

    cell: np.ndarray  # int64 of shape (1,)

    @classmethod
    def for_run(cls, workers: int, variables: int) -> "GlobalLock":
        """Return an open lock."""
        return cls(np.zeros(1, np.int64))


class VariableLocks(NamedTuple):
    """A lock for each variable, held around the writes alone (AIG in Niu et al. 2011, section 7).

    Reading and the gradient stay outside, as in the paper. Locks are taken in ascending order, so two updates
    cannot wait for each other.
    """

    cells: np.ndarray  # int32 of shape (n_variables,)

    @classmethod
    def for_run(cls, workers: int, variables: int) -> "VariableLocks":
        """Return open locks."""
        return cls(np.zeros(variables, np.int32))


class Turns(NamedTuple):
    """Workers compute gradients in parallel and write them strictly in turn (RR; Langford et al. 2009)."""

    next: np.ndarray  # int64 of shape (1,): whose turn it is
    cells: np.ndarray  # of shape (workers,): whether each is ``done``
    worker: int

    @classmethod
    def for_run(cls, workers: int, variables: int) -> "Turns":
        """Return the first worker's turn."""
        return cls(np.zeros(1, np.int64), rows_apart(workers, done=np.int64), 0)


@generic
def waits(guard: Any) -> Any:
    """Return whether workers wait for each other: those whose guard has cells do."""
    return len(guard) > 0


@generic
def retire(guard: Any) -> Any:
    """End a worker's part of a segment: nobody waits for it now."""


@generic
def renew(guard: Any) -> Any:
    """Begin a segment, while all workers rest."""


@generic
def of_worker(guard: Any, worker: int) -> Any:
    """Return a worker's own copy of a guard, on the same cells."""
    return guard


@generic
def of_lone_worker(guard: Any) -> Any:
    """Return a guard of the same type on which nobody waits, to compile with."""
    return guard


@generic
def open_all(guard: Any) -> None:
    """Release all who wait for a worker that failed; called again and again until they have ended.

    What they then write no longer counts.
    """


@compiled
def retire_worker(guard: Any) -> None:
    """Call `retire` from Python."""
    retire(guard)


@add.of(Unguarded, GlobalLock, VariableLocks, Turns)
def _add_plainly(guard, weights, coordinate, seen, change):
    store(weights, coordinate, seen + change)


@add.of(Atomic)
def _add_atomically(guard, weights, coordinate, seen, change):
    fetch_add(weights, coordinate, change)


@enter.of(GlobalLock)
def _take_global_lock(guard):
    acquire(guard.cell, 0)


@leave.of(GlobalLock)
def _free_global_lock(guard, touches):
    release(guard.cell, 0)


@open_all.of(GlobalLock)
def _open_global_lock(guard: GlobalLock) -> None:
    guard.cell[0] = _OPEN


@lock.of(VariableLocks)
def _take_variable_locks(guard, problem, example, start, end):
    first, last = variables(problem, start, end)
    for place in range(first, last):
        acquire(guard.cells, variable(problem, example, place))


@unlock.of(VariableLocks)
def _free_variable_locks(guard, problem, example, start, end):
    first, last = variables(problem, start, end)
    for place in range(first, last):
        release(guard.cells, variable(problem, example, place))


@open_all.of(VariableLocks)
def _open_variable_locks(guard: VariableLocks) -> None:
    guard.cells[:] = _OPEN


@of_worker.of(Turns)
def _turns_of_worker(guard: Turns, worker: int) -> Turns:
    return guard._replace(worker=worker)


@of_lone_worker.of(Turns)
def _lone_turns(guard: Turns) -> Turns:
    return Turns.for_run(1, 0)


@await_turn.of(Turns)
def _await_own_turn(guard):
    spins = 0
    while load_acquire(guard.next, 0) != guard.worker:
        spins = spin(spins)


@inlined
def pass_turn(guard: Any) -> None:
    """Pass the turn to the next worker not yet done."""
    workers = guard.cells.size
    following = (guard.worker + 1) % workers
    while following != guard.worker and load(guard.cells, following, "done") == _CLOSED:
        following = (following + 1) % workers
    store_release(guard.next, 0, following)


@leave.of(Turns)
def _pass_turn_after_writing(guard, touches):
    pass_turn(guard)


@retire.of(Turns)
def _retire_at_own_turn(guard):
    # only at its turn, or the worker before it might pass the turn to one that is gone
    await_turn(guard)
    store(guard.cells, guard.worker, _CLOSED, "done")
    pass_turn(guard)


@renew.of(Turns)
def _renew_turns(guard):
    for worker in range(guard.cells.size):
        store(guard.cells, worker, _OPEN, "done")
    store_release(guard.next, 0, 0)


@open_all.of(Turns)
def _pass_turns_on(guard: Turns) -> None:
    guard.cells["done"] = _CLOSED  # nobody passes the turn to another one
    guard.next[0] = (guard.next[0] + 1) % guard.cells.size
