"""The environment: what is recorded of machine and software, and when results may be mixed."""

import copy
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from experiments.measure import environment, machine
from hogwild.engine.compiling import config

KEYS = {
    "": "run preset command started_at machine spin software git fingerprint",
    "machine": """cpu_model logical_cores physical_cores usable_cores affinity smt governor l1d_bytes l2_bytes
        l3_bytes memory_bytes streaming_bytes_per_second line_transfer_seconds container""",
    "spin": "nanoseconds_per_iteration efficiency",
    "software": """python gil platform kernel numba_cpu llvm packages all_packages blas hogwild_source""",
    "git": "commit dirty",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 1_000)
    monkeypatch.setattr(environment, "LARGEST_ARRAY", 2**16)
    environment.streaming.cache_clear()
    yield
    environment.streaming.cache_clear()


def here(preset: str = "smoke") -> dict[str, Any]:
    return environment.environment("mine", preset, "python -m experiments run")


def test_it_holds_every_key_and_is_plain_json() -> None:
    found = here()
    for name, keys in KEYS.items():
        assert list(found[name] if name else found) == keys.split()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert environment.fingerprint(again) == found["fingerprint"]


def test_what_a_reader_needs_is_true() -> None:
    found = here()
    where, software = found["machine"], found["software"]
    assert where["cpu_model"]
    assert where["affinity"] == machine.usable_cores()
    assert where["usable_cores"] == len(where["affinity"])
    assert where["memory_bytes"] == psutil.virtual_memory().total
    assert software["python"] == platform.python_version()
    assert software["kernel"] == f"{platform.system()} {platform.release()}"
    assert software["gil"] is getattr(sys, "_is_gil_enabled", lambda: True)()
    assert software["packages"]["numba"] == metadata.version("numba")
    assert software["packages"].items() <= software["all_packages"].items()
    assert software["all_packages"]["pytest"] == pytest.__version__
    assert not {"pytest", "rich"} & set(software["packages"])
    assert all(pool["threads"] >= 1 for pool in software["blas"])
    assert found["spin"]["nanoseconds_per_iteration"] == machine.calibration().nanoseconds_per_iteration
    streams = where["streaming_bytes_per_second"]
    assert set(streams) == {"one_core", "all_cores"} if config.DISABLE_JIT else streams["one_core"] > 0


def test_what_cannot_be_found_out_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("this system has no such thing")

    for module, name in (
        (psutil, "cpu_count"),
        (psutil, "virtual_memory"),
        (subprocess, "run"),
        *((environment, name) for name in ("threadpool_info", "text", "smt", "control_groups", "sha256")),
    ):
        monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(environment, "fingerprint", lambda _: "")  # it hashes, too
    monkeypatch.setattr(machine, "calibration", lambda: machine.Calibration(2.0, float("nan")))
    found = here()
    where, software = found["machine"], found["software"]
    unknown = "cpu_model physical_cores smt governor l1d_bytes l2_bytes l3_bytes memory_bytes container"
    assert {where[name] for name in unknown.split()} == {None}
    assert where["streaming_bytes_per_second"] == {"one_core": None, "all_cores": None}
    assert software["blas"] is None
    assert software["hogwild_source"] is None
    assert found["git"] == {"commit": None, "dirty": None}
    assert found["spin"] == {"nanoseconds_per_iteration": 2.0, "efficiency": None}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("preset",), "full", "preset: full there, smoke here"),
        (("machine", "cpu_model"), "6502", "processor: 6502 there"),
        (("machine", "usable_cores"), 99, "usable cores: 99 there"),
        (("machine", "smt"), "unlikely", "SMT: unlikely there"),
        (("machine", "governor"), "lazy", "frequency governor: lazy there"),
        (("machine", "container"), {"cores": 0.25}, "container's limit of cores: 0.25 there"),
        (("software", "python"), "3.9.1", "Python: 3.9.1 there"),
        (("software", "gil"), "perhaps", "GIL: perhaps there"),
        (("software", "llvm"), "1.0", "LLVM: 1.0 there"),
        (("software", "numba_cpu"), "i386", "compiled for: i386 there"),
        (("software", "packages", "numpy"), "1.0", "numpy: 1.0 there"),
        (("software", "packages", "surprise"), "1.0", "surprise: 1.0 there, None here"),
        (("software", "hogwild_source"), "0", "source of hogwild: 0 there"),
        (("run",), "other", ""),
        (("command",), "run b", ""),
        (("started_at",), "earlier", ""),
        (("git",), {}, ""),
        (("spin",), {"efficiency": 0.5}, ""),
        (("machine", "affinity"), [98, 99], ""),
        (("machine", "streaming_bytes_per_second"), {}, ""),
        (("machine", "physical_cores"), 98, ""),
        (("software", "all_packages", "rich"), "0.1", ""),
        (("software", "packages", "surprise"), None, ""),
    ],
)
def test_what_may_not_be_mixed_is_named_and_changes_the_fingerprint(
    path: tuple[str, ...], value: object, words: str
) -> None:
    ours = here()
    theirs = copy.deepcopy(ours)
    table = theirs
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    difference = environment.difference(theirs, ours)
    assert words in difference
    assert bool(difference) == bool(words)
    assert (environment.fingerprint(theirs) != ours["fingerprint"]) == bool(words)


