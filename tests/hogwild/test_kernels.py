"""The compiled loops against their NumPy twins."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import hogwild
from hogwild.arguments import derived_seed
from hogwild.engine.compiling import config
from hogwild.engine.delays import delay_of
from hogwild.engine.loops import Job, run_examples
from hogwild.engine.sampling import SAMPLINGS, epoch_key, examples_at, shuffled_order
from hogwild.engine.steps import Constant, ExponentialBackoff, InverseTime
from hogwild.problems import LINEAR_PROBLEMS
from hogwild.sharing.guards import Atomic, GlobalLock, Turns, Unguarded, VariableLocks, make_guard
from tests.hogwild.cases import completion, grid_cut, problem
from tests.hogwild.twins import epoch_twin, permutation_twin


def order_of(sampling, examples, seed, epoch):
    record = SAMPLINGS[sampling](derived_seed(seed, "order"))
    order = examples_at(record, examples, np.uint64(epoch_key(record.seed, epoch)), 0, examples)
    # rows that were laid out in an order of their own
    return shuffled_order(examples, record.seed)[order] if sampling.startswith("shuffled") else order


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("l2", "batch_size", "threshold"), [(0.0, 1, 0.0), (2.0, 1, 0.05), (2.0, 7, 0.02), (0.0, 200, 0.0)]
)
def test_serial_equals_the_twin(name, sampling, l2, batch_size, threshold):
    case = problem(name, l2=l2)
    X, examples = case.X.toarray(), case.n_examples
    step = InverseTime(0.1, 0.5)
    start = np.linspace(-1, 1, case.n_features)
    result = hogwild.minimize(
        case,
        step_size=step,
        sampling=sampling,
        epochs=3,
        batch_size=batch_size,
        gradient_threshold=threshold,
        initial_weights=start,
        seed=5,
    )
    expected = start
    for epoch in range(3):
        rates = [0.1 / (1 + 0.5 * (epoch + k / examples)) for k in range(examples)]
        order = order_of(sampling, examples, 5, epoch)
        expected = epoch_twin(name, X, case.y, l2, expected, order, rates, batch_size, threshold)
    np.testing.assert_allclose(result.weights, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_with_64_bit_starts_are_the_same_rows(sampling):
    case = problem()
    wide = problem()
    wide.X.indptr = wide.X.indptr.astype(np.int64)
    narrow, also = (hogwild.minimize(one, sampling=sampling, epochs=1).weights for one in (case, wide))
    assert case.X.indptr.dtype == np.int32
    assert narrow.tobytes() == also.tobytes()


def test_single_precision_follows_the_twin_to_its_rounding():
    case = problem("logistic", l2=1.0, dtype=np.float32)
    result = hogwild.minimize(case, step_size=0.1, epochs=1, seed=3)
    order = order_of("fresh_permutation", case.n_examples, 3, 0)
    expected = epoch_twin(
        "logistic", case.X.toarray(), case.y, 1.0, np.zeros(case.n_features), order, [0.1] * 120
    )
    assert result.weights.dtype == np.float32
    np.testing.assert_allclose(result.weights, expected, rtol=1e-4, atol=1e-5)


def test_back_off_multiplies_the_step_after_each_epoch():
    case = problem()
    backed_off = hogwild.minimize(case, step_size=ExponentialBackoff(0.1, 0.5), epochs=2, seed=1)
    first = hogwild.minimize(case, step_size=Constant(0.1), epochs=1, seed=1)
    assert backed_off.history[1].objective == first.objective
    order = order_of("fresh_permutation", case.n_examples, 1, 1)
    expected = epoch_twin(
        case.name, case.X.toarray(), case.y, 0.0, first.weights, order, [0.05] * case.n_examples
    )
    np.testing.assert_allclose(backed_off.weights, expected, rtol=1e-9)


def test_threshold_at_the_tutorials_value_leaves_small_components_alone():
    case = problem()
    huge = hogwild.minimize(case, gradient_threshold=1e9, epochs=1, initial_weights="normal", seed=2)
    assert huge.objective == huge.history[0].objective
    assert hogwild.minimize(case, gradient_threshold=0.01, epochs=1, seed=2).objective < huge.objective


@given(count=st.integers(1, 700), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 1000))
def test_a_fresh_permutation_is_a_permutation_and_equals_its_twin(count, seed, epoch):
    key = np.uint64(epoch_key(seed, epoch))
    record = SAMPLINGS["fresh_permutation"](seed)
    order = examples_at(record, count, key, 0, count).tolist()
    assert sorted(order) == list(range(count))
    assert order[:50] == permutation_twin(count, int(key))[:50]


@pytest.mark.parametrize("name", ["shuffled_blocks", "stored_blocks"])
@given(count=st.integers(1, 700), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 1000))
def test_blocks_of_neighbours_come_in_an_order_that_is_new_in_every_epoch(name, count, seed, epoch):
    key = epoch_key(seed, epoch)
    order = examples_at(SAMPLINGS[name](seed), count, np.uint64(key), 0, count).tolist()
    begins = [64 * block for block in permutation_twin(count // 64, int(key))]
    rows = [begin + row for begin in begins for row in range(64)] + list(range(count // 64 * 64, count))
    assert order == [(row + int(key)) % count for row in rows]
    assert sorted(order) == list(range(count))


@pytest.mark.parametrize("count", [2, 3, 5, 17, 40])
def test_orders_are_uniform(count):
    """Every example at every position, and every pair in front, equally often over the seeds (chi-square).

    Interpreted over fewer of them: the orders are the same, see the twin.
    """
    seeds = 300 if config.DISABLE_JIT else 3000
    at, pairs = np.zeros((count, count)), np.zeros((count, count))
    for seed in range(seeds):
        order = shuffled_order(count, seed)
        at[np.arange(count), order] += 1
        pairs[order[0], order[1]] += 1
    assert ((at - seeds / count) ** 2).sum() / (seeds / count) < (count - 1) ** 2 + 6 * np.sqrt(2) * (
        count - 1
    ) + 8
    expected = seeds / (count * (count - 1))
    off_diagonal = pairs[~np.eye(count, dtype=bool)]
    freedom = off_diagonal.size - 1
    assert ((off_diagonal - expected) ** 2).sum() / expected < freedom + 6 * np.sqrt(2 * freedom) + 8


def test_draws_with_replacement_are_uniform_and_differ_between_epochs():
    record, count = SAMPLINGS["with_replacement"](9), 50
    draws = [
        examples_at(record, count, np.uint64(epoch_key(9, epoch)), 0, 4000).tolist() for epoch in range(2)
    ]
    assert draws[0] != draws[1]
    for epoch_draws in draws:
        seen = np.bincount(epoch_draws, minlength=count)
        assert ((seen - 80) ** 2).sum() / 80 < 49 + 6 * np.sqrt(98)


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (problem("hinge", l2=1.0), Unguarded),
        (problem("hinge"), GlobalLock),
        (problem("logistic", l2=1.0), Atomic),
        (completion(), VariableLocks),
        (grid_cut(), VariableLocks),
        (problem("hinge"), Turns),
    ],
    ids=["svm", "svm_locked", "logistic_atomic", "completion_aig", "cut_aig", "svm_turns"],
)
def test_no_update_counts_references(case, kind):
    # A branch with a use of a record on each side makes numba count references to all of its arrays, at every
    # update: tens of nanoseconds that no result shows. (What comes from the cache has no code to look at.)
    kernel = njit(nogil=True, error_model="numpy")(run_examples.py_func)
    guard, order = make_guard(kind, 2, case.n_variables), SAMPLINGS["as_stored"](0)
    records = (case.kernel_record(), guard, order, delay_of(0.0), np.zeros(case.n_weights))
    job = Job(*records, 0, np.empty(0, np.uint32), np.zeros(case.scratch_size(1)))
    kernel(job, Constant(0.1), 0, 0)
    (code,) = kernel.inspect_llvm().values()
    bodies = re.findall(r"^define .*?^}", code, re.DOTALL | re.MULTILINE)
    assert any("llvm.prefetch" in body or "load atomic" in body for body in bodies)
    assert not [body for body in bodies if "call void @NRT_incref" in body and "_ZN7cpython" not in body]
