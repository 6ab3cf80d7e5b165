"""What a run gives back: its weights, its history, its clocks, and how it ended."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hogwild.observe.instruments import Observations


class Status(enum.StrEnum):
    """How a run ended."""

    OK = "ok"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"


class Checkpoint(NamedTuple):
    """One row of a run's history. The three clocks count from the start of the first update.

    Attributes
    ----------
    epoch : float
        Passes over the data so far; with `averaging`, where each worker makes them all, one worker's.
    updates : int
        Examples processed so far, by all workers together.
    train_seconds, eval_seconds, wall_seconds : float
        Time spent on updates; on evaluating; both and the hand-over between them.
    objective, suboptimality : float
        Suboptimality is nan until the problem is solved (`Problem.solve`).
    weight_error_l1, weight_error_l2 : float
        ``‖w − w_true‖₁`` and ``‖w − w_true‖₂ / ‖w_true‖₂``, nan where w_true is unknown.
    """

    epoch: float
    updates: int
    train_seconds: float
    eval_seconds: float
    wall_seconds: float
    objective: float
    suboptimality: float
    weight_error_l1: float
    weight_error_l2: float


@dataclass(frozen=True)
class Result:
    """What `minimize` returns.

    Its weights, ``objective`` and ``suboptimality`` belong to one state, that of ``checkpoint``: to the bit,
    ``problem.objective(result.weights) == result.objective``.

    Attributes
    ----------
    weights : ndarray of shape (n_features,)
        The final weights; after a divergence those of the last sound checkpoint, or of the start.
    history : list of Checkpoint
        ``pandas.DataFrame(result.history)`` makes a table of it. The first row is the start, the last one
        the end, even where that is not what is returned.
    status : Status
    message : str
        Why the run ended, in words.
    backend : str
    reason : str
        Why this backend, where the choice was left to the run.
    workers : int
    setup_seconds : float
        Laying out rows, copying to shared memory, starting workers, compiling: everything before the first
        update.
    compile_seconds : float
        The part of it spent compiling kernels, or loading them from the cache.
    updates, cpu_seconds : tuple
        Examples processed and CPU seconds used by each worker.
    starved_seconds : tuple
        Seconds in which each worker was ready to run but had no core, nan where unknown (`pool`, or a system
        other than Linux).
    observations : Observations or None
        What an instrumented run saw (`hogwild.observe.instruments`).
    parallel_share : float or None
        For `cyclades`: the share of the updates that several workers could perform side by side; the first
        worker performed the others alone.
    """

    weights: np.ndarray
    history: list[Checkpoint]
    status: Status
    message: str
    backend: str
    workers: int
    setup_seconds: float
    compile_seconds: float
    updates: tuple[int, ...]
    cpu_seconds: tuple[float, ...]
    starved_seconds: tuple[float, ...] = ()
    observations: Observations | None = None
    reason: str = ""
    parallel_share: float | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The row of the history that these weights belong to: a diverged run ends with an unsound row."""
        exploded = self.status == Status.DIVERGED and len(self.history) > 1
        return self.history[-2 if exploded else -1]

    @property
    def train_seconds(self) -> float:
        """Seconds spent on updates."""
        return self.history[-1].train_seconds

    @property
    def eval_seconds(self) -> float:
        """Seconds spent on evaluating."""
        return self.history[-1].eval_seconds

    @property
    def wall_seconds(self) -> float:
        """Seconds from the first update to the last evaluation."""
        return self.history[-1].wall_seconds

    @property
    def objective(self) -> float:
        """The objective of the weights."""
        return self.checkpoint.objective

    @property
    def suboptimality(self) -> float:
        """The suboptimality of the weights."""
        return self.checkpoint.suboptimality
