"""Runs of peers: a fit for each budget, its clock, its trials in a plan and in the tables."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import peers
from experiments.design import plan, spec, workloads
from experiments.judge import tables
from experiments.measure import execution
from experiments.peers import factors, fitting, registry
from hogwild import Status
from tests.experiments import fake_run
from tests.experiments.test_peers import STEP, make

pytest.importorskip("sklearn")


def test_a_peer_that_explodes_gives_back_what_it_had_before(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {1: np.full(5, 0.01), 2: np.full(5, 0.02), 3: np.full(5, 1e200)}
    record = peers.Peer("explosive", (), lambda *_: fits.__getitem__, registry.ANY)
    monkeypatch.setitem(peers.PEERS, "explosive", record)
    problem = make("least_squares")
    problem.solve()
    result = peers.fit(problem, "explosive", epochs=3, seed=0)
    assert result.status == "diverged"
    assert result.weights.tolist() == [0.02] * 5
    assert result.objective == problem.objective(result.weights) == result.history[-2].objective


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A peer whose fits take so many seconds, by a clock of its own, and end at chosen suboptimalities."""

    def script(problem: Any, seconds: dict[int, float], gaps: dict[int, float]) -> list[int]:
        clock, fits = [0.0], []
        best = problem.solve().weights

        def scaled(gap: float) -> np.ndarray:
            low, high = 0.0, 1.0  # the objective falls along the line from zero to the optimum
            for _ in range(60):
                middle = (low + high) / 2
                found = problem.suboptimality(problem.objective(middle * best))
                low, high = (middle, high) if found > gap else (low, middle)
            return np.asarray(high * best)

        def prepare(problem: Any, options: peers.Options) -> Callable[[int], np.ndarray]:
            clock[0] += 100.0

            def train(epochs: int) -> np.ndarray:
                fits.append(epochs)
                clock[0] += seconds[epochs]
                return scaled(gaps[epochs])

            return train

        record = peers.Peer("scripted", (), prepare, registry.ANY)
        monkeypatch.setitem(peers.PEERS, "scripted", record)
        monkeypatch.setattr(fitting.time, "perf_counter", lambda: clock[0])
        return fits

    return script


def solved() -> Any:
    problem = make("logistic")
    problem.solve()
    return problem


def test_each_budget_is_a_fit_of_its_own_until_the_target(scripted: Callable[..., list[int]]) -> None:
    problem = solved()
    gaps = {1: 0.5, 2: 0.2, 3: 0.05, 5: 0.008, 8: 1e-4}
    fits = scripted(problem, {1: 1.0, 2: 2.0, 3: 9.0, 5: 4.0, 8: 5.0}, gaps)
    result = peers.fit(problem, "scripted", epochs=50, seed=0, target=1e-2, time_limit=60.0)
    assert fits == [1, 1, 2, 3, 5]  # the first one warms up
    assert [row.epoch for row in result.history] == [0, 1, 2, 3, 5]
    assert [row.updates for row in result.history] == [0, 40, 80, 120, 200]
    # the fit of three epochs took longer than that of five: it is given the time of that
    assert [row.train_seconds for row in result.history] == pytest.approx([0.0, 1.0, 2.0, 4.0, 4.0])
    assert [row.suboptimality for row in result.history[1:]] == pytest.approx([0.5, 0.2, 0.05, 0.008])
    assert (result.status, result.setup_seconds, result.updates) == (Status.OK, 100.0, (200,))


def test_the_time_limit_counts_all_fits_and_begins_none_that_would_exceed_it(
    scripted: Callable[..., list[int]],
) -> None:
    problem = solved()
    fits = scripted(problem, dict.fromkeys((1, 2, 3, 5), 2.0), dict.fromkeys((1, 2, 3, 5), 0.5))
    result = peers.fit(problem, "scripted", epochs=50, seed=0, time_limit=7.0)
    assert fits == [1, 1, 2, 3]
    assert result.status == Status.TIMEOUT
    assert "7 s" in result.message


def test_the_last_budget_is_the_number_of_epochs(scripted: Callable[..., list[int]]) -> None:
    problem = solved()
    fits = scripted(problem, dict.fromkeys((1, 2, 3, 4), 1.0), dict.fromkeys((1, 2, 3, 4), 1e-5))
    assert peers.fit(problem, "scripted", epochs=4, seed=0).status == Status.OK  # 1e-5 is not 1e-6
    assert fits == [1, 1, 2, 3, 4]


def test_budgets_rise_to_the_most() -> None:
    assert fitting.budgets(1) == [1]
    assert fitting.budgets(20) == [1, 2, 3, 5, 8, 12, 20]
    assert fitting.budgets(1000)[-5:] == [200, 300, 500, 800, 1000]
    assert fitting.budgets(150)[-4:] == [50, 80, 100, 150]


def test_a_fit_that_gets_stuck_is_made_again_off_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "PATIENCE", 0.05)
    begun, never = [], threading.Event()

    def sleep_at_first() -> np.ndarray:
        begun.append(time.perf_counter())
        if len(begun) < 3:
            never.wait(60)
        return np.zeros(5)

    record = peers.Peer("stuck", (), lambda *_: lambda _: factors.unless_stuck(sleep_at_first), registry.ANY)
    monkeypatch.setitem(peers.PEERS, "stuck", record)
    result = peers.fit(make("hinge"), "stuck", epochs=1, seed=0)
    never.set()
    assert len(begun) == 4  # the first three warm it up
    assert result.history[-1].train_seconds < 0.05 <= begun[1] - begun[0]


