"""The readers of data sets, for `tests.fuzz`: sound files made at random, and what readers make of them."""

import ast
import bz2
import contextlib
import functools
import gzip
import io
import itertools
import random
import shutil
import tempfile
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from hogwild import datasets
from hogwild.problems import LeastSquares
from tests.fuzz import Files, Reader
from tests.hogwild import models

BAD = (ValueError, OSError)


def real(rng: random.Random) -> str:
    kind = rng.randrange(6)
    if kind < 2:
        return str(rng.randrange(-5, 6))
    if kind == 2:
        return f"{rng.choice('+-')}{rng.random() * 10:.3f}"
    if kind == 3:
        return f"{rng.random():.17g}"
    return f"{rng.uniform(-1, 1):.{rng.randrange(7)}e}" if kind == 4 else repr(rng.uniform(-1e3, 1e3))


def line_ends(rng: random.Random, lines: list[str]) -> bytes:
    end = rng.choice(["\n", "\n", "\n", "\r\n"])
    text = end.join(lines) + (end if rng.random() < 0.8 else "")
    return text.encode()


def svmlight_text(rng: random.Random) -> bytes:
    lines = []
    for _ in range(rng.randrange(1, 5)):
        indices = sorted(rng.sample(range(int(rng.random() < 0.9), 9), rng.randrange(5)))
        line = " ".join([real(rng), *(f"{index}:{real(rng)}" for index in indices)])
        lines.append(line + rng.choice(["", "", "", " ", " # so: 1", "\t"]))
        if rng.random() < 0.1:
            lines.append(rng.choice(["", "# a comment", "  "]))
    return line_ends(rng, lines)


def pack(files: Files, options: dict[str, Any]) -> Files:
    """Compress a damaged text, or damage what is compressed: the last letter of its name says which."""
    suffix, place = options["suffix"], options["cut"]
    if suffix:
        packed = {".gz": lambda text: gzip.compress(text, 1, mtime=0), ".bz2": bz2.compress}[suffix](
            files.pop("d.svm")
        )
        if place is not None:
            packed = (
                packed[: int(place * len(packed))] + options["junk"] + packed[int(place * len(packed)) + 1 :]
            )
        files[f"d.svm{suffix}"] = packed
    return files


def svmlight_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    options = {
        "n_features": rng.choice([None, None, 8, 3]),
        "dtype": rng.choice(["float64", "float32"]),
        "suffix": rng.choice(["", "", "", "", ".gz", ".gz", ".bz2"]) if rng.random() < 0.3 else "",
        "cut": rng.choice([None, rng.random()]),
        "junk": rng.choice([b"", b"\0", bytes([rng.randrange(256)])]),
    }
    return {"d.svm": svmlight_text(rng)}, options


def unpacked(files: Files, suffix: str) -> bytes:
    try:
        return {"": bytes, ".gz": gzip.decompress, ".bz2": whole_bz2}[suffix](files[f"d.svm{suffix}"])
    except Exception:
        raise models.Refused from None


def whole_bz2(raw: bytes) -> bytes:
    return bz2.open(io.BytesIO(raw)).read()  # `decompress` passes over what is behind a stream


def rows_form(X: Any, y: np.ndarray) -> Any:
    return tuple(map(int, X.shape)), X.indptr.tolist(), X.indices.tolist(), X.data.tolist(), y.tolist()


def svmlight_read(folder: Path, n_features: Any, dtype: str, suffix: str, **_: Any) -> Any:
    data = datasets.load_svmlight(folder / f"d.svm{suffix}", n_features, dtype=dtype)
    assert data.X.dtype == data.y.dtype == dtype
    return rows_form(data.X, data.y)


def svmlight_model(files: Files, n_features: Any, dtype: str, suffix: str, **_: Any) -> Any:
    return models.svmlight(unpacked(files, suffix), n_features, dtype)


def converted_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    files, options = svmlight_sound(rng)
    return files, options | {"zero_based": rng.random() < 0.3, "block_bytes": rng.choice([1, 30, 2**20])}


