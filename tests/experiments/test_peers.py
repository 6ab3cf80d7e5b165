"""Peers: they are given our objective, scikit-learn's SGD also our step and order; a fit for each budget."""

import importlib.util
import os
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from experiments import peers
from experiments.design import spec
from experiments.peers import registry
from hogwild import Status, datasets, problems

pytest.importorskip("sklearn")

STEP, L2, EPOCHS = 0.05, 3.0, 3


def make(name: str, l2: float = L2) -> object:
    random = np.random.default_rng(1)
    X = random.normal(size=(40, 5))
    truth = random.normal(size=5)
    y = X @ truth + 0.1 * random.normal(size=40)
    return problems.LINEAR_PROBLEMS[name].from_data(
        csr_array(X), y if name == "least_squares" else np.sign(y), l2=l2, true_weights=truth
    )


def twin(problem: object, name: str) -> np.ndarray:
    """SGD on our objective, streamed, in NumPy: every row is dense, so every update shrinks every weight.

    scikit-learn shrinks by 1 - step * slope before it adds the gradient of the loss taken at the old weights.
    """
    X, y, m = problem.X.toarray(), problem.y, problem.n_examples
    weights = np.zeros(X.shape[1])
    for _ in range(EPOCHS):
        for row, target in zip(X, y, strict=True):
            margin = row @ weights
            slope = {
                "least_squares": 2 * (margin - target),
                "logistic": -target / (1 + np.exp(target * margin)),
                "hinge": -target if target * margin <= 1 else 0.0,
            }[name]
            weights = weights - STEP * (slope * row + 2 * problem.l2 / m * weights)
    return weights


@pytest.mark.parametrize("name", ["least_squares", "logistic", "hinge"])
@pytest.mark.parametrize("l2", [0.0, L2])
def test_the_peer_minimises_our_objective_with_our_step(name: str, l2: float) -> None:
    problem = make(name, l2)
    result = peers.fit(problem, "sklearn_sgd_unshuffled", step_size=STEP, epochs=EPOCHS, seed=0)
    np.testing.assert_allclose(result.weights, twin(problem, name), rtol=1e-9)


def test_the_default_order_is_shuffled_by_the_seed() -> None:
    problem = make("hinge")
    one, same, other, streamed = (
        peers.fit(problem, name, step_size=STEP, epochs=EPOCHS, seed=seed).weights
        for name, seed in (
            ("sklearn_sgd", 0),
            ("sklearn_sgd", 0),
            ("sklearn_sgd", 1),
            ("sklearn_sgd_unshuffled", 0),
        )
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, streamed)


def test_the_history_has_a_start_and_an_end() -> None:
    problem = make("least_squares")
    result = peers.fit(problem, "sklearn_sgd", step_size=STEP, epochs=EPOCHS, seed=0)
    start, end = result.history
    assert (start.epoch, start.updates, start.train_seconds) == (0.0, 0, 0.0)
    assert (end.epoch, end.updates) == (EPOCHS, EPOCHS * 40) == (EPOCHS, sum(result.updates))
    assert start.objective == pytest.approx(problem.objective(np.zeros(5)))
    assert end.objective == problem.objective(result.weights) < start.objective
    assert end.weight_error_l1 == pytest.approx(np.abs(result.weights - problem.true_weights).sum())
    assert start.weight_error_l2 == pytest.approx(1.0)
    assert end.train_seconds > 0
    assert (result.status, result.backend, result.workers) == (Status.OK, "sklearn_sgd", 1)


def test_too_large_a_step_is_a_divergence() -> None:
    result = peers.fit(make("least_squares"), "sklearn_sgd", step_size=1e6, epochs=200, seed=0)
    assert result.status == Status.DIVERGED


def ratings(mu: float = 0.0, rank: int = 10, n_rows: int = 120) -> Any:
    """Complete a matrix of low rank from noisy entries, rows and columns without any included."""
    made = datasets.low_rank(n_rows, 80, 6_000, 3, 0.3, seed=4)
    shape = made.shape[0] + 2, made.shape[1] + 1
    rows = made.rows + 1
    mixed = np.random.default_rng(5).permutation(rows.size)
    triplets = (array[mixed] for array in (rows, made.columns, made.values))
    return problems.MatrixCompletion.from_data(*triplets, shape=shape, rank=rank, mu=mu)


