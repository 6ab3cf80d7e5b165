"""Replicas of the popular weights alone; the others are shared.

Niu et al. (2011, section 8) suggest updating very frequent coordinates rarely. Here each worker has a replica
of them, merged as in `replicas`. The rest of a model too large to be merged whole stays shared.
"""

import mmap
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from hogwild.engine.contract import relabelled
from hogwild.sharing.moves import Multiplied
from hogwild.sharing.replicas import Merging, Replicas, merging, replica_of
from hogwild.sharing.schedule import Assignment, Plan
from hogwild.sharing.views import joined, mappable

HOT_WEIGHTS = 16_384  # the four arrays of a merge then fit a core's own cache


@dataclass(frozen=True)
class Hot(Replicas):
    """Replicas of the hot weights in front of cold ones that all workers share, under the backend's guard.

    A worker sees its own hot weights and everybody's cold ones as one array, so the loop over updates is that
    of `Replicas`.

    Attributes
    ----------
    hot_weights : int, optional
        How many of the most popular weights have a replica; by default 16,384. Rounded up to whole pages of
        memory, or all if there are fewer.
    """

    relabels: ClassVar[bool] = True

    hot_weights: int | None = None
    _places: np.ndarray | None = field(default=None, compare=False)  # uint32: where each weight lies

    def merged_weights(self, n_weights: int) -> int:
        """Return how many weights a merge goes through, before rounding up."""
        return min(self.hot_weights or HOT_WEIGHTS, n_weights)

    @property
    def places(self) -> np.ndarray:
        """Where each weight lies, hot ones first, uint32 of shape (n_weights,)."""
        assert self._places is not None, "the schedule is not prepared"
        return self._places

    def prepared(self, problem: Any, workers: int, **state: Any) -> Self:
        """Return the schedule that replicates the most popular weights, rounded up to whole pages."""
        page, size = mmap.PAGESIZE // problem.dtype.itemsize, problem.n_weights
        hot = -(-min(self.hot_weights or HOT_WEIGHTS, size) // page) * page
        places = np.empty(size, np.uint32)
        places[np.argsort(-problem.degrees, kind="stable")] = np.arange(size, dtype=np.uint32)
        whole: Merging = state.get("merging") or merging(problem, workers, self.merge_every)
        curvature = np.zeros(max(hot, size), problem.dtype)
        curvature[places] = whole.curvature
        how = whole._replace(curvature=curvature[:hot].copy())
        if isinstance(how.moves, Multiplied):
            factors = np.ones(max(hot, size), problem.dtype)
            factors[places] = how.moves.factors
            factors[hot:] = 1  # what is shared shows the others' moves, too
            how = how._replace(moves=Multiplied(factors))
        replica = replica_of(how, problem.dtype, workers, self.merge_every)
        return replace(self, _replica=replica, _places=places)

    def record(self, record: Any, n_weights: int) -> Any:
        """Return the problem's record with the hot weights first."""
        return relabelled(record, self.places)

    def lay_out(self, weights: np.ndarray, workers: int) -> np.ndarray:
        """Return each worker's replica and base of the hot weights, then all weights, hot ones first."""
        hot = self.replica.curvature.size
        block = mappable(2 * workers * hot + max(hot, weights.size), weights.dtype)
        replicas, rest = self._parts(block)
        rest[self.places] = weights
        replicas[:] = rest[:hot]
        return block

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the shared weights in their order."""
        return self._parts(weights)[1][self.places]

    def assign(self, plan: Plan, worker: int) -> Assignment:
        """Return a worker's view: its own hot weights in front of everybody's cold ones."""
        hot = self.replica.curvature.size
        replicas, rest = self._parts(plan.weights)
        own, base, shared, cold = replicas[2 * worker], replicas[2 * worker + 1], rest[:hot], rest[hot:]
        seen = joined(own, cold) if self.places.size > hot else own
        return self._assigned(plan, worker, shared, own, base, seen)

    def _parts(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the workers' own hot weights and bases, and the shared weights, hot and cold."""
        hot = self.replica.curvature.size
        own = 2 * self.replica.cells.size * hot  # two rows for each worker
        return block[:own].reshape(-1, hot), block[own : own + max(hot, self.places.size)]
