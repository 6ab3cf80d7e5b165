"""No index reaches compiled code that was not looked at, whatever it came in."""

import numpy as np
import pytest
import scipy.sparse as sp

from hogwild import minimize
from hogwild.datasets import popular_first, save_rows
from hogwild.problems import LeastSquares
from hogwild.problems.graph_cuts import GraphCut
from hogwild.problems.matrix_completion import MatrixCompletion
from tests.hogwild.cases import arrays


def rows(indptr, indices, values=None, features=3):
    X = sp.csr_array((len(indptr) - 1, features))
    X.data = np.ones(len(indices)) if values is None else values
    X.indices, X.indptr = indices, indptr
    return X


SOUND = np.array([0, 2, 4]), np.array([0, 2, 1, 2])


@pytest.mark.parametrize("kind", ["i4", "i8", "u4", "u8", ">i4", ">i8", "i2", "u1"])
def test_integers_of_every_kind_are_read(kind):
    case = LeastSquares.from_data(rows(SOUND[0].astype(kind), SOUND[1].astype(kind)), [1, 2])
    assert case.X.toarray().tolist() == [[1, 0, 1], [0, 1, 1]]
    assert case.degrees.tolist() == [1, 1, 2]
    strided = [np.repeat(part.astype(kind), 2)[::2] for part in SOUND]
    assert LeastSquares.from_data(rows(*strided), [1, 2]).X.toarray().tolist() == case.X.toarray().tolist()


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [
        (np.array([0, 100, 4], np.uint32), SOUND[1]),  # its differences are not negative
        (np.array([0, 100, 4], np.uint64), SOUND[1]),
        (np.array([0, 2**63, 4], np.uint64), SOUND[1]),
        (np.array([0, 2, 2**64 - 4], np.uint64), SOUND[1]),
        (np.array([1, 2, 4]), SOUND[1]),
        (np.array([0, 2, 5]), SOUND[1]),
        (np.array([0.0, 2.0, 4.0]), SOUND[1]),
        (np.array([[0, 2, 4]]).T[:, :1], SOUND[1]),
        (SOUND[0], np.array([0, 2, 1, 2**32])),
        (SOUND[0], np.array([0, 2, 1, 2**64 - 1], np.uint64)),
        (SOUND[0], np.array([0, 2, 1, 2**63], np.uint64)),
        (SOUND[0], np.array([0, 2, 1, 1.5])),
        (SOUND[0], np.array([0, 2, 1, -1])),
        (SOUND[0], np.array([0, 2, 1])),
    ],
)
def test_pointers_and_indices_that_lead_astray_are_refused(tmp_path, indptr, indices):
    X = rows(indptr, indices, np.ones(4))
    with pytest.raises(ValueError, match=r"^X is not a valid CSR array"):
        LeastSquares.from_data(X, [1, 2])
    with pytest.raises(ValueError, match=r"^X is not a valid CSR array"):
        popular_first(X)
    with pytest.raises(ValueError, match=r"^X is not a valid CSR array"):
        save_rows(tmp_path / "rows", X, [1, 2])


@pytest.mark.parametrize("form", ["csc", "bsr", "coo"])
def test_other_formats_are_looked_at_before_scipy_converts_them(form):
    X = sp.csr_array(np.eye(4)).asformat(form)
    (X.coords[1] if form == "coo" else X.indices)[2] = 10**6
    with pytest.raises(ValueError, match=rf"^X is not a valid {form} array"):
        LeastSquares.from_data(X, np.ones(4))
    with pytest.raises(ValueError, match=rf"^X is not a valid {form} array"):
        popular_first(X)


def test_duplicates_may_not_add_up_to_infinity():
    X = rows(np.array([0, 2]), np.array([1, 1]), np.array([1e308, 1e308]))
    with pytest.raises(ValueError, match="X holds duplicates that add up to infinity"):
        LeastSquares.from_data(X, [1])


def test_what_the_precision_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"^X holds NaN or infinity, or what is infinite as float32"):
        LeastSquares.from_data([[1e39]], [1], dtype=np.float32)
    with pytest.raises(ValueError, match=r"^y holds NaN or infinity, or what is infinite as float32"):
        LeastSquares.from_data([[1.0]], [1e39], dtype=np.float32)
    case = LeastSquares.from_data([[1.0]], [1], dtype=np.float32)
    with pytest.raises(
        ValueError, match=r"^initial_weights holds NaN or infinity, or what is infinite as float32"
    ):
        minimize(case, initial_weights=[1e39])
    with pytest.raises(ValueError, match=r"^values holds NaN or infinity, or what is infinite as float32"):
        MatrixCompletion.from_data([0], [0], [1e39], dtype=np.float32)
    with pytest.raises(
        ValueError, match=r"^capacities holds NaN or infinity, or what is infinite as float32"
    ):
        GraphCut.from_data([0], [1], [1e39], terminals=[0, 1], dtype=np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": [2**31 + 5], "shape": (2**32, 1)}, "shape is 4294967296"),
        ({"rows": [2**31 - 1]}, "rows holds 2147483647"),
        ({"rows": [2**30], "columns": [2**30]}, "rows and columns together"),
        ({"rows": [-1]}, "rows holds -1"),
        ({"rows": np.array([2**64 - 1], np.uint64)}, "rows holds 18446744073709551615"),
        ({"columns": [1], "shape": (1, 1)}, "columns holds 1 to 1"),
    ],
)
def test_entries_outside_of_a_matrix_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        MatrixCompletion.from_data(**{"rows": [0], "columns": [0], "values": [1.0]} | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tails": [2**31 + 5], "n_nodes": 2**32}, "n_nodes is 4294967296"),
        ({"tails": [2**31 - 1]}, "tails holds 2147483647"),
        ({"heads": [-1]}, "heads holds -1"),
        ({"terminals": [0, 7], "n_nodes": 3}, "terminals holds 0 to 7"),
        ({"terminals": [0, 2**31 - 1]}, "terminals holds 0 to 2147483647"),
    ],
)
def test_nodes_outside_of_a_graph_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        GraphCut.from_data(**{"heads": [0], "tails": [1], "capacities": [1.0], "terminals": [0, 1]} | given)


def test_popular_first_leaves_the_callers_rows_alone():
    X = sp.csr_array(arrays()[0])
    before = X.data.copy(), X.indices.copy()
    renumbered, _ = popular_first(X)
    renumbered.data[:] = 0
    assert np.array_equal(X.data, before[0])
    assert np.array_equal(X.indices, before[1])
