"""CYCLADES: parallel updates without conflicts, equal to serial ones to the bit.

Pan, Lam, Tu, Papailiopoulos, Zhang, Jordan, Ramchandran, Ré & Recht 2016, "CYCLADES: Conflict-free
Asynchronous Machine Learning" (NIPS).
"""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.atomics import SPINS_BEFORE_YIELD, give_way, load_acquire, pause, store_release
from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.loops import run_part, size_of
from hogwild.engine.sampling import example, position_at, scattered
from hogwild.sharing.conflicts import schedule, space_for
from hogwild.sharing.guards import LINE, Unguarded, placed, release_waiting, renew, retire

_LIMIT, _KEPT = 0, 1  # cells of all workers
_DONE, _SCHEDULED, _SHARED = 0, 1, 8  # cells of a worker; the last one, which nobody reads, on its own line
_ALL = 2**62  # beyond every position


class ConflictFree(NamedTuple):
    """Workers perform different components of the conflicts of a round, then wait for each other.

    Within a round no two workers touch the same variable, and what one of them performs it performs in
    serial order: the weights are those of `serial` to the bit, for any number of workers. Pan et al. sample
    batches of fixed size; here a round ends where its largest component would be more than one worker's
    share, so there is no size to choose.

    It pays where data are truly sparse: of n examples, each in conflict with at most Δ others, a random
    (1 − ε) n/Δ fall into components of O(log n / ε²) (Krivelevich 2016). It cannot pay where features are
    hot: examples that share a popular feature are one component, which one worker performs alone
    (`hogwild.Result.parallel_share` tells). To find the components is work of the order of the updates
    themselves: before training, once, for rows that are shuffled once; else in every epoch, on its clock,
    where each worker does its share of it.
    """

    owners: Any  # int32 of shape (n_examples,): see `hogwild.sharing.conflicts.schedule`
    cells: Any  # int64: the limit, then the cells of each worker
    variables: int
    workers: int
    worker: int
    space: Any  # this worker's, to schedule with

    @property
    def retiring(self) -> bool:
        """A worker that ends its share must `retire`."""
        return True


def conflict_free(workers: int, problem: Any) -> ConflictFree:
    """Return the policy with everything given to the first worker."""
    owners, cells = np.zeros(problem.n_examples, np.int32), np.zeros((workers + 1) * LINE, np.int64)
    return ConflictFree(owners, cells, problem.n_variables, workers, 0, None)


@placed.register
def _(policy: ConflictFree, weights: Any, worker: int) -> tuple[Any, Any]:
    space = space_for(policy.owners.size, policy.variables, policy.workers)
    return policy._replace(worker=worker, space=space), weights


def keep_schedule(problem: Any, policy: ConflictFree, sampling: Any, block: int, batch_size: int) -> None:
    """Schedule an epoch once and for all, so many updates at a time; ``policy`` is a `placed` one."""
    for begin in range(0, policy.owners.size, block):
        end = min(begin + block, policy.owners.size)
        schedule(problem, sampling, 0, begin, end, batch_size, policy.owners, policy.space)
    policy.cells[_KEPT] = 1


def parallel_share(policy: ConflictFree, updates: int) -> float:
    """Return the share of the updates in rounds that several workers shared."""
    return float(policy.cells[LINE + _SHARED :: LINE].sum() / max(updates, 1))


class Chosen(NamedTuple):
    """Some positions of another sampling, in order."""

    seed: Any
    inner: Any
    positions: Any


@example.of(Chosen)
def _(sampling, count, key, position):
    return example(sampling.inner, count, key, sampling.positions[position])


@position_at.of(Chosen)
def _(sampling, position):
    return sampling.positions[position]


@scattered.of(Chosen)
def _(sampling):
    return True


@compiled
def run_rounds(
    kind: Any,
    problem: Any,
    policy: Any,
    sampling: Any,
    delay: Any,
    step: Any,
    weights: Any,
    epoch: int,
    begin: int,
    end: int,
    order: Any,
    room: Any,
    first: int,
    last: int,
) -> int:
    """Perform one worker's updates among those at positions begin … end-1 of an epoch; return their number.

    Where no schedule was kept, this worker schedules positions first … last-1 of them.
    """
    cells, mine, worker = policy.cells, (policy.worker + 1) * LINE, policy.worker
    owners, positions = policy.owners, policy.space.positions
    store_release(cells, mine + _DONE, begin)
    if cells[_KEPT] == 0:
        schedule(problem, sampling, epoch, first, last, size_of(kind), owners, policy.space)
        store_release(cells, mine + _SCHEDULED, end)
        _await_all(policy, _SCHEDULED, end)
    chosen = Chosen(sampling.seed, sampling, positions)
    performed, shared = 0, 0
    position = begin
    while position < end:
        part, stop = 0, position
        while stop < end and (stop == position or owners[stop] >= 0):
            positions[part] = stop
            part += owners[stop] == worker or owners[stop] == ~worker
            stop += 1
        if part > 0:
            _await_all(policy, _DONE, position)
            run_part(kind, problem, Unguarded(), chosen, delay, step, weights, epoch, 0, part, order, room)
        store_release(cells, mine + _DONE, stop)
        performed += part
        shared += part if part < stop - position else 0
        position = stop
    cells[mine + _SHARED] += shared
    return performed


@inlined
def _await_all(policy: Any, cell: Any, position: Any) -> None:
    """Wait until every worker has told a position in one of its cells, or a later one."""
    for worker in range(policy.workers):
        spins = 0
        while load_acquire(policy.cells, (worker + 1) * LINE + cell) < position:
            pause()
            spins += 1
            if spins == SPINS_BEFORE_YIELD:
                give_way()
                spins = 0


@compiled
def agreed(policy: Any, begin: int, end: int, wanted: bool) -> bool:
    """Return whether to perform the updates at positions begin … end-1: what the first worker wants.

    So all workers end after the same update, and their weights are those of a shorter serial run.
    """
    cells = policy.cells
    if policy.worker == 0:
        store_release(cells, _LIMIT, end if wanted else ~begin)
        return wanted
    spins = 0
    while True:
        limit = load_acquire(cells, _LIMIT)
        if limit > begin or ~limit > begin:
            return True
        if limit < 0:
            return False
        pause()
        spins += 1
        if spins == SPINS_BEFORE_YIELD:
            give_way()
            spins = 0


@retire.of(ConflictFree)
def _(policy):
    mine, limit = (policy.worker + 1) * LINE, policy.cells[_LIMIT]
    if policy.worker == 0 and limit >= 0:
        store_release(policy.cells, _LIMIT, ~limit)
    store_release(policy.cells, mine + _SCHEDULED, _ALL)
    store_release(policy.cells, mine + _DONE, _ALL)


@renew.of(ConflictFree)
def _(policy):
    policy.cells[_LIMIT] = 0
    for worker in range(1, policy.workers + 1):
        policy.cells[worker * LINE + _DONE] = 0
        policy.cells[worker * LINE + _SCHEDULED] = 0


@release_waiting.register
def _(policy: ConflictFree) -> None:
    policy.cells[_LIMIT] = ~0
    policy.cells[LINE + _DONE :: LINE] = policy.cells[LINE + _SCHEDULED :: LINE] = _ALL