def converted_read(folder: Path, suffix: str, **options: Any) -> Any:
    chosen = {name: options[name] for name in ("n_features", "dtype", "zero_based", "block_bytes")}
    shutil.rmtree(folder / "rows", ignore_errors=True)
    try:
        datasets.convert_svmlight(folder / f"d.svm{suffix}", folder / "rows", **chosen)
        data = datasets.open_rows(folder / "rows", mapped=False)
        return rows_form(data.X, data.y)
    finally:
        shutil.rmtree(folder / "rows", ignore_errors=True)


def converted_model(
    files: Files, suffix: str, n_features: Any, dtype: str, zero_based: bool, **_: Any
) -> Any:
    found = models.svmlight(unpacked(files, suffix), n_features, dtype, zero_based)
    (rows_count, width), _, indices, _, labels = found
    rows, _ = models.canonical(*found)
    lengths = np.cumsum([0, *map(len, rows)]).tolist()
    entries = [entry for row in rows for entry in row]
    assert width in (n_features, max(indices, default=0) + 1)
    columns, values = [index for index, _ in entries], [value for _, value in entries]
    return (rows_count, width), lengths, columns, values, labels


def ratings_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    name, mark = rng.choice([("r.dat", "::"), ("r.csv", ",")])
    stamped = rng.random() < 0.7
    lines = ["userId,movieId,rating" + ",timestamp" * stamped] if name == "r.csv" else []
    for _ in range(rng.randrange(1, 6)):
        cells = [
            str(rng.randrange(1, 9)),
            str(rng.randrange(1, 9)),
            rng.choice(["3", "4.5", "0.5", real(rng)]),
        ]
        lines.append(mark.join([*cells, *([str(rng.randrange(10**9))] * stamped)]))
    return {name: line_ends(rng, lines)}, {"name": name}


def ratings_read(folder: Path, name: str) -> Any:
    data = datasets.load_ratings(folder / name)
    ids = data.row_ids.tolist(), data.column_ids.tolist()
    assert data.shape == tuple(map(len, ids))
    return data.rows.tolist(), data.columns.tolist(), data.values.tolist(), *ids


def edges_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    mark, weighted = rng.choice([" ", "\t", ",", ", ", "  "]), rng.random() < 0.6
    lines = []
    for _ in range(rng.randrange(1, 6)):
        ends = rng.sample(range(6), 2)
        lines.append(mark.join([*map(str, ends), *([f"{rng.random() * 9:.3g}"] * weighted)]))
        if rng.random() < 0.15:
            lines.append(rng.choice(["", "# so", "  "]))
    return {"g.txt": line_ends(rng, lines)}, {"terminals": [0, 1]}


def edges_read(folder: Path, terminals: list[int]) -> Any:
    graph = datasets.load_edges(folder / "g.txt", terminals)
    return graph.heads.tolist(), graph.tails.tolist(), graph.capacities.tolist(), graph.n_nodes


def dimacs_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    arcs = rng.randrange(1, 6)
    lines = ["c so", f"p max 5 {arcs}", "n 1 s", "n 5 t"]
    capacities = [rng.choice(["3", "0", "1e308", "2.5"]) for _ in range(arcs)]
    lines += [f"a {rng.randrange(1, 6)} {rng.randrange(1, 6)} {capacity}" for capacity in capacities]
    return {"g.max": line_ends(rng, lines)}, {}


def dimacs_read(folder: Path) -> Any:
    graph = datasets.load_dimacs(folder / "g.max")
    ends = graph.heads.tolist(), graph.tails.tolist(), graph.capacities.tolist()
    return *ends, graph.n_nodes, graph.terminals.tolist()


@functools.cache
def stored_examples() -> list[Files]:
    found = []
    for number in range(8):
        X = sparse.random_array((4, 6), density=0.4, rng=np.random.default_rng(number), format="csr")
        with tempfile.TemporaryDirectory() as folder:
            datasets.save_rows(Path(folder, "rows"), X.astype(["f4", "f8"][number % 2]), np.arange(4.0))
            found.append({path.name: path.read_bytes() for path in sorted(Path(folder, "rows").iterdir())})
    return found


