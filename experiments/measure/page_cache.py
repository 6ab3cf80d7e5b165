"""Memory-mapped data out of the page cache, without root: what a first pass over them costs."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np

from hogwild.datasets.mapping import mapping_of

LEFT = 0.01  # of the pages may stay: the system reads ahead, others read the same file


def evict(problem: Any) -> None:
    """Take the data of a linear problem out of the page cache of this machine.

    Below a hypervisor its host may still hold them. Only the maps of this process are let go of, so that
    worker processes would keep the pages of theirs.

    Raises
    ------
    NotImplementedError
        If the data are no maps of files, or if the system keeps them: on a disk in memory, for instance.
    """
    for array in (problem.X.indptr, problem.X.indices, problem.X.data, problem.y):
        whole = mapping_of(array)
        if whole is None:
            raise NotImplementedError("only data that are mapped from files can leave the page cache")
        whole.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]
        descriptor = os.open(str(whole.filename), os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        pages = max(1, -(-whole.nbytes // mmap.PAGESIZE))
        if (stayed := resident(whole) * pages) > max(1.0, LEFT * pages):
            raise NotImplementedError(f"{stayed:.0f} of {pages} pages of {whole.filename} stay in memory")


def resident(whole: np.memmap) -> float:
    """Return the share of a map's pages that are in the page cache."""
    start = whole.ctypes.data - whole.ctypes.data % mmap.PAGESIZE
    size = whole.ctypes.data + whole.nbytes - start
    states = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_void_p(states.ctypes.data)):
        raise NotImplementedError(f"the system does not say: {os.strerror(ctypes.get_errno())}")
    return float((states & 1).mean())
