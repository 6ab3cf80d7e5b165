"""Rows in files: the same bits as in memory, whatever the blocks, and errors that say what is wrong."""

import bz2
import gzip
import itertools
import json
import os
import shutil

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy import sparse

import hogwild
from hogwild import datasets
from hogwild.datasets import large, rows
from hogwild.datasets.mapping import mapping_of
from hogwild.engine.sampling import SAMPLINGS
from hogwild.problems import LINEAR_PROBLEMS, LeastSquares
from hogwild.teams.memory import Shared
from tests.hogwild.cases import arrays


def stored(folder, dtype=np.float64, **shape):
    X, y, _ = arrays(**shape)
    X = sparse.csr_array(X.astype(dtype))
    datasets.save_rows(folder, X, y)
    return X, y.astype(dtype), datasets.open_rows(folder)


def same_arrays(X, other):
    pairs = [(X.data, other.data), (X.indices, other.indices), (X.indptr, other.indptr)]
    return X.shape == other.shape and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mapped", [False, True])
def test_opened_rows_are_those_that_were_saved(tmp_path, dtype, mapped):
    X, y, _ = stored(tmp_path / "some", dtype)
    data = datasets.open_rows(tmp_path / "some", mapped=mapped)
    assert same_arrays(data.X, X)
    assert np.array_equal(data.y, y)
    assert data.name == "some"
    for part in (data.X.data, data.X.indices, data.X.indptr, data.y):
        assert type(part) is np.ndarray
        assert (mapping_of(part) is not None) is mapped
        assert part.flags.writeable is not mapped


@hypothesis.given(cuts=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 99))
def test_blocks_leave_no_trace(tmp_path_factory, cuts, seed):
    X, y, _ = arrays(examples=40, features=6, seed=seed)
    folder = tmp_path_factory.mktemp("rows") / "new"
    edges = sorted({0, 40, *cuts})
    with datasets.RowsWriter(folder, 6) as writer:
        for first, last in itertools.pairwise(edges):
            writer.append(X[first:last], y[first:last])
    data = datasets.open_rows(folder)
    assert same_arrays(data.X, sparse.csr_array(X))
    assert np.array_equal(data.y, y)
    shutil.rmtree(folder)


@hypothesis.given(entries=st.integers(1, 60), seed=st.integers(0, 99), wide=st.booleans())
def test_blocks_are_all_rows_in_order_and_not_too_many_entries(entries, seed, wide):
    dense, _, _ = arrays(examples=20, features=6, seed=seed)
    X = sparse.csr_array(dense)
    if wide:
        X.indptr = X.indptr.astype(np.int64)
    found = list(rows.blocks_of(X, entries))
    assert [last for _, last, _ in found[:-1]] == [first for first, _, _ in found[1:]]
    assert np.array_equal(np.concatenate([block.toarray() for _, _, block in found]), dense)
    assert all(block.nnz <= entries or block.shape[0] == 1 for _, _, block in found)
    assert {block.indptr.dtype for _, _, block in found} == {np.dtype(np.int32)}
    chosen = np.flatnonzero(np.random.default_rng(seed).random(20) < 0.4)
    assert np.array_equal(rows.taken(X, chosen).toarray(), dense[chosen])
    assert np.array_equal(rows.counts(X.indices, 6), (dense != 0).sum(axis=0))


def test_rows_become_canonical_and_the_callers_stay_as_they_are(tmp_path):
    X = sparse.csr_array(
        (np.array([1.0, 2, 0, 4]), np.array([2, 0, 1, 0]), np.array([0, 3, 4])), shape=(2, 3)
    )
    X.data[1:2] = 5
    before = X.indices.copy()
    with datasets.RowsWriter(tmp_path / "new") as writer:
        writer.append(X, [1, 2])
        writer.append([[7.0]], [3])
    data = datasets.open_rows(tmp_path / "new")
    assert np.array_equal(data.X.toarray(), [[5, 0, 1], [4, 0, 0], [7, 0, 0]])
    assert data.X.indices.tolist() == [0, 2, 0, 0]
    assert np.array_equal(X.indices, before)


