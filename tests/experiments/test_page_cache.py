"""Cold data: out of the page cache before each epoch, or no trial at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hogwild
from experiments.design import plan, spec
from experiments.measure import execution, page_cache
from hogwild.datasets import large_synthetic, save_rows
from hogwild.datasets.mapping import mapping_of
from hogwild.problems import LeastSquares

SPEC = """
question = "Is it cold in there?"
[[grid]]
name = "files"
problem = "least_squares"
solve = false
dataset = "large_synthetic"
data = {nonzeros = 40_000, n_features = 100, nonzeros_per_row = 20, seed = 1}
[grid.run]
backend = ["serial", "hogwild_processes"]
sampling = "as_stored"
page_cache = ["warm", "cold"]
epochs = 2
"""


def problem(rows: int = 20_000) -> LeastSquares:
    data = large_synthetic(rows, 100, nonzeros_per_row=20)
    return LeastSquares.from_data(data.X, data.y)


def whole(some: LeastSquares) -> np.memmap:
    found = mapping_of(some.X.data)
    assert found is not None
    return found


def evict(some: LeastSquares) -> None:
    try:
        page_cache.evict(some)
    except NotImplementedError as reason:
        pytest.skip(f"the disk of the tests: {reason}")


def test_evicted_data_are_out_of_memory_until_they_are_read() -> None:
    some = problem()
    weights = np.linspace(-1, 1, 100)
    before = some.objective(weights)
    assert page_cache.resident(whole(some)) == 1
    evict(some)
    assert page_cache.resident(whole(some)) < 0.05
    assert some.objective(weights) == before
    assert page_cache.resident(whole(some)) == 1


def test_only_files_can_be_cold() -> None:
    some = LeastSquares.from_data(np.eye(3), np.ones(3))
    with pytest.raises(NotImplementedError, match="only data that are mapped"):
        page_cache.evict(some)


def test_data_on_a_disk_in_memory_are_never_cold(tmp_path: Path) -> None:
    place = Path("/dev/shm")
    if not place.is_dir():
        pytest.skip("there is no disk in memory")
    folder = place / f"hogwild-test-{tmp_path.name}"
    try:
        save_rows(folder, np.ones((2000, 10)), np.ones(2000))
        data = hogwild.datasets.open_rows(folder)
        with pytest.raises(NotImplementedError, match=r"pages of .* stay in memory"):
            page_cache.evict(LeastSquares.from_data(data.X, data.y))
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_a_cold_trial_finds_the_data_out_of_memory_before_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(SPEC)
    trials = plan.make([spec.load(tmp_path / "mine.toml")], 1)
    assert {(trial.backend, trial.page_cache) for trial in trials} == {
        (backend, cache) for backend in ("serial", "hogwild_processes") for cache in ("warm", "cold")
    }
    assert len({trial.key for trial in trials}) == 4
    evict(problem())
    evicted: list[object] = []
    monkeypatch.setattr(page_cache, "evict", evicted.append)
    outcomes = {}
    for trial in trials:
        evicted.clear()
        if (trial.backend, trial.page_cache) == ("hogwild_processes", "cold"):
            with pytest.raises(execution.Impossible, match="keeps pages"):
                execution.execute(trial)
            continue
        found = execution.execute(trial).columns
        outcomes[trial.backend, trial.page_cache] = found["objective"]
        assert len(evicted) == (3 * found["attempts"] if trial.page_cache == "cold" else 0)
        assert plan.describe(trial)["page_cache"] == trial.page_cache
    assert outcomes["serial", "cold"] == outcomes["serial", "warm"]
    cold_peer = replace(trials[0], backend="sklearn_sgd", page_cache="cold")
    with pytest.raises(execution.Impossible, match="sklearn_sgd keeps pages"):
        execution.execute(cold_peer)
