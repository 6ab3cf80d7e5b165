"""What damaged and hostile files once did to readers, each by name."""

import gzip
import json
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hogwild import datasets
from hogwild.datasets import lines
from hogwild.teams.memory import Shared


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


finite = st.floats(allow_nan=False, allow_infinity=False)


@hypothesis.given(
    rows=st.lists(st.tuples(finite, st.dictionaries(st.integers(1, 2**31 - 1), finite)), min_size=1),
    end=st.sampled_from(["\n", "\r\n", " \n", " # 9:9\n", "\n\n"]),
    size=st.sampled_from([1, 17, 2**20]),
)
def test_every_bit_of_svmlight_comes_back(tmp_path_factory, rows, end, size):
    text = "".join(
        " ".join([repr(label), *(f"{index}:{row[index]!r}" for index in sorted(row))]) + end
        for label, row in rows
    )
    path = write(tmp_path_factory.mktemp("text") / "t.svm", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines.blocks, "__defaults__", (b"", size))
        data = datasets.load_svmlight(path)
    assert data.y.tolist() == [label for label, _ in rows]
    assert np.diff(data.X.indptr).tolist() == [len(row) for _, row in rows]
    assert data.X.indices.tolist() == [index - 1 for _, row in rows for index in sorted(row)]
    assert data.X.data.tolist() == [row[index] for _, row in rows for index in sorted(row)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1 1:2\n1 1:1_0\n", r"line 2 is '1 1:1_0', .*column 3"),
        ("1 1:2 1:3\n", r"line 1 .*column 7"),
        ("1 1:nan\n", r"line 1 .*column 3"),
        ("# 1\n\ninf 1:2\n", r"line 3 is 'inf 1:2', .*column 1"),
        ("1 1:1e400\n", r"line 1 .*column 5"),
        ("1 2147483648:1\n", r"line 1 .*column 3"),
        ("1 -1:1\n", r"line 1 .*column 3"),
        ("1:1 2:1\n", r"line 1 .*column 1"),
        ("\ufeff1 1:1\n", r"line 1 .*column 1"),
        ("1 \u0661:1\n", r"line 1 .*column 3"),
        ("1 1:1\0\n", r"line 1 .*column 3"),
        ("1 1:1\r1 1:1\n", r"line 1 "),
        ("1 qid:3 1:1\n", r"line 1 .*column 3"),
    ],
)
def test_svmlight_names_the_line_and_the_column(tmp_path, text, where):
    path = write(tmp_path / "t.svm", text)
    with pytest.raises(ValueError, match=rf"path is .*t\.svm.*{where}"):
        datasets.load_svmlight(path)
    with pytest.raises(ValueError, match=rf"source is .*t\.svm.*{where}"):
        datasets.convert_svmlight(path, tmp_path / "rows", block_bytes=1)


def test_what_float32_cannot_hold_is_refused(tmp_path):
    path = write(tmp_path / "t.svm", "1 1:1\n1e39 1:1\n")
    assert datasets.load_svmlight(path).y[1] == 1e39
    with pytest.raises(ValueError, match="line 2"):
        datasets.load_svmlight(path, dtype=np.float32)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_compressed_file_that_was_cut_off_is_refused_by_name(tmp_path, keep):
    packed = gzip.compress(b"1 1:1\n" * 1_000)
    path = write(tmp_path / "t.svm.gz", packed[: int(keep * len(packed))] or b"x")
    with pytest.raises(ValueError, match=r"t\.svm\.gz'; after line \d+ it cannot be decompressed"):
        datasets.load_svmlight(path)


@pytest.mark.parametrize("read", [datasets.load_svmlight, datasets.load_dimacs])
def test_a_line_without_an_end_is_refused_before_all_of_it_is_in_memory(tmp_path, monkeypatch, read):
    monkeypatch.setattr(lines, "_LONGEST", 1_000)
    path = write(tmp_path / "t.svm.gz", gzip.compress(b"c \n" + b"1" * 10**6))
    monkeypatch.setattr(lines.blocks, "__defaults__", (b"", 10))
    with pytest.raises(
        ValueError, match=r"line 2 .*longer than" if read is datasets.load_dimacs else r"line [12] "
    ):
        read(path)


def test_a_message_shows_the_place_and_not_all_of_a_line(tmp_path):
    path = write(tmp_path / "t.svm", "1 " + "1:1 " * 5_000)
    with pytest.raises(ValueError, match=r"line 1 is '…?.*1:1.*…', .*\(column 7\)") as caught:
        datasets.load_svmlight(path)
    assert len(str(caught.value)) < 500


