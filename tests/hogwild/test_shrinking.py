"""The penalty as a common factor of all weights: against a dense twin, on every backend, for any length."""

import functools
import itertools
import math
import mmap
import re
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numba import njit

import hogwild
from hogwild import choice
from hogwild.arguments import derived_seed
from hogwild.engine.compiling import config
from hogwild.engine.contract import gradient_is_zero
from hogwild.engine.delays import delay_of
from hogwild.engine.loops import Batches, Job, Singles, run_examples
from hogwild.engine.sampling import SAMPLINGS
from hogwild.engine.steps import (
    Constant,
    InverseTime,
    WeightDecay,
    in_epoch,
)
from hogwild.problems import LINEAR_PROBLEMS, HingeSVM
from hogwild.problems.rows import NoPenalty
from hogwild.sharing.guards import Unguarded
from hogwild.sharing.private import Private
from hogwild.sharing.replicas import Replicas
from hogwild.sharing.rounds import Rounds
from hogwild.sharing.shares import Padded, Shares, run_pieces
from tests.hogwild.cases import completion, grid_cut, plan_for, problem
from tests.hogwild.lockstep import lockstep
from tests.hogwild.shrinking import (
    BACKOFF,
    PARALLEL,
    STEPS,
    scaled,
    twin,
)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("sampling", ["fresh_permutation", "as_stored"])
def test_serial_equals_the_twin_whenever_it_is_evaluated(name: str, step: Any, sampling: str) -> None:
    case, start = problem(name, l2=2.0), np.linspace(-1, 1, 9)
    expected = twin(case, step, start, sampling, 3)
    for evaluations in (1, 7):
        result = scaled(
            case,
            step_size=step,
            sampling=sampling,
            epochs=3,
            evaluations_per_epoch=evaluations,
            initial_weights=start,
            seed=5,
        )
        np.testing.assert_allclose(result.weights, expected, rtol=1e-10, atol=1e-13)
        assert result.objective == case.objective(result.weights)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
