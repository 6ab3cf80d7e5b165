"""Read-only maps of files: how one is made, and how an array is known to be a view of one."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np


def mapping_of(array: Any) -> np.memmap | None:
    """Return the read-only map of a file that an array is a view of, None for any other array."""
    while isinstance(array, np.ndarray) and not isinstance(array.base, mmap.mmap):
        array = array.base
    read_only = isinstance(array, np.memmap) and array.mode == "r" and array.filename is not None
    return array if read_only else None


def mapped(
    file: str, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], known: tuple[int, ...] | None = None
) -> np.ndarray:
    """Map a part of a file; one that is not the known one any more, or that was written to since, is refused.

    A file that is written to, or cut off, while it is mapped goes unnoticed: then kernels read what was not
    checked, or the system ends the process (SIGBUS).
    """
    with open(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known not in (None, identity):
            raise ValueError(f"{file!r} was replaced or written to since it was opened; open it again")
        whole: Any = np.memmap(stream, dtype, "r", offset, shape)
    whole.identity, whole.filename = identity, Path(file)
    return np.asarray(whole)
