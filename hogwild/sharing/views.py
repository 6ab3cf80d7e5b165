"""Arrays whose memory is mapped a second time, so that pieces from several places lie one after another."""

import ctypes
import mmap
import os
import sys
from typing import Any

import numpy as np

_MAY_MOVE_TO_A_PLACE = 1 | 2  # MREMAP_MAYMOVE | MREMAP_FIXED


def mappable(cells: int, dtype: Any) -> np.ndarray:
    """Return zeros that can be mapped again: so many, rounded up to whole pages."""
    size = cells * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE), dtype)


def joined(*pieces: np.ndarray) -> np.ndarray:
    """Return the pieces as one array, one after another: their own memory, not a copy of it.

    The memory stays mapped as long as the returned array or a part of it exists, whatever becomes of the
    pieces.

    Parameters
    ----------
    *pieces : ndarray
        Of one data type, not empty, in shared memory, each starting on a page; all but the last are whole
        pages.

    Raises
    ------
    NotImplementedError
        Anywhere but on Linux.
    OSError
        Where the system refuses.
    """
    if not sys.platform.startswith("linux"):
        raise NotImplementedError(f"memory can be mapped twice on Linux alone, and this is {sys.platform}")
    remap = ctypes.CDLL(None, use_errno=True).mremap
    remap.restype = ctypes.c_void_p
    remap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
    whole = np.frombuffer(mmap.mmap(-1, sum(piece.nbytes for piece in pieces)), pieces[0].dtype)
    place = whole.ctypes.data
    for piece in pieces:
        # an old size of 0 leaves the old mapping where it is and makes a second one of the same pages
        if remap(piece.ctypes.data, 0, piece.nbytes, _MAY_MOVE_TO_A_PLACE, place) != place:
            reason = os.strerror(ctypes.get_errno())
            raise OSError(ctypes.get_errno(), f"memory cannot be mapped a second time: {reason}")
        place += piece.nbytes
    return whole
