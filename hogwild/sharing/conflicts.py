"""Which worker performs which update, so that no two workers of a round touch the same variable.

Updates that share a variable conflict. A round is a stretch of an epoch's order; a connected component of its
conflicts goes to one worker as a whole, so that workers need not know of each other within a round.
"""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.contract import (
    count,
    fetch_ahead,
    fetch_far_ahead,
    gathers,
    is_fixed,
    support,
    variable,
    variables,
)
from hogwild.engine.loops import AHEAD
from hogwild.engine.sampling import epoch_key, list_examples, scattered

UPDATES_PER_WORKER = 16  # a shorter round is not worth the wait at its end
_LAST_STAMP = 2**31 - 1
_DIGITS, _BITS = 256, 8  # of the keys that are sorted


class Space(NamedTuple):
    """Memory to schedule a stretch of updates with; only as much is touched as the stretch is long."""

    last: Any  # int32 of shape (n_variables,): the stamp of the last update that touched each variable
    stamp: Any  # int64: the next stamp
    order: Any  # the examples of the stretch
    parent: Any  # for each update of a round an earlier one of its component; itself for the earliest
    loads: Any  # for each component, at its earliest update, what it costs
    longest: Any  # components, those that cost most first
    spare: Any
    owner: Any  # for each update of a round the worker that performs it
    busy: Any  # for each worker what its components cost
    positions: Any  # a worker's part of a round


def space_for(examples: int, variables: int, workers: int) -> Space:
    """Return the space to schedule stretches of up to so many examples."""

    def empty(dtype: Any) -> Any:
        return np.empty(examples, dtype)

    return Space(
        last=np.zeros(variables, np.int32),
        stamp=np.ones(1, np.int64),
        order=empty(np.uint32),
        parent=empty(np.int32),
        loads=empty(np.int64),
        longest=empty(np.int32),
        spare=empty(np.int32),
        owner=empty(np.int32),
        busy=np.zeros(workers, np.int64),
        positions=empty(np.int64),
    )


@compiled
def schedule(
    problem: Any, sampling: Any, epoch: int, begin: int, end: int, batch_size: int, owners: Any, space: Any
) -> None:
    """Put the worker of each position from begin to end-1 of an epoch into ``owners``.

    The first position of a round holds ``~worker``. An update is ``batch_size`` examples. A round ends where
    its largest component exceeds one worker's share. Where even the shortest round is mostly one component,
    the first worker performs all of it, and then more unexamined: twice as much each time in a row.
    """
    if space.busy.size == 1:
        owners[begin:end] = 0
        return
    list_examples(sampling, count(problem), epoch_key(sampling.seed, epoch), begin, end, space.order)
    alike = 0
    first = begin
    while first < end:
        updates, largest, total = join(problem, sampling, first - begin, end - begin, batch_size, space)
        if updates > UPDATES_PER_WORKER * space.busy.size and 4 * largest * space.busy.size > 5 * total:
            # the last update joined two large components: the round ends before it
            stop = first - begin + (updates - 1) * batch_size
            updates, largest, total = join(problem, sampling, first - begin, stop, batch_size, space)
        stop = min(first + updates * batch_size, end)
        if 4 * largest > 3 * total:
            alike = max(2 * alike, stop - first)
            stop = min(first + alike, end)
            for position in range(first, stop):
                owners[position] = 0
        else:
            alike = 0
            allocate(updates, largest, space)
            for position in range(first, stop):
                owners[position] = space.owner[(position - first) // batch_size]
        owners[first] = ~owners[first]
        first = stop


@compiled
def join(problem: Any, sampling: Any, begin: int, end: int, batch_size: int, space: Any) -> Any:
    """Find the components of a round that begins at a place of ``space.order`` and ends before another.

    Returns the number of its updates, and the cost of its largest component and of all of them: one for each
    entry, and one for each example.
    """
    last, order, parent, loads = space.last, space.order, space.parent, space.loads
    workers = space.busy.size
    if space.stamp[0] > _LAST_STAMP - (end - begin):
        last[:] = 0
        space.stamp[0] = 1
    earliest = space.stamp[0]
    updates, largest, total = 0, np.int64(0), np.int64(0)
    place = begin
    while place < end and (updates < UPDATES_PER_WORKER * workers or largest * workers <= total):
        root = updates
        parent[root] = root
        loads[root] = 0
        for at in range(place, min(place + batch_size, end)):
            if scattered(sampling) and at + 2 * AHEAD < end:
                fetch_far_ahead(problem, np.uint64(order[at + 2 * AHEAD]))
                if not gathers(problem):
                    fetch_ahead(problem, np.uint64(order[at + AHEAD]), last)
            example = np.uint64(order[at])
            start, stop = support(problem, example)
            loads[root] += np.int64(stop - start) + 1
            total += np.int64(stop - start) + 1
            start, stop = variables(problem, start, stop)
            for which in range(start, stop):
                touched = variable(problem, example, which)
                if not is_fixed(problem, touched):
                    before = last[touched] - earliest
                    if before >= 0:
                        root = _united(parent, loads, root, before)
                    last[touched] = earliest + updates
        largest = max(largest, loads[root])
        updates += 1
        place += batch_size
    space.stamp[0] = earliest + updates
    return updates, largest, total


@inlined
def _united(parent: Any, loads: Any, root: Any, member: Any) -> Any:
    """Make one component of two; return its earliest update (Tarjan & van Leeuwen 1984, path halving)."""
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    if member == root:
        return root
    first, second = min(root, member), max(root, member)
    parent[second] = first
    loads[first] += loads[second]
    return first


@compiled
def allocate(updates: int, largest: int, space: Any) -> None:
    """Give the components to the workers, longest processing time first (Graham 1969)."""
    parent, loads, longest, owner, busy = space.parent, space.loads, space.longest, space.owner, space.busy
    components = 0
    for update in range(updates):
        if parent[update] == update:
            longest[components] = update
            components += 1
    sort_longest_first(loads, longest, space.spare, components, largest)
    busy[:] = 0
    for place in range(components):
        idlest = 0
        for worker in range(1, busy.size):
            if busy[worker] < busy[idlest]:
                idlest = worker
        busy[idlest] += loads[longest[place]]
        owner[longest[place]] = idlest
    for update in range(updates):  # a parent comes before its children
        owner[update] = owner[parent[update]]


@compiled
def sort_longest_first(loads: Any, items: Any, spare: Any, length: int, largest: int) -> None:
    """Sort items by their loads, descending; equal ones stay in order (radix sort)."""
    ends = np.empty(_DIGITS + 1, np.int64)
    shift = 0
    while largest >> shift > 0:
        ends[:] = 0
        for place in range(length):
            ends[_DIGITS - ((loads[items[place]] >> shift) & (_DIGITS - 1))] += 1
        for digit in range(_DIGITS):
            ends[digit + 1] += ends[digit]
        for place in range(length):
            digit = _DIGITS - 1 - ((loads[items[place]] >> shift) & (_DIGITS - 1))
            spare[ends[digit]] = items[place]
            ends[digit] += 1
        for place in range(length):
            items[place] = spare[place]
        shift += _BITS
