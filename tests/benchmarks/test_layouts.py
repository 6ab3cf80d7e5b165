"""Every layout computes what a slow twin does on the values it stores; the tables say what was measured."""

import platform
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import hogwild
from benchmarks import encodings, layouts, native
from benchmarks.encodings import BASELINE, LAYOUTS

BYTES = {
    BASELINE: 12,
    "uint32 + float32": 8,
    "uint32 + float32, float32 weights": 8,
    "uint16 + float64": 10,
    "16-bit distances + float64": 10,
    "uint32 + bfloat16": 6,
    "uint32 + int16": 6,
    "uint16 + bfloat16": 4,
    "packed uint32, float32": 8,
    "packed uint32, float64": 12,
    "uint32 + float64, AVX2 gathers": 12,
    "uint32 + float64, AVX-512 gathers": 12,
}
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="there is no C++ compiler")


def rows_of(lengths, n_features, rng):
    """Return rows of given lengths with normal values, scaled so that a step is small enough for all."""
    indices = [np.sort(rng.choice(n_features, length, replace=False)) for length in lengths]
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.standard_normal(pointers[-1]) / np.sqrt(max(lengths))
    return sparse.csr_array((values, np.concatenate(indices), pointers), shape=(len(lengths), n_features))


def problem_of(n_features=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rows_of([0, 1, 3, 4, 5, 8, 9, 16, 17, 0, 23, 2, 7], n_features, rng)
    return hogwild.problems.LeastSquares.from_data(X, rng.standard_normal(X.shape[0]))


def slow_bfloat16(value):
    """Return the nearest of the two numbers around a value of which float32 has the lower half empty."""
    bits = struct.unpack(">I", struct.pack(">f", value))[0]
    below = bits & 0xFFFF0000
    near = [struct.unpack(">f", struct.pack(">I", each))[0] for each in (below, below + 0x10000)]
    return min(near, key=lambda number: abs(number - np.float32(value)))


def stored_values(name, values):
    """Return the values that a layout holds, by its name."""
    if "bfloat16" in name:
        return np.array([slow_bfloat16(value) for value in values])
    if "int16" in name.split():
        unit = max(abs(value) for value in values) / 32_767
        return np.array([unit * round(value / unit) for value in values])
    if "float32" in name:
        return np.array([float(np.float32(value)) for value in values])
    return values


def slow_epochs(problem, values, first, last, dtype):
    X, weights = problem.X, np.zeros(problem.n_features, dtype)
    for _ in range(layouts.EPOCHS):
        for row in range(first, last):
            at = range(X.indptr[row], X.indptr[row + 1])
            product = sum(dtype(values[entry]) * weights[X.indices[entry]] for entry in at)
            slope = dtype(2) * (dtype(product) - dtype(problem.y[row]))
            for entry in at:
                weights[X.indices[entry]] -= dtype(layouts.STEP) * slope * dtype(values[entry])
    return weights


def run(name, problem, threads=1):
    found = layouts.run_native(name, LAYOUTS[name][1](problem.X), problem, threads)
    if found is None:
        pytest.skip("this processor lacks the instructions")
    return found


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_computes_what_the_twin_does_on_the_values_it_stores(name, threads):
    problem = problem_of()
    seconds, weights = run(name, problem, threads)
    assert seconds > 0
    single = name.endswith("float32 weights")
    assert weights.dtype == (np.float32 if single else np.float64)
    values = stored_values(name, problem.X.data)
    for mine in range(threads):
        part = (problem.n_examples * mine // threads, problem.n_examples * (mine + 1) // threads)
        expected = slow_epochs(problem, values, *part, weights.dtype.type)
        np.testing.assert_allclose(
            weights[mine], expected, rtol=1e-4 if single else 1e-11, atol=1e-7 * single
        )


@needs_compiler
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_keeps_the_values_equals_the_baseline_and_no_other_does(name):
    problem = problem_of()
    exact = np.array_equal(stored_values(name, problem.X.data), problem.X.data)
    assert exact is ("float64" in name)
    weights, expected = (run(each, problem)[1] for each in (name, BASELINE))
    assert np.allclose(weights, expected, rtol=1e-11, atol=0) is exact
    assert np.allclose(weights, expected, rtol=0.1, atol=0.01)


@needs_compiler
def test_the_baseline_computes_what_the_library_does():
    problem = problem_of()
    weights = run(BASELINE, problem)[1][0]
    np.testing.assert_allclose(weights, layouts.run_ours(problem).weights, rtol=1e-11)


@needs_compiler
def test_distances_that_do_not_fit_are_decoded_too():
    gaps = [2**16 - 2, 2**16 - 1, 2**16, 1, 2**17, 2**18 + 5, 3]
    rows = [
        np.cumsum(gaps),
        np.array([0, 65_535]),
        np.array([2**19]),
        np.array([], int),
        np.cumsum(gaps[::-1]),
    ]
    pointers = np.concatenate([[0], np.cumsum([row.size for row in rows])])
    values = np.linspace(0.1, 0.5, pointers[-1])
    X = sparse.csr_array((values, np.concatenate(rows), pointers), shape=(5, 2**20))
    problem = hogwild.problems.LeastSquares.from_data(X, np.arange(1.0, 6.0))
    for threads in (1, 2):
        weights = run("16-bit distances + float64", problem, threads)[1]
        assert np.array_equal(weights, run(BASELINE, problem, threads)[1])


@given(st.lists(st.sets(st.integers(0, 2**18), max_size=6), min_size=1, max_size=5))
def test_distances_hold_the_indices(rows):
    ordered = [sorted(row) for row in rows]
    pointers = np.cumsum([0, *map(len, rows)])
    indices = np.array([index for row in ordered for index in row], np.int32)
    X = sparse.csr_array((np.ones(indices.size), indices, pointers), shape=(len(rows), 2**18 + 1))
    encoded = encodings.deltas(X)
    codes = encoded.indices.tolist()
    for row, place in zip(ordered, encoded.positions, strict=False):
        index, decoded = 0, []
        for _ in row:
            distance, place = codes[place], place + 1
            if distance == 65_535:
                distance, place = codes[place] + 65_536 * codes[place + 1], place + 2
            index += distance
            decoded.append(index)
        assert decoded == row
    assert encoded.positions[-1] == len(codes)


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_bfloat16_is_the_nearest(value):
    bits = int(encodings.bfloat16(np.array([value]))[0])
    stored = struct.unpack(">f", struct.pack(">I", bits << 16))[0]
    assert abs(stored - value) == abs(slow_bfloat16(value) - value)


def test_bfloat16_of_a_tie_is_even():
    ties = np.array([0x3F80_8000, 0x3F81_8000], np.uint32).view(np.float32)
    assert encodings.bfloat16(ties).tolist() == [0x3F80, 0x3F82]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if "uint16" in name])
