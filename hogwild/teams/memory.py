"""Records of arrays in one anonymous block of shared memory: nothing to unlink, nothing to leak."""

import io
import mmap
import os
import pickle
import tempfile
from multiprocessing import reduction, util
from typing import Any

import numpy as np

from hogwild.datasets.mapping import mapped, mapping_of
from hogwild.teams.borrowed import Held

_ALIGNMENT = 128  # two cache lines, so that no two arrays share one


class _Pickler(pickle.Pickler):
    """Maps of files are not copied: they are mapped again where a record arrives."""

    def reducer_override(self, thing: Any) -> Any:
        whole = mapping_of(thing) if isinstance(thing, np.ndarray) else None
        if whole is None or not thing.flags.c_contiguous:
            return NotImplemented
        offset = whole.offset + thing.ctypes.data - whole.ctypes.data
        known = getattr(whole, "identity", None)
        return mapped, (str(whole.filename), thing.dtype, offset, thing.shape, known)


class Shared:
    """A handle of a record whose arrays, except maps of files, were copied into shared memory.

    `open` returns the record with its arrays as views of the block, in this process or in a child that was
    given the handle as an argument. The block is a file without a name, so it vanishes with its last process,
    however that ends.

    Parameters
    ----------
    record : picklable
        Any nesting of tuples and contiguous arrays.
    """

    def __init__(self, record: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        # protocol 5 hands out every array's memory instead of copying it into the stream
        skeleton = io.BytesIO()
        _Pickler(skeleton, protocol=5, buffer_callback=buffers.append).dump(record)
        self._skeleton = skeleton.getvalue()
        self._places: list[tuple[int, int]] = []
        end = 0
        for buffer in buffers:
            size = buffer.raw().nbytes
            # arrays of whole pages start on a page, so they can be mapped again (`hogwild.sharing.views`)
            step = _ALIGNMENT if size % mmap.PAGESIZE else mmap.PAGESIZE
            start = -(-end // step) * step
            end = start + size
            self._places.append((start, end))
        with Held():  # once it is made, the file must not be lost
            self._attach(_file_without_name(max(end, 1)))
        for (start, end), buffer in zip(self._places, buffers, strict=True):
            self._block[start:end] = buffer.raw()

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
        util.Finalize(self, os.close, (descriptor,))
        self._block = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    def open(self) -> Any:
        """Return the record; its arrays are views of the shared block and keep it alive."""
        view = memoryview(self._block)
        return pickle.loads(self._skeleton, buffers=[view[start:end] for start, end in self._places])

    def __reduce__(self) -> Any:  # only while a child process is being started
        return _received, (reduction.DupFd(self._descriptor), self._skeleton, self._places)


def _received(descriptor: Any, skeleton: bytes, places: list[tuple[int, int]]) -> Shared:
    handle = Shared.__new__(Shared)
    handle._skeleton, handle._places = skeleton, places
    handle._attach(descriptor.detach())
    return handle


def _file_without_name(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("hogwild", os.MFD_CLOEXEC)
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)  # a lack of memory shows now, not as a fatal signal
        else:
            os.ftruncate(descriptor, size)
    except OSError as refused:
        os.close(descriptor)
        raise MemoryError(f"{size:,} bytes of shared memory: {refused.strerror}") from refused
    return descriptor
