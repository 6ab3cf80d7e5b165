"""Python source as documents, on a folder written here and on a piece of the standard library."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from hogwild.datasets import python_source
from hogwild.datasets.source_code import CONSTRUCTS

SOURCE = '''
import os

def outer(count):
    """Say nothing; do not raise."""
    def inner():
        raise ValueError(count)
    return inner

class Shelf:
    @property
    def size(self):  # self count
        return self.count + self.count

    async def fetch(self):
        return await self.size

if os.name:
    try:
        def late(count): return count
    except ImportError:
        def late(count): raise KeyError
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shelf.py").write_text(SOURCE, "utf-8")
    return tmp_path


def test_labels_and_rows(folder):
    data = python_source(folder, min_count=1)
    # In the order of the file: outer (with inner), size, fetch, late, late; only the first and last raise.
    assert np.array_equal(data.y, [1, -1, -1, -1, 1])
    assert np.array_equal(np.diff(data.X.indptr) > 0, [True] * 5)
    np.testing.assert_allclose(np.sqrt(data.X.multiply(data.X).sum(axis=1)), 1.0)
    assert data.X.indices.dtype == data.X.indptr.dtype == np.int32
    assert data.true_weights is None
    assert "5 functions from 1 files (0 skipped)" in data.description
    assert "`raise` (40.0%)" in data.description


def test_values_are_tf_idf_of_the_words_without_the_keyword(folder):
    data = python_source(folder, min_count=1)
    # Neither `raise` (the label's) nor `def` (in all documents) is a word.
    documents = [
        "outer count Say nothing do not inner ValueError count return inner".split(),
        "property size self self count return self count self count".split(),
        "async fetch self return await self size".split(),
        "late count return count".split(),
        "late count KeyError".split(),
    ]
    words = sorted({word for document in documents for word in document})
    expected = np.zeros((5, len(words)))
    for row, document in zip(expected, documents, strict=True):
        for word in set(document):
            share = sum(word in other for other in documents)
            row[words.index(word)] = (1 + np.log(document.count(word))) * np.log(6 / share)
        row /= np.linalg.norm(row)
    np.testing.assert_allclose(data.X.toarray(), expected)


def test_min_count_leaves_rare_words_out(folder):
    assert python_source(folder, min_count=2).X.shape[1] == 5  # count, return, self, size, late
    assert python_source(folder, min_count=3).X.shape[1] == 2  # count, return
    with pytest.raises(ValueError, match="min_count is 6; it must leave words"):
        python_source(folder, min_count=6)


def test_hashing(folder):
    plain, hashed = python_source(folder, min_count=3), python_source(folder, min_count=3, n_features=64)
    assert hashed.X.shape == (plain.X.shape[0], 64)
    columns = sorted(zlib.crc32(word) % 64 for word in (b"count", b"return"))
    assert sorted(set(hashed.X.indices.tolist())) == columns
    one = python_source(folder, min_count=1, n_features=1)
    assert np.array_equal(one.X.toarray(), np.ones((5, 1)))


def test_result_does_not_depend_on_pythons_hash_seed(folder):
    code = f"import hogwild.datasets as d; print(d.python_source({str(folder)!r}, min_count=1).content_hash)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] == python_source(folder, min_count=1).content_hash + "\n"


@pytest.mark.parametrize("label", sorted(CONSTRUCTS))
def test_every_construct(tmp_path, label):
    bodies = {
        "assert": "assert x",
        "for": "y = [z for z in x]",
        "import": "from a import b",
        "lambda": "y = lambda: x",
        "raise": "raise x",
        "return": "return x",
        "try": "try: x\n    except: x\n    finally: x",
        "while": "while x: x",
        "with": "with x: x",
        "yield": "yield x",
    }
    functions = [f"def f_{name}(x):\n    {body}\n    word\n" for name, body in bodies.items()]
    (tmp_path / "all.py").write_text("\n".join(functions), "utf-8")
    data = python_source(tmp_path, label=label, min_count=1)
    assert np.array_equal(data.y > 0, [name == label for name in bodies])
    assert set(bodies[label].replace(":", " ").split()) & CONSTRUCTS[label].keywords
    # A body that repeats the keywords changes nothing: they are not among the words.
    (tmp_path / "all.py").write_text(
        "\n".join([*functions, f"def g(x):\n    '{' '.join(CONSTRUCTS[label].keywords)}'\n    word\n"]),
        "utf-8",
    )
    again = python_source(tmp_path, label=label, min_count=1)
    assert again.X.shape[1] == data.X.shape[1] + 1  # `g`
    assert again.X[[10]].nnz == 1


def test_seed_orders_files_and_limit_takes_the_first(tmp_path):
    for number in range(20):
        (tmp_path / f"m{number:02}.py").write_text(
            f"def only_{number}(x):\n    {'raise x' if number % 2 else 'return x'}\n", "utf-8"
        )
    everything = [python_source(tmp_path, min_count=1, seed=seed) for seed in (0, 1)]
    assert (
        everything[0].X.shape == everything[1].X.shape == (20, 21)
    )  # 20 names, `return`; `def` and `x` are in all
    assert not np.array_equal(everything[0].X.toarray(), everything[1].X.toarray())
    parts = [python_source(tmp_path, min_count=1, seed=seed, max_documents=10) for seed in (0, 1)]
    assert all(part.y.size == 10 for part in parts)
    assert np.array_equal(parts[0].y, everything[0].y[:10])
    assert "from 10 files" in parts[0].description


def test_what_cannot_be_parsed_is_skipped_and_counted(folder):
    (folder / "broken.py").write_text("def (:\n", "utf-8")
    (folder / "binary.py").write_bytes(b"def f():\n    \x00raise\n")
    (folder / "latin.py").write_bytes(b"def f():\n    '\xe9'\n")
    (folder / "escape.py").write_text(
        "def fine():\n    return '\\d'\n", "utf-8"
    )  # warns, where warnings are errors
    data = python_source(folder, min_count=1)
    assert "6 functions from 2 files (3 skipped)" in data.description


def test_encodings_and_decorators_are_understood(folder):
    without_file = python_source(folder, min_count=1)
    (folder / "latin.py").write_bytes(b"# coding: latin-1\n@gr\xf6\xdfe\ndef f():\n    'ok'\n")
    with_file = python_source(folder, min_count=1)
    assert "(0 skipped)" in with_file.description
    # `größe`, `f` and `ok` are new; coding is not part of a function.
    assert with_file.X.shape[1] == without_file.X.shape[1] + 3


@pytest.mark.parametrize(
    "name", ["site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", ".venv"]
)
def test_folders_left_out(folder, name):
    below = folder / "package" / name
    below.mkdir(parents=True)
    (below / "module.py").write_text("def f():\n    raise\n", "utf-8")
    assert "5 functions from 1 files" in python_source(folder, min_count=1).description
    (folder / "package" / "other.py").write_text("def f():\n    raise\n", "utf-8")
    assert "6 functions from 2 files" in python_source(folder, min_count=1).description


def test_documents_left_without_words_are_left_out(tmp_path):
    functions = ["a(x): raise x", "b(x): return x", "lone(): raise", "c(y): return y", "d(y): raise y"]
    (tmp_path / "m.py").write_text("".join(f"def {function}\n" for function in functions), "utf-8")
    data = python_source(tmp_path, min_count=2)
    assert np.array_equal(data.y, [1, -1, -1, 1])


def test_installed_packages_are_read_as_well(tmp_path, folder, monkeypatch):
    (tmp_path / "here/first/below").mkdir(parents=True)
    (tmp_path / "here/first/below/m.py").write_text("def f(count): raise count\n", "utf-8")
    (tmp_path / "here/second").mkdir()
    (tmp_path / "here/second/__init__.py").write_text("def g(count): return count\n", "utf-8")
    (folder / "own").mkdir()
    (folder / "shelf.py").rename(folder / "own/shelf.py")
    monkeypatch.syspath_prepend(tmp_path / "here")
    data = python_source(folder / "own", packages="first second", min_count=1)
    assert data.y.size == 5 + 2
    assert "7 functions from 3 files (0 skipped) of folder own and of first, second" in data.description
    assert "second" not in sys.modules  # read, not run


def test_refusals(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"path is .*absent.*; it must be a folder"):
        python_source(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"path is .*shelf.py.*; it must be a folder"):
        python_source(folder / "shelf.py")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"path is .*empty.*0 Python files"):
        python_source(empty)
    (empty / "m.py").write_text("x = 1\n", "utf-8")
    with pytest.raises(ValueError, match=r"path is .*empty.*1 Python files"):
        python_source(empty)
    for line, sign in (("def f(x): raise x\n", r"\+1"), ("def f(x): return x\n", "-1")):
        (empty / "m.py").write_text(line * 3, "utf-8")
        with pytest.raises(ValueError, match=rf"label is 'raise'; .* all 3 are {sign}"):
            python_source(empty, min_count=1)
    (empty / "m.py").write_text("def f(): raise\ndef g(x): return x\ndef h(x): return x\n", "utf-8")
    with pytest.raises(ValueError, match="min_count is 2; it must leave words"):
        python_source(empty)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, "path is 3"),
        ({"packages": 3}, TypeError, "packages is 3"),
        ({"packages": "numpy no_such"}, ModuleNotFoundError, "packages holds 'no_such'; it must name"),
        ({"packages": "abc"}, ModuleNotFoundError, "packages holds 'abc'"),  # a module, not a folder
        ({"packages": "../numpy"}, ModuleNotFoundError, r"packages holds '\.\./numpy'"),
        ({"label": "goto"}, ValueError, "label is 'goto'; it must be one of assert, for"),
        ({"label": None}, TypeError, "label is None"),
        ({"max_documents": 1}, ValueError, "max_documents is 1"),
        ({"n_features": 0}, ValueError, "n_features is 0"),
        ({"n_features": 10.0}, TypeError, "n_features is 10.0"),
        ({"min_count": 0}, ValueError, "min_count is 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        python_source(**{"path": folder} | arguments)


def test_standard_library():
    data = python_source(max_documents=2_000)
    assert data.y.size > 1_900
    assert 0.05 < np.mean(data.y > 0) < 0.5
    assert 10 < data.X.nnz / data.y.size < 60
    np.testing.assert_allclose(np.sqrt(data.X.multiply(data.X).sum(axis=1)), 1.0)
    assert f"standard library of Python {sys.version.split()[0]}" in data.description
    # Words tell: the difference of the classes' means is far better than guessing the larger class.
    train, test = data.split(0.3)
    centred = train.y / np.where(train.y > 0, np.sum(train.y > 0), np.sum(train.y < 0))
    scores = test.X @ (train.X.T @ centred)
    positive, negative = scores[test.y > 0], scores[test.y < 0]
    assert np.mean(positive[:, None] > negative[None, :]) > 0.75  # area under the ROC curve
