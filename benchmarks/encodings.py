"""Ways to store sparse rows: what `layouts.cpp` is given for each.

Each has copies of its own, so that none finds what another one left in a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

BASELINE = "uint32 + float64"
ESCAPE = 2**16 - 1


class Encoded(NamedTuple):
    """Rows as the C++ code takes them; a value is what is stored times the scale."""

    indices: np.ndarray
    values: np.ndarray
    positions: np.ndarray  # of each row's first index
    scale: float = 1.0


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the upper halves of float32 values, rounded to the nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def wide(values: Any) -> Callable[[Any], Encoded]:
    """Return an encoder: indices of 32 bits, values of some type."""
    return lambda X: Encoded(X.indices.astype(np.uint32), X.data.astype(values), X.indptr)


def bfloats(X: Any) -> Encoded:
    """Encode with indices of 32 bits and values of 16, the upper half of float32."""
    return Encoded(X.indices.astype(np.uint32), bfloat16(X.data), X.indptr)


def fixed_point(X: Any) -> Encoded:
    """Encode values as 16-bit integers with one scale for all (Buckwild!, De Sa et al. 2015)."""
    scale = float(np.abs(X.data).max()) / np.iinfo(np.int16).max
    return Encoded(X.indices.astype(np.uint32), np.rint(X.data / scale).astype(np.int16), X.indptr, scale)


def short(X: Any) -> Encoded:
    """Encode indices in 16 bits, which only data with less than 65,536 features allow."""
    if X.shape[1] >= 2**16:
        raise ValueError(f"X has {X.shape[1]:,} features; 16-bit indices allow less than 65,536")
    return Encoded(X.indices.astype(np.uint16), X.data.copy(), X.indptr)


def smallest(X: Any) -> Encoded:
    """Encode in 4 bytes: 16-bit index, 16-bit value."""
    return short(X)._replace(values=bfloat16(X.data))


def deltas(X: Any) -> Encoded:
    """Encode indices as 16-bit distances within their rows; a longer one takes two codes after an escape."""
    distances = np.diff(X.indices.astype(np.int64), prepend=0)
    filled = X.indptr[:-1][np.diff(X.indptr) > 0]
    distances[filled] = X.indices[filled]
    far = distances >= ESCAPE
    shifts = 2 * np.concatenate([[0], np.cumsum(far)])
    places = np.arange(far.size) + shifts[:-1]
    codes = np.empty(far.size + shifts[-1], np.uint16)
    codes[places] = np.where(far, ESCAPE, distances)
    codes[places[far] + 1], codes[places[far] + 2] = distances[far] & 0xFFFF, distances[far] >> 16
    return Encoded(codes, X.data.copy(), X.indptr + shifts[X.indptr])


def packed(values: Any) -> Callable[[Any], Encoded]:
    """Return an encoder: each value of some type next to its 32-bit index."""

    def encode(X: Any) -> Encoded:
        pairs = np.empty(X.nnz, [("index", np.uint32), ("value", values)])
        pairs["index"], pairs["value"] = X.indices, X.data
        return Encoded(np.empty(0, np.uint32), pairs, X.indptr)

    return encode


# name -> function in layouts.cpp, encoder, precision of the weights
LAYOUTS: dict[str, tuple[str, Callable[[Any], Encoded], Any]] = {
    BASELINE: ("u32_f64", wide(np.float64), np.float64),
    "uint32 + float32": ("u32_f32", wide(np.float32), np.float64),
    "uint32 + float32, float32 weights": ("u32_f32_f32", wide(np.float32), np.float32),
    "uint16 + float64": ("u16_f64", short, np.float64),
    "16-bit distances + float64": ("delta_f64", deltas, np.float64),
    "uint32 + bfloat16": ("u32_bf16", bfloats, np.float64),
    "uint32 + int16": ("u32_i16", fixed_point, np.float64),
    "uint16 + bfloat16": ("u16_bf16", smallest, np.float64),
    "packed uint32, float32": ("pair_f32", packed(np.float32), np.float64),
    "packed uint32, float64": ("pair_f64", packed(np.float64), np.float64),
    "uint32 + float64, AVX2 gathers": ("gather4", wide(np.float64), np.float64),
    "uint32 + float64, AVX-512 gathers": ("gather8", wide(np.float64), np.float64),
}