def test_tables_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(lines.blocks, "__defaults__", (b"", 1))
    text = "userId,movieId,rating\r\n" + "".join(f"{row % 7},{row},{row / 4}\r\n" for row in range(50)) + "\n"
    data = datasets.load_ratings(write(tmp_path / "r.csv", text))
    assert data.values.tolist() == [row / 4 for row in range(50)]
    with pytest.raises(ValueError, match=r"line 52 is '1,2,x', .*column 5"):
        datasets.load_ratings(write(tmp_path / "r.csv", text[:-1] + "1,2,x\n"))
    with pytest.raises(ValueError, match=r"line 52 is '1,2,3,4', "):  # one number more than the others
        datasets.load_ratings(write(tmp_path / "r.csv", text[:-1] + "1,2,3,4\n"))


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("r.dat", "1::2::3\n9007199254740993::2::3\n", r"line 2 .*column 1"),  # 2**53 + 1 is none of float64
        ("r.dat", "1,2::3\n", r"line 1 is '1,2::3'"),
        ("r.csv", "userId,movieId,rating\n1.0,2,3\n", r"line 2 .*column 2"),
        ("r.csv", "\ufeffuserId,movieId,rating\n1,2,3\n", r"line 1 "),
        ("r.csv", "userId,movieId,rating\n1,2,1e999\n", r"line 2 .*column 5"),
    ],
)
def test_ratings_that_would_become_others_are_refused(tmp_path, name, text, where):
    with pytest.raises(ValueError, match=where):
        datasets.load_ratings(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"c \xff\np max 2 1\nn 1 s\nn 2 t\na 1 2 1\n", ""),
        (b"p max 2 1\nn 1 s\nn 2 t\na 1 2 \xff\n", "line 4 is 'a 1 2 "),
        ("p max 2 1\nn 1 s\nn 2 t\na 1 \uff12 1\n", "line 4"),
        ("p max 2 1\nn 1 s\nn 2 t\na 1 2 1_0\n", "line 4"),
        ("p max 2 2\nn 1 s\nn 2 t\na 1 2 1e308\na 2 1 1e308\n", "add up to infinity"),
        ("p max 1000000000000 1\n", "line 1 .*NODES is 1000000000000"),
    ],
)
def test_dimacs_by_the_byte(tmp_path, text, message):
    path = write(tmp_path / "g.max", text)
    if not message:
        assert datasets.load_dimacs(path).capacities.tolist() == [1]
        return
    with pytest.raises(ValueError, match=message):
        datasets.load_dimacs(path)


def stored(folder):
    datasets.save_rows(folder, np.eye(3), np.ones(3))
    return folder


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("values.npy", b""),
        ("values.npy", b"PK\x03\x04"),
        ("values.npy", b"\x80\x04K\x01."),  # a pickle
        ("values.npy", b"\x93NUMPY\x01\0\x36\0{'descr': '<f8', 'fortran_order': False, 'shape': (3,\n"),
        ("values.npy", b"\x93NUMPY\x01\0\x10\0" + b"(" * 16),
        ("rows.json", b"[" * 3_000),
        ("rows.json", b"\xff"),
        ("rows.json", json.dumps({"format": "hogwild rows", "version": 1, "dtype": [["a", "f8"]]}).encode()),
    ],
)
def test_a_stored_file_of_another_kind_is_refused_by_name(tmp_path, file, content, mapped):
    folder = stored(tmp_path / "rows")
    write(folder / file, content)
    with pytest.raises(ValueError, match=file.replace(".", r"\.")):
        datasets.open_rows(folder, mapped=mapped)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_header_that_announces_too_much_is_refused_before_memory_is_asked_for(tmp_path, mapped):
    folder = stored(tmp_path / "rows")
    head = json.loads((folder / "rows.json").read_text()) | {"n_examples": 10**12}
    write(folder / "rows.json", json.dumps(head))
    raw = (folder / "indptr.npy").read_bytes()
    wide = raw.replace(b"(4,), }" + b" " * 12, b"(1000000000001,), }")
    assert len(wide) == len(raw)
    assert wide != raw
    write(folder / "indptr.npy", wide)
    with pytest.raises(ValueError, match=r"indptr\.npy' has \d+ bytes.*must hold 1000000000001 int32"):
        datasets.open_rows(folder, mapped=mapped)


def test_mapped_files_that_were_replaced_are_not_mapped_again(tmp_path):
    folder = stored(tmp_path / "rows")
    data = datasets.open_rows(folder)
    handle = Shared((data.X.indices,))
    assert handle.open()[0].tolist() == [0, 1, 2]
    raw = (folder / "indices.npy").read_bytes()
    write(tmp_path / "other", raw).replace(folder / "indices.npy")
    with pytest.raises(ValueError, match=r"indices\.npy' was replaced or written to"):
        handle.open()
    write(folder / "indices.npy", raw[:-4])
    with pytest.raises(ValueError, match="replaced or written to"):
        handle.open()


def test_python_source_skips_pipes_codecs_and_deep_chains(tmp_path):
    write(tmp_path / "a.py", "def f(a):\n    raise a\n\ndef g(b):\n    return b\n")
    os.mkfifo(tmp_path / "pipe.py")
    write(tmp_path / "codec.py", "# coding: rot13\nqrs s(n): cnff\n")
    write(tmp_path / "chain.py", "if a:\n  x\n" + "elif a:\n  x\n" * 600 + "else:\n  def h(c): raise c\n")
    data = datasets.python_source(tmp_path, min_count=1)
    assert data.y.tolist().count(1) == 2
    assert "2 files (2 skipped)" in data.description
