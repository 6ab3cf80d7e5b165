"""Every benchmark runs once, as asv would run it, on tiny data."""

import inspect
import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hogwild
from benchmarks import completion, starting, training
from hogwild.backends import POLICIES, TEAMS
from hogwild.optimise import _derived_seed
from hogwild.sampling import ShuffledOnce, shuffled_order

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


BENCHMARKS = classes(completion, starting, training)


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
    assert set(BENCHMARKS) == {"Training", "Memory", "Import", "FirstCall", "Completion"}


def test_no_problem_and_no_backend_is_forgotten():
    assert set(training.PROBLEMS) == set(hogwild.problems.LINEAR_PROBLEMS)
    measured = [hogwild.BACKENDS[name] for name in training.BACKENDS]
    assert {backend.policy for backend in measured} == set(POLICIES) - {"private"}
    assert {backend.workers for backend in measured} == set(TEAMS)


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


@pytest.mark.skipif(completion.compiler() is None, reason="there is no C++ compiler")
def test_the_native_loop_computes_the_same_epochs_and_both_are_timed():
    data = hogwild.datasets.jumbo_twin(n_rows=200)
    problem = hogwild.problems.MatrixCompletion.from_data(data.rows, data.columns, data.values, rank=10)
    start = problem.start(np.random.default_rng(0))
    order = shuffled_order(problem.n_examples, ShuffledOnce(_derived_seed(0, "order")).seed)
    native = start.copy()
    assert completion.native_epoch(problem, order, native) > 0
    np.testing.assert_allclose(native, completion.ours(problem, start).weights, rtol=1e-9, atol=1e-12)
    benchmark = completion.Completion()
    found = completion.measure(rows=200, repeats=1)
    benchmark.setup(found)
    for method in methods(benchmark):
        assert method(found) > 0


def test_without_a_compiler_the_native_loop_is_left_out(monkeypatch):
    monkeypatch.setattr(completion, "compiler", lambda: None)
    completion.native.cache_clear()
    assert completion.Completion().setup_cache() is None
    with pytest.raises(NotImplementedError):
        completion.Completion().setup(None)
    with pytest.raises(NotImplementedError, match="no C"):
        completion.native()


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
