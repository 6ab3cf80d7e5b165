"""What every backend promises: the budget, the quality, the stopping rules, the errors."""

import functools
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hogwild
from hogwild.engine.compiling import config
from hogwild.problems import LINEAR_PROBLEMS, LeastSquares
from hogwild.sharing.schedule import share_of
from tests.hogwild.cases import problem, slow_but
from tests.hogwild.family import workers

PARALLEL = [name for name, backend in hogwild.BACKENDS.items() if backend.team != "caller"]


def passes_at_once(backend, workers):
    """Some let every worker visit every example, as the averaging of the paper's Figure 5b does."""
    return workers if hogwild.BACKENDS[backend].whole_runs else 1


@pytest.mark.parametrize("backend", hogwild.BACKENDS)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_every_backend_spends_exactly_its_budget_on_each_example_once(backend, batch_size):
    """On an identity matrix a visit with step 1/2 puts a weight on its target; unvisited it stays 0."""
    examples = 53
    case = LeastSquares.from_data(np.eye(examples), np.arange(1.0, examples + 1))
    workers = None if backend == "serial" else 3
    result = hogwild.minimize(
        case,
        backend=backend,
        workers=workers,
        step_size=0.5 * min(batch_size, 4),
        epochs=1,
        batch_size=batch_size,
    )
    assert sum(result.updates) == examples * passes_at_once(backend, workers)
    assert len(result.updates) == (workers or 1)
    if batch_size == 1 and hogwild.BACKENDS[backend].applies_all:
        np.testing.assert_allclose(result.weights, case.y)
    else:
        assert (result.weights != 0).all()


@pytest.mark.parametrize("backend", PARALLEL)
@pytest.mark.parametrize(("examples", "features"), [(3, 5), (1, 1), (40, 1)])
def test_more_workers_than_examples_and_single_features(backend, examples, features):
    case = problem(examples=examples, features=features, density=0.9)
    result = hogwild.minimize(case, backend=backend, workers=5, epochs=2, step_size=0.01)
    assert sum(result.updates) == 2 * examples * passes_at_once(backend, 5)
    assert result.status == "ok"
    assert result.objective <= result.history[0].objective


@functools.cache
def racing_case(name):
    examples = 150 if config.DISABLE_JIT else 400
    case = problem(name, l2=1.0, examples=examples, features=30, density=0.2)
    case.solve()
    return case


@functools.cache
def reached(name, backend, workers):
    """The median over several seeds."""
    step = hogwild.steps.ExponentialBackoff(0.05, 0.8)
    options = {"backend": backend, "workers": workers, "step_size": step, "epochs": 12}
    ends = [hogwild.minimize(racing_case(name), seed=seed, **options).suboptimality for seed in range(3)]
    return float(np.median(ends))


@pytest.mark.parametrize("name", slow_but(["hinge"], LINEAR_PROBLEMS))
@pytest.mark.parametrize("backend", PARALLEL)
def test_races_cost_little_quality(name, backend):
    """Over several seeds a racing run ends about as near the optimum as the serial one."""
    serial = reached(name, "serial", 1)
    assert serial < 0.1
    assert reached(name, backend, 4) < 1.5 * serial + 0.01


