"""Replicas of the popular weights alone; the others are shared as in Hogwild!.

Niu et al. (2011, section 8) suggest to update very frequent coordinates rarely. Here they are in a replica
for each worker, merged as in `replicas`, and a model too large to be merged whole stays shared.
"""

import mmap
from typing import Any, NamedTuple

import numpy as np

from hogwild.problems.linear import LinearProblem
from hogwild.sharing.guards import LINE, combined, laid_out, placed, renew
from hogwild.sharing.replicas import AsMade, Multiplied, Replicated, moves_of
from hogwild.sharing.views import joined, mappable

HOT_WEIGHTS = 16_384  # the four arrays of a merge then fit a core's own cache


class HotReplicated(NamedTuple):
    """Replicas of the hot weights in front of cold ones without a guard.

    A worker sees its own hot weights and everybody's cold ones as one array, so that the loop over updates
    is that of `Replicated`.
    """

    replicas: Replicated  # of the hot weights, to whole pages
    places: Any  # uint32, of shape (n_weights,): where each weight lies, hot ones first


def hot_first(policy: Replicated, problem: LinearProblem, hot_weights: int | None) -> HotReplicated:
    """Return the policy that replicates so many of the most popular weights, rounded up to whole pages."""
    page, size = mmap.PAGESIZE // problem.dtype.itemsize, problem.n_weights
    hot = -(-min(hot_weights or HOT_WEIGHTS, size) // page) * page
    places = np.empty(size, np.uint32)
    places[np.argsort(-problem.degrees, kind="stable")] = np.arange(size, dtype=np.uint32)
    curvature = np.zeros(max(hot, size), problem.dtype)
    curvature[places] = policy.curvature
    policy = policy._replace(curvature=curvature[:hot].copy())
    if isinstance(policy.moves, Multiplied):
        factors = np.ones(max(hot, size), problem.dtype)
        factors[places] = policy.moves.factors
        factors[hot:] = 1  # what is shared shows the others' moves, too
        policy = policy._replace(moves=Multiplied(factors))
    return HotReplicated(policy, places)


@moves_of.register
def _(policy: HotReplicated) -> AsMade | Multiplied:
    return policy.replicas.moves


@laid_out.register
def _(policy: HotReplicated, weights: np.ndarray, workers: int) -> np.ndarray:
    hot = policy.replicas.curvature.size
    block = mappable(2 * workers * hot + max(hot, weights.size), weights.dtype)
    replicas, rest = _parts(policy, block)
    rest[policy.places] = weights
    replicas[:] = rest[:hot]
    return block


@placed.register
def _(policy: HotReplicated, weights: Any, worker: int) -> tuple[Any, Any]:
    hot = policy.replicas.curvature.size
    replicas, rest = _parts(policy, weights)
    own, base, shared, cold = replicas[2 * worker], replicas[2 * worker + 1], rest[:hot], rest[hot:]
    whole = joined(own, cold) if policy.places.size > hot else own
    return policy.replicas._replace(shared=shared, own=own, base=base, worker=worker), whole


@combined.register
def _(policy: HotReplicated, weights: np.ndarray) -> np.ndarray:
    return _parts(policy, weights)[1][policy.places]


def _parts(policy: HotReplicated, block: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the workers' own hot weights and their bases, and those of all, hot and cold."""
    hot = policy.replicas.curvature.size
    own = 2 * (policy.replicas.rates.size // LINE - 1) * hot  # two rows for each worker
    return block[:own].reshape(-1, hot), block[own : own + max(hot, policy.places.size)]


@renew.of(HotReplicated)
def _(policy):
    renew(policy.replicas)
