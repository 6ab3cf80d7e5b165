"""The machine and the software of a run, and whether the numbers of two runs may be mixed."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import psutil
from threadpoolctl import threadpool_info

import hogwild
from experiments.measure import machine
from experiments.measure.limits import line_transfer
from experiments.measure.machine import (
    CONTROL_GROUPS,
    begin,
    control_groups,
    end,
    text,
    together,
    usable_cores,
)
from experiments.peers import PEERS
from hogwild.engine.compiling import compiled, config

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "joblib", "pandas", "scikit-learn")
CORES = Path("/sys/devices/system/cpu")
LARGEST_ARRAY = 2**28  # bytes
STREAMS = 3


def environment(run: str, preset: str, command: str) -> dict[str, Any]:
    """Return what a reader of the results needs to know about machine and software.

    What is unknown is None. ``fingerprint`` is a short hash of what `difference` compares.
    """
    cores, spin, installed = usable_cores(), machine.calibration(), _installed()
    found: dict[str, Any] = {
        "run": run,
        "preset": preset,
        "command": command,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu_model": _known(_cpu_model),
            "logical_cores": os.cpu_count(),
            "physical_cores": _known(lambda: psutil.cpu_count(logical=False)),
            "usable_cores": len(cores),
            "affinity": cores,
            "smt": _known(smt),
            "governor": _known(lambda: governor(cores)),
            "l1d_bytes": _known(lambda: cache_bytes(1, cores[0])),
            "l2_bytes": _known(lambda: cache_bytes(2, cores[0])),
            "l3_bytes": _known(lambda: cache_bytes(3, cores[0])),
            "memory_bytes": _known(lambda: int(psutil.virtual_memory().total)),
            "streaming_bytes_per_second": _known(streaming) or {"one_core": None, "all_cores": None},
            "line_transfer_seconds": _known(line_transfer),
            "container": _known(container_limits),
        },
        "spin": {
            "nanoseconds_per_iteration": spin.nanoseconds_per_iteration,
            "efficiency": None if math.isnan(spin.efficiency) else spin.efficiency,
        },
        "software": {
            "python": platform.python_version(),
            "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
            "platform": platform.platform(),
            "kernel": f"{platform.system()} {platform.release()}",
            "numba_cpu": _known(lambda: str(config.CPU_NAME or llvmlite.binding.get_host_cpu_name())),
            "llvm": _known(lambda: ".".join(map(str, llvmlite.binding.llvm_version_info))),
            "packages": {name: installed[name] for name in _packages() if name in installed},
            "all_packages": installed,
            "blas": _known(_blas),
            "hogwild_source": _known(_source_hash),
        },
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": _dirty()},
    }
    return {**found, "fingerprint": fingerprint(found)}


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what makes the numbers of two environments incomparable, in words; empty if nothing does."""
    there, here = _comparable(old), _comparable(new)
    changed = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(f"{name}: {there.get(name)} there, {here.get(name)} here" for name in changed)


def fingerprint(environment: dict[str, Any]) -> str:
    """Return a short hash: two environments have the same one if `difference` finds nothing."""
    return sha256(json.dumps(_comparable(environment), sort_keys=True).encode()).hexdigest()[:12]


def _comparable(environment: dict[str, Any]) -> dict[str, Any]:
    where, software = environment.get("machine") or {}, environment.get("software") or {}
    found = {
        "preset": environment.get("preset"),
        "processor": where.get("cpu_model"),
        "usable cores": where.get("usable_cores"),
        "SMT": where.get("smt"),
        "frequency governor": where.get("governor"),
        "container's limit of cores": (where.get("container") or {}).get("cores"),
        "Python": software.get("python"),
        "GIL": software.get("gil"),
        "compiled for": software.get("numba_cpu"),
        "LLVM": software.get("llvm"),
        "source of hogwild": software.get("hogwild_source"),
        **(software.get("packages") or {}),
    }
    return {name: value for name, value in found.items() if value is not None}


def _known(find: Callable[[], Any]) -> Any:
    """Return what is found, None after an error: a run must not fail because its machine is unusual."""
    try:
        return find()
    except Exception:
        return None


def smt(root: Path = CORES) -> bool | None:
    """Return whether some cores are threads of the same physical one; None if unknown."""
    return {"0": False, "1": True}.get(text(root / "smt" / "active").strip())


