"""Observed entries of matrices: low-rank ones, the twins of the paper's sets, and MovieLens files."""

import numpy as np
import pytest

from hogwild import datasets
from hogwild.datasets import Ratings, jumbo_twin, kdd_twin, load_ratings, low_rank, netflix_twin
from hogwild.problems.matrix_completion import MatrixCompletion

MAKERS = {
    "low_rank": lambda seed: low_rank(30, 20, 200, noise=0.1, row_exponent=1.0, seed=seed),
    "jumbo_twin": lambda seed: jumbo_twin(300, seed),
    "netflix_twin": lambda seed: netflix_twin(0.001, seed),
    "kdd_twin": lambda seed: kdd_twin(0.001, seed),
}


def problem(data: Ratings, **options) -> MatrixCompletion:
    return MatrixCompletion.from_data(data.rows, data.columns, data.values, shape=data.shape, **options)


@pytest.mark.parametrize("name", MAKERS)
def test_form(name):
    first, again, other = (MAKERS[name](seed) for seed in (3, 3, 4))
    assert first.content_hash == again.content_hash != other.content_hash
    assert first.name == name in datasets.NAMES
    assert first.description.endswith(".")
    assert first.rows.dtype == first.columns.dtype == np.int32
    assert first.values.dtype == np.float64
    cells = first.rows.astype(np.int64) * first.shape[1] + first.columns
    assert np.all(np.diff(cells) > 0)  # distinct, and in order
    assert problem(first).n_examples == first.values.size


@pytest.mark.parametrize("exponents", [(0.0, 0.0), (1.0, 0.0), (0.5, 1.5), (400.0, 400.0)])
@pytest.mark.parametrize("nonzeros", [1, 7, 300, 599, 600])
def test_low_rank_has_exactly_as_many_distinct_entries(exponents, nonzeros):
    data = low_rank(20, 30, nonzeros, 3, 0.0, *exponents)
    assert data.rows.size == np.unique(data.rows * 30 + data.columns).size == nonzeros
    assert data.rows.max() < 20
    assert data.columns.max() < 30


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_low_rank_values_are_of_the_factors_and_the_noise(noise):
    data = low_rank(2_000, 1_000, 50_000, rank=7, noise=noise)
    built = problem(data, rank=7, true_weights=data.true_weights)
    residuals = built.predict(data.true_weights, data.rows, data.columns) - data.values
    if noise == 0:
        assert not residuals.any()
    assert residuals.std() == pytest.approx(noise, abs=0.01)
    assert (data.values + residuals).std() == pytest.approx(1.0, rel=0.05)


def test_low_rank_popularity_is_zipfs():
    data = low_rank(500, 5_000, 40_000, row_exponent=1.0, column_exponent=0.5)
    by_row, by_column = np.bincount(data.rows, minlength=500), np.bincount(data.columns)
    expected = 40_000 / np.arange(1, 501) / (1 / np.arange(1, 501)).sum()
    assert np.sort(by_row)[::-1][1:40] == pytest.approx(np.minimum(expected, 5_000)[1:40], rel=0.2)
    assert by_column.max() > 10 * by_column.mean()
    assert min(np.argmax(by_row), np.argmax(by_column)) > 0  # dealt at random


def test_jumbo_is_uniform():
    data = jumbo_twin(1_000)
    assert data.shape == (1_000, 1_000)
    assert data.values.size == 200_000
    assert np.bincount(data.rows).std() == pytest.approx(200**0.5, rel=0.15)  # as of independent draws
    assert np.bincount(data.columns).max() < 270