def test_16_bit_indices_need_few_features(name):
    encode = LAYOUTS[name][1]
    assert encode(problem_of(2**16 - 1).X).indices.dtype == np.uint16
    with pytest.raises(ValueError, match="X has 65,536 features; 16-bit indices allow less than 65,536"):
        encode(problem_of(2**16).X)


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flag is one of x86-64")
def test_gathers_are_left_out_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(
        native, "FLAGS", ("-march=x86-64", *(flag for flag in native.FLAGS if "march" not in flag))
    )
    native.library.cache_clear()
    try:
        problem = problem_of()
        missing = {
            name for name in LAYOUTS if layouts.run_native(name, LAYOUTS[name][1](problem.X), problem) is None
        }
        assert missing == {name for name in LAYOUTS if "gathers" in name}
        monkeypatch.setattr(layouts, "REPEATS", 1)
        cells = {row[0]: row[1:] for row in layouts.storage_table(problem)}
        for name in missing:
            assert cells[name] == ["12.00", *"––––", "not available"]
    finally:
        native.library.cache_clear()


def test_without_a_compiler_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(native, "compiler", lambda: None)
    monkeypatch.setattr(hogwild.datasets, "rcv1_twin", None)
    native.library.cache_clear()
    with pytest.raises(NotImplementedError, match=r"no C\+\+ compiler"):
        layouts.main()


def test_runs_take_turns_in_new_orders_and_the_first_does_not_count(monkeypatch):
    monkeypatch.setattr(layouts, "REPEATS", 5)
    calls = []

    def runner(name):
        def run():
            calls.append(name)
            return len(calls), -len(calls)

        return run

    found = layouts.in_turns({name: runner(name) for name in "abcd"})
    turns = ["".join(calls[place : place + 4]) for place in range(0, 24, 4)]
    assert all(sorted(turn) == list("abcd") for turn in turns)
    assert len(calls) == 24
    assert len(set(turns)) > 1
    for name, (seconds, objectives) in found.items():
        assert seconds == [place + 1 for place, called in enumerate(calls) if called == name and place >= 4]
        assert objectives == [-each for each in seconds]