def governor(cores: list[int], root: Path = CORES) -> str | None:
    """Return the governor of the cores' frequency, all names if they differ; None if unknown."""
    names = {text(root / f"cpu{core}" / "cpufreq" / "scaling_governor").strip() for core in cores} - {""}
    return ", ".join(sorted(names)) or None


def cache_bytes(level: int, core: int, root: Path = CORES) -> int | None:
    """Return the size of a core's data cache of a level, None if unknown."""
    for entry in sorted((root / f"cpu{core}" / "cache").glob("index*")):
        size = text(entry / "size").strip()
        fits = text(entry / "level").strip() == str(level) and text(entry / "type").strip() != "Instruction"
        if fits and size:
            return int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)
    return None


def container_limits(
    root: Path = CONTROL_GROUPS, membership: Path = Path("/proc/self/cgroup")
) -> dict[str, float | int | None]:
    """Return the tightest limits of this process's control groups; None for what is not limited.

    ``cores`` is the CPU quota over its period, ``period_seconds`` that period.
    """
    quotas: list[tuple[float, float]] = []
    for group in control_groups("cpu", root, membership):
        fields = text(group / "cpu.max").split() or [
            text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]
        if fields[0] not in ("max", "-1", ""):
            quotas.append((int(fields[0]) / int(fields[1]), int(fields[1]) * 1e-6))
    limits = [
        text(group / name).strip()
        for group in control_groups("memory", root, membership)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    memory = [int(limit) for limit in limits if limit.isdecimal() and int(limit) < 2**60]  # "none" is 2**63
    cores, period = min(quotas, default=(None, None))
    return {"cores": cores, "period_seconds": period, "memory_bytes": min(memory, default=None)}


@functools.cache
def streaming() -> dict[str, float | int] | None:
    """Return the bytes per second of a sum over an array larger than the caches, on one core and on all.

    The best of three sums each. None without a compiler, or if memory is short.
    """
    cores = usable_cores()
    caches = [cache_bytes(level, cores[0]) for level in (2, 3)]
    held = (caches[0] or 0) * len(cores) + (caches[1] or LARGEST_ARRAY)
    size = min(LARGEST_ARRAY, 4 * held)
    if config.DISABLE_JIT or psutil.virtual_memory().available < 4 * size:
        return None

    def rate(chosen: list[int]) -> float:
        shares = [(share,) for share in np.array_split(np.empty(size // 8, np.int64), len(chosen))]
        return size / min(together(_stream, chosen, shares) for _ in range(STREAMS))

    return {"one_core": rate(cores[:1]), "all_cores": rate(cores), "array_bytes": size}


@compiled
def _stream(cells, threads, mine, array):
    for i in range(array.size):  # pages lie near the core that touches them first
        array[i] = i
    begin(cells, threads, mine)
    total = 0
    for i in range(array.size):  # of integers, so LLVM may and does keep several sums
        total += array[i]
    end(cells, mine, total)


def _cpu_model() -> str:
    lines = text(Path("/proc/cpuinfo")).splitlines()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _installed() -> dict[str, str]:
    """Return the versions of all packages."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        with contextlib.suppress(Exception):  # one that is half removed
            found.setdefault(_plain(package.metadata["Name"]), package.version)
    return dict(sorted(found.items()))


@functools.cache
def _packages() -> tuple[str, ...]:
    """Return the packages that results depend on: ours, and those of the peers that are installed."""
    owners = metadata.packages_distributions()
    peers = {_plain(name) for peer in PEERS.values() for name in owners.get(peer.modules[0], ())}
    return tuple(dict.fromkeys([*PACKAGES, *sorted(peers)]))


def _plain(package: str) -> str:
    return package.lower().replace("_", "-")


def _blas() -> list[dict[str, Any]]:
    """Return the thread pools that linear algebra may use now, and how many threads each is limited to."""
    return [
        {
            "library": pool.get("internal_api"),
            "version": pool.get("version"),
            "threads": pool.get("num_threads"),
        }
        for pool in threadpool_info()
    ]


def _source_hash() -> str:
    digest = sha256()
    root = Path(hogwild.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _dirty() -> bool | None:
    changes = _git("status", "--porcelain", "--", "hogwild", "experiments")
    return None if changes is None else bool(changes)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