def small(name: str) -> Any:
    """A sparse problem with some hundred examples and popular features, without empty rows; or ratings."""
    if name == "matrix_completion":
        problem = ratings(rank=3)
        problem.solve()
        return problem
    random = np.random.default_rng(3)
    X = csr_array(random_array((400, 60), density=0.1, rng=random))
    X = X + csr_array((np.full(400, 0.3), (np.arange(400), np.zeros(400, int))), shape=X.shape)
    y = X @ random.normal(size=60)
    labels = np.where(y + 0.3 * random.normal(size=400) > np.median(y), 1.0, -1.0)
    target = y if name == "least_squares" else labels
    problem = problems.LINEAR_PROBLEMS[name].from_data(X, target, l2=5.0)
    problem.solve()
    return problem


CELLS = [
    (name, problem.name, workers)
    for name, peer in registry.PEERS.items()
    if not peer.stepped
    for problem in peer.problems
    for workers in ((1, 2) if peer.cores == "workers" else (1,))
]
REACHED = {
    "sklearn_sgd_optimal": 2e-3,
    "vowpal_wabbit": 1e-3,
    "libmf": 1e-3,
}  # SGD gets nowhere near the others


def need(name: str) -> None:
    package = registry.PEERS[name].modules[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("name", "problem", "workers"), CELLS)
def test_a_peer_finds_the_optimum_of_our_objective(
    name: str, problem: str, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    need(name)
    gap = REACHED.get(name, 1e-5)
    affinity = os.sched_getaffinity(0)
    solved = small(problem)
    capfd.readouterr()
    result = peers.fit(solved, name, epochs=1000, workers=workers, seed=2**31 + 5, target=gap)
    assert capfd.readouterr().out == ""
    assert result.suboptimality <= gap
    assert result.status == Status.OK
    seconds = [row.train_seconds for row in result.history]
    assert seconds == sorted(seconds)
    size = (solved.n_weights,)
    assert (result.workers, result.weights.shape, result.weights.dtype) == (workers, size, np.float64)
    assert os.sched_getaffinity(0) == affinity
    assert 5e-324 * float(workers) > 0  # no library has switched subnormal numbers off


def factors_twin(problem: Any, seed: int) -> np.ndarray:
    """SGD on our objective, by rows, from normal factors of the variance that ours start with."""
    random, size = np.random.RandomState(seed), (problem.n_rows, problem.n_columns)
    left, right = (random.normal(0.0, problem.init_scale / 3**0.5, (side, problem.rank)) for side in size)
    for _ in range(EPOCHS):
        for entry in np.argsort(problem.rows, kind="stable"):
            u, v = problem.rows[entry], problem.columns[entry]
            slope = 2 * (left[u] @ right[v] - problem.values[entry])
            left[u], right[v] = left[u] - STEP * slope * right[v], right[v] - STEP * slope * left[u]
    return np.concatenate([left, right]).ravel()


def test_surprise_minimises_our_objective_with_our_step() -> None:
    need("surprise_svd")
    problem = ratings()
    result = peers.fit(problem, "surprise_svd", step_size=STEP, epochs=EPOCHS, seed=2**31 + 5)
    np.testing.assert_allclose(result.weights, factors_twin(problem, 2**31 + 5), rtol=1e-9)
    assert result.objective == problem.objective(result.weights) < problem.objective_at_zero


@pytest.mark.parametrize("name", ["surprise_svd", "libmf"])
@pytest.mark.parametrize("mixed", [False, True])
def test_factors_find_the_optimum_of_our_objective(name: str, mixed: bool) -> None:
    need(name)
    problem = small("matrix_completion")
    if mixed:  # of rank 10, above LIBMF's padding of 8
        problem = ratings()
        problem.solve()
    result = peers.fit(problem, name, step_size=0.02, epochs=500, seed=0, target=1e-2)
    assert result.suboptimality <= 1e-2


@pytest.mark.parametrize("name", ["surprise_svd", "libmf"])
def test_peers_of_matrix_completion_have_no_penalty(name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"{name} .* mu per rating, not per factor; it must be 0"):
        peers.fit(ratings(mu=0.5), name, step_size=STEP, epochs=1, seed=0)


def test_own_steps_need_a_penalty() -> None:
    with pytest.raises(NotImplementedError, match="l2 is 0"):
        peers.fit(make("logistic", 0.0), "liblinear", epochs=1, seed=0)


def test_every_peer_is_offered_to_specs_and_the_spec_names_those_that_choose_their_steps() -> None:
    found = spec.load(spec.SPECS / "peers.toml", "full")
    named = {name for grid in found.grid for name in grid.run.backend}
    kinds = (problems.Logistic, problems.HingeSVM, problems.MatrixCompletion)
    chosen = {name for name, peer in registry.PEERS.items() if set(peer.problems) & set(kinds)}
    assert chosen - named == {"sklearn_sgd_unshuffled"}