def test_single_precision_follows_the_twin_to_its_rounding(name: str) -> None:
    case, start = problem(name, l2=2.0, dtype=np.float32), np.linspace(-1, 1, 9)
    options: dict[str, Any] = {"sampling": "fresh_permutation", "epochs": 3}
    result = scaled(
        case, step_size=BACKOFF, evaluations_per_epoch=3, initial_weights=start, seed=5, **options
    )
    assert result.weights.dtype == np.float32
    np.testing.assert_allclose(result.weights, twin(case, BACKOFF, start, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize(("batch_size", "threshold"), [(1, 0.05), (4, 0.0), (7, 0.02)])
def test_mini_batches_and_thresholds_equal_the_twin(name: str, batch_size: int, threshold: float) -> None:
    case, start, step = problem(name, l2=2.0), np.linspace(-1, 1, 9), InverseTime(0.1, 0.7)
    result = scaled(
        case,
        step_size=step,
        epochs=3,
        batch_size=batch_size,
        gradient_threshold=threshold,
        evaluations_per_epoch=3,
        initial_weights=start,
        seed=5,
    )
    expected = twin(case, step, start, "fresh_permutation", 3, batch_size=batch_size, threshold=threshold)
    np.testing.assert_allclose(result.weights, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_without_a_penalty_there_is_nothing_to_choose(name: str, batch_size: int) -> None:
    options: dict[str, Any] = {"epochs": 2, "step_size": BACKOFF, "batch_size": batch_size}
    ways = [hogwild.minimize(problem(name), penalty=way, **options) for way in ("touched", "scaled")]
    assert ways[0].weights.tobytes() == ways[1].weights.tobytes()


def test_the_default_is_the_penalty_of_what_is_touched() -> None:
    case = problem(l2=2.0)
    default, touched = hogwild.minimize(case, epochs=2), hogwild.minimize(case, epochs=2, penalty="touched")
    assert default.weights.tobytes() == touched.weights.tobytes()
    assert default.weights.tobytes() != scaled(case, epochs=2).weights.tobytes()


@pytest.mark.parametrize("backend", [name for name in PARALLEL if hogwild.BACKENDS[name].serial_alone])
def test_one_worker_of_any_backend_equals_serial_bit_for_bit(backend: str) -> None:
    options: dict[str, Any] = {"epochs": 2, "seed": 4, "evaluations_per_epoch": 2, "step_size": BACKOFF}
    case = problem("hinge", l2=1.0, examples=70)
    serial, lone = scaled(case, **options), scaled(case, backend=backend, workers=1, **options)
    if hogwild.BACKENDS[backend].schedule.adds_moves:  # each merge takes up a scale, with its rounding
        np.testing.assert_allclose(lone.weights, serial.weights, rtol=1e-12, atol=1e-15)
    else:
        assert serial.weights.tobytes() == lone.weights.tobytes()


@pytest.mark.parametrize("sampling", ["fresh_permutation", "shuffled_once"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_lone_replica_is_serial_however_often_it_is_merged(sampling: str, batch_size: int) -> None:
    options: dict[str, Any] = {"epochs": 2, "sampling": sampling, "batch_size": batch_size, "seed": 1}
    options["step_size"] = InverseTime(0.05, 0.7)
    case = problem(l2=2.0, examples=50)
    serial = scaled(case, **options)
    for merge_every in (1, 7, None):
        lone = scaled(
            case, backend=hogwild.backend("replicated", merge_every=merge_every), workers=1, **options
        )
        np.testing.assert_allclose(lone.weights, serial.weights, rtol=1e-12, atol=1e-15)


def rarely(case: Any, step: float, hot_weights: int | None) -> dict[str, float]:
    """Where two replicas end up that are merged every 1,000 updates."""
    case.solve()
    ways = ("touched", "scaled")
    return {way: lockstep(case, step, 2, 1000, 8, method=way, hot_weights=hot_weights)[-1] for way in ways}


@pytest.mark.parametrize(("name", "l2", "step"), [("logistic", 10.0, 0.05), ("hinge", 10.0, 0.02)])
@pytest.mark.skipif(config.DISABLE_JIT, reason="tens of thousands of updates")
def test_replicas_that_meet_rarely_do_not_shrink_more(name: str, l2: float, step: float) -> None:
    ends = rarely(problem(name, l2=l2, examples=4000), step, None)
    assert ends["scaled"] < 1.5 * ends["touched"]


@pytest.mark.parametrize("name", ["logistic", "hinge"])
@pytest.mark.skipif(config.DISABLE_JIT, reason="tens of thousands of updates")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hot replicas are Linux's alone")
def test_hot_ones_beside_shared_weights_do_not_either(name: str) -> None:
    case = problem(name, l2=10.0, examples=4000, features=mmap.PAGESIZE // 8 + 100, density=0.02)
    ends = rarely(case, 0.05, 1)
    assert ends["scaled"] < 1.5 * ends["touched"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_workers_of_any_pace_who_take_pieces_are_at_the_same_time(step: Any, batch_size: int) -> None:
    """In turns, but one of them far more often than the others: the updates of serial, to the bit."""
    case = problem("hinge", l2=40.0)
    options: dict[str, Any] = {"sampling": "fresh_permutation", "batch_size": batch_size, "seed": 1}
    serial = scaled(case, step_size=step, epochs=2, **options)
    record, rule = case.kernel_record()._replace(penalty=NoPenalty()), WeightDecay(step, 80.0 / batch_size)
    order = SAMPLINGS["fresh_permutation"](derived_seed(1, "order"))
    schedule = Shares().with_common_factor()
    updates: Any = Singles() if batch_size == 1 else Batches(batch_size)
    made = {
        "problem": record,
        "sampling": order,
        "updates": updates,
        "scratch": case.scratch_size(batch_size),
    }
    plan = plan_for(case, schedule, np.zeros(9), 3, block=10, step=rule, **made)
    team, turns = [schedule.assign(plan, worker) for worker in range(3)], [0, 0, 0, 0, 0, 1, 2]
    for epoch in range(2):
        schedule.begin(plan.guard)
        jobs, now, left = [own.job(epoch) for own in team], in_epoch(rule, epoch), [True] * 3
        for worker in itertools.cycle(turns):
            left[worker] = run_pieces(updates, jobs[worker], now, 0, 120, schedule._next, 16) > 0
            if not any(left):
                break
        rule = rule.after(epoch, epoch + 1.0)
    assert (rule.scale * plan.weights).tobytes() == serial.weights.tobytes()


def test_only_workers_who_share_weights_take_pieces() -> None:
    assert all(kind().with_common_factor()._next is not None for kind in (Shares, Padded))
    for schedule in (Private(), Replicas(), Rounds()):
        assert schedule.with_common_factor() is schedule


@pytest.mark.skipif(config.DISABLE_JIT, reason="hundreds of thousands of updates")
@pytest.mark.parametrize(("backend", "workers"), [("atomic", 8), ("locked", 3), ("atomic_processes", 4)])
def test_more_workers_than_cores_have_no_bias(backend: str, workers: int) -> None:
    """A time of each worker's own put them at 2.6 to 3.3 times the distance of serial."""
    case = problem("hinge", l2=100.0, examples=6000, features=400, density=0.03)
    case.solve()

    def end(backend: str, workers: int, delay: float) -> float:
        options: dict[str, Any] = {
            "backend": backend,
            "workers": workers,
            "observe": hogwild.Observe(gradient_delay=delay),
        }
        options |= {"epochs": 10, "step_size": InverseTime(0.1, 20.0)}
        return float(np.median([scaled(case, seed=seed, **options).suboptimality for seed in range(3)]))

    assert end(backend, workers, 2e-6) < 1.5 * end("serial", 1, 0.0)


def sparse_case(name: str) -> Any:
    """Rows of a few entries, in few conflicts."""
    random = np.random.default_rng(3)
    X = sp.random_array((240, 3000), density=1e-3, rng=random, format="csr")
    return LINEAR_PROBLEMS[name].from_data(X, np.sign(random.normal(size=240)), l2=2.0)


@pytest.mark.parametrize(
    ("name", "sampling", "batch_size"),
    [
        ("least_squares", "fresh_permutation", 1),
        ("hinge", "shuffled_once", 1),
        ("hinge", "fresh_permutation", 3),
    ],
)
def test_conflict_free_workers_are_serial_to_the_bit(name: str, sampling: str, batch_size: int) -> None:
    options: dict[str, Any] = {"sampling": sampling, "batch_size": batch_size, "evaluations_per_epoch": 3}
    options |= {"epochs": 2, "seed": 6, "step_size": InverseTime(0.05, 0.7)}
    case = sparse_case(name)
    serial = scaled(case, **options)
    for workers in (1, 2, 3):
        result = scaled(case, backend="cyclades", workers=workers, **options)
        assert result.weights.tobytes() == serial.weights.tobytes()
        assert [row.objective for row in result.history] == [row.objective for row in serial.history]
        assert (result.parallel_share > 0.5) == (workers > 1)


def test_conflict_free_processes_are_serial_to_the_bit() -> None:
    options: dict[str, Any] = {"epochs": 2, "step_size": InverseTime(0.05, 0.7), "evaluations_per_epoch": 3}
    case = sparse_case("least_squares")
    result = scaled(case, backend="cyclades_processes", workers=3, **options)
    assert result.weights.tobytes() == scaled(case, **options).weights.tobytes()


@functools.cache
def racing_case() -> Any:
    case = problem("hinge", l2=1.0, examples=100 if config.DISABLE_JIT else 400, features=30, density=0.2)
    case.solve()
    return case


@functools.cache
def reached(backend: str, workers: int) -> float:
    """The median over several seeds."""
    options: dict[str, Any] = {"backend": backend, "workers": workers, "step_size": BACKOFF, "epochs": 8}
    return float(np.median([scaled(racing_case(), seed=seed, **options).suboptimality for seed in range(3)]))


@pytest.mark.parametrize("backend", PARALLEL)
def test_several_workers_get_where_one_gets(backend: str) -> None:
    assert reached("serial", 1) < 0.1
    assert reached(backend, 4) < 1.5 * reached("serial", 1) + 0.01


def distance(name: str, penalty: str, batch_size: int = 1) -> float:
    case = problem(name, l2=3.0, examples=60)
    case.solve()
    step = InverseTime(0.1 * batch_size, 1.0)
    result = hogwild.minimize(case, penalty=penalty, step_size=step, epochs=60, batch_size=batch_size)
    return float(result.suboptimality)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
def test_both_penalties_have_the_same_minimiser(name: str) -> None:
    assert distance(name, "scaled") < 1e-3


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize("penalty", ["touched", "scaled"])
def test_mini_batches_have_it_too(name: str, penalty: str) -> None:
    assert distance(name, penalty, 4) < 1e-3


@pytest.mark.parametrize(
    ("case", "options", "message"),
    [
        (problem(l2=1.0), {"method": "sdca"}, "method is 'sdca'; with the penalty 'scaled' it must be 'sgd'"),
        (problem(l2=1.0), {"backend": "pool"}, "backend is 'pool'; with the penalty 'scaled' it must be one"),
        (
            problem(),
            {"observe": hogwild.Observe(instrument=True)},
            "observe.instrument is True; with the penalty 'scaled' it must be False",
        ),
        (completion(), {}, "problem is 'matrix_completion'; with the penalty 'scaled' it must be a linear"),
        (grid_cut(), {}, "problem is 'graph_cut'; with the penalty 'scaled' it must be a linear model"),
    ],
    ids=["sdca", "pool", "instrument", "completion", "cut"],
)
def test_what_the_common_factor_is_not_for(case: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        scaled(case, **options)


def test_another_penalty_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^penalty is 'dense'; it must be one of scaled, touched$"):
        hogwild.minimize(problem(), penalty="dense")
    with pytest.raises(TypeError, match=r"^penalty is None; it must be one of scaled, touched$"):
        hogwild.minimize(problem(), penalty=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_content_example_writes_nothing_and_only_the_scale_moves(dtype: Any) -> None:
    random = np.random.default_rng(2)
    case = HingeSVM.from_data(random.uniform(1, 2, (50, 6)), np.ones(50), l2=1.0, dtype=dtype)
    record, nothing = case.kernel_record(), dtype(0)
    assert gradient_is_zero(record._replace(penalty=NoPenalty()), nothing)
    assert not gradient_is_zero(record._replace(penalty=NoPenalty()), dtype(-1))
    assert not gradient_is_zero(record, nothing)
    start = random.uniform(1, 2, 6).astype(dtype)
    result = scaled(case, step_size=0.1, epochs=3, initial_weights=start)
    rule = functools.reduce(lambda rule, epoch: rule.after(epoch, epoch + 1.0), range(3), shrinking(case))
    assert rule.scale == pytest.approx(math.exp(-2 * 0.1 * 3))
    assert result.weights.tobytes() == (start * dtype(rule.scale)).tobytes()


def shrinking(case: Any, step: float = 0.1) -> WeightDecay:
    return WeightDecay(Constant(step), 2 * case.l2)


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_a_backend_can_be_chosen_by_a_trial(monkeypatch: pytest.MonkeyPatch, worth: float) -> None:
    monkeypatch.setattr(choice, "_LEAST_ENTRIES", 0)
    monkeypatch.setattr(choice, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(choice, "WORTH", worth)
    options: dict[str, Any] = {"epochs": 3, "step_size": BACKOFF, "seed": 1}
    serial = scaled(racing_case(), **options)
    result = scaled(racing_case(), backend="auto", workers=2, **options)
    assert result.history[0].objective == serial.history[0].objective
    assert sum(result.updates) == sum(serial.updates)
    if worth:
        assert result.backend == "serial"
        assert result.weights.tobytes() == serial.weights.tobytes()
    else:
        assert result.backend in ("hogwild_threads", "replicated")
        assert result.suboptimality < 1.5 * serial.suboptimality + 0.01


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("step", [Constant(0.1), InverseTime(0.1, 1.0)])
def test_no_update_counts_references(step: Any) -> None:
    # as in test_kernels: a record used on both sides of a branch costs tens of nanoseconds that nobody sees
    loop: Any = run_examples
    kernel = njit(nogil=True, error_model="numpy")(loop.py_func)
    case = problem("hinge", l2=1.0)
    record, rule = case.kernel_record()._replace(penalty=NoPenalty()), in_epoch(WeightDecay(step, 2.0), 0)
    records = (record, Unguarded(), SAMPLINGS["as_stored"](0), delay_of(0.0), np.zeros(case.n_weights))
    kernel(Job(*records, 0, np.empty(0, np.uint32), np.zeros(0)), rule, 0, 0)
    (code,) = kernel.inspect_llvm().values()
    bodies = re.findall(r"^define .*?^}", code, re.DOTALL | re.MULTILINE)
    assert any("llvm.prefetch" in body or "load atomic" in body for body in bodies)
    assert not [body for body in bodies if "call void @NRT_incref" in body and "_ZN7cpython" not in body]
