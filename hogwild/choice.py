"""``backend="auto"``: who is fastest on this problem and this machine, found by a short trial."""

import itertools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from hogwild.engine.steps import StepRule
from hogwild.teams.work import Plan, Segment, usable_cores

AUTO = "auto"
WORTH = 1.1  # times the speed of serial: less is within the noise of a trial, and serial is reproducible
_ENTRIES = 1_000_000  # of one trial: milliseconds
_TRIALS = 3
_LEAST_ENTRIES = 50 * _ENTRIES  # of a whole run that is worth trials


class Choice(NamedTuple):
    """The backend's name, its workers, its team if there was a trial, and why."""

    backend: str
    team: Any
    workers: int
    reason: str


def choose(
    candidates: dict[str, int],
    assemble: Callable[[str, int], tuple[Plan, Any]],
    step: StepRule,
    entries: int,
    examples: int,
    epochs: int,
) -> Choice:
    """Return the fastest of some backends, serial unless another one is clearly faster.

    Each of them performs the first updates a few times, in turn, on weights of its own.

    Parameters
    ----------
    candidates : dict of str to int
        Workers by name; the first is serial.
    assemble : callable
        Makes a backend's plan and team.
    entries, examples, epochs : int
        Entries of the data, examples, and how often a run passes over them.
    """
    serial, *others = candidates

    def alone(why: str) -> Choice:
        return Choice(serial, None, 1, why)

    cores = len(usable_cores())
    if cores < 2:
        return alone("serial: there is one core to use")
    if not others:
        return alone("serial: one worker is asked for")
    if entries * epochs < _LEAST_ENTRIES:
        return alone(f"serial: {entries * epochs:,} entries in {epochs} epochs are too little work to share")
    updates = max(1, min(examples, _ENTRIES * examples // entries))
    segment = Segment(step, 0, 0, updates, float("inf"))
    plans: dict[str, Plan] = {}
    teams: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    try:
        for name, workers in candidates.items():
            plans[name], teams[name] = assemble(name, workers)
            teams[name].run(segment)  # what is touched first is not cached, and periods adapt
        for _, name in itertools.product(range(_TRIALS), candidates):
            seconds[name].append(teams[name].run(segment)[0])
        typical = {name: statistics.median(values) for name, values in seconds.items()}
        best = min(others, key=typical.__getitem__)
        gains = ", ".join(f"{name} {typical[serial] / typical[name]:.2f} ×" for name in others)
        chosen = best if typical[serial] / typical[best] >= WORTH else serial
        why = f"{chosen}: in {_TRIALS} trials of {updates:,} updates {gains} the speed of serial"
        teams[chosen].weights[...] = plans[chosen].weights  # as if nothing had happened
        return Choice(chosen, teams.pop(chosen), candidates[chosen], why)
    finally:
        for team in teams.values():
            team.close()
