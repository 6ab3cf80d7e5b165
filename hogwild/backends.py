"""The backends: named triples of a team, a schedule and a guard. A new one is one entry here."""

from dataclasses import replace
from typing import Any, NamedTuple

from hogwild import checks
from hogwild.sharing.guards import Atomic, GlobalLock, Turns, Unguarded, VariableLocks, traits_of
from hogwild.sharing.hot import Hot
from hogwild.sharing.private import Private
from hogwild.sharing.replicas import Replicas
from hogwild.sharing.rounds import Rounds
from hogwild.sharing.schedule import Schedule
from hogwild.sharing.shares import Padded, Shares
from hogwild.teams.caller import CallerTeam
from hogwild.teams.guide_pool import PoolTeam
from hogwild.teams.processes import ProcessTeam
from hogwild.teams.threads import ThreadTeam

TEAMS: dict[str, Any] = {
    "caller": CallerTeam,
    "threads": ThreadTeam,
    "processes": ProcessTeam,
    "pool": PoolTeam,
}
IDENTICAL, STATISTICAL = "identical", "statistical"


class Backend(NamedTuple):
    """Who runs the updates, which of them on which memory, and what happens inside one of them.

    Attributes
    ----------
    name : str
    title : str
        For figures and tables.
    team : str
        A key of `TEAMS`.
    schedule : Schedule
        With its options.
    guard : type
        Of record, of `hogwild.sharing.guards`.
    reproducibility : str
        ``"identical"``: the same bits from the same seed; ``"statistical"``: real races, a distribution of
        results.
    description : str
    """

    name: str
    title: str
    team: str
    schedule: Schedule
    guard: type
    reproducibility: str
    description: str

    @property
    def options(self) -> tuple[str, ...]:
        """The names of its options: see `backend`."""
        return tuple(self.schedule.options())

    @property
    def alone(self) -> bool:
        """Whether it has exactly one worker."""
        return self.team == "caller"

    @property
    def compiled(self) -> bool:
        """Whether its workers run the compiled loop that all but the tutorial's pool share."""
        return self.team != "pool"

    @property
    def whole_runs(self) -> bool:
        """Whether each worker makes every epoch as a whole, on weights of its own."""
        return self.schedule.whole_runs

    @property
    def lossless(self) -> bool:
        """Whether every change of a weight arrives."""
        guarded = traits_of(self.guard).lossless or self.schedule.conflict_free or self.alone
        return self.compiled and self.applies_all and self.schedule.lossless and guarded

    @property
    def applies_all(self) -> bool:
        """Whether every component of an update is written, as it is."""
        return traits_of(self.guard).applies_all

    @property
    def serial_alone(self) -> bool:
        """Whether a single worker computes the bits of `serial`."""
        alike = self.schedule.serial_alone and traits_of(self.guard).serial_alone
        return self.compiled and self.applies_all and alike

    @property
    def observable(self) -> bool:
        """Whether an instrument can watch it."""
        return self.compiled and self.schedule.observable and traits_of(self.guard).observable


def _both(
    name: str,
    title: str,
    schedule: Schedule,
    guard: type,
    description: str,
    *,
    exact: bool = False,
) -> list[Backend]:
    """Return a backend with threads, and the same with processes."""
    how = (schedule, guard, IDENTICAL if exact else STATISTICAL)
    threads = Backend(name, title, "threads", *how, f"threads {description}")
    other = f"{name.removesuffix('_threads')}_processes"
    title = title.replace("threads", "processes") if "threads" in title else f"{title}, processes"
    return [threads, Backend(other, title, "processes", *how, f"the same as `{name}`, with processes")]


_SERIAL = Backend(*("serial", "serial", "caller", Shares(), Unguarded, IDENTICAL), "the caller, alone")
_POOL = Backend(
    *("pool", "pool (guide)", "pool", Shares(), Unguarded, STATISTICAL),
    "the tutorial's scheme: tasks through a Pool, in NumPy",
)
_PADDED = Backend(
    *("hogwild_padded", "Hogwild! threads, padded", "threads", Padded(), Unguarded, STATISTICAL),
    "threads that share the weights unguarded, with a cache line for each weight",
)
_AVERAGING = Backend(
    *("averaging", "averaging", "threads", Private(), Unguarded, IDENTICAL),
    "threads with a whole run each, averaged when evaluated",
)
_ALL = [
    _SERIAL,
    *_both("locked", "locked", Shares(), GlobalLock, "with one lock around read, compute and write"),
    *_both("hogwild_threads", "Hogwild! threads", Shares(), Unguarded, "that share the weights unguarded"),
    _PADDED,
    *_both("replicated", "replicas", Replicas(), Unguarded, "with replicas, merged every so many updates"),
    *_both(
        *("hogwild_hot_replicated", "hot replicas, cold shared", Hot(), Unguarded),
        "with replicas of the popular weights alone; the others shared unguarded",
    ),
    *_both("atomic", "atomic adds", Shares(), Atomic, "with an atomic add for each component"),
    *_both("aig", "AIG (locks per variable)", Shares(), VariableLocks, "with a lock for each variable"),
    *_both("round_robin", "RR (turns)", Shares(), Turns, "that write strictly in turn"),
    *_both(
        "cyclades",
        "CYCLADES",
        Rounds(),
        Unguarded,
        "whose updates never conflict: the bits of `serial`",
        exact=True,
    ),
    _AVERAGING,
    _POOL,
]
# In the order of figures and tables: variants with processes come last, except that of Hogwild! itself.
_ALL.sort(key=lambda each: each.team == "processes" and each.name != "hogwild_processes")
BACKENDS: dict[str, Backend] = {each.name: each for each in _ALL}


def backend(name: str, **options: Any) -> Backend:
    """Return a backend with options of its own, for `hogwild.minimize`.

    Parameters
    ----------
    name : str
        A name in `BACKENDS`.
    merge_every : int, optional
        For the backends that have replicas: a worker's updates from one merge of its replica to the next. By
        default chosen so that merging is a twentieth of the work, within limits.
    hot_weights : int, optional
        For the backends that replicate the most popular weights alone: how many. By default 16,384. Rounded
        up to whole pages of memory, or all if there are fewer.

    Raises
    ------
    TypeError, ValueError
        Naming the option, what was given and what is allowed.
    """
    chosen = BACKENDS[checks.choice("backend", name, BACKENDS)]
    for option, value in options.items():
        if option not in chosen.options:
            allowed = f"these options: {', '.join(chosen.options)}" if chosen.options else "no options"
            raise ValueError(f"{option} is {value!r}; the backend {name!r} has {allowed}")
        options[option] = None if value is None else checks.integer(option, value, minimum=1)
    return chosen._replace(schedule=replace(chosen.schedule, **options)) if options else chosen
