"""The backends: named pairs of workers and policy. A new pair is one line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hogwild.sharing.guards import atomic, global_lock, padded, private, turns, unguarded, variable_locks
from hogwild.sharing.replicas import replicated
from hogwild.sharing.rounds import conflict_free
from hogwild.teams.crew import CallerTeam, ProcessTeam, ThreadTeam
from hogwild.teams.guide_pool import PoolTeam


class Backend(NamedTuple):
    """Who runs the updates, and how they meet the shared weights.

    Attributes
    ----------
    name : str
    team : str
        A key of `TEAMS`.
    policy : str
        A key of `POLICIES`.
    reproducibility : str
        ``"identical"``: the same bits from the same seed; ``"statistical"``: real races, a distribution of
        results.
    title : str
        For figures and tables.
    description : str
    """

    name: str
    team: str
    policy: str
    reproducibility: str
    title: str
    description: str

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that it has beside those of every backend."""
        return {"replicated": ("merge_every",), "hot_replicated": ("merge_every", "hot_weights")}.get(
            self.policy, ()
        )

    @property
    def alone(self) -> bool:
        """Whether it has exactly one worker."""
        return self.team == "caller"

    @property
    def whole_runs(self) -> bool:
        """Whether each worker makes every epoch as a whole, on weights of its own."""
        return self.policy == "private"


TEAMS: dict[str, Any] = {
    "caller": CallerTeam,
    "threads": ThreadTeam,
    "processes": ProcessTeam,
    "pool": PoolTeam,
}
# name -> maker of the policy for so many workers on a problem
POLICIES: dict[str, Callable[[int, Any], Any]] = {
    "unguarded": unguarded,
    "padded": padded,
    "atomic": atomic,
    "global_lock": global_lock,
    "variable_locks": variable_locks,
    "turns": turns,
    "private": private,
    "replicated": replicated,
    "hot_replicated": replicated,  # of all weights: `minimize` takes the hot ones of it
    "conflict_free": conflict_free,
}
_EXACT, _RACY = "identical", "statistical"
_ROWS = (
    ("serial", "caller", "unguarded", _EXACT, "serial", "one worker, the caller itself"),
    ("locked", "threads", "global_lock", _RACY, "locked", "threads; one lock around read, compute and write"),
    (
        "aig",
        "threads",
        "variable_locks",
        _RACY,
        "AIG (locks per variable)",
        "threads; a lock for each variable, around the writes",
    ),
    (
        "round_robin",
        "threads",
        "turns",
        _RACY,
        "RR (turns)",
        "threads that write in a fixed order, one after another",
    ),
    ("atomic", "threads", "atomic", _RACY, "atomic adds", "threads; an atomic add for each component"),
    (
        "hogwild_threads",
        "threads",
        "unguarded",
        _RACY,
        "Hogwild! threads",
        "threads that share the weights without a lock",
    ),
    (
        "hogwild_padded",
        "threads",
        "padded",
        _RACY,
        "Hogwild! threads, padded",
        "the same, with a cache line for each weight",
    ),
    (
        "replicated",
        "threads",
        "replicated",
        _RACY,
        "replicas",
        "threads with replicas of the weights, merged every so many updates",
    ),
    (
        "hogwild_hot_replicated",
        "threads",
        "hot_replicated",
        _RACY,
        "hot replicas, cold shared",
        "threads with replicas of the popular weights alone; the others shared without a lock",
    ),
    (
        "cyclades",
        "threads",
        "conflict_free",
        _EXACT,
        "CYCLADES",
        "threads that perform updates without a conflict",
    ),
    (
        "averaging",
        "threads",
        "private",
        _EXACT,
        "averaging",
        "a whole run in each thread, averaged when evaluated",
    ),
    (
        "locked_processes",
        "processes",
        "global_lock",
        _RACY,
        "locked, processes",
        "the same as locked, with processes",
    ),
    (
        "aig_processes",
        "processes",
        "variable_locks",
        _RACY,
        "AIG (locks per variable), processes",
        "the same as aig, with processes",
    ),
    (
        "round_robin_processes",
        "processes",
        "turns",
        _RACY,
        "RR (turns), processes",
        "the same as round_robin, with processes",
    ),
    (
        "atomic_processes",
        "processes",
        "atomic",
        _RACY,
        "atomic adds, processes",
        "the same as atomic, with processes",
    ),
    (
        "replicated_processes",
        "processes",
        "replicated",
        _RACY,
        "replicas, processes",
        "the same as replicated, with processes",
    ),
    (
        "hogwild_hot_replicated_processes",
        "processes",
        "hot_replicated",
        _RACY,
        "hot replicas, cold shared, processes",
        "the same as hogwild_hot_replicated, with processes",
    ),
    (
        "cyclades_processes",
        "processes",
        "conflict_free",
        _EXACT,
        "CYCLADES, processes",
        "the same as cyclades, with processes",
    ),
    (
        "hogwild_processes",
        "processes",
        "unguarded",
        _RACY,
        "Hogwild! processes",
        "processes on shared memory without a lock",
    ),
    (
        "pool",
        "pool",
        "unguarded",
        _RACY,
        "pool (guide)",
        "the tutorial's scheme: tasks through a Pool, in NumPy",
    ),
)
BACKENDS: dict[str, Backend] = {name: Backend(name, *rest) for name, *rest in _ROWS}
