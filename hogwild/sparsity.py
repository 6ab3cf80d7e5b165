"""The sparsity statistics Ω, Δ and ρ (Niu et al. 2011, eq. 2.6), with examples as hyperedges."""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from hogwild.compiling import compiled
from hogwild.sampling import shuffled_order

_BUDGET = 1_000_000_000  # visits of (example, shared coordinate, example) triples: a few seconds
_CONFIDENCE = 0.99


class Sparsity(NamedTuple):
    """How much examples overlap.

    Attributes
    ----------
    omega : int
        Ω, the most coordinates that one example touches.
    delta : float
        Δ, the largest share of the examples that touch one coordinate.
    rho : float
        ρ, the largest share of the examples that touch some coordinate of one example, itself included.
    meeting_share : float
        The mean of that share over all examples: the chance that two random examples share a coordinate
        (among the sampled ones where ρ is estimated).
    rho_error : float
        0 where ρ is exact; otherwise ρ is the estimate from a random sample of the examples and lies within
        this distance with probability 0.99 (Hoeffding's inequality, union over all examples).
    """

    omega: int
    delta: float
    rho: float
    meeting_share: float
    rho_error: float


def expected_collision_rate(meeting_share: float, workers: int) -> float:
    """Return the chance that an update shares a coordinate with one that another worker has in flight.

    ``1 − (1 − meeting_share)^(workers − 1)``: independent random examples, every other worker busy.
    """
    return 1.0 - (1.0 - meeting_share) ** (workers - 1)


@compiled
def _largest_neighbourhood(
    indptr: Any, indices: Any, column_starts: Any, column_rows: Any, sample_size: int
) -> tuple[int, int]:
    """Return the most sampled examples that share a coordinate with one example, and the sum over all."""
    seen = np.zeros(sample_size, np.int64)
    largest, total = 0, 0
    for example in range(indptr.size - 1):
        met = 0
        for entry in range(indptr[example], indptr[example + 1]):
            feature = indices[entry]
            for place in range(column_starts[feature], column_starts[feature + 1]):
                other = column_rows[place]
                if seen[other] != example + 1:
                    seen[other] = example + 1
                    met += 1
            if met == sample_size:
                break
        largest = max(largest, met)
        total += met
    return largest, total


def sparsity_of(X: Any) -> Sparsity:
    """Return Ω, Δ and ρ of CSR rows; ρ exactly where that takes a few seconds, else from a sample."""
    examples, features = X.shape
    degrees = np.bincount(X.indices, minlength=features).astype(np.float64)
    cost = float((degrees**2).sum())
    sample_size = examples if cost <= _BUDGET else max(1, int(examples * _BUDGET / cost))
    sample = X if sample_size == examples else X[np.sort(shuffled_order(examples, 0)[:sample_size])]
    by_column = sample.tocsc()
    neighbours, met = _largest_neighbourhood(
        X.indptr, X.indices, by_column.indptr, by_column.indices, sample_size
    )
    exact = sample_size == examples
    error = 0.0 if exact else math.sqrt(math.log(2 * examples / (1 - _CONFIDENCE)) / (2 * sample_size))
    delta = degrees.max() / examples
    # ρ ≥ Δ holds for every hypergraph: whoever touches the most popular coordinate meets all that touch it
    rho = neighbours / examples if exact else max(neighbours / sample_size, delta)
    return Sparsity(
        int(np.diff(X.indptr).max()), float(delta), float(rho), met / examples / sample_size, error
    )


def sparsity_of_pairs(first: np.ndarray, second: np.ndarray, variables: int) -> Sparsity:
    """Return Ω, Δ and ρ of examples that touch two of so many variables each."""
    places = np.column_stack([first, second]).ravel()
    starts = np.arange(0, places.size + 1, 2)
    ones = np.ones(places.size, np.int8)
    return sparsity_of(sp.csr_array((ones, places, starts), shape=(first.size, variables)))