def test_rows_without_entries_can_be_stored(tmp_path):
    datasets.save_rows(tmp_path / "new", np.zeros((3, 2)), [1, 2, 3])
    data = datasets.open_rows(tmp_path / "new")
    assert data.X.toarray().tolist() == [[0, 0]] * 3
    result = hogwild.minimize(LeastSquares.from_data(data.X, data.y), epochs=1, backend="hogwild_processes")
    assert result.weights.tolist() == [0, 0]


ON_FILES = ("serial", "replicated", "hogwild_hot_replicated", "hogwild_threads", "hogwild_processes")


# where the rows lie has nothing to do with the loss, nor with the backend how they are laid out
@pytest.mark.parametrize(
    ("name", "backend", "sampling"),
    [
        *(("logistic", *axes) for axes in zip(ON_FILES[1:], SAMPLINGS, strict=False)),
        *zip(itertools.cycle(LINEAR_PROBLEMS), itertools.repeat("serial"), SAMPLINGS, strict=False),
    ],
)
def test_mapped_rows_train_to_the_same_bits(tmp_path, name, backend, sampling):
    X, y, data = stored(tmp_path / "rows")
    kind = LINEAR_PROBLEMS[name]
    y = np.sign(y) if kind.task == "classification" else y
    here, there = (kind.from_data(some, y, l2=0.1) for some in (X, data.X))
    runs = [
        hogwild.minimize(problem, backend=backend, workers=1, sampling=sampling, epochs=3, seed=1)
        for problem in (here, there)
    ]
    assert np.array_equal(runs[0].weights, runs[1].weights)
    assert [row.objective for row in runs[0].history] == [row.objective for row in runs[1].history]
    assert here.content_hash == there.content_hash
    assert here.sparsity() == there.sparsity()
    assert here.errors(runs[0].weights) == there.errors(runs[1].weights)


def test_several_blocks_change_nothing_but_rounding(tmp_path, monkeypatch):
    X, y, data = stored(tmp_path / "rows")
    whole = LeastSquares.from_data(X, y, l2=0.1)
    weights = np.linspace(-1, 1, 9)
    expected = whole.objective(weights), whole.errors(weights), whole.degrees.tolist()
    monkeypatch.setattr(rows.blocks_of, "__defaults__", (50,))
    monkeypatch.setattr(rows, "BLOCK", 50)
    cut = LeastSquares.from_data(data.X, data.y, l2=0.1)
    assert cut.objective(weights) == pytest.approx(expected[0], rel=1e-14)
    assert cut.errors(weights) == expected[1]
    assert cut.degrees.tolist() == expected[2]
    with pytest.raises(ValueError, match="X holds NaN"):
        LeastSquares.from_data(sparse.csr_array(np.where(X.toarray() == X.data[-1], np.nan, X.toarray())), y)


def test_row_pointers_of_64_bits_train_to_the_same_bits():
    """What rows beyond 2**31 entries have: wide pointers, narrow indices."""
    dense, y, _ = arrays()
    X = sparse.csr_array(dense)
    wide = rows.assembled(X.data, X.indices, X.indptr.astype(np.int64), X.shape)
    problems = [LeastSquares.from_data(some, y, l2=0.1) for some in (X, wide)]
    assert problems[1].X.indptr.dtype == np.int64
    assert np.shares_memory(problems[1].X.indices, wide.indices)
    for sampling in SAMPLINGS:
        first, second = (hogwild.minimize(p, sampling=sampling, epochs=2).weights for p in problems)
        assert np.array_equal(first, second)


