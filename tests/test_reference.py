"""The committed reference run: its files follow from each other, and it cannot tell a backend from itself."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from experiments import statistics
from experiments.design import plan, spec
from experiments.judge import claims, precision, tables, verify
from experiments.measure import progress
from experiments.report import readme

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
REPETITIONS = 20


@pytest.fixture(scope="module")
def run() -> tables.Run:
    return tables.load(REFERENCE)


def test_its_files_follow_from_each_other() -> None:
    assert verify.problems(REFERENCE) == []


def test_the_readme_says_what_it_says() -> None:
    readme.update(REFERENCE, ROOT / "README.md", check=True)


def test_all_replicates_were_run_where_the_planned_ones_left_an_interval_too_wide(run: tables.Run) -> None:
    precise = [loaded for loaded in spec.find([], "full") if loaded.precision]
    for loaded in precise:
        trials = tables.select(run, {"experiment": loaded.name})
        planned = trials[trials["replicate"] < loaded.size.replicates]
        if (precision.judge(run._replace(trials=planned), [loaded])["outcome"] != "reached").any():
            assert trials["replicate"].max() + 1 == loaded.size.most_replicates, loaded.name
    assert set(run.precision["experiment"]) == {loaded.name for loaded in precise}
    again = precision.judge(run, precise)  # precision.csv follows, too
    assert again["outcome"].tolist() == run.precision["outcome"].tolist()
    for column in ("low", "high", "width"):
        assert again[column].to_numpy(float) == pytest.approx(run.precision[column].to_numpy(float))


@pytest.mark.parametrize("backend", ["serial", "hogwild_threads"])
def test_a_backend_is_not_told_apart_from_itself(run: tables.Run, backend: str) -> None:
    second = {"backend": f"{backend}_again"}
    pairs = tables.ratio(run, "seconds_per_epoch", second, {"backend": backend}, {"experiment": "control"})
    pairs = pairs[pairs["disturbed"] == ""]
    assert len(pairs) >= 10
    slower = claims.Threshold(value="seconds_per_epoch", at_least=1.0, margin=0.02)
    ratios, random = pairs["value"].to_numpy(float), np.random.default_rng(0)
    verdicts = [slower.judge(statistics.median_interval(ratios))]
    for _ in range(REPETITIONS):
        # Pairs are drawn with replacement, and which of the two has the second name is drawn, too: the names
        # mean nothing, so this is what another such run might have been.
        drawn = random.choice(ratios, ratios.size) ** random.choice([-1.0, 1.0], ratios.size)
        verdicts.append(slower.judge(statistics.median_interval(drawn)))
    assert set(verdicts) == {"inconsistent"}  # neither slower nor faster, in any of them


STEPPED = [
    ("paper_svm", "rcv1", "step"),
    ("paper_cuts", "abdomen", "abdomen_step"),
    ("paper_cuts", "dblife", "dblife_step"),
    ("paper_matrix_completion", "netflix", "netflix_step"),
    ("paper_matrix_completion", "kdd", "kdd_step"),
    ("paper_matrix_completion", "jumbo", "jumbo_step"),
]


@pytest.mark.parametrize(("experiment", "grid", "search"), STEPPED)
def test_steps_of_the_paper_are_the_largest_that_converge(
    run: tables.Run, experiment: str, grid: str, search: str
) -> None:
    tried = tables.select(run, {"experiment": experiment, "grid": search}).set_index("trial")
    first = run.history.groupby("trial")["objective"].first().reindex(tried.index)
    falls = (tried["objective"] < first) & (tried["status"] == "ok")
    used = tables.select(run, {"experiment": experiment, "grid": grid})["step_size"].unique()
    assert list(used) == [tried["step_size"][falls].max()]
    assert not falls.all()  # a larger one was tried, and did not


def test_the_time_left_is_about_what_is_told_after_a_third_of_the_run(
    run: tables.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = spec.find([], "full")
    # in the order of the plan, in which what was run again at the end kept its place
    most = {loaded.name: loaded.size.replicates for loaded in specs}
    beyond = run.trials["replicate"] >= run.trials["experiment"].map(most).fillna(math.inf)
    rows = run.trials[~beyond | (run.trials["purpose"] == "tune")]
    planned = [
        SimpleNamespace(experiment=row.experiment, backend=row.backend, workers=row.workers, key=row.trial)
        for row in tables.rows(rows)
    ]
    assert len(planned) > 1_000
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told = progress.Reporter(Console(file=io.StringIO()), planned, planned, plan.costs(specs, planned))
    took = rows["total_seconds"]
    for trial, seconds in zip(planned, took, strict=True):
        now[0] += seconds
        told.advance(trial, {"status": "ok"})
        if now[0] >= took.sum() / 3:
            break
    assert told.seconds_left() == pytest.approx(took.sum() - now[0], rel=0.2)
