"""One trial for real: what its columns hold, and that every option reaches the library."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import hogwild
import hogwild.problems.base
import hogwild.problems.optimum
from experiments.design import plan, workloads
from experiments.design.options import OPTIONS, Target
from experiments.design.workloads import Workload
from experiments.measure import execution, journal, machine, outcome
from experiments.measure.outcome import Impossible
from hogwild.engine.steps import Constant
from tests.experiments.trials import TRIAL, WORKLOAD


def test_a_real_trial_fills_its_columns() -> None:
    columns = execution.execute(
        replace(TRIAL, backend="hogwild_threads", workers=2, evaluations_per_epoch=2)
    ).columns
    assert columns["status"] == "ok"
    assert columns["reason"] == ""
    assert columns["updates"] == 3 * 60
    assert columns["train_seconds"] > 0
    assert columns["updates_per_second"] == pytest.approx(180 / columns["train_seconds"])
    per_row = columns["nonzeros"] / 60
    assert columns["ns_per_nonzero"] == pytest.approx(1e9 * columns["train_seconds"] / (180 * per_row))
    assert columns["n_features"] == columns["omega"] == 8 or columns["omega"] < 8
    assert columns["optimum"] <= columns["objective"] <= columns["objective_zero"]
    assert 0 <= columns["suboptimality"] < 1
    assert len(columns["data_hash"]) == 64
    assert columns["mean_absolute_residual"] > 0
    assert set(columns) <= set(journal.TRIAL_COLUMNS)
    others = {
        "cut",
        "rank",
        *(f"{part}_{name}" for part in ("train", "test") for name in ("error_rate", "rmse")),
    }
    empty = set(journal.TRIAL_COLUMNS) - set(columns) - set(plan.describe(TRIAL)) - others
    assert len(empty) <= 12  # an instrument's, and what the runner adds


def test_workers_are_starved_by_others_only_where_each_could_have_a_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1])
    checkpoints = [None] * 11
    result = SimpleNamespace(cpu_seconds=(3.0, 2.0), starved_seconds=(1.0, 4.0), history=checkpoints)
    ours = 2 * 10 * execution.HAND_OVER
    assert execution._starved(replace(TRIAL, workers=2), result) == pytest.approx((5 - ours) / 10)
    assert math.isnan(execution._starved(replace(TRIAL, workers=3), result))
    quick = SimpleNamespace(cpu_seconds=(1e-3, 1e-3), starved_seconds=(ours / 2, 0.0), history=checkpoints)
    assert execution._starved(replace(TRIAL, workers=2), quick) == 0
    peer = SimpleNamespace(cpu_seconds=(3.0,), starved_seconds=(), history=checkpoints)
    assert math.isnan(execution._starved(TRIAL, peer))


def test_every_option_is_an_argument_unless_it_is_left_to_the_library() -> None:
    ours = [item for item in OPTIONS.values() if item.target not in (Target.STEP, Target.HARNESS)]
    given = {item.name: f"other {item.name}" for item in ours}
    call = execution._call(replace(TRIAL, **given), workloads.build(WORKLOAD).problem)
    assert call == {**given, "step_size": Constant(0.1), "seed": 3}
    given = {item.name: item.default for item in ours if item.name != "backend"}
    call = execution._call(replace(TRIAL, **given), workloads.build(WORKLOAD).problem)
    left_out = {item.name for item in ours if item.unset}
    assert left_out == {"initial_weights", "merge_every", "hot_weights"}
    assert call.keys() == (given.keys() | {"backend", "step_size", "seed"}) - left_out


OTHER = {
    "step_size": 0.01,
    "step_rule": "exponential_backoff",
    "sampling": "with_replacement",
    "epochs": 2,
    "batch_size": 5,
    "gradient_threshold": 0.5,
    "initial_weights": "normal",
    "target": 0.5,
    "order_seed": 4,
    "evaluations_per_epoch": 2,
}


@pytest.mark.parametrize("field", OTHER)
def test_every_option_of_a_trial_reaches_the_library(field: str) -> None:
    trial = replace(TRIAL, **{"step_parameter": 0.5 if field == "step_rule" else None, field: OTHER[field]})
    results = [execution.execute(each) for each in (TRIAL, trial)]
    plain, changed = ([(row[1], row[5]) for row in result.history] for result in results)
    assert plain != changed


def test_dual_ascent_is_run_without_a_step_size() -> None:
    stepless = {"method": "sdca", "step_rule": None, "step_size": None, "step_parameter": None}
    trial = replace(TRIAL, workload=replace(WORKLOAD, l2=30.0), epochs=30)
    sgd, ascent = (execution.execute(each).columns for each in (trial, replace(trial, **stepless)))
    assert ascent["status"] == "ok"
    assert abs(ascent["suboptimality"]) < 1e-9 < sgd["suboptimality"]


def test_held_out_examples_give_a_test_error() -> None:
    data = (
        ("n_examples", 300),
        ("n_features", 8),
        ("nonzeros_per_row", 4),
        ("task", "classification"),
        ("test_fraction", 0.5),
    )
    trial = replace(TRIAL, workload=replace(WORKLOAD, problem="logistic", l2=1.0, data=data), epochs=20)
    columns = execution.execute(trial).columns
    assert columns["n_examples"] == 150
    assert 0 <= columns["train_error_rate"] < 0.4
    assert 0 <= columns["test_error_rate"] < 0.4
    assert columns["test_error_rate"] != columns["train_error_rate"]
    assert columns.get("mean_absolute_residual") is None


def test_what_was_measured_ended_as_runs_of_the_library_do() -> None:
    assert set(outcome.MEASURED) <= set(hogwild.Status)
    assert set(outcome.Status) - set(outcome.MEASURED) == {"skipped", "error"}


def test_divergence_is_a_status_with_a_reason() -> None:
    columns = execution.execute(replace(TRIAL, step_size=50.0, epochs=50)).columns
    assert columns["status"] == "diverged"
    assert "epoch" in columns["reason"]


def test_what_cannot_run_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(WORKLOAD, data=(("density", 1.0), ("n_examples", 10**12), ("n_features", 1_000)))
    with pytest.raises(Impossible, match="GiB of memory"):
        execution.execute(replace(TRIAL, workload=large))

    def missing(workload: Workload) -> None:
        raise ImportError("install hogwild[datasets]")

    monkeypatch.setattr(workloads, "build", missing)
    with pytest.raises(Impossible, match="install hogwild"):
        execution.execute(TRIAL)


def test_a_trial_says_whether_its_optimum_is_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = execution.execute(TRIAL).columns
    assert (solved["optimum_certified"], solved["optimum_error"] < 1e-6) == (True, True)
    unsolved = execution.execute(replace(TRIAL, workload=replace(WORKLOAD, solve=False))).columns
    assert unsolved["optimum_certified"] is None
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(hogwild.problems.optimum, "MOST_VISITS", 1.0)
    hogwild.problems.base._cached_optimum.cache_clear()
    hard = replace(TRIAL, workload=replace(WORKLOAD, l2=0.25))
    open_ended = execution.execute(replace(hard, target=None)).columns
    with pytest.raises(Impossible, match="certified to a suboptimality of"):
        execution.execute(replace(hard, target=1e-3))
    hogwild.problems.base._cached_optimum.cache_clear()
    assert open_ended["optimum_certified"] is False
    assert open_ended["optimum_error"] > 1e-4
    assert math.isnan(open_ended["suboptimality"])


def test_a_peer_is_run_like_a_backend() -> None:
    pytest.importorskip("sklearn")
    found = execution.execute(replace(TRIAL, backend="sklearn_sgd", epochs=5))
    assert found.columns["status"] == "ok"
    assert found.columns["updates"] == 300
    assert [row[0] for row in found.history] == [0.0, 1.0, 2.0, 3.0, 5.0]  # TRIAL's optimum is known
    speed = replace(TRIAL, workload=replace(WORKLOAD, solve=False), backend="sklearn_sgd", epochs=5)
    assert [row[0] for row in execution.execute(speed).history] == [0.0, 5.0]
    limited = execution.execute(replace(TRIAL, backend="sklearn_sgd", epochs=5, time_limit=1e-9)).columns
    assert (limited["status"], limited["updates"]) == ("timeout", 60)


def test_a_workload_is_built_once() -> None:
    assert workloads.build(WORKLOAD) is workloads.build(replace(WORKLOAD))
    other = workloads.build(replace(WORKLOAD, problem="least_squares", l2=1.0))
    assert other.columns["data_hash"] == workloads.build(WORKLOAD).columns["data_hash"]
    assert plan.seed("data", 0) != plan.seed("data", 1)
    reseeded = workloads.build(replace(WORKLOAD, data_seed=8))
    assert reseeded.columns["data_hash"] != other.columns["data_hash"]
