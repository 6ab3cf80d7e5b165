"""Features numbered by popularity: the same rows, the same model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import hogwild
from hogwild.datasets import popular_first

MATRICES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))


@given(MATRICES, st.sampled_from(["csr", "csc", "coo"]))
def test_the_same_rows_with_popular_features_first(case, form):
    examples, features, density, seed = case
    given_rows = sparse.random_array((examples, features), density=density, format=form, rng=seed)
    before = given_rows.toarray()
    X, former = popular_first(given_rows)
    assert np.array_equal(given_rows.toarray(), before)
    assert np.array_equal(X.toarray(), before[:, former])
    degrees = (before != 0).sum(axis=0)
    assert former.tolist() == sorted(range(features), key=lambda feature: (-degrees[feature], feature))
    for row in range(examples):
        indices = X.indices[X.indptr[row] : X.indptr[row + 1]]
        assert (np.diff(indices) > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_of_renumbered_features_is_the_model_put_back(dtype):
    data = hogwild.datasets.synthetic(
        300, 40, nonzeros_per_row=5, zipf_exponent=1.0, task="classification", seed=2, dtype=dtype
    )
    X, former = popular_first(data.X)
    assert X.dtype == dtype
    assert X.indices.dtype == np.int32
    weights = np.empty(40, dtype)
    results = [
        hogwild.minimize(hogwild.problems.Logistic.from_data(rows, data.y, l2=1.0), epochs=2, seed=3)
        for rows in (data.X, X)
    ]
    weights[former] = results[1].weights
    np.testing.assert_allclose(weights, results[0].weights, rtol=1e-4 if dtype == np.float32 else 1e-11)


def test_the_rows_given_stay_as_they_are():
    parts = [np.array(part) for part in ([1.0, 2.0, 4.0], [2, 0, 2], [0, 3])]  # not sorted, one twice
    rows = sparse.csr_array(tuple(part.copy() for part in parts), shape=(1, 3))
    X, former = popular_first(rows)
    assert former.tolist() == [0, 2, 1]
    assert X.toarray().tolist() == [[2.0, 5.0, 0.0]]
    for part, before in zip((rows.data, rows.indices, rows.indptr), parts, strict=True):
        assert part.tolist() == before.tolist()


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match=r"^X has shape \(3,\); it must be two-dimensional"):
        popular_first(sparse.coo_array(np.ones(3)))


def test_rows_that_are_not_sparse_are_refused():
    with pytest.raises(TypeError, match=r"^X is a ndarray; it must be a sparse array or matrix"):
        popular_first(np.eye(3))
