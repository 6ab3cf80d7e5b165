"""What sharing costs on this machine: the time in which a cache line gets from one core to another."""

from __future__ import annotations

import numpy as np

from experiments.measure.machine import begin, end, together
from hogwild.engine.atomics import SPINS_BEFORE_YIELD, give_way, load_acquire, store_release
from hogwild.engine.compiling import compiled, config
from hogwild.teams.work import usable_cores

HANDOVERS = 20_000
REPEATS = 5


def line_transfer() -> float | None:
    """Return the seconds in which a cache line written by one core reaches another that waits for it.

    Two threads on the first two usable cores pass a number back and forth; the best of several times counts.
    None without a compiler or a second core.
    """
    cores = usable_cores()[:2]
    if config.DISABLE_JIT or len(cores) < 2:
        return None
    best = float("inf")
    for _ in range(REPEATS):
        ball = np.zeros(16, np.int64)  # the line, and the one beside it that is fetched with it
        best = min(best, together(_play, cores, [(ball, 0), (ball, 1)]))
    return best / HANDOVERS


@compiled
def _play(cells, threads, mine, ball, side):
    begin(cells, threads, mine)
    for turn in range(side, HANDOVERS, 2):
        spins = 0
        while load_acquire(ball, 0) != turn:  # without a pause: that would add to what is measured
            spins += 1
            if spins == 100 * SPINS_BEFORE_YIELD:  # the other one may have lost its core
                give_way()
                spins = 0
        store_release(ball, 0, turn + 1)
    end(cells, mine, 0)
