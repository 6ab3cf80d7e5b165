"""How concurrent updates meet the shared weights.

A policy may act at five points of an update: `enter` (nothing read yet), `await_turn` (gradient known,
nothing written), `lock` and `unlock` (around the writes of one example), `leave` (all written); and it adds
each component. Bodies that do nothing cost nothing.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import (
    SPINS_BEFORE_YIELD,
    exchange,
    fetch_add,
    give_way,
    load,
    load_acquire,
    pause,
    store,
    store_release,
)
from hogwild.engine.compiling import compiled, generic, inlined
from hogwild.engine.contract import add, await_turn, enter, leave, lock, unlock, variable, variables

_FREE, _TAKEN = 0, 1
PADDING = 16  # cells from one weight to the next: a cache line or two, which are fetched in pairs
LINE = 16  # int64 cells from one flag to the next: two cache lines


class Unguarded(NamedTuple):
    """Read, add, write, while others do the same: Hogwild! as everybody runs it (no compare-and-swap)."""


class Padded(NamedTuple):
    """Unguarded, with a cache line for each weight: what is left of the traffic is true sharing."""


class Atomic(NamedTuple):
    """Every component is added atomically: what the theory assumes (Niu et al. 2011, section 2)."""


class GlobalLock(NamedTuple):
    """One spin lock around reading, computing and writing: updates happen strictly one after another."""

    cell: Any  # int64 array whose first element is the lock, on a cache line of its own


class VariableLocks(NamedTuple):
    """A lock for each variable, held around the writes alone (AIG in Niu et al. 2011, section 7).

    Reading and the gradient stay outside, as in the paper. Locks are taken in ascending order, so two updates
    cannot wait for each other.
    """

    cells: Any  # int32 array of shape (n_variables,)


class Private(NamedTuple):
    """Every worker has weights of its own and visits all examples; their average counts (Zinkevich 2010)."""


class Turns(NamedTuple):
    """Workers compute gradients side by side and write them strictly in turn (RR; Langford et al. 2009)."""

    cells: Any  # int64: whose turn it is, then for each worker whether it is done, a flag to two cache lines
    workers: int
    worker: int

    @property
    def retiring(self) -> bool:
        """A worker that ends its share must `retire`."""
        return True


@generic
def waits(policy: Any) -> Any:
    """Return whether workers wait for each other."""
    return False


@generic
def retire(policy: Any) -> Any:
    """End a worker's share of a segment: nobody is to wait for it."""


@generic
def renew(policy: Any) -> Any:
    """Begin a segment, while all workers rest."""


@functools.singledispatch
def placed(policy: Any, weights: Any, worker: int) -> tuple[Any, Any]:
    """Return a worker's own copy of a policy, on the same cells, and the weights that it works on."""
    changes: dict[str, Any] = {}
    if "worker" in policy._fields:
        changes["worker"] = worker
    if "inner" in policy._fields:
        changes["inner"], weights = placed(policy.inner, weights, worker)
    return policy._replace(**changes), weights


@placed.register
def _(policy: Private, weights: Any, worker: int) -> tuple[Any, Any]:
    return policy, weights[worker]


@functools.singledispatch
def laid_out(policy: Any, weights: np.ndarray, workers: int) -> np.ndarray:
    """Return the array that a run's workers share, all of them beginning with these weights."""
    return weights


@laid_out.register
def _(policy: Private, weights: np.ndarray, workers: int) -> np.ndarray:
    return np.tile(weights, (workers, 1))


@laid_out.register
def _(policy: Padded, weights: np.ndarray, workers: int) -> np.ndarray:
    return np.repeat(weights, PADDING)


@functools.singledispatch
def combined(policy: Any, weights: np.ndarray) -> np.ndarray:
    """Return the weights that count, while all workers rest."""
    return weights


@combined.register
def _(policy: Private, weights: np.ndarray) -> np.ndarray:
    return weights.mean(axis=0)


@combined.register
def _(policy: Padded, weights: np.ndarray) -> np.ndarray:
    return weights[::PADDING]


@functools.singledispatch
def release_waiting(policy: Any) -> None:
    """Let all who wait go on, again and again until they have ended: one they wait for failed.

    What they write then no longer counts.
    """
    for part in policy:
        if hasattr(part, "_fields"):
            release_waiting(part)


@release_waiting.register
def _(policy: GlobalLock) -> None:
    policy.cell[0] = _FREE


@release_waiting.register
def _(policy: VariableLocks) -> None:
    policy.cells[:] = _FREE


