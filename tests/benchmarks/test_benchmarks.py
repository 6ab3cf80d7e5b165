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
from benchmarks import completion, native, ratios, starting, training
from hogwild.arguments import derived_seed
from hogwild.engine.sampling import ShuffledOnce, shuffled_order

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


BENCHMARKS = classes(completion, ratios, starting, training)


RATIOS = ("OverSerial", "OverSklearn", "OverMemory", "ScaledPenalty")


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
    monkeypatch.setattr(ratios, "EPOCHS", 1)
    monkeypatch.setattr(ratios, "STREAMED_BYTES", 8_000)


def test_each_class_has_a_test_here():
    assert set(BENCHMARKS) == {"Training", "Memory", "Import", "FirstCall", "Completion", *RATIOS}


def test_no_backend_is_forgotten_and_no_problem_is_made_up(monkeypatch):
    assert set(training.PROBLEMS) <= set(hogwild.problems.LINEAR_PROBLEMS)
    measured = [hogwild.BACKENDS[name] for name in training.BACKENDS]
    assert {backend.team for backend in measured} == {backend.team for backend in hogwild.BACKENDS.values()}
    assert not {"aig_processes", "cyclades_processes"} & {*training.BACKENDS}
    assert {"serial", "pool"} == {*training.BACKENDS} - {*ratios.BACKENDS}
    record = hogwild.BACKENDS["locked"]._replace(name="unheard_of", title="Unheard of")
    monkeypatch.setitem(hogwild.BACKENDS, "unheard_of", record)
    monkeypatch.setitem(
        hogwild.BACKENDS, "unheard_of_processes", record._replace(name="unheard_of_processes")
    )
    assert training.backends() == [*training.BACKENDS, "unheard_of"]


@pytest.mark.parametrize(
    ("problems", "backends"),
    [(["hinge"], training.BACKENDS), (training.PROBLEMS, ["serial", "hogwild_threads"])],
    ids=["backends", "problems"],
)
def test_training_measures_every_cell(monkeypatch, problems, backends):
    monkeypatch.setattr(training, "PROBLEMS", problems)
    monkeypatch.setattr(training, "BACKENDS", backends)
    assert training.Training.params == (list(hogwild.problems.LINEAR_PROBLEMS), training.backends(), [1, 2])
    benchmark = training.Training()
    figures = benchmark.setup_cache()
    cells = list(itertools.product(problems, backends, training.WORKERS))
    skipped = {cell for cell in cells if cell not in figures}
    assert skipped == {(problem, "serial", 2) for problem in problems}
    for cell in skipped:
        with pytest.raises(NotImplementedError):
            benchmark.setup(figures, *cell)
    for cell in figures:
        benchmark.setup(figures, *cell)
        for method in methods(benchmark):
            assert math.isfinite(method(figures, *cell)), (method.__name__, cell)
        assert benchmark.track_epoch_seconds(figures, *cell) > 0
        assert 0 <= benchmark.track_suboptimality(figures, *cell) < 1, cell
    for problem in problems:
        assert benchmark.track_time_over_serial(figures, problem, "serial", 1) == 1


@pytest.mark.skipif(native.compiler() is None, reason="there is no C++ compiler")
def test_the_native_loop_computes_the_same_epochs_and_both_are_timed():
    data = hogwild.datasets.jumbo_twin(n_rows=200)
    problem = hogwild.problems.MatrixCompletion.from_data(data.rows, data.columns, data.values, rank=10)
    start = problem.start(np.random.default_rng(0))
    order = shuffled_order(problem.n_examples, ShuffledOnce(derived_seed(0, "order")).seed)
    native = start.copy()
    assert completion.native_epoch(problem, order, native) > 0
    np.testing.assert_allclose(native, completion.ours(problem, start).weights, rtol=1e-9, atol=1e-12)
    benchmark = completion.Completion()
    found = completion.measure(rows=200, repeats=1)
    benchmark.setup(found)
    for method in methods(benchmark):
        assert method(found) > 0


def test_without_a_compiler_the_native_loop_is_left_out(monkeypatch):
    monkeypatch.setattr(native, "compiler", lambda: None)
    native.library.cache_clear()
    assert completion.Completion().setup_cache() is None
    with pytest.raises(NotImplementedError):
        completion.Completion().setup(None)
    with pytest.raises(NotImplementedError, match="no C"):
        completion.measure(rows=200, repeats=1)


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


@pytest.mark.parametrize("name", RATIOS)
def test_ratios_of_every_kind_are_measured(name):
    if name == "OverSklearn":
        pytest.importorskip("sklearn")
    benchmark = BENCHMARKS[name]()
    problems, kinds = benchmark.params
    for cell in [(problems[0], kinds[-1]), *((problem, kinds[0]) for problem in problems)]:
        benchmark.setup(*cell)
        for method in methods(benchmark):
            assert 0 < method(*cell) < math.inf


def test_a_ratio_is_the_median_of_times_taken_in_turns():
    calls = []

    def clock(name, seconds):
        def tick():
            calls.append(name)
            return next(seconds)

        return tick

    above = clock("above", iter([9.0, 1, 2, 3, 4, 50]))
    below = clock("below", iter([9.0, 1, 1, 2, 2, 2]))
    assert ratios.ratio(above, below) == 2
    assert calls == ["above", "below"] * 6


def test_ratios_leave_scikit_learn_out_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(NotImplementedError):
        ratios.OverSklearn().setup("hinge", "shuffled")


@pytest.mark.parametrize("name", ratios.ESTIMATORS)
def test_scikit_learn_solves_the_same_problem(monkeypatch, name):
    """Unshuffled it comes to the same weights as rows streamed as stored."""
    kind = getattr(pytest.importorskip("sklearn.linear_model"), ratios.ESTIMATORS[name][0])
    problem, seen, fit = ratios.make_problem(name), [], kind.fit
    monkeypatch.setattr(kind, "fit", lambda *arguments: seen.append(fit(*arguments)))
    ratios.theirs(problem, shuffle=False)
    mine = hogwild.minimize(problem, sampling="as_stored", step_size=ratios.STEP, epochs=ratios.EPOCHS)
    np.testing.assert_allclose(seen[0].coef_.ravel(), mine.weights, rtol=1e-6, atol=1e-9)
