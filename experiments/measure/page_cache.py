"""Drop memory-mapped data from the page cache, without root: to time a first pass over them."""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from hogwild.datasets.mapping import mapping_of
from hogwild.problems import LinearProblem, Problem

LEFT = 0.01  # share of the pages that may stay: the system reads ahead, others read the same file


def evict(problem: Problem) -> None:
    """Drop the data of a linear problem from the page cache of this machine.

    The host of a virtual machine may still cache them. Only this process's own maps are released: worker
    processes keep their pages.

    Raises
    ------
    NotImplementedError
        If the data are not mapped from files, or if the system keeps them, as on a disk in memory.
    """
    if not isinstance(problem, LinearProblem):
        raise NotImplementedError("only the data of linear models are mapped from files")
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