@release_waiting.register
def _(policy: Turns) -> None:
    policy.cells[LINE::LINE] = _TAKEN  # nobody passes the turn to another one
    policy.cells[0] = (policy.cells[0] + 1) % policy.workers


@waits.of(GlobalLock, VariableLocks, Turns)
def _(policy):
    return True


@add.of(Unguarded, Padded, Private, GlobalLock, VariableLocks, Turns)
def _(policy, weights, coordinate, seen, change):
    store(weights, coordinate, seen + change)


@add.of(Atomic)
def _(policy, weights, coordinate, seen, change):
    fetch_add(weights, coordinate, change)


@inlined
def acquire(cells: Any, index: Any) -> None:
    """Take a spin lock."""
    spins = 0
    # look before reaching for the lock: an exchange takes the cache line away from its owner, a load does not
    while load(cells, index) == _TAKEN or exchange(cells, index, _TAKEN) == _TAKEN:
        pause()
        spins += 1
        if spins == SPINS_BEFORE_YIELD:
            give_way()
            spins = 0


@inlined
def release(cells: Any, index: Any) -> None:
    """Free a spin lock that this worker holds."""
    store_release(cells, index, _FREE)


@enter.of(GlobalLock)
def _(policy):
    acquire(policy.cell, 0)


@leave.of(GlobalLock)
def _(policy, touches):
    release(policy.cell, 0)


@lock.of(VariableLocks)
def _(policy, problem, example, start, end):
    first, last = variables(problem, start, end)
    for place in range(first, last):
        acquire(policy.cells, variable(problem, example, place))


@unlock.of(VariableLocks)
def _(policy, problem, example, start, end):
    first, last = variables(problem, start, end)
    for place in range(first, last):
        release(policy.cells, variable(problem, example, place))


@await_turn.of(Turns)
def _(policy):
    spins = 0
    while load_acquire(policy.cells, 0) != policy.worker:
        pause()
        spins += 1
        if spins == SPINS_BEFORE_YIELD:
            give_way()
            spins = 0


@inlined
def _pass_turn(policy: Any) -> None:
    following = (policy.worker + 1) % policy.workers
    while following != policy.worker and load(policy.cells, (following + 1) * LINE) == _TAKEN:
        following = (following + 1) % policy.workers
    store_release(policy.cells, 0, following)


@leave.of(Turns)
def _(policy, touches):
    _pass_turn(policy)


@retire.of(Turns)
def _(policy):
    # a worker leaves at its turn, or the one before it might hand the turn to a worker that is gone
    await_turn(policy)
    store(policy.cells, (policy.worker + 1) * LINE, _TAKEN)
    _pass_turn(policy)


@renew.of(Turns)
def _(policy):
    for worker in range(policy.workers):
        store(policy.cells, (worker + 1) * LINE, _FREE)
    store_release(policy.cells, 0, 0)


@compiled
def retire_worker(policy: Any) -> None:
    """Call `retire` from Python."""
    retire(policy)


def retires(policy: Any) -> bool:
    """Return whether a worker that ends its share of a segment must `retire_worker`."""
    return getattr(policy, "retiring", False) or ("inner" in policy._fields and retires(policy.inner))


def alone(policy: Any) -> Any:
    """Return the same kind of policy for a single worker, to compile with."""
    if "inner" in policy._fields:
        return policy._replace(inner=alone(policy.inner))
    return turns(1, None) if isinstance(policy, Turns) else policy


def unguarded(workers: int, problem: Any) -> Unguarded:
    """Return the policy without guards."""
    return Unguarded()


def padded(workers: int, problem: Any) -> Padded:
    """Return the policy of weights far apart."""
    return Padded()


def private(workers: int, problem: Any) -> Private:
    """Return the policy of private weights."""
    return Private()


def atomic(workers: int, problem: Any) -> Atomic:
    """Return the policy of atomic adds."""
    return Atomic()


def global_lock(workers: int, problem: Any) -> GlobalLock:
    """Return a free global lock."""
    return GlobalLock(np.zeros(LINE, np.int64))


def variable_locks(workers: int, problem: Any) -> VariableLocks:
    """Return free locks, one for each variable."""
    return VariableLocks(np.zeros(problem.n_variables, np.int32))


def turns(workers: int, problem: Any) -> Turns:
    """Return the first worker's turn."""
    return Turns(np.zeros((workers + 1) * LINE, np.int64), workers, 0)
