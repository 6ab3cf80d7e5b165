"""Objectives, optima with certificates, sparsity statistics, and what bad input is told."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from hogwild import datasets
from hogwild.datasets import rows as rows_module
from hogwild.datasets.rows import looked_through
from hogwild.problems import (
    LINEAR_PROBLEMS,
    PROBLEMS,
    HingeSVM,
    LeastSquares,
    Logistic,
    linear,
    losses,
    sparsity,
)
from hogwild.problems.optimum import UncertifiedOptimum
from tests.hogwild.cases import arrays, problem
from tests.hogwild.losses import FACTS
from tests.hogwild.twins import objective_twin, sparsity_twin


def test_every_loss_has_its_facts():
    assert set(FACTS) == set(LINEAR_PROBLEMS)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
def test_a_loss_is_as_curved_as_the_facts_say(name):
    loss, facts = LINEAR_PROBLEMS[name].loss, FACTS[name]
    assert losses.mean_curvature(loss) == pytest.approx(facts.mean_curvature)
    assert losses.least_dual_curvature(loss) == facts.least_dual_curvature


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.smooth])
@given(margin=st.floats(-20, 20), target=st.sampled_from([-1.0, 1.0]))
def test_a_smooth_loss_has_the_conjugate_and_the_curvature_of_its_slopes(name, margin, target):
    """Fenchel and Young: φ(z) + φ*(φ'(z)) = z φ'(z)."""
    loss, facts = LINEAR_PROBLEMS[name].loss, FACTS[name]
    margins, targets = np.array([margin]), np.array([target])
    slopes = losses.derivative(loss, margins, targets)
    conjugates = -losses.negative_conjugate(loss, slopes, targets)
    assert losses.value(loss, margins, targets) + conjugates == pytest.approx(margin * slopes, abs=1e-9)
    before, here, after = (facts.slope(margin + move, target) for move in (-1e-5, 0.0, 1e-5))
    if abs(before + after - 2 * here) < 1e-8:  # not at a kink of the slope
        curvature = (after - before) / 2e-5
        assert losses.second_derivative(loss, margins, targets) == pytest.approx(curvature, abs=1e-5)
    low, high = facts.duals(target)
    for slope in (slopes, np.array([1e3]), np.array([-1e3])):
        assert losses.nearest_dual(loss, slope, targets) == np.clip(slope, -high, -low)


class StretchedLoss(NamedTuple):
    """``(margin - target)**2 / width**2``."""

    width: float = 1.0


class Stretched(linear.Regression):
    name, loss = "stretched", StretchedLoss()


@losses.value.of(StretchedLoss)
def value_of_stretched(loss: Any, margin: Any, target: Any) -> Any:
    return ((margin - target) / loss.width) ** 2


def test_the_settings_of_a_loss_are_arguments_and_tell_optima_apart():
    X, y = np.eye(2), [1.0, 2.0]
    narrow, wide = Stretched.from_data(X, y), Stretched.from_data(X, y, l2=0.5, width=2.0)
    assert (narrow.objective_at_zero, wide.objective_at_zero) == (2.5, 2.5 / 4)
    assert (narrow._settings(), wide._settings()) == ((0.0, 1.0), (0.5, 2.0))
    assert "l2=0.5, width=2.0, dtype" in repr(wide)
    assert wide.kernel_record().loss == StretchedLoss(2.0)
    with pytest.raises(ValueError, match=r"^width is 0; it must be a positive number"):
        Stretched.from_data(X, y, width=0)
    with pytest.raises(TypeError, match=r"^delta is no setting of StretchedLoss; its settings: width"):
        Stretched.from_data(X, y, delta=1.0)
    with pytest.raises(TypeError, match=r"^width is no setting of LogisticLoss; its settings: none"):
        Logistic.from_data(X, [1, -1], width=1.0)


def test_what_a_loss_lacks_is_said_by_name():
    case = Stretched.from_data(np.eye(2), [1.0, 2.0])
    with pytest.raises(TypeError, match="`derivative` has no body for StretchedLoss"):
        case.curvature()
    with pytest.raises(TypeError, match="`derivative` has no body for StretchedLoss"):
        case._find_optimum(1e-7)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_made_of_the_data_that_it_takes(name):
    kind = PROBLEMS[name]
    makers = {
        datasets.Dataset: lambda: datasets.synthetic(30, 8, density=0.5, task="classification"),
        datasets.Ratings: lambda: datasets.low_rank(8, 9, 40, rank=2),
        datasets.Graph: lambda: datasets.entity_graph(3, 20),
    }
    case = kind.from_dataset(makers.pop(kind.takes)(), dtype=np.float32)
    assert case.dtype == np.float32
    assert set(case.errors(case.start(np.random.default_rng(0)))) == set(kind.error_names)
    assert set(kind.held_out_errors) <= set(kind.error_names)
    for other in makers.values():
        with pytest.raises(TypeError, match=f"^data is a .*; {name} takes a {kind.takes.__name__}"):
            kind.from_dataset(other())


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
@pytest.mark.parametrize("l2", [0.0, 3.0])
def test_objective_equals_the_twin(name, l2):
    case = problem(name, l2=l2)
    weights = np.linspace(-2, 1, case.n_features)
    expected = objective_twin(name, case.X.toarray(), case.y, l2, weights)
    assert case.objective(weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
def test_optimum_is_certified_and_nothing_around_it_is_lower(name):
    case = problem(name, l2=2.0)
    optimum = case.solve()
    assert optimum.certificate == "duality_gap"
    assert 0 <= optimum.value < 1e-6
    assert case.objective(optimum.weights) == pytest.approx(optimum.objective, rel=1e-12)
    random = np.random.default_rng(1)
    for scale in (1e-3, 1e-1):
        for _ in range(20):
            there = optimum.weights + scale * random.normal(size=case.n_features)
            assert case.objective(there) >= optimum.objective - optimum.value - 1e-12


def test_least_squares_without_penalty_matches_lstsq():
    case = problem()
    optimum = case.solve()
    exact = np.linalg.lstsq(case.X.toarray(), case.y, rcond=None)[0]
    assert optimum.certificate == "projected_duality_gap"
    assert optimum.value < 1e-10
    np.testing.assert_allclose(optimum.weights, exact, rtol=1e-8, atol=1e-10)


def test_hinge_without_penalty_says_what_its_optimum_needs():
    with pytest.raises(UncertifiedOptimum, match="l2 is 0"):
        problem("hinge").solve()


def test_suboptimality_is_one_at_zero_and_zero_at_the_optimum():
    case = problem("logistic", l2=1.0)
    assert np.isnan(case.suboptimality(0.5))
    optimum = case.solve()
    assert case.suboptimality(case.objective(np.zeros(case.n_features))) == pytest.approx(1)
    assert case.suboptimality(optimum.objective) == 0


def test_the_optimum_is_kept_by_content():
    first, again, other = problem(l2=1.0), problem(l2=1.0), problem(l2=1.0, seed=4)
    assert first.content_hash == again.content_hash != other.content_hash
    assert first.solve().seconds == again.solve().seconds  # the stored figure of the one solve
    assert first.solve().objective != other.solve().objective


@given(st.integers(1, 25), st.integers(1, 8), st.floats(0.05, 1.0), st.integers(0, 10**6))
def test_sparsity_equals_the_twin_and_its_inequalities_hold(examples, features, density, seed):
    X, y, _ = arrays(examples, features, density, seed)
    found = LeastSquares.from_data(X, y).sparsity()
    assert found[:4] == pytest.approx(sparsity_twin(X))
    assert found.rho_error == 0
    assert found.delta <= found.rho <= min(1, found.omega * found.delta) + 1e-12


def test_sampled_rho_is_within_its_stated_error(monkeypatch):
    X, y, _ = arrays(2000, 40, 0.02, 1)
    case = LeastSquares.from_data(X, y)
    exact = case.sparsity()
    monkeypatch.setattr(sparsity, "_BUDGET", 5_000)
    sampled = case.sparsity()
    assert 0 < sampled.rho_error < 1
    assert abs(sampled.rho - exact.rho) <= sampled.rho_error
    assert (sampled.omega, sampled.delta) == (exact.omega, exact.delta)
    assert sampled.meeting_share == pytest.approx(exact.meeting_share, rel=0.3)


def test_the_expected_collision_rate_is_that_of_independent_examples():
    assert sparsity.expected_collision_rate(0.25, 1) == 0
    assert sparsity.expected_collision_rate(0.25, 2) == 0.25
    assert sparsity.expected_collision_rate(0.25, 3) == 1 - 0.75**2


def test_errors_are_the_mean_absolute_residual_and_the_share_of_wrong_labels():
    case = problem()
    weights = np.ones(case.n_features)
    residual = np.abs(case.X.toarray() @ weights - case.y).mean()
    assert case.errors(weights) == {"mean_absolute_residual": pytest.approx(residual)}
    labelled = LeastSquares, Logistic, HingeSVM
    X, y = np.array([[1.0], [1.0], [-1.0], [0.0]]), np.array([1.0, -1.0, -1.0, -1.0])
    assert labelled[1].from_data(X, y).errors(np.array([2.0])) == {"error_rate": 0.25}
    assert labelled[2].from_data(X, y).errors(np.array([-2.0])) == {"error_rate": 0.5}


def test_weight_errors():
    case = LeastSquares.from_data(np.eye(2), [1.0, 2.0], true_weights=[3.0, 4.0])
    assert case.weight_errors(np.array([3.0, 2.0])) == (2.0, pytest.approx(0.4))
    assert np.isnan(LeastSquares.from_data(np.eye(2), [1.0, 2.0]).weight_errors(np.zeros(2))).all()


def test_labels_zero_and_one_become_minus_one_and_one():
    assert Logistic.from_data(np.eye(3), [0, 1, 0]).y.tolist() == [-1, 1, -1]
    assert HingeSVM.from_data(np.eye(2), np.array([True, False])).y.tolist() == [1, -1]


def test_dense_integer_and_other_sparse_formats_are_taken():
    dense = np.array([[0, 2], [3, 0]])
    for given_rows in (
        dense,
        sp.coo_array(dense),
        sp.csc_matrix(dense),
        sp.csr_matrix(dense.astype(np.float32)),
    ):
        case = LeastSquares.from_data(given_rows, [1, 2])
        np.testing.assert_array_equal(case.X.toarray(), dense)
    assert LeastSquares.from_data(sp.csr_array(dense.astype(np.float32)), [1, 2]).dtype == np.float32
    assert LeastSquares.from_data(dense, [1, 2], dtype="float32").dtype == np.float32


def test_duplicates_are_summed_zeros_dropped_and_the_callers_array_left_alone():
    X = sp.csr_array(
        (np.array([1.0, 2.0, 0.0]), np.array([1, 1, 0], np.int32), np.array([0, 3], np.int32)), shape=(1, 2)
    )
    case = LeastSquares.from_data(X, [1.0])
    assert case.nonzeros == 1
    assert case.X.toarray().tolist() == [[0.0, 3.0]]
    assert X.nnz == 3


def test_canonical_data_is_not_copied():
    X, y, _ = arrays()
    rows = sp.csr_array(X)
    assert np.shares_memory(LeastSquares.from_data(rows, y).X.data, rows.data)


@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0])), max_size=5), min_size=1
    ),
    looked_at=st.integers(1, 7),
)
def test_rows_in_any_state_become_canonical(rows, looked_at):
    """Whatever the blocks are that the entries are looked at in, rows of no entries among them."""
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    indices = np.array([index for row in rows for index, _ in row], np.int32)
    values = np.array([value for row in rows for _, value in row], float)
    X = sp.csr_array((len(rows), 5))
    X.data, X.indices, X.indptr = values, indices, starts
    given_canonical = all(
        list(row) == sorted(row) and len({index for index, _ in row}) == len(row) and all(v for _, v in row)
        for row in rows
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_LOOKED_AT", looked_at)
        case = LeastSquares.from_data(X, np.ones(len(rows)))
    np.testing.assert_array_equal(case.X.toarray(), X.toarray())
    assert case.X.has_canonical_format
    assert (case.X.data != 0).all()
    assert case.degrees.tolist() == (X.toarray() != 0).sum(axis=0).tolist()
    if values.size:
        assert np.shares_memory(case.X.data, values) == given_canonical


@given(
    indices=st.lists(st.integers(-3, 9), min_size=1),
    values=st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e308])),
    wide=st.booleans(),
)
def test_entries_are_looked_through_as_numpy_does(indices, values, wide):
    indices = np.array(indices, np.int64 if wide else np.int32)
    values = np.array(values, np.float64)
    expected = (
        indices.min(),
        indices.max(),
        np.count_nonzero(indices[1:] <= indices[:-1]),
        np.count_nonzero(values == 0),
        np.count_nonzero(~np.isfinite(values)),
    )
    assert looked_through(indices, values) == expected


def test_curvature_is_the_mean_square_of_runs_of_rows(monkeypatch):
    X, y, _ = arrays()
    monkeypatch.setattr(linear, "RUN", 3)
    monkeypatch.setattr(linear, "CURVED_EXAMPLES", 10)
    step = 3 * -(-X.shape[0] // 10)
    chosen = np.arange(X.shape[0]) % step < 3
    expected = 2 * (X[chosen] ** 2).mean(axis=0) + 2 * 0.5 / X.shape[0]
    np.testing.assert_allclose(LeastSquares.from_data(X, y, l2=0.5).curvature(), expected, rtol=1e-12)


GOOD_X, GOOD_Y = np.eye(3), np.array([1.0, -1.0, 1.0])
OUT_OF_RANGE = sp.csr_array(np.eye(3))
OUT_OF_RANGE.indices = np.array([0, 1, 7], np.int32)


@pytest.mark.parametrize(
    ("argument", "given_values", "error"),
    [
        ("X", {"X": np.array([[1.0, np.nan], [0, 1], [1, 1]])}, ValueError),
        ("X", {"X": np.array([[1.0, np.inf], [0, 1], [1, 1]])}, ValueError),
        ("X", {"X": np.ones(3)}, ValueError),
        ("X", {"X": np.ones((2, 2, 2))}, ValueError),
        ("X", {"X": np.zeros((0, 3)), "y": []}, ValueError),
        ("X", {"X": np.zeros((3, 0))}, ValueError),
        ("X", {"X": np.array([["a"], ["b"], ["c"]])}, TypeError),
        ("X", {"X": np.eye(3) * 1j}, TypeError),
        ("X", {"X": OUT_OF_RANGE}, ValueError),
        ("y", {"y": [1.0, -1.0]}, ValueError),
        ("y", {"y": [1.0, -1.0, np.nan]}, ValueError),
        ("y", {"y": ["a", "b", "c"]}, TypeError),
        ("y", {"y": [1.0, 2.0, 3.0]}, ValueError),
        ("y", {"y": np.ones((3, 1))}, ValueError),
        ("l2", {"l2": -1.0}, ValueError),
        ("l2", {"l2": "much"}, TypeError),
        ("l2", {"l2": np.inf}, ValueError),
        ("true_weights", {"true_weights": [1.0]}, ValueError),
        ("dtype", {"dtype": np.int32}, ValueError),
    ],
)
def test_bad_data_is_refused_by_name(argument, given_values, error):
    with pytest.raises(error, match=rf"^{argument} "):
        Logistic.from_data(**{"X": GOOD_X, "y": GOOD_Y} | given_values)
