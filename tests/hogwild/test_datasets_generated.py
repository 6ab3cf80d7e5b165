"""The tutorial's set, the generator and the RCV1 twin, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from hogwild.datasets import guide, patterns, rcv1_twin, synthetic


def norms(X: sparse.csr_array) -> np.ndarray:
    return np.sqrt(X.multiply(X).sum(axis=1))


def shares(X: sparse.csr_array) -> np.ndarray:
    """Return the share of the rows that each column is in, largest first."""
    return np.sort(np.bincount(X.indices, minlength=X.shape[1]))[::-1] / X.shape[0]


def expected_shares(probabilities: np.ndarray, length: int) -> np.ndarray:
    """Rosén's approximation, as the docstring of distinct_columns states it."""
    time = optimize.brentq(lambda t: -np.expm1(-probabilities * t).sum() - length, 0, 1e12)
    return -np.expm1(-probabilities * time)


def test_guide_is_the_tutorials_problem():
    data = guide()
    assert data.X.shape == (20_000, 10)
    assert data.X.nnz == 40_000
    assert data.X.data.max() == 1.0
    assert data.X.data.min() >= 0.0
    assert np.mean(data.X.data) == pytest.approx(0.5, abs=0.01)  # uniform values
    assert np.std(data.X.data) == pytest.approx(12**-0.5, abs=0.01)
    assert data.true_weights.min() >= 0.0
    assert data.true_weights.max() < 1.0
    assert np.array_equal(data.y, data.X @ data.true_weights)
    # Non-zeros fall anywhere: row lengths are binomial, so some rows are empty.
    assert np.mean(np.diff(data.X.indptr) == 0) == pytest.approx(0.8**10, abs=0.01)


def test_guide_sizes():
    data = guide(n_examples=30, n_features=7, density=0.5)
    assert data.X.shape == (30, 7)
    assert data.X.nnz == 105


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_distinct_columns_are_what_was_asked_for(data):
    n_features = data.draw(st.integers(1, 60))
    lengths = np.array(data.draw(st.lists(st.integers(0, n_features), max_size=30)), dtype=np.int64)
    exponent = data.draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 400.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    columns = patterns.distinct_columns(rng, lengths, patterns.zipf(rng, n_features, exponent))
    assert columns.dtype == np.int32
    assert columns.size == lengths.sum()
    for row in np.split(columns, np.cumsum(lengths))[:-1]:
        assert np.all(np.diff(row) > 0)
        assert np.all((row >= 0) & (row < n_features))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_draws_follow_the_probabilities(exponent):
    rng = np.random.default_rng(0)
    popularity = patterns.zipf(rng, 50, exponent)
    seen = np.bincount(popularity.draw(rng, 200_000), minlength=50) / 200_000
    probabilities = np.full(50, 0.02) if exponent == 0 else popularity.probabilities
    assert np.all(np.abs(seen - probabilities) < 5 * np.sqrt(probabilities / 200_000))
    if exponent:
        assert np.max(probabilities) / np.min(probabilities) == pytest.approx(50**exponent)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
@pytest.mark.parametrize("length", [2, 5])
def test_both_ways_of_drawing_agree_with_drawing_one_by_one(exponent, length):
    n_rows, n_features = 20_000, 8
    rng = np.random.default_rng(1)
    popularity = patterns.zipf(rng, n_features, exponent)
    lengths = np.full(n_rows, length)
    chosen = rng.random((4_000, n_features))
    weights = np.full(n_features, 1 / n_features) if exponent == 0 else popularity.probabilities
    one_by_one = np.bincount(
        np.concatenate([rng.choice(n_features, length, replace=False, p=weights) for _ in chosen]),
        minlength=n_features,
    ) / len(chosen)
    for way in (patterns._redraw, patterns._race):
        columns = way(rng, lengths, popularity)
        seen = np.bincount(columns, minlength=n_features) / n_rows
        np.testing.assert_allclose(seen, one_by_one, atol=0.04)
        if exponent == 0:
            np.testing.assert_allclose(seen, length / n_features, atol=0.015)


