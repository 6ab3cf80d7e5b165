"""The table of popularity says what was measured, paired within a turn."""

import numpy as np

import hogwild
from benchmarks import popularity


def test_runs_take_turns_in_new_orders_and_the_first_does_not_count(monkeypatch):
    monkeypatch.setattr(popularity, "REPEATS", 5)
    calls = []

    def runner(name):
        def run():
            calls.append(name)
            return len(calls)

        return run

    found = popularity.in_turns({name: runner(name) for name in "abcd"})
    turns = ["".join(calls[place : place + 4]) for place in range(0, 24, 4)]
    assert all(sorted(turn) == list("abcd") for turn in turns)
    assert len(calls) == 24
    assert len(set(turns)) > 1
    for name, seconds in found.items():
        assert seconds == [place + 1 for place, called in enumerate(calls) if called == name and place >= 4]


def test_times_are_medians_and_ratios_are_paired(monkeypatch):
    monkeypatch.setattr(popularity, "EPOCHS", 2)
    cells = popularity.cells([4.0, 2.0, 9.0], [1.0, 2.0, 3.0], 10**9)
    assert cells == ["2.00", "3.00 (1.00–4.00)"]


def test_each_order_is_compared_with_the_given_one_of_as_much_penalty(monkeypatch):
    clock = {"serial": 3e-6, "hogwild_threads": 2e-6, "replicated": 1e-6}
    data = hogwild.datasets.synthetic(30, 8, nonzeros_per_row=3, zipf_exponent=1.0, seed=1)
    first = hogwild.datasets.popular_first(data.X)[0]

    def seconds(problem, backend):
        faster = 0.5 if np.array_equal(problem.X.indices, first.indices) else 1.0
        return clock[backend] * faster * (1 + problem.l2)

    monkeypatch.setattr(popularity, "REPEATS", 3)
    monkeypatch.setattr(popularity, "train_seconds", seconds)
    heads, *rows = popularity.table(data)
    assert heads[:3] == ["features", "l2", "ns, serial"]
    assert [row[:2] for row in rows] == [
        [order, penalty] for order in ("as named", "popular first") for penalty in "01"
    ]
    ratios = [[row[place] for place in (3, 5, 7)] for row in rows]
    assert ratios == [["1.00 (1.00–1.00)"] * 3] * 2 + [["0.50 (0.50–0.50)"] * 3] * 2
    nonzeros = popularity.EPOCHS * data.X.nnz
    assert rows[3][2] == f"{3e-6 / nonzeros * 1e9:.2f}"


def test_the_tables_are_printed(monkeypatch, capsys):
    for name, value in {
        "EXAMPLES": 30,
        "MANY_FEATURES": 50,
        "NONZEROS_PER_ROW": 5,
        "EPOCHS": 1,
        "REPEATS": 2,
    }.items():
        monkeypatch.setattr(popularity, name, value)
    popularity.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in table] == (["features"] + ["as named"] * 2 + ["popular first"] * 2) * 2
    assert all(float(row[place]) > 0 for row in table if row[0] != "features" for place in (2, 4, 6))
