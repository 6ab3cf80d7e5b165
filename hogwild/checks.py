"""Arguments, checked: every message names the argument, the value and what is allowed."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np


def integer(name: str, value: Any, minimum: int = 0, maximum: int | None = None) -> int:
    """Return an integer between two bounds (both allowed)."""
    allowed = f"an integer >= {minimum}" if maximum is None else f"an integer in [{minimum}, {maximum}]"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; it must be {allowed}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")
    return number


def real(name: str, value: Any, allowed: str, minimum: float = 0.0, maximum: float = math.inf) -> float:
    """Return a finite number between two bounds (both allowed); ``allowed`` puts them into words."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}; it must be {allowed}")
    number = float(value)
    if not (math.isfinite(number) and minimum <= number <= maximum):
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")
    return number


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0."""
    return real(name, value, "a positive number", minimum=math.ulp(0.0))


def fraction(name: str, value: Any) -> float:
    """Return a number in (0, 1]."""
    return real(name, value, "a number in (0, 1]", minimum=math.ulp(0.0), maximum=1.0)


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return a string that is one of a few."""
    names = sorted(allowed)
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be one of {', '.join(names)}")
    if value not in names:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(names)}")
    return value


def indices(name: str, value: Any, length: int, maximum: int) -> np.ndarray:
    """Return indices between 0 and a bound (allowed) as int32, shape (length,)."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold integers")
    if array.shape != (length,) or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; it must be ({max(length, 1)},)")
    if array.min() < 0 or array.max() > maximum:
        raise ValueError(f"{name} holds {array.min()} to {array.max()}; allowed are 0 to {maximum}")
    return array.astype(np.int32)


def vector(
    name: str, value: Any, allowed: str, length: int | None = None, dtype: np.dtype[Any] | None = None
) -> np.ndarray:
    """Return finite real numbers in one dimension, in a precision if one is given.

    ``allowed`` puts the shape into words, any by default.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold real numbers")
    if array.shape != (length or array.size,) or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; it must be {allowed}")
    with np.errstate(over="ignore"):
        array = array if dtype is None else array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        also = "" if dtype is None else f", or what is infinite as {dtype}"
        raise ValueError(f"{name} holds NaN or infinity{also}; all entries must be finite")
    return array


def path(name: str, value: Any) -> Path:
    """Return a path."""
    try:
        return Path(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; it must be a str or os.PathLike") from None


def floating(value: Any) -> np.dtype[Any]:
    """Return the NumPy data type, float32 or float64; ``None``, which NumPy takes for float64, is refused."""
    try:
        dtype = np.dtype(value) if value is not None else None
    except TypeError:
        dtype = None
    if dtype is None:
        raise TypeError(f"dtype is {value!r}; it must be float32 or float64")
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {value!r}; it must be float32 or float64")
    return dtype
