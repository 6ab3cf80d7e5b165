"""The backends: named pairs of workers and policy. A new pair is one line here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hogwild.guide_pool import PoolTeam
from hogwild.policies import global_lock, unguarded
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
POLICIES: dict[str, Callable[[], Any]] = {"unguarded": unguarded, "global_lock": global_lock}
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("serial", "caller", "unguarded", "identical", "one worker, the caller itself"),
        Backend(
            "locked",
            "threads",
            "global_lock",
            "statistical",
            "threads; one lock around read, compute and write",
        ),
        Backend(
            "hogwild_threads",
            "threads",
            "unguarded",
            "statistical",
            "threads that share the weights without a lock",
        ),
        Backend(
            "hogwild_processes",
            "processes",
            "unguarded",
            "statistical",
            "processes on shared memory without a lock",
        ),
        Backend(
            "pool",
            "pool",
            "unguarded",
            "statistical",
            "the tutorial's scheme: a task per mini-batch through a Pool, in NumPy",
        ),
    )
}
