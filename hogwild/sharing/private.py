"""A whole run for each worker, on weights of its own; the average counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hogwild.engine.contract import count
from hogwild.engine.sampling import AsStored, ShuffledOnce
from hogwild.engine.steps import in_epoch
from hogwild.sharing.schedule import Assignment, Plan, Schedule, Segment, in_blocks

_SEED_STEP = 0x9E3779B97F4A7C15  # from worker to worker, so that their orders differ


@dataclass(frozen=True)
class Private(Schedule):
    """Every worker visits all examples, in an order of its own (Zinkevich et al. 2010)."""

    observable: ClassVar[bool] = False
    whole_runs: ClassVar[bool] = True
    conflict_free: ClassVar[bool] = True

    def lay_out(self, weights: np.ndarray, workers: int) -> np.ndarray:
        """Return a row of weights for each worker."""
        return np.tile(weights, (workers, 1))

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of the workers' weights."""
        return weights.mean(axis=0)

    def assign(self, plan: Plan, worker: int) -> Assignment:
        """Return a worker's view: its own weights, its own order of the examples."""
        sampling = plan.sampling
        if isinstance(sampling, ShuffledOnce | AsStored):  # one order for all: they begin at different rows
            sampling = sampling._replace(start=worker * count(plan.problem) // plan.workers)
        else:
            sampling = sampling._replace(seed=(sampling.seed + worker * _SEED_STEP) % 2**63)
        return super().assign(plan._replace(weights=plan.weights[worker], sampling=sampling), worker)

    def perform(self, own: Assignment, segment: Segment, goes_on: Callable[[], bool]) -> int:
        """Perform all updates of a segment."""
        step, epoch, begin, end, _ = segment
        return in_blocks(own, epoch, in_epoch(step, epoch), begin, end, goes_on)
