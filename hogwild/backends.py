"""The backends: named pairs of workers and policy. A new pair is one line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hogwild.cyclades import conflict_free
from hogwild.guide_pool import PoolTeam
from hogwild.policies import atomic, global_lock, padded, private, turns, unguarded, variable_locks
from hogwild.replicas import replicated
from hogwild.teams import CallerTeam, ProcessTeam, ThreadTeam


class Backend(NamedTuple):
    """Who runs the updates, and how they meet the shared weights.

    Attributes
    ----------
    name : str
    workers : str
        A key of `TEAMS`.
    policy : str
        A key of `POLICIES`.
    reproducibility : str
        ``"identical"``: the same bits from the same seed; ``"statistical"``: real races, a distribution of
        results.
    description : str
    """

    name: str
    workers: str
    policy: str
    reproducibility: str
    description: str


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
    ("serial", "caller", "unguarded", _EXACT, "one worker, the caller itself"),
    ("locked", "threads", "global_lock", _RACY, "threads; one lock around read, compute and write"),
    (
        "aig",
        "threads",
        "variable_locks",
        _RACY,
        "threads; a lock for each variable, around the writes",
    ),
    (
        "round_robin",
        "threads",
        "turns",
        _RACY,
        "threads that write in a fixed order, one after another",
    ),
    ("atomic", "threads", "atomic", _RACY, "threads; an atomic add for each component"),
    (
        "hogwild_threads",
        "threads",
        "unguarded",
        _RACY,
        "threads that share the weights without a lock",
    ),
    ("hogwild_padded", "threads", "padded", _RACY, "the same, with a cache line for each weight"),
    (
        "replicated",
        "threads",
        "replicated",
        _RACY,
        "threads with replicas of the weights, merged every so many updates",
    ),
    (
        "hogwild_hot_replicated",
        "threads",
        "hot_replicated",
        _RACY,
        "threads with replicas of the popular weights alone; the others shared without a lock",
    ),
    ("cyclades", "threads", "conflict_free", _EXACT, "threads that perform updates without a conflict"),
    ("averaging", "threads", "private", _EXACT, "a whole run in each thread, averaged when evaluated"),
    ("locked_processes", "processes", "global_lock", _RACY, "the same as locked, with processes"),
    ("aig_processes", "processes", "variable_locks", _RACY, "the same as aig, with processes"),
    ("round_robin_processes", "processes", "turns", _RACY, "the same as round_robin, with processes"),
    ("atomic_processes", "processes", "atomic", _RACY, "the same as atomic, with processes"),
    ("replicated_processes", "processes", "replicated", _RACY, "the same as replicated, with processes"),
    (
        "hogwild_hot_replicated_processes",
        "processes",
        "hot_replicated",
        _RACY,
        "the same as hogwild_hot_replicated, with processes",
    ),
    ("cyclades_processes", "processes", "conflict_free", _EXACT, "the same as cyclades, with processes"),
    (
        "hogwild_processes",
        "processes",
        "unguarded",
        _RACY,
        "processes on shared memory without a lock",
    ),
    ("pool", "pool", "unguarded", _RACY, "the tutorial's scheme: tasks through a Pool, in NumPy"),
)
BACKENDS: dict[str, Backend] = {name: Backend(name, *rest) for name, *rest in _ROWS}
