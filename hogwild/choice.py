"""``backend="auto"``: which is fastest on this problem and this machine, found by a short trial."""

import itertools
import statistics
from typing import NamedTuple

from hogwild.assembly import Assembled, Setup, assemble
from hogwild.backends import BACKENDS
from hogwild.sharing.schedule import Segment
from hogwild.teams.work import usable_cores

WORTH = 1.1  # times the speed of serial: less is within the noise of a trial, and serial is reproducible
_ENTRIES = 1_000_000  # of one trial: milliseconds
_TRIALS = 3
_LEAST_ENTRIES = 50 * _ENTRIES  # of a whole run that is worth trials


class Choice(NamedTuple):
    """The backend's name, its workers, why, its team if there was a trial, and what compiling took."""

    backend: str
    workers: int
    reason: str
    assembled: Assembled | None = None
    compile_seconds: float = 0.0


def choose(setup: Setup) -> Choice:
    """Return the fastest of serial, Hogwild! threads and replicas; serial unless another is clearly faster.

    Each of them performs the first updates a few times, in turn, on weights of its own.
    """
    problem, workers, epochs = setup.given.problem, setup.given.workers, setup.given.limits.epochs
    entries, examples = problem.nonzeros, problem.n_examples

    def serial(why: str) -> Choice:
        return Choice("serial", 1, why)

    if len(usable_cores()) < 2:
        return serial("serial: there is one core to use")
    if workers == 1:
        return serial("serial: one worker is asked for")
    if entries * epochs < _LEAST_ENTRIES:
        return serial(f"serial: {entries * epochs:,} entries in {epochs} epochs are too little work to share")
    updates = max(1, min(examples, _ENTRIES * examples // entries))
    segment = Segment(setup.step, 0, 0, updates, float("inf"))
    others = ["hogwild_threads"] + ["replicated"] * (not problem.constrained)
    candidates = {"serial": 1} | dict.fromkeys(others, workers)
    made: dict[str, Assembled] = {}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    try:
        for name, count in candidates.items():
            made[name] = assemble(setup, BACKENDS[name], count)
            made[name].team.run(segment)  # a first touch is not cached, and periods adapt
        for _, name in itertools.product(range(_TRIALS), candidates):
            seconds[name].append(made[name].team.run(segment)[0])
        typical = {name: statistics.median(values) for name, values in seconds.items()}
        best = min(others, key=typical.__getitem__)
        gains = ", ".join(f"{name} {typical['serial'] / typical[name]:.2f} ×" for name in others)
        chosen = best if typical["serial"] / typical[best] >= WORTH else "serial"
        why = f"{chosen}: in {_TRIALS} trials of {updates:,} updates {gains} the speed of serial"
        made[chosen].team.weights[...] = made[chosen].start  # as if nothing had happened
        compiling = sum(each.compile_seconds for each in made.values())
        return Choice(chosen, candidates[chosen], why, made.pop(chosen), compiling)
    finally:
        for each in made.values():
            each.team.close()