def test_times_are_medians_and_ratios_are_paired(monkeypatch):
    monkeypatch.setattr(layouts, "EPOCHS", 2)
    cells = layouts.timed([4.0, 2.0, 9.0], [1.0, 2.0, 3.0], SimpleNamespace(nonzeros=10**9))
    assert cells == ["2.00", "3.00 (1.00–4.00)"]


def blocks(lengths, rng):
    """Return rows whose columns alternate between two halves, in two lengths."""
    parts = [rows_of([length] * 40, 12, rng) for length in lengths]
    together = sparse.block_diag(parts, format="csr")
    return sparse.csr_array(together[np.arange(80).reshape(2, 40).T.ravel()])


def test_an_order_keeps_halves_on_columns_of_their_own_where_there_is_one(monkeypatch):
    X = blocks((6, 9), np.random.default_rng(0))
    monkeypatch.setattr(layouts, "BUCKET", 80)
    found = layouts.orders(X)
    assert all(np.array_equal(np.sort(order), np.arange(80)) for order in found.values())
    assert np.array_equal(found["as stored"], np.arange(80))
    shares = {name: layouts.shared(X[order]) for name, order in found.items()}
    assert shares["as stored"][:2] > (0.9, 0.005)
    assert shares["sorted"] == shares["sorted, halves of equal work"] == (0, 0, 0.6)


def test_an_order_of_equal_work_deals_rows_of_like_length_to_both_halves(monkeypatch):
    X = blocks((4, 10), np.random.default_rng(0))
    monkeypatch.setattr(layouts, "BUCKET", 10)
    larger = {name: layouts.shared(X[order])[2] for name, order in layouts.orders(X).items()}
    assert larger["sorted"] == pytest.approx(10 / 14)
    assert larger["sorted, halves of equal work"] == pytest.approx(0.5)


def test_what_halves_share_is_weighted_by_writes():
    X = sparse.csr_array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1.0]])
    assert layouts.shared(X) == (4 / 8, (2 / 3) * (2 / 5), 5 / 8)


@needs_compiler
def test_the_tables_are_printed(monkeypatch, capsys):
    for name, value in {
        "EXAMPLES": 30,
        "FEATURES": 50,
        "NONZEROS_PER_ROW": 5,
        "DOCUMENTS": 40,
        "EPOCHS": 1,
        "REPEATS": 2,
    }.items():
        monkeypatch.setattr(layouts, name, value)
    layouts.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [row for row in table if row[-1] == "objective"]
    assert [row[0] for row in heads] == ["layout", "layout", "order", "order"]
    sizes = {row[0]: float(row[1]) for row in table[1 : 1 + len(BYTES)]}
    assert sizes == BYTES
    for row in table:
        if row[0] == BASELINE:
            assert row[3] == row[5] == "1.00 (1.00–1.00)"
            assert float(row[-1]) == 0
        if "bfloat16" in row[0]:
            assert 1e-9 < abs(float(row[-1])) < 0.01
        if row[0] in ("hogwild", "as stored"):
            assert float(row[2 if row[0] == "hogwild" else 4]) > 0
    assert [row[0] for row in table].count("hogwild, float32") == 2
    assert [row[0] for row in table].count("sorted, halves of equal work") == 2


def test_each_order_of_the_weights_is_compared_with_the_given_one_of_as_much_penalty(monkeypatch):
    clock = {"serial": 3e-6, "hogwild_threads": 2e-6, "replicated": 1e-6}
    data = hogwild.datasets.synthetic(30, 8, nonzeros_per_row=3, zipf_exponent=1.0, seed=1)
    first = hogwild.datasets.popular_first(data.X)[0]

    class Ran:
        objective = 0.5

        def __init__(self, problem, backend, workers):
            assert workers == (1 if backend == "serial" else 2)
            faster = 0.5 if np.array_equal(problem.X.indices, first.indices) else 1.0
            self.train_seconds = clock[backend] * faster * (1 + problem.l2)

    monkeypatch.setattr(layouts, "REPEATS", 3)
    monkeypatch.setattr(layouts, "run_ours", Ran)
    heads, *rows = layouts.popularity_table(data)
    assert heads[:3] == ["features", "l2", "ns, serial"]
    assert [row[:2] for row in rows] == [
        [order, penalty] for order in ("as named", "popular first") for penalty in "01"
    ]
    ratios = [[row[place] for place in (3, 5, 7)] for row in rows]
    assert ratios == [["1.00 (1.00–1.00)"] * 3] * 2 + [["0.50 (0.50–0.50)"] * 3] * 2
    nonzeros = layouts.EPOCHS * data.X.nnz
    assert rows[3][2] == f"{3e-6 / nonzeros * 1e9:.2f}"
