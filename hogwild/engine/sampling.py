"""Which example comes next: pure functions of (seed, epoch, position), so there is no state to race.

A position counts the updates of one epoch over all workers, whoever performs them: every backend and every
number of workers sees the same examples.
"""

from typing import Any, NamedTuple

import numpy as np

from hogwild.engine.compiling import abstract, compiled, generic, inlined

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)  # the finaliser of SplitMix64 (Steele, Lea & Flood 2014)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_ROUNDS = 3
_FEWEST_BITS = np.uint64(7)  # with fewer bits, a handful of examples is not mixed well enough
_BLOCK = np.uint64(64)
_MASK_32 = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class WithReplacement(NamedTuple):
    """Each update draws its example uniformly and independently (Niu et al. 2011, Algorithm 1)."""

    seed: int = 0


class FreshPermutation(NamedTuple):
    """Each epoch visits every example once, in a new order (Niu et al. 2011, section 7)."""

    seed: int = 0


class ShuffledOnce(NamedTuple):
    """The rows are copied in a random order when the run is set up, and then streamed in every epoch.

    Workers with weights of their own each begin at a different row, and wrap around after the last one.
    """

    seed: int = 0
    start: int = 0  # the row at position 0


class AsStored(NamedTuple):
    """Every epoch streams the rows in their stored order, without a copy; that order affects the result.

    Workers with weights of their own begin at different rows, as with `ShuffledOnce`.
    """

    seed: int = 0
    start: int = 0


class ShuffledBlocks(NamedTuple):
    """As `ShuffledOnce`, but in blocks of 64 neighbours, and each epoch has a new order of the blocks.

    Where blocks begin is new, too. Dual coordinate ascent needs this: in one fixed order it crawls. After the
    buckets of SySCD (Ioannou, Mendler-Dünner & Parnell, NeurIPS 2019).
    """

    seed: int = 0


class StoredBlocks(NamedTuple):
    """As `ShuffledBlocks`, but of the rows as stored, without a copy."""

    seed: int = 0


SAMPLINGS: dict[str, Any] = {
    "with_replacement": WithReplacement,
    "fresh_permutation": FreshPermutation,
    "shuffled_once": ShuffledOnce,
    "shuffled_blocks": ShuffledBlocks,
    "stored_blocks": StoredBlocks,
    "as_stored": AsStored,
}


@compiled
def mix(value: Any) -> Any:
    """Scramble 64 bits, one to one."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@compiled
def epoch_key(seed: Any, epoch: Any) -> Any:
    """Return 64 bits that differ for every seed and epoch."""
    return mix(mix(np.uint64(seed) + _GOLDEN) + np.uint64(epoch) * _GOLDEN)


@compiled
def permuted(position: Any, count: Any, key: Any) -> Any:
    """Return the image of a position under a permutation of 0 … count-1 that the key selects.

    Invertible mixing on the smallest power of two that holds the count, repeated until the value falls inside
    (cycle walking, fewer than two rounds on average): an order without a list, after Kensler 2013,
    "Correlated Multi-Jittered Sampling".
    """
    bits = _FEWEST_BITS
    while (_ONE << bits) < count:
        bits += _ONE
    mask = (_ONE << bits) - _ONE
    half = (bits + _ONE) >> _ONE
    value = np.uint64(position)
    while True:
        round_key = key
        for _ in range(_ROUNDS):
            value = (value + (round_key & mask)) & mask
            value = (value * ((round_key >> _HALF) | _ONE)) & mask
            value ^= value >> half
            round_key = mix(round_key + _GOLDEN)
        if value < count:
            return value


@abstract
def example(sampling: Any, count: Any, key: Any, position: Any) -> Any:
    """Return the example that a position of an epoch stands for; ``key`` is ``epoch_key(seed, epoch)``."""


@example.of(WithReplacement)
def _drawn(sampling, count, key, position):
    # the upper 32 bits of a scrambled counter, scaled: uniform to one part in 2**32 / count
    return ((mix(key + np.uint64(position) * _GOLDEN) >> _HALF) * np.uint64(count)) >> _HALF


@example.of(FreshPermutation)
def _permuted_example(sampling, count, key, position):
    return permuted(position, np.uint64(count), key)


@example.of(ShuffledOnce, AsStored)
def _streamed_example(sampling, count, key, position):
    # the rows themselves were reordered, or stay as stored
    place, examples = np.uint64(position) + np.uint64(sampling.start), np.uint64(count)
    return place if place < examples else place - examples


@example.of(ShuffledBlocks, StoredBlocks)
def _example_in_blocks(sampling, count, key, position):
    examples, place = np.uint64(count), np.uint64(position)
    blocks = examples // _BLOCK
    if place < blocks * _BLOCK:
        place = permuted(place // _BLOCK, blocks, key) * _BLOCK + place % _BLOCK
    return (place + key % examples) % examples


@generic
def position_at(sampling: Any, position: Any) -> Any:
    """Return the position in the epoch that a position stands for: itself, for most samplings."""
    return position


@generic
def scattered(sampling: Any) -> Any:
    """Return whether neighbouring positions stand for rows so far apart that they are worth prefetching."""
    return False


@scattered.of(WithReplacement, FreshPermutation)
def _always_scattered(sampling):
    return True


@inlined
def list_examples(sampling: Any, count: Any, key: Any, begin: Any, end: Any, order: Any) -> None:
    """Put the examples at positions begin … end-1 of an epoch into the first cells of ``order``."""
    for place in range(end - begin):
        order[place] = example(sampling, count, key, begin + place)


@compiled
def examples_at(sampling: Any, count: Any, key: Any, begin: Any, end: Any) -> Any:
    """Return the examples at positions begin … end-1 of an epoch, shape (end - begin,)."""
    order = np.empty(end - begin, np.uint32)
    list_examples(sampling, count, key, begin, end, order)
    return order


@compiled
def shuffled_order(count: int, seed: int) -> Any:
    """Return the order in which `ShuffledOnce` and `ShuffledBlocks` lay out the rows, shape (count,)."""
    order = np.empty(count, np.int64)
    key = epoch_key(seed, 0)
    for position in range(count):
        order[position] = permuted(np.uint64(position), np.uint64(count), key)
    return order