def test_popular_columns_are_in_fewer_rows_than_nominal_as_documented():
    rng = np.random.default_rng(0)
    popularity = patterns.zipf(rng, 1_000, 1.0)
    columns = patterns.distinct_columns(rng, np.full(20_000, 20), popularity)
    seen = np.bincount(columns, minlength=1_000) / 20_000
    expected = expected_shares(popularity.probabilities, 20)
    np.testing.assert_allclose(seen, expected, atol=0.02)
    top, rare = np.argmax(popularity.probabilities), popularity.probabilities < 1e-3
    assert seen[top] < 20 * popularity.probabilities[top]
    assert seen[rare].sum() > 20 * popularity.probabilities[rare].sum()


def test_popularity_is_dealt_to_the_columns_at_random():
    tops = {
        int(np.argmax(patterns.zipf(np.random.default_rng(seed), 1_000, 1.0).probabilities))
        for seed in range(8)
    }
    assert len(tops) == 8
    assert max(tops) > 100


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.floats(0.03, 1.0),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.booleans(),
    st.integers(0, 99),
)
def test_synthetic_density(n_examples, n_features, density, exponent, unit_norm, seed):
    nonzeros = round(density * n_examples * n_features)
    options = {"zipf_exponent": exponent, "unit_norm": unit_norm, "seed": seed}
    if nonzeros == 0:
        with pytest.raises(ValueError, match="density is"):
            synthetic(n_examples, n_features, density=density, **options)
        return
    data = synthetic(n_examples, n_features, density=density, **options)
    lengths = np.diff(data.X.indptr)
    assert data.X.nnz == nonzeros
    assert lengths.max() - lengths.min() <= 1
    if unit_norm:
        np.testing.assert_allclose(norms(data.X)[lengths > 0], 1.0, rtol=1e-12)


def test_synthetic_rows_of_equal_length():
    data = synthetic(50, 30, nonzeros_per_row=7)
    assert np.all(np.diff(data.X.indptr) == 7)


def test_synthetic_dense():
    data = synthetic(40, 25, density=1.0)
    assert np.array_equal(data.X.indices.reshape(40, 25), np.tile(np.arange(25), (40, 1)))


def test_synthetic_without_unit_norm_has_normal_values():
    data = synthetic(2_000, 100, nonzeros_per_row=10, unit_norm=False)
    assert data.X.data.std() == pytest.approx(1.0, abs=0.02)
    assert data.X.data.mean() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_synthetic_targets_have_unit_variance_before_noise(noise):
    data = synthetic(5_000, 200, nonzeros_per_row=10, noise=noise)
    exact = data.X @ data.true_weights
    assert exact.std() == pytest.approx(1.0)
    assert (data.y - exact).std() == pytest.approx(noise, abs=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_synthetic_labels_are_signs_but_for_the_noise(noise):
    data = synthetic(5_000, 200, nonzeros_per_row=10, task="classification", noise=noise)
    assert set(data.y) == {-1.0, 1.0}
    assert np.mean(np.sign(data.X @ data.true_weights) != data.y) == pytest.approx(noise, abs=0.02)
    assert np.mean(data.y) == pytest.approx(0.0, abs=0.1)


def test_synthetic_rows_do_not_depend_on_task_and_noise():
    regression = synthetic(50, 30, nonzeros_per_row=7, noise=0.0)
    labels = synthetic(50, 30, nonzeros_per_row=7, noise=0.3, task="classification")
    assert np.array_equal(regression.X.data, labels.X.data)
    assert np.array_equal(regression.X.indices, labels.X.indices)
    assert np.array_equal(regression.true_weights, labels.true_weights)


def test_synthetic_zipf_is_steeper_than_uniform():
    flat, steep = (
        shares(synthetic(5_000, 2_000, nonzeros_per_row=20, zipf_exponent=exponent).X) for exponent in (0, 1)
    )
    assert flat[0] < 0.02
    assert steep[0] == pytest.approx(0.91, abs=0.05)  # Rosén's approximation, as tested above
    assert steep[10] / steep[100] == pytest.approx(100 / 10, rel=0.25)


def test_synthetic_spans_blocks_at_full_width():
    data = synthetic(30_000, 1_000_000, nonzeros_per_row=60, zipf_exponent=1.2)
    assert data.X.nnz > patterns._BLOCK
    rows = np.repeat(np.arange(30_000), 60)
    assert np.all(np.diff(rows * 1_000_000 + data.X.indices) > 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_examples": 0}, ValueError, "n_examples is 0; it must be an integer >= 1"),
        ({"n_examples": 10.0}, TypeError, "n_examples is 10.0"),
        ({"n_features": -3}, ValueError, "n_features is -3"),
        ({"n_features": 2**31}, ValueError, "n_features is 2147483648"),
        ({"density": 0.5}, ValueError, "density is 0.5 and nonzeros_per_row is 3; exactly one"),
        ({"nonzeros_per_row": None}, ValueError, "density is None and nonzeros_per_row is None; exactly one"),
        ({"nonzeros_per_row": 11}, ValueError, r"nonzeros_per_row is 11; it must be an integer in \[1, 10\]"),
        ({"nonzeros_per_row": None, "density": 1.5}, ValueError, r"density is 1.5; .* \(0, 1\]"),
        ({"nonzeros_per_row": None, "density": 0.0}, ValueError, "density is 0.0"),
        ({"nonzeros_per_row": None, "density": "half"}, TypeError, "density is 'half'"),
        ({"nonzeros_per_row": None, "density": 1e-9}, ValueError, "density is 1e-09; it must leave"),
        ({"zipf_exponent": -1}, ValueError, "zipf_exponent is -1"),
        ({"zipf_exponent": float("inf")}, ValueError, "zipf_exponent is inf"),
        ({"noise": -0.1}, ValueError, "noise is -0.1; .* >= 0"),
        ({"noise": float("nan")}, ValueError, "noise is nan"),
        ({"noise": 0.6, "task": "classification"}, ValueError, r"noise is 0.6; .* \[0, 0.5\]"),
        ({"task": "ranking"}, ValueError, "task is 'ranking'; it must be one of classification, regression"),
        ({"task": 1}, TypeError, "task is 1"),
        ({"unit_norm": "yes"}, TypeError, "unit_norm is 'yes'"),
    ],
)
def test_synthetic_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        synthetic(**{"n_examples": 5, "n_features": 10, "nonzeros_per_row": 3} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_examples": 0}, "n_examples is 0"),
        ({"n_features": 0}, "n_features is 0"),
        ({"density": 2.0}, "density is 2.0"),
        ({"density": 1e-9}, "density is 1e-09; it must leave"),
    ],
)
def test_guide_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        guide(**arguments)


