"""Peers: scikit-learn is given the same objective, step and order as our backends."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from experiments import peers
from hogwild import Status, problems

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
    assert result.setup_seconds == 0.0


def test_too_large_a_step_is_a_divergence() -> None:
    result = peers.fit(make("least_squares"), "sklearn_sgd", step_size=1e6, epochs=200, seed=0)
    assert result.status == Status.DIVERGED