def test_an_environment_of_another_age_is_different_and_not_an_error() -> None:
    assert "processor: None there" in environment.difference({}, here())


def test_smt_governor_and_caches_are_read_where_the_kernel_shows_them(tmp_path: Path) -> None:
    assert environment.smt(tmp_path) is None
    assert environment.governor([0, 1], tmp_path) is None
    assert environment.cache_bytes(2, 0, tmp_path) is None
    (tmp_path / "smt").mkdir()
    for word, active in (("0", False), ("1", True)):
        (tmp_path / "smt" / "active").write_text(word + "\n")
        assert environment.smt(tmp_path) is active
    for core, name in enumerate(["performance", "performance", "powersave"]):
        (tmp_path / f"cpu{core}" / "cpufreq").mkdir(parents=True)
        (tmp_path / f"cpu{core}" / "cpufreq" / "scaling_governor").write_text(name + "\n")
    assert environment.governor([0, 1], tmp_path) == "performance"
    assert environment.governor([0, 2], tmp_path) == "performance, powersave"
    caches = [(1, "Instruction", "64K"), (1, "Data", "48K"), (2, "Unified", "2048K"), (3, "Unified", "300M")]
    for number, (level, kind, size) in enumerate(caches):
        folder = tmp_path / "cpu1" / "cache" / f"index{number}"
        folder.mkdir(parents=True)
        for name, word in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{word}\n")
    assert [environment.cache_bytes(level, 1, tmp_path) for level in (1, 2, 3, 4)] == [
        48 * 2**10, 2 * 2**20, 300 * 2**20, None,
    ]  # fmt: skip


def test_limits_of_a_container_are_the_tightest_around_us(tmp_path: Path) -> None:
    membership, none = tmp_path / "cgroup", {"cores": None, "period_seconds": None, "memory_bytes": None}
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, quota, memory in (("", "max 100000", "max"), ("a", "150000 100000", "4096")):
        (new / folder).mkdir(parents=True)
        (new / folder / "cpu.max").write_text(quota + "\n")
        (new / folder / "memory.max").write_text(memory + "\n")
    (new / "a" / "b").mkdir()
    (new / "a" / "b" / "cpu.max").write_text("100000 50000\n")
    (new / "a" / "b" / "memory.max").write_text("8192\n")
    membership.write_text("0::/a/b\n")
    assert environment.container_limits(new, membership) == {
        "cores": 1.5, "period_seconds": pytest.approx(0.1), "memory_bytes": 4096,
    }  # fmt: skip
    membership.write_text("0::/\n")
    assert environment.container_limits(new, membership) == none
    for controller in ("cpu", "memory"):
        (old / controller).mkdir(parents=True)
    (old / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    membership.write_text("2:cpu:/docker/0a1b\n1:memory:/docker/0a1b\n")
    for quota, limit, found in (
        ("-1", "9223372036854771712", none),
        ("50000", "65536", {"cores": 0.5, "period_seconds": pytest.approx(0.1), "memory_bytes": 65536}),
    ):
        (old / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
        (old / "memory" / "memory.limit_in_bytes").write_text(limit + "\n")
        assert environment.container_limits(old, membership) == found
    assert environment.container_limits(tmp_path / "none", tmp_path / "none") == none


def test_streams_are_the_bytes_of_the_best_of_three_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, seen = iter([2.0, 1.0, 4.0, 0.5, 0.25, 0.75]), []

    def timed(kernel: object, cores: list[int], shares: list[tuple[np.ndarray]]) -> float:
        seen.append((cores, sum(share.nbytes for (share,) in shares)))
        return next(seconds)

    monkeypatch.setattr(environment, "together", timed)
    monkeypatch.setattr(environment, "usable_cores", lambda: [2, 3, 7])
    monkeypatch.setattr(environment.config, "DISABLE_JIT", 0)
    found = environment.streaming.__wrapped__()
    assert found == {"one_core": 2**16 / 1.0, "all_cores": 2**16 / 0.25, "array_bytes": 2**16}
    assert seen == [([2], 2**16)] * 3 + [([2, 3, 7], 2**16)] * 3
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**17))
    assert environment.streaming.__wrapped__() is None  # not at the price of somebody's memory


def test_a_stream_reads_every_byte_once() -> None:
    cells, array = np.zeros(2 * machine.LINE, np.int64), np.empty(1_001, np.int64)
    environment._stream(cells, 1, machine.LINE, array)
    assert cells[machine.LINE + 4] == array.sum() == 1_000 * 1_001 // 2
    assert tuple(cells[machine.LINE + 2 : machine.LINE + 4]) >= tuple(cells[machine.LINE : machine.LINE + 2])
