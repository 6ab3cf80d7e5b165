"""The machine: what is recorded of it, when results may be mixed, and that one run holds it at a time."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import machine


def test_the_environment_says_what_a_reader_needs() -> None:
    environment = machine.environment("mine", "smoke", "python -m experiments run")
    assert list(environment) == [
        "run", "preset", "command", "started_at", "machine", "spin_efficiency", "software", "git",
    ]  # fmt: skip
    assert environment["machine"]["cpu_model"]
    assert environment["machine"]["usable_cores"] == len(machine.usable_cores())
    assert environment["machine"]["memory_bytes"] > 2**28
    assert {"numpy", "scipy", "numba"} <= set(environment["software"]["packages"])
    assert environment["software"]["numba_cpu"]
    assert set(environment["git"]) == {"commit", "dirty"}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("preset",), "full", "preset: full there, smoke here"),
        (("machine", "cpu_model"), "6502", "processor: 6502 there"),
        (("machine", "usable_cores"), 99, "usable cores: 99 there"),
        (("software", "python"), "3.9.1", "Python: 3.9.1 there"),
        (("software", "packages", "numpy"), "1.0", "numpy: 1.0 there"),
        (
            ("software", "packages", "surprise"),
            "1.0",
            "surprise: 1.0 there, None here",
        ),
        (("software", "hogwild_source"), "0", "source of hogwild: 0 there"),
    ],
)
def test_what_may_not_be_mixed_is_named(path: tuple[str, ...], value: object, words: str) -> None:
    here = machine.environment("mine", "smoke", "")
    there = copy.deepcopy(here)
    table = there
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    assert words in machine.difference(there, here)


def test_another_day_and_another_command_may_be_mixed() -> None:
    here = machine.environment("mine", "smoke", "run a")
    there = {
        **here,
        "started_at": "earlier",
        "command": "run b",
        "spin_efficiency": 0.5,
        "git": {},
        "run": "other",
    }
    assert not machine.difference(there, here)


def test_the_lock_names_its_owner_and_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with machine.exclusive(path):
        code = f"from experiments.machine import exclusive, Path\nwith exclusive(Path({str(path)!r})): pass"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "BusyError" in other.stderr
        assert f"process {os.getpid()}" in other.stderr
    with machine.exclusive(path):
        pass


def test_the_spin_test_compares_two_threads_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 200_000)
    before = machine.usable_cores()
    efficiency = machine.spin_efficiency()
    assert machine.usable_cores() == before  # only the threads were pinned
    assert efficiency > 0 if len(before) > 1 else math.isnan(efficiency)
    seconds = {(0,): 1.2, (0, 1): 1.6, (1,): 1.0}
    monkeypatch.setattr(machine, "_spin", lambda cores: seconds[tuple(cores)])
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1, 2])
    assert machine.spin_efficiency() == pytest.approx(1.0 / 1.6)
    monkeypatch.setattr(machine, "usable_cores", lambda: [0])
    assert math.isnan(machine.spin_efficiency())
