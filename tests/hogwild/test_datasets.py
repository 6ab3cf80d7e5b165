"""What every data set promises: form, hash, split, refusal of bad arguments."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hogwild import datasets
from hogwild.datasets import Dataset

SMALL = {
    "guide": lambda **options: datasets.guide(n_examples=200, **options),
    "synthetic": lambda **options: datasets.synthetic(200, 40, nonzeros_per_row=5, **options),
    "synthetic_zipf": lambda **options: datasets.synthetic(
        200, 40, density=0.5, zipf_exponent=1.5, **options
    ),
    "synthetic_labels": lambda **options: datasets.synthetic(
        200, 40, density=0.1, task="classification", **options
    ),
    "large_synthetic": lambda **options: datasets.large_synthetic(200, 40, nonzeros_per_row=5, **options),
    "rcv1_twin": lambda **options: datasets.rcv1_twin(200, **options),
    "rcv1_twin_regression": lambda **options: datasets.rcv1_twin(200, task="regression", **options),
    "python_source": lambda **options: datasets.python_source(max_documents=200, **options),
}


def toy(n_examples: int = 10) -> Dataset:
    X = sparse.csr_array(np.eye(n_examples, 4))
    return Dataset(X, np.arange(n_examples, dtype=float), np.ones(4), "toy", "A toy.")


def canonical(X: sparse.csr_array) -> None:
    """Fail unless indices are in range, sorted and distinct in each row, and of 32 bits."""
    assert isinstance(X, sparse.csr_array)
    assert X.indices.dtype == X.indptr.dtype == np.int32
    assert X.indptr[0] == 0
    assert X.indptr[-1] == X.indices.size == X.data.size
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    assert np.all(np.diff(rows * X.shape[1] + X.indices) > 0)
    assert X.indices.size == 0 or (X.indices.min() >= 0 and X.indices.max() < X.shape[1])


def test_names_finds_every_public_maker_by_its_own_name():
    functions = {name: getattr(datasets, name) for name in datasets.__all__}
    functions = {name: made for name, made in functions.items() if inspect.isfunction(made)}
    kinds = (datasets.Dataset, datasets.Ratings, datasets.Graph)
    makers = {name for name, made in functions.items() if inspect.signature(made).return_annotation in kinds}
    assert set(datasets.NAMES) == makers
    assert all(getattr(datasets, name) is maker for name, maker in datasets.NAMES.items())


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_form(make):
    for dtype in (np.float64, "float32"):
        data = make(dtype=dtype)
        canonical(data.X)
        assert data.X.dtype == data.y.dtype == dtype
        assert data.y.shape == (data.X.shape[0],)
        assert np.isfinite(data.X.data).all()
        assert np.isfinite(data.y).all()
        assert data.true_weights is None or (
            data.true_weights.shape == (data.X.shape[1],) and data.true_weights.dtype == dtype
        )
        assert data.name in datasets.NAMES
        assert data.description.endswith(".")


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_a_seed_gives_the_same_bits_and_another_seed_does_not(make):
    first, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert first.content_hash == again.content_hash
    assert first.content_hash != other.content_hash
    if first.true_weights is not None:
        assert np.array_equal(first.true_weights, again.true_weights)


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_both_data_types_hold_the_same_data(make):
    double, single = make(dtype=np.float64), make(dtype=np.float32)
    assert np.array_equal(double.X.indices, single.X.indices)
    np.testing.assert_allclose(single.X.data, double.X.data, rtol=1e-6)
    np.testing.assert_allclose(single.y, double.y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("seed", -1, ValueError),
        ("seed", 1.5, TypeError),
        ("seed", True, TypeError),
        ("dtype", "int32", ValueError),
        ("dtype", None, TypeError),
        ("dtype", "no such type", TypeError),
    ],
)
def test_bad_seed_and_dtype_are_refused_by_name(make, option, value, error):
    with pytest.raises(error, match=rf"{option} is .*{value}.*; it must be"):
        make(**{option: value})


def test_content_hash_covers_shape_arrays_and_targets():
    data = toy()
    wider = data._replace(X=sparse.csr_array((data.X.data, data.X.indices, data.X.indptr), shape=(10, 5)))
    moved = data._replace(X=sparse.csr_array(np.roll(data.X.toarray(), 1, axis=1)))
    scaled = data._replace(X=data.X * 2)
    lower = data._replace(X=sparse.csr_array(np.roll(data.X.toarray(), 1, axis=0)))
    single = data._replace(X=data.X.astype(np.float32))
    targets = data._replace(y=data.y + 1)
    hashes = [other.content_hash for other in (data, wider, moved, scaled, lower, single, targets)]
    assert len(set(hashes)) == len(hashes)
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in hashes)
    assert toy()._replace(name="other", description="Same content.").content_hash == data.content_hash


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_split_deals_every_example_once(n_examples, fraction, seed):
    data = toy(n_examples)
    n_test = round(fraction * n_examples)
    if not 0 < n_test < n_examples:
        with pytest.raises(ValueError, match="test_fraction is"):
            data.split(fraction, seed)
        return
    train, test = data.split(fraction, seed)
    assert test.y.size == n_test
    assert sorted([*train.y, *test.y]) == list(range(n_examples))
    for part in (train, test):
        canonical(part.X)
        chosen = part.y.astype(int)
        assert np.array_equal(part.X.toarray(), data.X.toarray()[chosen])
        assert part.true_weights is data.true_weights
    assert "train" in train.description
    assert "test" in test.description
    again = data.split(fraction, seed)[1]
    assert np.array_equal(again.y, test.y)


def test_the_rows_of_a_part_are_in_a_random_order():
    ascending = [(np.diff(part.y) > 0).mean() for part in toy(400).split(0.5, seed=3)]
    assert 0.4 < min(ascending) <= max(ascending) < 0.6


def test_split_depends_on_the_seed():
    data = toy(100)
    assert not np.array_equal(data.split(0.5, seed=0)[1].y, data.split(0.5, seed=1)[1].y)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan"), 0.01])
def test_split_refuses_an_empty_part(fraction):
    with pytest.raises(ValueError, match=r"test_fraction is .* it must"):
        toy().split(fraction)
