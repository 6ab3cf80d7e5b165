"""Every benchmark runs once, as asv would run it, on tiny data."""

import inspect
import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest

import hogwild
from benchmarks import starting, training

KINDS = ("track_", "time_", "timeraw_", "peakmem_")


def methods(benchmark):
    return [function for name, function in inspect.getmembers(benchmark, callable) if name.startswith(KINDS)]


def classes(*modules):
    return {
        name: found
        for module in modules
        for name, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__ and methods(found)
    }


BENCHMARKS = classes(starting, training)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    for name, value in {
        "EXAMPLES": 60,
        "EXAMPLES_FOR_POOL": 20,
        "FEATURES": 50,
        "NONZEROS_PER_ROW": 5,
        "EPOCHS": 2,
        "REPEATS": 1,
    }.items():
        monkeypatch.setattr(training, name, value)


def test_each_class_has_a_test_here():
    assert set(BENCHMARKS) == {"Training", "Memory", "Import", "FirstCall"}


def test_no_problem_and_no_backend_is_forgotten():
    assert set(training.PROBLEMS) == set(hogwild.problems.LINEAR_PROBLEMS)
    assert set(training.BACKENDS) == set(hogwild.BACKENDS)


def test_training_measures_every_cell():
    benchmark = training.Training()
    figures = benchmark.setup_cache()
    cells = list(itertools.product(*benchmark.params))
    skipped = {cell for cell in cells if cell not in figures}
    assert skipped == {(problem, "serial", 2) for problem in training.PROBLEMS}
    for cell in skipped:
        with pytest.raises(NotImplementedError):
            benchmark.setup(figures, *cell)
    for cell in figures:
        benchmark.setup(figures, *cell)
        for method in methods(benchmark):
            assert math.isfinite(method(figures, *cell)), (method.__name__, cell)
        assert benchmark.track_epoch_seconds(figures, *cell) > 0
        assert 0 <= benchmark.track_suboptimality(figures, *cell) < 1, cell
    for problem in training.PROBLEMS:
        assert benchmark.track_time_over_serial(figures, problem, "serial", 1) == 1


def test_memory_trains():
    benchmark = training.Memory()
    cell = [values[-1] for values in benchmark.params]
    benchmark.setup(*cell)
    benchmark.peakmem_train(*cell)


def test_import_runs():
    for method in methods(starting.Import()):
        subprocess.run([sys.executable, "-c", method()], check=True)


def test_first_call_is_timed_in_a_new_process():
    benchmark = starting.FirstCall()
    for kernel, expected in (("compiled", False), ("cached", True)):
        cell = ("hinge", kernel)
        benchmark.setup(*cell)
        assert any(Path(benchmark.cache.name).rglob("*.nbc")) is expected
        if kernel == "cached":
            assert benchmark.track_setup_seconds(*cell) > 0
        benchmark.teardown(*cell)
