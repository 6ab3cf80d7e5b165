"""A lock on a file, held by one process at a time, which the system frees when that process is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path


class HeldError(RuntimeError):
    """Another process holds the lock: the message is which, since when, and its command."""


_held: set[FileIO] = set()  # the locks of this process


def _let_go() -> None:
    while _held:
        _held.pop().close()


# A lock belongs to an open file, and a forked child has it open as well: one that outlives a killed run would
# hold it. What is started afresh (spawn, forkserver, a command) does not get the file.
os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock until the end of the block; what a killed owner left in the file does not matter.

    Raises
    ------
    HeldError
        If another process holds it.
    OSError
        If there can be no lock at this path.
    """
    with path.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HeldError(file.read().decode(errors="replace").strip() or "an unknown process") from None
        _held.add(file)
        command = " ".join(shlex.join(sys.orig_argv).split())[:200]
        since = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with contextlib.suppress(OSError):  # a full disk: the lock holds, it only cannot say whose it is
                file.truncate(0)
                file.write(f"process {os.getpid()} since {since}, {command}\n".encode())
            yield
        finally:
            _held.discard(file)
            if not file.closed:  # as it is in a forked child
                with contextlib.suppress(OSError):
                    file.truncate(0)
