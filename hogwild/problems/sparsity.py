"""The sparsity statistics Ω, Δ and ρ (Niu et al. 2011, eq. 2.6), with examples as hyperedges."""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from hogwild.datasets.rows import counts, taken
from hogwild.engine.compiling import compiled
from hogwild.engine.sampling import shuffled_order

_BUDGET = 1_000_000_000  # visits of an example, or of eight words of 64 at once: seconds
_BITS, _AT_ONCE = 64, 8  # examples in a word, words that a core handles in about the time of one visit
_BITSET_BYTES = 2**28  # for the sets of popular coordinates' examples
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
def _bitsets(columns: np.ndarray, starts: np.ndarray, rows: np.ndarray, words: int) -> np.ndarray:
    """Return the rows of some columns as sets of bits, of shape (columns, words)."""
    sets = np.zeros((columns.size, words), np.uint64)
    for place in range(columns.size):
        for at in range(starts[columns[place]], starts[columns[place] + 1]):
            sets[place, rows[at] >> 6] |= np.uint64(1) << np.uint64(rows[at] & 63)
    return sets


@compiled
def _neighbourhoods(
    indptr: np.ndarray,
    indices: np.ndarray,
    starts: np.ndarray,
    rows: np.ndarray,
    place: np.ndarray,
    sets: np.ndarray,
) -> tuple[int, int]:
    """Return the most sampled examples that share a coordinate with one example, and the sum over all.

    ``starts`` and ``rows`` list the sampled examples of each coordinate; the popular ones have a ``place``
    among the ``sets``, where one word stands for 64 examples.
    """
    met = np.zeros(sets.shape[1], np.uint64)
    largest, total = 0, 0
    for example in range(indptr.size - 1):
        met[:] = 0
        for entry in range(indptr[example], indptr[example + 1]):
            coordinate = indices[entry]
            if place[coordinate] >= 0:
                met |= sets[place[coordinate]]
            else:
                for at in range(starts[coordinate], starts[coordinate + 1]):
                    met[rows[at] >> 6] |= np.uint64(1) << np.uint64(rows[at] & 63)
        count: Any = np.int64(0)
        for word in met:  # the number of ones, added up in pairs, in fours, in eights (Warren 2012, ch. 5)
            word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
            word = (word & np.uint64(0x3333333333333333)) + (
                (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
            )
            word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            count += np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
        largest = max(largest, count)
        total += count
    return largest, total


def sparsity_of(X: sp.csr_array) -> Sparsity:
    """Return Ω, Δ and ρ of CSR rows; ρ exactly where that takes a few seconds, else from a sample."""
    examples, features = X.shape
    degrees = counts(X.indices, features).astype(np.float64)
    steps = -(-examples // (_BITS * _AT_ONCE))
    visits = degrees * np.minimum(degrees, steps)  # one after another, or as sets
    cost = float(visits.sum()) + examples * steps
    sample_size = examples if cost <= _BUDGET else max(1, int(examples * _BUDGET / cost))
    sample = X if sample_size == examples else taken(X, np.sort(shuffled_order(examples, 0)[:sample_size]))
    by_column = sample.tocsc()
    words = -(-sample_size // _BITS)
    sampled = np.diff(by_column.indptr)
    popular = np.argsort(-sampled, kind="stable")[: max(1, _BITSET_BYTES // (8 * words))]
    popular = popular[sampled[popular] > words // _AT_ONCE]
    place = np.full(features, -1, np.int64)
    place[popular] = np.arange(popular.size)
    lists = (by_column.indptr, by_column.indices)
    sets = _bitsets(popular, *lists, words)
    neighbours, met = _neighbourhoods(X.indptr, X.indices, *lists, place, sets)
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
