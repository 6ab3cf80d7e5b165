"""Cells that workers share: rows with named fields, each row on its own cache lines; and how to wait."""

from typing import Any

import numpy as np

from hogwild.engine.atomics import exchange, give_way, load, pause, store_release
from hogwild.engine.compiling import inlined

LINE_BYTES = 128  # two cache lines: they are fetched in pairs
# then a waiting worker yields its core: with four workers on two cores, another one needs it
SPINS_BEFORE_YIELD = 50
_FREE, _TAKEN = 0, 1


def rows_apart(count: int, **fields: type) -> np.ndarray:
    """Return zeros with named fields, of shape (count,), so that no two rows share a cache line.

    Compiled code reads and writes its own row as ``cells[worker]["field"]``. If others look at the row, it
    uses the functions of `hogwild.engine.atomics`, as ``load(cells, worker, "field")``.
    """
    packed = np.dtype(list(fields.items()), align=True)
    lines = -(-packed.itemsize // LINE_BYTES)
    names = list(fields)
    offsets = [packed.fields[name][1] for name in names]  # type: ignore[index]
    kinds = [packed.fields[name][0] for name in names]  # type: ignore[index]
    row = {"names": names, "formats": kinds, "offsets": offsets, "itemsize": lines * LINE_BYTES}
    return np.zeros(count, np.dtype(row, align=True))  # type: ignore[call-overload]


@inlined
def spin(spins: Any) -> Any:
    """Spin once in a waiting loop and return the updated count: ``spins = spin(spins)``, from 0."""
    pause()
    spins += 1
    if spins == SPINS_BEFORE_YIELD:
        give_way()
        spins = 0
    return spins


@inlined
def acquire(locks: Any, index: Any) -> None:
    """Take a spin lock: an element of an array, 0 when it is free."""
    spins = 0
    # look before reaching for the lock: an exchange takes the cache line away from its owner, a load does not
    while load(locks, index) == _TAKEN or exchange(locks, index, _TAKEN) == _TAKEN:
        spins = spin(spins)


@inlined
def release(locks: Any, index: Any) -> None:
    """Free a spin lock that this worker holds."""
    store_release(locks, index, _FREE)