@pytest.mark.parametrize(
    ("make", "full", "delta", "rho", "bounds"),
    [
        (netflix_twin, (17_770, 480_189, 100_198_805), 2.3e-3, 2.5e-3, (1, 5)),
        (kdd_twin, (624_961, 1_000_990, 252_800_275), 1.8e-3, 3.0e-3, (0, 100)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_twins_overlap_as_published(make, full, delta, rho, bounds, seed):
    data = make(0.002, seed)
    assert data.values.size == round(0.002 * full[2])
    assert data.shape == tuple(round(0.002**0.5 * side) for side in full[:2])
    found = problem(data).sparsity()
    assert found.rho_error == 0
    assert (found.delta, found.rho) == pytest.approx((delta, rho), rel=0.25)
    assert np.bincount(data.rows).max() / data.rows.size == found.delta
    popular = (rho - delta) * data.rows.size  # and chance: the largest of many counts of independent draws
    assert np.bincount(data.columns).max() == pytest.approx(popular, abs=5 * popular**0.5)
    assert np.array_equal(data.values, np.rint(data.values))
    assert (data.values.min(), data.values.max()) == bounds
    assert data.true_weights is None


def test_contents_that_only_sum_to_the_same_have_hashes_of_their_own():
    data = low_rank(30, 20, 200)._replace(
        rows=np.zeros(2, np.int32), columns=np.zeros(2, np.int32), values=np.array([1.0, 3.0])
    )
    assert data.content_hash != data._replace(values=np.array([2.0, 2.0])).content_hash


def test_split():
    data = low_rank(30, 20, 200)
    train, test = data.split(0.25, seed=1)
    assert (train.values.size, test.values.size) == (150, 50)
    assert train.shape == test.shape == data.shape
    assert train.true_weights is data.true_weights
    entries = [sorted(zip(*part[:3], strict=True)) for part in (train, test, data)]
    assert sorted(entries[0] + entries[1]) == entries[2]
    assert test.description.endswith("The test part, 50 of 200 entries.")
    assert data.split(0.25, seed=2)[0].content_hash != train.content_hash
    with pytest.raises(ValueError, match=r"test_fraction is 0.001; .* on each side, of 200"):
        data.split(0.001)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: low_rank(0, 5, 3), ValueError, "n_rows is 0"),
        (lambda: low_rank(5, 2.0, 3), TypeError, "n_columns is 2.0"),
        (lambda: low_rank(5, 5, 26), ValueError, r"nonzeros is 26; it must be an integer in \[1, 25\]"),
        (lambda: low_rank(5, 5, 3, rank=0), ValueError, "rank is 0"),
        (lambda: low_rank(5, 5, 3, noise=-1), ValueError, "noise is -1; it must be a number >= 0"),
        (lambda: low_rank(5, 5, 3, row_exponent=-1), ValueError, "row_exponent is -1"),
        (lambda: low_rank(5, 5, 3, column_exponent="1"), TypeError, "column_exponent is '1'"),
        (lambda: jumbo_twin(199), ValueError, "n_rows is 199"),
        (lambda: netflix_twin(2.0), ValueError, r"scale is 2.0; it must be a number in \[0.001, 1\]"),
        (lambda: kdd_twin(0.0), ValueError, "scale is 0.0"),
        (lambda: load_ratings("absent.dat"), FileNotFoundError, "path is 'absent.dat'; it must be a file"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


HEADER = "userId,movieId,rating,timestamp\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("few.dat", "7::20::3::978300760\n2::10::4.5::978302109\n\n7::10::1::978301968\n"),
        ("few.csv", HEADER + "7,20,3.0,978300760\n2,10,4.5,978302109\n7,10,1.0,978301968\n"),
    ],
)
def test_movielens(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    data = load_ratings(tmp_path / name)
    assert np.array_equal(data.rows, [1, 0, 1])
    assert np.array_equal(data.columns, [1, 0, 0])
    assert np.array_equal(data.values, [3, 4.5, 1])
    assert data.shape == (2, 2)
    assert np.array_equal(data.row_ids, [2, 7])
    assert np.array_equal(data.column_ids, [10, 20])
    assert data.rows.dtype == data.columns.dtype == np.int32
    assert data.name == "few"
    assert f"{name}: 2 x 2, 3 entries" in data.description


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.dat",
            "1::2::3::4\n\n1::two::3::4\n",
            r"a.dat'; line 3 is '1::two::3::4', which must be user::item",
        ),
        ("a.dat", "1::2::3::4\n1::2::3\n", "line 2 is '1::2::3', which"),
        ("a.dat", "1::2\n1::3\n", "line 1 is '1::2', which"),
        ("a.dat", "\n1::2::3::4\n\n1.5::2::3::4\n", "line 4 is '1.5::2::3::4', which"),
        ("a.dat", "1::-2::3::4\n", "line 1 is '1::-2::3::4', which"),
        ("a.dat", "1::2::nan::4\n", "line 1 is '1::2::nan::4', which"),
        ("a.dat", "", "a.dat'; the file has no lines of user::item"),
        ("a.csv", HEADER, "a.csv'; the file has no lines of userId,movieId"),
        ("a.csv", "1,2,3,4\n", "line 1 is '1,2,3,4', which must be userId,movieId,rating,timestamp"),
        ("a.csv", HEADER + "1,2,,4\n", "line 2 is '1,2,,4', which"),
        ("a.txt", "1,2,3,4\n", r"a.txt'; it must end in .dat or .csv"),
    ],
)
def test_movielens_refuses(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_ratings(tmp_path / name)