def stored_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    files = dict(rng.choice(stored_examples()))
    if rng.random() < 0.5:  # with honest sizes: numbers alone are damaged
        name = rng.choice([name for name in files if name.endswith(".npy")])
        raw, size = files[name], 4 if name[:3] == "ind" else 8
        place = 128 + size * rng.randrange(max((len(raw) - 128) // size, 1))
        number = rng.choice([-1, -(2**31), 2**31 - 1, 6, 7, 100, rng.randrange(2**31)])
        whole = number.to_bytes(size, "little", signed=True)
        junk = rng.choice([whole, np.array([np.nan, np.inf]).tobytes()[:size]])
        files[name] = (raw[:place] + junk + raw[place + size :])[: len(raw)]
    return files, {"mapped": rng.random() < 0.7}


def stored_read(folder: Path, mapped: bool) -> Any:
    data = datasets.open_rows(folder, mapped=mapped)
    problem = LeastSquares.from_data(data.X, data.y)
    return problem_form(problem)


def problem_form(problem: LeastSquares) -> Any:
    X = problem.X
    if X.shape[1] < 10**6:  # which a header may say, and the sizes of files do not tell
        problem.degrees  # noqa: B018  a kernel that goes through all indices
        problem.curvature()
    starts, indices, values = (part.tolist() for part in (X.indptr, X.indices, X.data))
    ends = itertools.pairwise(starts)
    rows = [list(zip(indices[first:last], values[first:last], strict=True)) for first, last in ends]
    return rows, problem.y.tolist()


def stored_model(files: Files, mapped: bool) -> Any:
    found = models.stored(files)
    indices, values = found[2:4]
    rows, targets = models.canonical(*found)
    flat = [entry for row in rows for entry in row]
    if mapped and flat != list(zip(indices, values, strict=True)):
        raise models.Refused  # maps are not copied: they must be canonical
    return rows, targets


def arrays_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    """Return the three arrays of CSR rows, as JSON, with the data types that they are to have."""
    rows, features = rng.randrange(1, 4), rng.randrange(1, 5)
    lengths = [rng.randrange(4) for _ in range(rows)]
    starts = np.cumsum([0, *lengths]).tolist()
    indices = [rng.randrange(features) for _ in range(sum(lengths))]
    values = [rng.choice([1.0, 2.0, -1.0, 0.0, 1e308, -1e308]) for _ in indices]
    wide = [-1, -5, features, 2**31 - 1, 2**31, 2**32 + 1, 2**63, 2**64 - 1, 100]
    for array in (starts, indices):
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            if array:
                array[rng.randrange(len(array))] = rng.choice([*wide, *range(features), *starts])
    if rng.random() < 0.2:
        array = rng.choice([starts, indices, values])
        array[:] = array[:-1] if rng.random() < 0.5 else [*array, 1]
    if values and rng.random() < 0.1:
        values[rng.randrange(len(values))] = rng.choice([float("inf"), float("nan")])
    kinds = [rng.choice(["<i4", "<i8", "<u4", "<u8", ">i4", "<i2", "|u1", "<f8"]) for _ in range(2)]
    if rng.random() < 0.5:
        kinds = rng.choice([["<i4", "<i4"], ["<i8", "<i8"], ["<i8", "<i4"], ["<i4", "<i8"]])
    options = {"shape": (rows, features), "kinds": kinds, "strided": rng.random() < 0.1}
    return {}, options | {"starts": starts, "indices": indices, "values": values}


def cast(values: list[int], kind: str) -> np.ndarray:
    """Return an array of a type, numbers beyond it wrapped around."""
    if kind == "<f8":
        return np.array(values, float)
    size = np.dtype(kind).itemsize
    return (
        np.array([value % 2**64 for value in values], np.uint64)
        .astype(f"u{size}")
        .view(f"i{size}")
        .astype(kind)
    )


def arrays_given(kinds: Any, starts: Any, indices: Any, **_: Any) -> tuple[np.ndarray, np.ndarray]:
    first, second = cast(starts, kinds[0]), cast(indices, kinds[1])
    return first, second


def arrays_read(folder: Path, **options: Any) -> Any:
    starts, indices = arrays_given(**options)
    values, shape = np.array(options["values"], float), options["shape"]
    if options["strided"]:
        starts, indices, values = (np.repeat(part, 2)[::2] for part in (starts, indices, values))
    X = sparse.csr_array(shape)
    X.data, X.indices, X.indptr = values, indices, starts
    return problem_form(LeastSquares.from_data(X, np.arange(shape[0])))


def arrays_model(files: Files, **options: Any) -> Any:
    starts, indices = (part.tolist() for part in arrays_given(**options))
    models.require("<f8" not in options["kinds"])
    targets = [float(row) for row in range(options["shape"][0])]
    return models.canonical(options["shape"], starts, indices, options["values"], targets)


SOURCE = """def one(a, b):
    if a:
        raise ValueError(a)
    return [x for x in b]

class Two:
    def three(self, a):
        return lambda y: self + y + a

    def four(self, b):
        raise OSError(self, b)

def five(a, b):
    try:
        pass
    except OSError:
        raise
"""
CODINGS = ["utf-8", "latin-1", "rot13", "zlib", "hex", "undefined", "idna", "utf-16", "unicode_escape", "no"]


def source_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    text = SOURCE
    if rng.random() < 0.1:
        text = f"# -*- coding: {rng.choice(CODINGS)} -*-\n{text}"
    if rng.random() < 0.02:  # nested deeply: by turns a branch, a block and an expression
        depth = rng.choice([90, 400, 2_000])
        text += "if a:\n  x\n" + "elif a:\n  x\n" * depth if rng.random() < 0.5 else "-" * depth + "1\n"
    return {"a.py": text.encode(), "b.py": SOURCE.encode()}, {}


def source_read(folder: Path) -> Any:
    data = datasets.python_source(folder, min_count=1)
    assert np.isfinite(data.X.data).all()
    return sorted(data.y.tolist())


def source_model(files: Files) -> Any:
    """Return the labels, in order: those of functions that are in no other one."""
    labels: list[float] = []
    for text in files.values():
        with contextlib.suppress(Exception):
            tree = ast.parse(tokenized(text))
            inside = {
                id(child)
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                for child in ast.walk(node)
                if child is not node
            }
            labels += [
                1.0 if any(isinstance(part, ast.Raise) for part in ast.walk(node)) else -1.0
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and id(node) not in inside
            ]
    models.require(len(set(labels)) == 2)
    return sorted(labels)


def tokenized(text: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
    return io.TextIOWrapper(io.BytesIO(text), encoding).read()


READERS = {
    "load_svmlight": Reader(svmlight_sound, svmlight_read, svmlight_model, models.Refused, BAD, packed=pack),
    "convert_svmlight": Reader(
        converted_sound, converted_read, converted_model, models.Refused, BAD, packed=pack
    ),
    "load_ratings": Reader(
        ratings_sound,
        ratings_read,
        lambda files, name: models.ratings(files[name], name),
        models.Refused,
        BAD,
    ),
    "load_edges": Reader(
        edges_sound,
        edges_read,
        lambda files, terminals: models.edges(files["g.txt"], terminals),
        models.Refused,
        BAD,
    ),
    "load_dimacs": Reader(
        dimacs_sound, dimacs_read, lambda files: models.dimacs(files["g.max"]), models.Refused, BAD
    ),
    "python_source": Reader(source_sound, source_read, source_model, models.Refused, BAD),
    "open_rows": Reader(stored_sound, stored_read, stored_model, models.Refused, BAD),
    "arrays": Reader(
        arrays_sound, arrays_read, arrays_model, models.Refused, (ValueError, TypeError), named=False
    ),
}
