"""How concurrent updates meet the shared weights. A policy guards an update and adds one component."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.atomics import SPINS_BEFORE_YIELD, exchange, give_way, load, pause, store, store_release
from hogwild.compiling import generic

_FREE, _TAKEN = 0, 1


class Unguarded(NamedTuple):
    """Read, add, write, while others do the same: Hogwild! as everybody runs it (no compare-and-swap)."""


class GlobalLock(NamedTuple):
    """One spin lock around reading, computing and writing: updates happen strictly one after another."""

    cell: Any  # int64 array whose first element is the lock, on a cache line of its own


@generic
def enter(policy: Any) -> Any:
    """Begin an update: nothing of it has been read yet."""


@generic
def leave(policy: Any) -> Any:
    """End an update: all of it has been written."""


@generic
def add(policy: Any, weights: Any, coordinate: Any, change: Any) -> Any:
    """Add to one coordinate of the shared weights."""


@enter.of(Unguarded)
def _(policy):
    pass


@leave.of(Unguarded)
def _(policy):
    pass


@enter.of(GlobalLock)
def _(policy):
    spins = 0
    # look before reaching for the lock: an exchange takes the cache line away from its owner, a load does not
    while load(policy.cell, 0) == _TAKEN or exchange(policy.cell, 0, _TAKEN) == _TAKEN:
        pause()
        spins += 1
        if spins == SPINS_BEFORE_YIELD:
            give_way()
            spins = 0


@leave.of(GlobalLock)
def _(policy):
    store_release(policy.cell, 0, _FREE)


@add.of(Unguarded, GlobalLock)
def _(policy, weights, coordinate, change):
    store(weights, coordinate, load(weights, coordinate) + change)


def unguarded() -> Unguarded:
    """Return the policy without guards."""
    return Unguarded()


def global_lock() -> GlobalLock:
    """Return a free global lock."""
    return GlobalLock(np.zeros(16, np.int64))