def test_twin_has_the_shape_of_rcv1():
    data = rcv1_twin(20_000)
    lengths = np.diff(data.X.indptr)
    assert data.X.shape == (20_000, 47_236)
    assert lengths.mean() == pytest.approx(75, rel=0.03)
    assert lengths.min() >= 1
    assert np.log(lengths).std() == pytest.approx(0.6, abs=0.05)  # log-normal, and …
    assert np.median(lengths) < 0.9 * lengths.mean()  # … skewed
    np.testing.assert_allclose(norms(data.X), 1.0)
    assert data.X.data.min() > 0
    assert np.mean(data.y > 0) == pytest.approx(0.474, abs=1e-4)
    assert data.true_weights is None


@pytest.mark.parametrize("seed", range(3))
def test_twins_most_popular_feature_is_in_44_percent_of_the_rows(seed):
    data = rcv1_twin(10_000, seed)
    seen = shares(data.X)
    assert seen[0] == pytest.approx(0.44, abs=0.03)
    assert f"{seen[0]:.1%}" in data.description
    assert seen[1_000] < 0.02  # a long tail


def test_twins_labels_can_be_learnt():
    train, test = rcv1_twin(12_000, seed=5).split(0.25)
    # The difference of the classes' means, the simplest linear classifier there is.
    centred = train.y / np.where(train.y > 0, np.sum(train.y > 0), np.sum(train.y < 0))
    weights = train.X.T @ centred
    assert np.mean(np.sign(test.X @ weights) != test.y) < 0.1
    shuffled = np.random.default_rng(0).permutation(test.y)
    assert np.mean(np.sign(test.X @ weights) != shuffled) > 0.4


def test_twins_rows_do_not_depend_on_the_task():
    labels, regression = rcv1_twin(100), rcv1_twin(100, task="regression")
    assert np.array_equal(labels.X.data, regression.X.data)
    exact = regression.X @ regression.true_weights
    assert exact.std() == pytest.approx(1.0)
    assert (regression.y - exact).std() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_examples": 1}, "n_examples is 1"), ({"task": "sorting"}, "task is 'sorting'")],
)
def test_twin_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        rcv1_twin(**arguments)