def test_a_peer_with_threads_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(fitting, "pin", asked.append)
    for cores in ("one", "workers", "free"):
        record = peers.Peer("named", (), lambda *_: lambda epochs: np.zeros(5), registry.ANY)
        monkeypatch.setitem(peers.PEERS, "named", record._replace(cores=cores))
        peers.fit(make("hinge"), "named", epochs=1, seed=0)
    peers.fit(make("hinge"), "sklearn_sgd", step_size=STEP, epochs=1, seed=0, pinned=False)
    assert [core is not None for core in asked] == [True, False, False, False]


PLAN = """
question = "Which peers can run here?"
[[grid]]
name = "small"
problem = "hinge"
l2 = 1.0
dataset = "synthetic"
data = {n_examples = 50, n_features = 20, nonzeros_per_row = 5, task = "classification"}
[grid.run]
backend = ["serial", "sklearn_sgd", "missing", "sklearn_saga", "liblinear"]
workers = [1, 2]
step_size = {rule = "exponential_backoff", initial = [0.1, 0.2], factor = [0.8, 0.9], tune = true}
epochs = 2
"""


def test_what_cannot_run_is_a_reason_and_own_steps_are_not_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = peers.Peer("Missing", ("no_such_module",), lambda *_: None, registry.ANY, cores="workers")
    monkeypatch.setitem(peers.PEERS, "missing", missing)
    path = tmp_path / "mine.toml"
    path.write_text(PLAN)
    trials = plan.make([spec.load(path)], 2)
    rules = {(trial.backend, trial.workers, trial.step_rule, trial.purpose) for trial in trials}
    assert rules == {
        *(
            ("serial", 1, rule, purpose)
            for rule, purpose in ((None, "report"), ("exponential_backoff", "tune"))
        ),
        *(("sklearn_sgd", 1, rule, purpose) for rule, purpose in ((None, "report"), ("constant", "tune"))),
        *(("missing", workers, "own", "report") for workers in (1, 2)),
        *((name, 1, "own", "report") for name in ("sklearn_saga", "liblinear")),
    }
    assert sum(trial.purpose == "tune" for trial in trials) == 4 + 2
    for trial in trials:
        if trial.backend == "missing":
            with pytest.raises(execution.Impossible, match="no_such_module"):
                execution.execute(trial)
        if trial.backend == "sklearn_saga":
            with pytest.raises(execution.Impossible, match="logistic, least_squares, not hinge"):
                execution.execute(trial)


def test_the_best_peer_is_chosen_in_each_pair(tmp_path: Path) -> None:
    loaded = tables.load(fake_run.write(tmp_path, experiments=("peers",), replicates=3))
    options = "grid sampling step_rule step_size step_parameter epochs penalty merge_every hot_weights"
    free, where = [*options.split(), "workers"], {"dataset": "rcv1_twin"}
    value = "seconds_to_1e-2_with_setup"
    sides = ({"backend": "best_peer"}, {"backend": "replicated", "workers": 2, "method": "sgd"})
    pairs = tables.ratio(loaded, value, *sides, where, free)
    trials = tables.select(loaded, where).dropna(subset=value)
    theirs = trials["backend"].isin(peers.PEERS)
    assert sorted(pairs["above"]) == sorted(trials[theirs].groupby("replicate")[value].min())
    bare = trials["seconds_to_1e-2"] + trials["setup_seconds"] - trials["compile_seconds"]
    assert (bare + trials["check_seconds"]).tolist() == pytest.approx(trials[value].tolist())
    pairs = tables.ratio(loaded, value, sides[0], {"backend": "best_own"}, where, [*free, "method"])
    assert sorted(pairs["below"]) == sorted(trials[~theirs].groupby("replicate")[value].min())
    rates = tables.ratio(loaded, "updates_per_second", *sides, where, free)
    best = trials[theirs].groupby("replicate")["updates_per_second"].max()
    assert sorted(rates["above"]) == sorted(best)


def test_checking_the_data_counts_where_a_peer_would_do_it_inside_its_fit(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PLAN.replace('"missing", ', ""))
    trials = plan.make([spec.load(path)], 2)
    serial, peer = (
        next(trial for trial in trials if trial.backend == name and trial.purpose == "tune")
        for name in ("serial", "sklearn_sgd")
    )
    built = workloads.build(serial.workload)
    assert built.check_seconds > 0
    assert (built.count_seconds > 0) == (serial.workload.l2 > 0)
    touched, scaled = (
        execution.execute(replace(serial, penalty=penalty)).columns["check_seconds"]
        for penalty in ("touched", "scaled")
    )
    assert touched == built.check_seconds + built.count_seconds
    assert scaled == built.check_seconds
    assert execution.execute(peer).columns["check_seconds"] == 0


def test_what_is_short_is_timed_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    for long, times in ((1e9, workloads.TIMES), (1e-12, 1)):
        monkeypatch.setattr(workloads, "LONG_SECONDS", long)
        done.clear()
        assert workloads._typical_seconds(lambda: done.append(1)) > 0
        assert len(done) == times
