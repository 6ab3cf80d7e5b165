"""The machine under the trials: what it is, whether its cores are free, and a lock so that one run times."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import psutil

import hogwild

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "joblib", "pandas", "scikit-learn")
MODULES = {"scikit-learn": "sklearn"}
LOCK = Path(tempfile.gettempdir()) / f"hogwild-experiments-{getattr(os, 'getuid', int)()}.lock"
SPIN_ITERATIONS = 10_000_000  # about 20 ms


class BusyError(RuntimeError):
    """Another run is timing on this machine."""


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def spin_efficiency() -> float:
    """Throughput of two pinned spinning threads over twice that of one: 1.0 if two cores are really free.

    Each spins for about 20 ms. The lone one does so before and after, and its better time counts: a
    neighbour can only make it longer. nan on a machine with one usable core.
    """
    cores = usable_cores()[:2]
    if len(cores) < 2:
        return float("nan")
    before, together, after = (_spin(chosen) for chosen in (cores[:1], cores, cores[1:]))
    return min(before, after) / together


def environment(run: str, preset: str, command: str) -> dict[str, Any]:
    """Everything about machine and software that a reader of the results needs to know."""
    return {
        "run": run,
        "preset": preset,
        "command": command,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu_model": _cpu_model(),
            "logical_cores": os.cpu_count(),
            "physical_cores": psutil.cpu_count(logical=False),
            "memory_bytes": int(psutil.virtual_memory().total),
            "usable_cores": len(usable_cores()),
            "l2_bytes": _cache_bytes(2),
            "l3_bytes": _cache_bytes(3),
        },
        "spin_efficiency": spin_efficiency(),
        "software": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {
                name: metadata.version(name) for name in PACKAGES if find_spec(MODULES.get(name, name))
            },
            "numba_cpu": str(llvmlite.binding.get_host_cpu_name()),
            "hogwild_source": _source_hash(),
        },
        "git": {
            "commit": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--", "hogwild", "experiments")),
        },
    }


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What makes the numbers of two environments incomparable, in words; empty if nothing does."""
    there, here = (
        {
            "preset": side["preset"],
            "processor": side["machine"]["cpu_model"],
            "usable cores": side["machine"]["usable_cores"],
            "Python": side["software"]["python"],
            "source of hogwild": side["software"].get("hogwild_source"),
            **side["software"]["packages"],
        }
        for side in (old, new)
    )
    changed = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(f"{name}: {there.get(name)} there, {here.get(name)} here" for name in changed)


@contextmanager
def exclusive(path: Path = LOCK) -> Iterator[None]:
    """Hold the machine for timing; two runs at once would time each other.

    Raises
    ------
    BusyError
        If another process holds it; the message names that process.
    """
    import fcntl

    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise BusyError(f"another run is timing on this machine (process {owner}, lock {path})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@functools.cache
def _spinner() -> Callable[[int, np.uint64], np.uint64]:
    @numba.njit(nogil=True)
    def spin(iterations, state):
        for _ in range(iterations):  # xorshift: no compiler finds a closed form
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
        return state

    spin(1, np.uint64(1))
    return spin


def _spin(cores: list[int]) -> float:
    """Seconds from the first thread's start to the last one's end, one thread on each core."""
    spin, barrier = _spinner(), threading.Barrier(len(cores))
    spans: list[tuple[float, float]] = []

    def work(core: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})  # of this thread only
        barrier.wait()
        began = time.perf_counter()
        spin(SPIN_ITERATIONS, np.uint64(core + 1))
        spans.append((began, time.perf_counter()))

    threads = [threading.Thread(target=work, args=(core,)) for core in cores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(end for _, end in spans) - min(began for began, _ in spans)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _cache_bytes(level: int) -> int | None:
    """Size of the first core's cache of a level, None where the system does not say."""
    for entry in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if int((entry / "level").read_text()) == level:
                return int((entry / "size").read_text().strip().removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return None


def _source_hash() -> str:
    digest = sha256()
    root = Path(hogwild.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