def test_nothing_is_copied_that_is_canonical_already(tmp_path):
    X, y, data = stored(tmp_path / "rows")
    for given, targets in ((X, y), (data.X, data.y)):
        record = LeastSquares.from_data(given, targets).kernel_record()
        assert np.shares_memory(record.values, given.data)
        assert np.shares_memory(record.indices, given.indices)
        assert np.shares_memory(record.indptr, given.indptr)
        assert np.shares_memory(record.targets, targets)


def test_shared_records_map_files_again_instead_of_copying(tmp_path):
    _, _, data = stored(tmp_path / "rows")
    part = data.X.indices.view(np.uint32)[3:]
    handle = Shared((part, np.arange(3)))
    assert handle._places == [(0, 24)]
    again = handle.open()[0]
    assert np.array_equal(again, part)
    assert again.dtype == np.uint32
    assert str(mapping_of(again).filename) == str(tmp_path / "rows" / "indices.npy")
    writable = np.memmap(tmp_path / "rows" / "values.npy", np.uint8, "c")
    assert mapping_of(writable) is None
    assert len(Shared(np.asarray(writable))._places) == 1


@pytest.mark.parametrize(
    ("argument", "X", "y", "error"),
    [
        ("X", np.ones(3), [1], ValueError),
        ("X", np.ones((2, 5)), [1, 1], ValueError),
        ("X", np.ones((0, 3)), [], ValueError),
        ("X", [[np.nan]], [1], ValueError),
        ("X", [["a"]], [1], TypeError),
        ("X", sparse.csr_array((np.ones(1), [2], [0, 1]), shape=(1, 3)), [1], None),
        ("y", [[1.0]], [1, 2], ValueError),
        ("y", [[1.0]], [np.inf], ValueError),
    ],
)
def test_a_writer_refuses_by_name_and_goes_on(tmp_path, argument, X, y, error):
    with datasets.RowsWriter(tmp_path / "new", 4) as writer:
        writer.append([[1.0]], [1])
        if error is None:
            X.indices[0] = 3
            error = ValueError
        with pytest.raises(error, match=rf"^{argument} "):
            writer.append(X, y)
    assert datasets.open_rows(tmp_path / "new").X.toarray().tolist() == [[1, 0, 0, 0]]


def test_a_writer_leaves_nothing_unfinished(tmp_path):

    def interrupted():
        with datasets.RowsWriter(tmp_path / "new") as writer:
            writer.append([[1.0]], [1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ValueError, match="no rows were appended"), datasets.RowsWriter(tmp_path / "new"):
        pass
    with datasets.RowsWriter(tmp_path / "new") as writer:
        writer.append([[1.0]], [1])
    with pytest.raises(ValueError, match="closed"):
        writer.append([[1.0]], [1])
    with pytest.raises(FileExistsError, match=r"path is .*new"):
        datasets.save_rows(tmp_path / "new", [[1.0]], [1])


def damage_header(folder, **changes):
    header = json.loads((folder / "rows.json").read_text())
    (folder / "rows.json").write_text(json.dumps(header | changes))


def decrease(folder):
    pointers = np.load(folder / "indptr.npy")
    pointers[1] = pointers[-1]
    np.save(folder / "indptr.npy", pointers)


def cut(file):
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "rows.json").unlink(), FileNotFoundError, "finished rows"),
        (lambda folder: (folder / "rows.json").write_text("[]"), ValueError, "rows.json cannot be used"),
        (lambda folder: damage_header(folder, version=2), ValueError, "version"),
        (lambda folder: damage_header(folder, dtype="int8"), ValueError, "dtype is 'int8'"),
        (lambda folder: damage_header(folder, n_examples=7), ValueError, r"indptr.npy.*must hold 8 int32"),
        (lambda folder: (folder / "values.npy").unlink(), ValueError, "values.npy"),
        (lambda folder: cut(folder / "values.npy"), ValueError, "values.npy.*cannot be read"),
        (lambda folder: cut(folder / "targets.npy"), ValueError, "targets.npy.*cannot be read"),
        (
            lambda folder: np.save(folder / "indices.npy", np.zeros(3)),
            ValueError,
            "indices.npy.*<f8.*must hold",
        ),
        (
            lambda folder: np.save(folder / "indptr.npy", np.arange(121, dtype=np.int32)),
            ValueError,
            "runs from 0",
        ),
        (decrease, ValueError, "indptr.npy cannot be used: .* its row pointers decrease"),
    ],
)
def test_damaged_rows_are_refused_by_the_files_name(tmp_path, damage, error, message):
    stored(tmp_path / "rows")
    damage(tmp_path / "rows")
    with pytest.raises(error, match=message):
        datasets.open_rows(tmp_path / "rows")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("indices", lambda array: array.__setitem__(0, 9), "indices of 0 to 9; allowed are 0 to 8"),
        ("indices", lambda array: array.__setitem__(0, -1), "indices of -1 to"),
        ("indices", lambda array: array.__setitem__(slice(0, 2), 3), "not canonical"),
        ("values", lambda array: array.__setitem__(0, 0), "not canonical"),
        ("values", lambda array: array.__setitem__(0, np.nan), "NaN"),
    ],
)
def test_rows_that_were_changed_on_the_disk_make_no_problem(tmp_path, name, change, message):
    stored(tmp_path / "rows", density=1.0)
    array = np.load(tmp_path / "rows" / f"{name}.npy")
    change(array)
    np.save(tmp_path / "rows" / f"{name}.npy", array)
    data = datasets.open_rows(tmp_path / "rows")
    with pytest.raises(ValueError, match=rf"^X .*{message}"):
        LeastSquares.from_data(data.X, data.y)