def test_serial_is_identical_for_a_seed_and_differs_between_seeds():
    case = problem()
    first, again, other = (hogwild.minimize(case, epochs=3, seed=seed).weights for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("backend", [name for name in PARALLEL if hogwild.BACKENDS[name].serial_alone])
def test_one_worker_of_a_backend_that_promises_it_equals_serial_bit_for_bit(backend):
    case = problem("hinge", l2=1.0)
    options = {"epochs": 3, "seed": 4, "evaluations_per_epoch": 2}
    serial, parallel = (
        hogwild.minimize(case, **options),
        hogwild.minimize(case, backend=backend, workers=1, **options),
    )
    assert serial.weights.tobytes() == parallel.weights.tobytes()


@pytest.mark.parametrize("backend", hogwild.BACKENDS)
def test_history_counts_updates_epochs_and_clocks(backend):
    case = problem(l2=1.0)
    case.solve()
    workers = None if backend == "serial" else 2
    seen = []
    result = hogwild.minimize(
        case,
        backend=backend,
        workers=workers,
        epochs=2,
        evaluations_per_epoch=3,
        step_size=0.02,
        callback=seen.append,
    )
    assert seen == result.history
    share = 40 * passes_at_once(backend, 2)
    assert [row.updates for row in result.history] == [share * k for k in range(7)]
    assert [row.epoch for row in result.history] == pytest.approx([k / 3 for k in range(7)])
    for clock in ("train_seconds", "eval_seconds", "wall_seconds"):
        values = [getattr(row, clock) for row in result.history]
        assert values == sorted(values)
    last = result.history[-1]
    assert 0 < last.train_seconds <= last.wall_seconds
    assert last.eval_seconds <= last.wall_seconds
    assert last.suboptimality == pytest.approx(case.suboptimality(case.objective(result.weights)))
    assert last.weight_error_l1 == pytest.approx(np.abs(result.weights - case.true_weights).sum())
    assert len(result.cpu_seconds) == len(result.updates)
    assert all(seconds >= 0 for seconds in result.cpu_seconds)
    assert len(result.starved_seconds) == len(result.updates)
    assert 0 <= result.compile_seconds <= result.setup_seconds


def test_stops_at_the_target():
    case = problem(l2=1.0)
    result = hogwild.minimize(case, step_size=0.05, epochs=50, target=0.1)
    assert result.suboptimality <= 0.1 < result.history[-2].suboptimality
    assert result.status == "ok"
    assert "target" in result.message


def test_stops_at_the_tolerance():
    result = hogwild.minimize(problem(l2=1.0), step_size=0.01, epochs=500, tolerance=1e-3)
    assert result.history[-1].epoch < 500
    assert "tolerance" in result.message


@pytest.mark.parametrize("backend", hogwild.BACKENDS)
def test_time_limit_is_a_status(backend):
    case = problem(examples=3000, features=50)
    result = hogwild.minimize(
        case,
        backend=backend,
        workers=None if backend == "serial" else 2,
        epochs=1_000_000,
        time_limit=1.0 if backend == "pool" else 0.05,  # the pool pickles for a while before it trains
        step_size=1e-3,
    )
    assert result.status == "timeout"
    assert 0 < sum(result.updates) < 1_000_000 * 3000
    assert sum(result.updates) == result.history[-1].updates


@pytest.mark.parametrize("backend", hogwild.BACKENDS)
def test_divergence_is_a_status_with_its_epoch_and_sound_weights(backend):
    case = problem()
    result = hogwild.minimize(
        case, backend=backend, workers=None if backend == "serial" else 2, step_size=50.0, epochs=40
    )
    assert result.status == "diverged"
    assert "epoch" in result.message
    assert len(result.history) < 41
    assert np.isfinite(result.weights).all()
    assert case.objective(result.weights) <= 1e3 * case.objective_at_zero


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 12), st.integers(0, 40))
def test_shares_partition_a_segment_in_whole_batches(length, workers, batch_size, begin):
    shares = [share_of(begin, begin + length, worker, workers, batch_size) for worker in range(workers)]
    assert shares[0][0] == begin
    assert shares[-1][1] == begin + length
    assert all(before[1] == after[0] for before, after in itertools.pairwise(shares))
    assert all((first - begin) % batch_size == 0 for first, last in shares if last > first)


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_the_budget_holds_for_any_shape(examples, batch_size, workers, evaluations):
    case = problem(examples=examples, features=4)
    result = hogwild.minimize(
        case,
        backend="hogwild_threads",
        workers=workers,
        batch_size=batch_size,
        epochs=2,
        step_size=1e-3,
        evaluations_per_epoch=evaluations,
    )
    assert sum(result.updates) == 2 * examples == result.history[-1].updates


def test_start_weights():
    case = problem()
    given_start = np.arange(9.0)
    for start, expected in ((None, np.zeros(9)), (given_start, given_start)):
        result = hogwild.minimize(case, epochs=1, initial_weights=start)
        assert result.history[0].objective == case.objective(expected)
    normal = [
        hogwild.minimize(case, epochs=1, initial_weights="normal", seed=s).history[0].objective
        for s in (1, 1, 2)
    ]
    assert normal[0] == normal[1] != normal[2]


def test_pinning_restores_the_callers_cores():
    from hogwild.teams.work import usable_cores

    before = usable_cores()
    hogwild.minimize(problem(), epochs=1, observe=hogwild.Observe(pin=True))
    hogwild.minimize(
        problem(), backend="hogwild_threads", workers=2, epochs=1, observe=hogwild.Observe(pin=True)
    )
    assert usable_cores() == before


@pytest.mark.parametrize("backend", PARALLEL)
def test_no_worker_is_left(backend):
    threads = threading.active_count()
    hogwild.minimize(problem(), backend=backend, workers=3, epochs=1)
    assert workers() == []
    assert threading.active_count() == threads


def test_an_exception_in_the_callback_ends_the_workers():
    def fail(checkpoint):
        raise KeyError("from the callback")

    for backend in PARALLEL:
        with pytest.raises(KeyError, match="from the callback"):
            hogwild.minimize(problem(), backend=backend, workers=2, callback=fail)
        assert workers() == []


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("backend", "hogwild_gpu", ValueError),
        ("workers", 0, ValueError),
        ("workers", -2, ValueError),
        ("workers", 1.5, TypeError),
        ("step_size", 0.0, ValueError),
        ("step_size", float("nan"), ValueError),
        ("step_size", "large", TypeError),
        ("step_size", hogwild.steps.ExponentialBackoff(0.1, 1.5), ValueError),
        ("sampling", "sorted", ValueError),
        ("epochs", 0, ValueError),
        ("epochs", True, TypeError),
        ("batch_size", 0, ValueError),
        ("gradient_threshold", -0.1, ValueError),
        ("initial_weights", "zero", ValueError),
        ("initial_weights", np.zeros(3), ValueError),
        ("initial_weights", np.full(9, np.nan), ValueError),
        ("target", 0.0, ValueError),
        ("tolerance", -1.0, ValueError),
        ("time_limit", 0, ValueError),
        ("seed", -1, ValueError),
        ("evaluations_per_epoch", 0, ValueError),
        ("callback", "print", TypeError),
    ],
)
def test_bad_options_are_refused_by_name(argument, value, error):
    backend = {"backend": "hogwild_threads"} if argument == "workers" else {}
    with pytest.raises(error, match=rf"^{argument}\b"):
        hogwild.minimize(problem(), **backend, **{argument: value})


def test_serial_takes_no_second_worker_and_problem_must_be_one():
    with pytest.raises(ValueError, match="workers is 2"):
        hogwild.minimize(problem(), workers=2)
    with pytest.raises(TypeError, match="problem is a str"):
        hogwild.minimize("least_squares")
