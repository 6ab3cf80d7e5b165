"""From names to problems of every family, with what is held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import hogwild
from experiments.design import plan, spec, workloads
from experiments.design.workloads import Workload
from experiments.measure import execution, journal
from hogwild.datasets import Dataset
from tests.experiments.trials import TRIAL

RATINGS = Workload(
    "matrix_completion",
    0.5,
    "float64",
    "low_rank",
    (("n_columns", 30), ("n_rows", 40), ("nonzeros", 500), ("rank", 3), ("test_fraction", 0.2)),
    7,
    rank=3,
)
GRAPH = Workload("graph_cut", 0.0, "float64", "entity_graph", (("n_entities", 3), ("n_mentions", 30)), 7)


def test_every_problem_has_data_and_every_data_set_a_problem() -> None:
    kinds = {workloads.kind_of_data(name) for name in hogwild.datasets.NAMES}
    assert kinds == {problem.takes for problem in hogwild.problems.PROBLEMS.values()}


def test_every_error_has_its_columns() -> None:
    columns = [workloads.error_columns(problem) for problem in hogwild.problems.PROBLEMS.values()]
    assert {name for names in columns for name in names} <= set(journal.TRIAL_COLUMNS)


def test_ratings_are_split_and_keep_their_factors() -> None:
    built = workloads.build(RATINGS)
    assert (built.problem.n_examples, built.held_out.n_examples) == (400, 100)
    assert built.problem.n_variables == built.held_out.n_variables == 70
    assert built.problem.mu == 0.5
    assert built.problem.true_weights is not None
    assert built.columns["rank"] == 3
    assert built.columns["optimum_certificate"] == "best_of_8_starts"
    assert built.columns["optimum_error"] < 1e-4
    assert workloads.build(replace(RATINGS, rank=2, solve=False)).problem.true_weights is None


def test_graphs_are_not_split() -> None:
    built = workloads.build(GRAPH)
    assert built.held_out is None
    assert built.problem.n_labels == 3
    assert 0 < built.columns["meeting_share"] <= built.columns["rho"] <= 1
    assert "test_fraction" not in workloads.options("entity_graph")
    assert "test_fraction" in workloads.options("low_rank")


def test_a_data_set_with_parts_of_its_own_is_tested_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the paper does with RCV1: trained on the test part, tested on the training part."""

    def parts(subset: str = "train") -> Dataset:
        rows = {"train": 3, "test": 5}[subset]
        return Dataset(sp.csr_array(np.eye(rows, 4)), np.ones(rows), None, subset, subset)

    monkeypatch.setitem(hogwild.datasets.NAMES, "parts", parts)
    assert "test_subset" in workloads.options("parts")
    chosen = (("subset", "test"), ("test_subset", "train"))
    train, test = workloads.data("parts", chosen, 0)
    assert test is not None
    assert (train.y.size, test.y.size) == (5, 3)


@pytest.mark.parametrize(
    ("workload", "errors"),
    [(RATINGS, {"train_rmse", "test_rmse"}), (GRAPH, {"cut"})],
    ids=["ratings", "graph"],
)
def test_a_trial_of_each_family_has_its_errors_and_tallies(workload: Workload, errors: set[str]) -> None:
    trial = replace(
        TRIAL, workload=workload, backend="aig", workers=2, step_size=0.02, epochs=2, gradient_delay=1e-7,
        instrument=True,
    )  # fmt: skip
    found = execution.execute(trial).columns
    assert {name for name in found if "rmse" in name or name == "cut"} == errors
    assert found["status"] == "ok"
    assert found["lost_share"] < 1e-9
    assert found["expected_collision_rate"] == pytest.approx(found["meeting_share"])
    assert 0 < found["measured_delay_seconds"] < 1


def test_a_spec_may_not_give_a_problem_data_of_another_family(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text(
        'question = "Does it load at all?"\n[[grid]]\nname = "small"\nproblem = "graph_cut"\n'
        'dataset = "rcv1_twin"\n[grid.run]\nbackend = "serial"\n'
    )
    with pytest.raises(spec.SpecError, match="'rcv1_twin' is not for the problem 'graph_cut'"):
        spec.load(path)


def test_the_spec_that_needs_the_disk_is_valid_and_needs_no_memory() -> None:
    loaded = spec.load(spec.SPECS / "disk" / "scale_billion.toml", "full")
    trials = plan.make([loaded], 2)
    assert {trial.page_cache for trial in trials} == {"warm", "cold"}
    assert {workloads.memory_need(trial.workload) for trial in trials} == {0.0}
    assert dict(trials[0].workload.data)["n_examples"] == 13_333_333
    assert loaded.name not in {known.name for known in spec.find([], "quick")}


def test_the_spec_that_needs_the_network_is_valid_and_not_among_all() -> None:
    loaded = spec.load(spec.SPECS / "network" / "paper_svm_rcv1.toml")
    assert loaded.grid[0].data["test_subset"] == ["train"]
    assert loaded.name not in {other.name for other in spec.find([], "quick")}
