"""Data that scikit-learn reads: svmlight files made here, and RCV1 with its download replaced."""

import gzip
import sys
import types
import urllib.error

import numpy as np
import pytest
from scipy import sparse

from hogwild.datasets import fetch_rcv1, load_svmlight

sklearn_datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "toy.svm") -> str:
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_svmlight(file, dtype):
    data = load_svmlight(file("+1 1:0.5 3:2\n-1 2:1 # a comment\n+1\n"), dtype=dtype)
    assert np.array_equal(data.X.toarray(), [[0.5, 0, 2], [0, 1, 0], [0, 0, 0]])
    assert np.array_equal(data.y, [1, -1, 1])
    assert data.X.dtype == data.y.dtype == dtype
    assert data.X.indices.dtype == data.X.indptr.dtype == np.int32
    assert data.true_weights is None
    assert data.name == "toy"
    assert "toy.svm: 3 x 3, 3 non-zeros" in data.description


def test_svmlight_with_more_columns_compressed_and_counted_from_zero(file):
    data = load_svmlight(file("2.5 0:1 4:3\n", "toy.svm.gz"), n_features=8)
    assert np.array_equal(data.X.toarray(), [[1, 0, 0, 0, 3, 0, 0, 0]])
    assert np.array_equal(data.y, [2.5])


@pytest.mark.parametrize(
    ("text", "n_features", "message"),
    [
        ("+1 1:0.5 3:2\n", 2, "n_features is 2"),
        ("+1 one:0.5\n", None, "toy.svm"),
        ("+1 3:1 1:1\n", None, "toy.svm"),
        ("", None, "toy.svm.*no examples"),
        ("+1 1:1\n", 0, "n_features is 0"),
    ],
)
def test_svmlight_refuses(file, text, n_features, message):
    with pytest.raises(ValueError, match=message):
        load_svmlight(file(text), n_features)


def test_svmlight_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path is .*absent.svm.*; it must be a file"):
        load_svmlight(tmp_path / "absent.svm")
    with pytest.raises(TypeError, match="path is 7"):
        load_svmlight(7)


@pytest.fixture
def reuters(monkeypatch):
    asked = []

    def fetch(subset):
        asked.append(subset)
        return types.SimpleNamespace(
            data=sparse.csr_matrix([[0.6, 0, 0.8], [0, 1, 0]]),
            target=sparse.csr_matrix(np.array([[0, 1], [1, 0]], np.uint8)),
            target_names=np.array(["ECAT", "CCAT"], dtype=object),
        )

    monkeypatch.setattr(sklearn_datasets, "fetch_rcv1", fetch)
    return asked


@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_rcv1(reuters, subset):
    data = fetch_rcv1(subset, dtype=np.float32)
    assert reuters == [subset]
    assert isinstance(data.X, sparse.csr_array)
    np.testing.assert_allclose(data.X.toarray(), [[0.6, 0, 0.8], [0, 1, 0]])
    assert np.array_equal(data.y, [1, -1])
    assert data.X.dtype == data.y.dtype == np.float32
    assert data.X.indices.dtype == np.int32
    assert data.name == f"rcv1_{subset}"


@pytest.mark.usefixtures("reuters")
def test_rcv1_target_chooses_the_topic():
    assert np.array_equal(fetch_rcv1("train", "ECAT").y, [-1, 1])
    with pytest.raises(ValueError, match="target is 'XCAT'; it must be one of CCAT, ECAT"):
        fetch_rcv1("train", "XCAT")


def test_rcv1_refuses_an_unknown_subset(reuters):
    with pytest.raises(ValueError, match="subset is 'dev'; it must be one of all, test, train"):
        fetch_rcv1("dev")
    assert not reuters


def test_rcv1_without_a_network_says_what_to_use_instead(monkeypatch):
    def fetch(subset):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(sklearn_datasets, "fetch_rcv1", fetch)
    with pytest.raises(ConnectionError, match=r"no route.*rcv1_twin"):
        fetch_rcv1()


def test_without_scikit_learn_the_extra_is_named(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert load_svmlight(file("+1 1:1\n")).y.size == 1
    with pytest.raises(ImportError, match=r"fetch_rcv1 needs .*hogwild\[datasets\]"):
        fetch_rcv1()
