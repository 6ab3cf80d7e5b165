"""Graph cuts: projection and update against their twins, optima, rounding, the errors."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hogwild
from hogwild.arguments import derived_seed
from hogwild.engine.sampling import FreshPermutation, epoch_key, examples_at
from hogwild.problems import GraphCut
from hogwild.problems.graph_cuts import simplex_threshold
from hogwild.problems.solvers.cuts import linear_program
from tests.hogwild.cases import grid_cut
from tests.hogwild.twins import cut_twin, simplex_twin

_NUMBERS = st.floats(-3, 3, allow_nan=False, width=32)


@given(vector=arrays(np.float64, st.integers(2, 40), elements=_NUMBERS | st.sampled_from([0.0, 0.25, 1.0])))
def test_the_projection_equals_its_twin(vector):
    scratch = np.concatenate([[9.0], vector, [9.0]])
    threshold = simplex_threshold(scratch, np.uint64(1), np.uint64(vector.size))
    found = np.maximum(vector - threshold, 0)
    np.testing.assert_allclose(found, simplex_twin(vector), atol=1e-9)
    assert found.sum() == pytest.approx(1)
    assert sorted(scratch[1:-1]) == sorted(vector)
    assert scratch[0] == scratch[-1] == 9


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_serial_equals_the_twin(labels):
    case = grid_cut(side=3, labels=labels)
    start = case.settle(np.random.default_rng(1).random(case.n_weights))
    result = hogwild.minimize(case, step_size=0.03, epochs=1, seed=2, initial_weights=start)
    record = FreshPermutation(derived_seed(2, "order"))
    order = examples_at(record, case.n_examples, np.uint64(epoch_key(record.seed, 0)), 0, case.n_examples)
    shares = cut_twin(
        case.heads, case.tails, case.capacities, case.terminals, case.shares(start), order, 0.03
    )
    np.testing.assert_allclose(case.shares(result.weights), shares, atol=1e-9)


def test_maximum_flow_and_linear_program_agree_and_certify():
    case = grid_cut(side=4)
    optimum = case.solve()
    lower, weights = linear_program(case)
    assert optimum.solver == "maximum flow"
    assert optimum.value == pytest.approx(0, abs=1e-12)
    assert lower == pytest.approx(optimum.objective, abs=1e-9)
    assert case.objective(weights) == pytest.approx(optimum.objective)
    assert 2 * case.errors(optimum.weights)["cut"] == pytest.approx(optimum.objective * case.n_examples)


@pytest.mark.parametrize("unit", [0.7123, 1e6, 2.0**29])
def test_capacities_of_any_kind_are_cut_by_a_flow_of_whole_numbers(unit):
    """Parallel edges among them, and more capacity than a 32-bit flow can hold."""
    whole = grid_cut(side=4)
    random = np.random.default_rng(2)
    capacities = unit * whole.capacities * random.uniform(0.9, 1.1, whole.n_examples)
    ends = np.append(whole.heads, whole.heads[:5]), np.append(whole.tails, whole.tails[:5])
    case = GraphCut.from_data(*ends, np.append(capacities, capacities[:5]), terminals=whole.terminals)
    optimum = case.solve()
    assert (optimum.solver, case.certified) == ("maximum flow", True)
    lower, weights = linear_program(case)
    assert lower <= optimum.objective * (1 + 1e-9)
    assert optimum.objective == pytest.approx(case.objective(weights), rel=1e-6)
    assert optimum.objective - optimum.value <= case.objective(weights) * (1 + 1e-9)


def test_the_minimum_of_three_labels_may_lie_between_them_and_has_a_bound():
    """Below the best of all labellings, which are points of the simplices, too."""
    random = np.random.default_rng(6)
    terminals, free = np.arange(3), np.arange(3, 8)
    pairs = np.array([(u, v) for u in range(8) for v in free if u < v])
    case = GraphCut.from_data(*pairs.T, random.random(len(pairs)), terminals=terminals)
    optimum = case.solve()
    assert (optimum.solver, case.certified) == ("HiGHS", True)
    assert 0 <= optimum.value < 1e-9
    labellings = itertools.product(range(3), repeat=5)
    best = min(case.objective(np.eye(3)[[0, 1, 2, *labels]].ravel()) for labels in labellings)
    assert optimum.objective <= best + 1e-12
    for _ in range(200):
        feasible = case.settle(random.normal(size=case.n_weights))
        assert case.objective(feasible) >= optimum.objective - optimum.value


def test_a_path_is_cut_at_its_weakest_edge():
    case = GraphCut.from_data([0, 1, 2], [1, 2, 3], [5, 1, 4], terminals=[0, 3])
    optimum = case.solve()
    assert optimum.objective == pytest.approx(2 * 1 / 3)
    assert case.labels(optimum.weights).tolist() == [0, 0, 1, 1]
    assert case.errors(optimum.weights) == {"cut": 1.0}


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("backend", ["serial", "hogwild_threads", "aig", "atomic_processes"])
def test_sgd_comes_near_the_optimum_and_stays_feasible(labels, backend):
    case = grid_cut(side=4, labels=labels)
    case.solve()
    result = hogwild.minimize(
        case,
        backend=backend,
        workers=None if backend == "serial" else 3,
        step_size=hogwild.steps.ExponentialBackoff(0.05, 0.97),
        epochs=150,
    )
    shares = case.shares(result.weights)
    assert result.suboptimality < 0.02
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.min() >= 0
    np.testing.assert_array_equal(shares[case.terminals], np.eye(labels))


def test_start_is_the_middle_and_settle_repairs_a_point_outside():
    case = grid_cut(side=3, labels=3)
    start = case.shares(case.start(np.random.default_rng(0)))
    assert np.unique(start).tolist() == [0, 1 / 3, 1]
    broken = np.random.default_rng(0).normal(size=case.n_weights)
    repaired = case.shares(case.settle(broken))
    free = np.setdiff1d(np.arange(case.n_nodes), case.terminals)
    for node in free:
        np.testing.assert_allclose(repaired[node], simplex_twin(case.shares(broken)[node]), atol=1e-12)


def test_too_large_a_program_has_no_certified_optimum():
    case = grid_cut(side=4, labels=3)
    big = GraphCut.from_data(
        np.tile(case.heads, 1000),
        np.tile(case.tails, 1000),
        np.tile(case.capacities, 1000),
        terminals=case.terminals,
    )
    with pytest.raises(NotImplementedError, match="no certified optimum"):
        big.solve()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"capacities": [1.0, -1.0]}, ValueError, "capacities holds"),
        ({"capacities": [[1.0]]}, ValueError, "capacities has shape"),
        ({"capacities": ["a", "b"]}, TypeError, "capacities has dtype"),
        ({"heads": [0]}, ValueError, "heads has shape"),
        ({"tails": [1, 5], "n_nodes": 3}, ValueError, "tails holds 1 to 5; allowed are 0 to 2"),
        ({"tails": [1, 1]}, ValueError, "no edge may be a loop"),
        ({"terminals": [0]}, ValueError, "terminals is"),
        ({"terminals": [0, 0]}, ValueError, "terminals is"),
        ({"terminals": []}, TypeError, "terminals has dtype"),
        ({"n_nodes": 1}, ValueError, "n_nodes is 1"),
        ({"dtype": "int32"}, ValueError, "dtype is"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    given = {"heads": [0, 1], "tails": [1, 2], "capacities": [1.0, 2.0], "terminals": [0, 2], **changes}
    with pytest.raises(error, match=message):
        GraphCut.from_data(given.pop("heads"), given.pop("tails"), given.pop("capacities"), **given)