def test_mapped_rows_are_not_converted_in_memory(tmp_path):
    _, _, data = stored(tmp_path / "rows")
    with pytest.raises(ValueError, match="X is memory-mapped, with float64 values"):
        LeastSquares.from_data(data.X, data.y, dtype=np.float32)


@pytest.mark.parametrize("memory", [100, 2**20])
def test_shuffled_rows_are_the_same_rows_in_another_order(tmp_path, memory):
    X, y, _ = stored(tmp_path / "rows")
    datasets.shuffle_rows(tmp_path / "rows", tmp_path / "mixed", seed=3, memory=memory)
    mixed = datasets.open_rows(tmp_path / "mixed")
    assert sorted(path.name for path in (tmp_path / "mixed").iterdir()) == sorted(
        path.name for path in (tmp_path / "rows").iterdir()
    )
    order = [int(np.flatnonzero(y == target)[0]) for target in mixed.y]
    assert sorted(order) == list(range(y.size)) != order
    assert np.array_equal(mixed.X.toarray(), X.toarray()[order])
    datasets.shuffle_rows(tmp_path / "rows", tmp_path / "again", seed=3, memory=memory)
    assert np.array_equal(datasets.open_rows(tmp_path / "again").y, mixed.y)


def test_every_row_comes_to_every_place(tmp_path, monkeypatch):
    """Of 6 rows in up to 6 buckets: each in each place in about a sixth of 120 orders."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of files, none of them kept
    datasets.save_rows(tmp_path / "rows", np.eye(6), np.arange(6))
    places = np.zeros((6, 6))
    for seed in range(120):
        datasets.shuffle_rows(tmp_path / "rows", tmp_path / "mixed", seed=seed, memory=30)
        places[np.arange(6), datasets.open_rows(tmp_path / "mixed", mapped=False).y.astype(int)] += 1
        shutil.rmtree(tmp_path / "mixed")
    assert ((places - 20) ** 2 / 20).sum() < 60  # chi squared with 25 degrees of freedom: 1e-4


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
@pytest.mark.parametrize("block_bytes", [1, 20, 2**20])
def test_svmlight_is_converted_block_by_block(tmp_path, suffix, pack, block_bytes):
    pytest.importorskip("sklearn")
    file = tmp_path / f"toy.svm{suffix}"
    file.write_bytes(pack(b"# head\n+1 1:0.5 3:2\n\n-1 2:1 # comment\n+1\n"))
    datasets.convert_svmlight(file, tmp_path / "rows", dtype=np.float32, block_bytes=block_bytes)
    expected, data = datasets.load_svmlight(file, dtype=np.float32), datasets.open_rows(tmp_path / "rows")
    assert same_arrays(data.X, expected.X)
    assert np.array_equal(data.y, expected.y)
    datasets.convert_svmlight(file, tmp_path / "wide", n_features=9, zero_based=True)
    assert datasets.open_rows(tmp_path / "wide").X.toarray()[0].tolist() == [0, 0.5, 0, 2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "source is .*no examples"),
        ("1 1:1\n1 a:1\n", {"block_bytes": 1}, "line 2 is '1 a:1'.*column 3"),
        ("1 0:1\n", {}, "zero_based is False"),
        ("1 5:1\n", {"n_features": 3}, "n_features is 3"),
        ("1 1:1\n", {"block_bytes": 0}, "block_bytes is 0"),
    ],
)
def test_svmlight_that_cannot_be_converted_leaves_nothing(tmp_path, text, options, message):
    pytest.importorskip("sklearn")
    (tmp_path / "toy.svm").write_text(text)
    with pytest.raises(ValueError, match=message):
        datasets.convert_svmlight(tmp_path / "toy.svm", tmp_path / "rows", **options)
    assert not (tmp_path / "rows").exists() or not any((tmp_path / "rows").iterdir())
    with pytest.raises(FileNotFoundError, match="source is"):
        datasets.convert_svmlight(tmp_path / "none.svm", tmp_path / "rows")


def test_large_synthetic_rows_are_made_once_and_in_blocks(monkeypatch):
    def made():
        return datasets.large_synthetic(300, 50, nonzeros_per_row=8, zipf_exponent=0.5, noise=0.0, seed=5)

    monkeypatch.setattr(large, "_ENTRIES", 800)
    data = made()
    folder = mapping_of(data.X.data).filename.parent
    before = (folder / "values.npy").stat().st_mtime_ns
    assert made().content_hash == data.content_hash
    assert (folder / "values.npy").stat().st_mtime_ns == before
    assert np.diff(data.X.indptr).tolist() == [8] * 300
    assert np.sqrt(np.square(data.X.toarray()).sum(axis=1)) == pytest.approx(1)
    assert data.y == pytest.approx(data.X @ data.true_weights)
    assert data.y[:100].std() == pytest.approx(1)
    labels = datasets.large_synthetic(
        300, 50, nonzeros_per_row=8, task="classification", noise=0.0, mapped=False
    )
    assert np.array_equal(labels.y, np.where(labels.X @ labels.true_weights > 0, 1, -1))
    assert mapping_of(labels.X.data) is None


def test_large_synthetic_rows_that_nobody_asks_for_are_removed(monkeypatch):
    first = mapping_of(datasets.large_synthetic(10, 5, nonzeros_per_row=2).y).filename.parent
    os.utime(first, (0, 0))
    second = mapping_of(datasets.large_synthetic(11, 5, nonzeros_per_row=2).y).filename.parent
    assert second.is_dir()
    assert not first.exists()
    assert not list(first.parent.glob("new-*"))


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("n_examples", 0, ValueError),
        ("n_features", 2.5, TypeError),
        ("nonzeros_per_row", 41, ValueError),
        ("zipf_exponent", -1, ValueError),
        ("noise", 0.6, ValueError),
        ("task", "ranking", ValueError),
        ("mapped", 1, TypeError),
    ],
)
def test_large_synthetic_refuses_by_name(option, value, error):
    options = {"n_examples": 9, "n_features": 40, "nonzeros_per_row": 3, "task": "classification"}
    with pytest.raises(error, match=rf"^{option} is "):
        datasets.large_synthetic(**(options | {option: value}))
