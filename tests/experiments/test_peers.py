"""Peers: they are given our objective, scikit-learn's SGD also our step and order; a fit for each budget."""

import importlib.util
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from experiments import peers
from experiments.design import plan, spec, workloads
from experiments.judge import tables
from experiments.measure import execution
from experiments.peers import factors, registry
from hogwild import Status, datasets, problems
from tests.experiments import fake_run

pytest.importorskip("sklearn")

STEP, L2, EPOCHS = 0.05, 3.0, 3


def make(name: str, l2: float = L2) -> object:
    random = np.random.default_rng(1)
    X = random.normal(size=(40, 5))
    truth = random.normal(size=5)
    y = X @ truth + 0.1 * random.normal(size=40)
    return problems.LINEAR_PROBLEMS[name].from_data(
        csr_array(X), y if name == "least_squares" else np.sign(y), l2=l2, true_weights=truth
    )


def twin(problem: object, name: str) -> np.ndarray:
    """SGD on our objective, streamed, in NumPy: every row is dense, so every update shrinks every weight.

    scikit-learn shrinks by 1 - step * slope before it adds the gradient of the loss taken at the old weights.
    """
    X, y, m = problem.X.toarray(), problem.y, problem.n_examples
    weights = np.zeros(X.shape[1])
    for _ in range(EPOCHS):
        for row, target in zip(X, y, strict=True):
            margin = row @ weights
            slope = {
                "least_squares": 2 * (margin - target),
                "logistic": -target / (1 + np.exp(target * margin)),
                "hinge": -target if target * margin <= 1 else 0.0,
            }[name]
            weights = weights - STEP * (slope * row + 2 * problem.l2 / m * weights)
    return weights


@pytest.mark.parametrize("name", ["least_squares", "logistic", "hinge"])
@pytest.mark.parametrize("l2", [0.0, L2])
def test_the_peer_minimises_our_objective_with_our_step(name: str, l2: float) -> None:
    problem = make(name, l2)
    result = peers.fit(problem, "sklearn_sgd_unshuffled", step_size=STEP, epochs=EPOCHS, seed=0)
    np.testing.assert_allclose(result.weights, twin(problem, name), rtol=1e-9)


def test_the_default_order_is_shuffled_by_the_seed() -> None:
    problem = make("hinge")
    one, same, other, streamed = (
        peers.fit(problem, name, step_size=STEP, epochs=EPOCHS, seed=seed).weights
        for name, seed in (
            ("sklearn_sgd", 0),
            ("sklearn_sgd", 0),
            ("sklearn_sgd", 1),
            ("sklearn_sgd_unshuffled", 0),
        )
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, streamed)


def test_the_history_has_a_start_and_an_end() -> None:
    problem = make("least_squares")
    result = peers.fit(problem, "sklearn_sgd", step_size=STEP, epochs=EPOCHS, seed=0)
    start, end = result.history
    assert (start.epoch, start.updates, start.train_seconds) == (0.0, 0, 0.0)
    assert (end.epoch, end.updates) == (EPOCHS, EPOCHS * 40) == (EPOCHS, sum(result.updates))
    assert start.objective == pytest.approx(problem.objective(np.zeros(5)))
    assert end.objective == problem.objective(result.weights) < start.objective
    assert end.weight_error_l1 == pytest.approx(np.abs(result.weights - problem.true_weights).sum())
    assert start.weight_error_l2 == pytest.approx(1.0)
    assert end.train_seconds > 0
    assert (result.status, result.backend, result.workers) == (Status.OK, "sklearn_sgd", 1)


def test_too_large_a_step_is_a_divergence() -> None:
    result = peers.fit(make("least_squares"), "sklearn_sgd", step_size=1e6, epochs=200, seed=0)
    assert result.status == Status.DIVERGED


def test_a_peer_that_explodes_gives_back_what_it_had_before(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {1: np.full(5, 0.01), 2: np.full(5, 0.02), 3: np.full(5, 1e200)}
    record = registry.Peer("explosive", (), lambda *_: fits.__getitem__, registry.LINEAR)
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

        def prepare(problem: Any, options: registry.Options) -> Callable[[int], np.ndarray]:
            clock[0] += 100.0

            def train(epochs: int) -> np.ndarray:
                fits.append(epochs)
                clock[0] += seconds[epochs]
                return scaled(gaps[epochs])

            return train

        record = registry.Peer("scripted", (), prepare, registry.LINEAR)
        monkeypatch.setitem(peers.PEERS, "scripted", record)
        monkeypatch.setattr(peers.time, "perf_counter", lambda: clock[0])
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
    assert peers.budgets(1) == [1]
    assert peers.budgets(20) == [1, 2, 3, 5, 8, 12, 20]
    assert peers.budgets(1000)[-5:] == [200, 300, 500, 800, 1000]
    assert peers.budgets(150)[-4:] == [50, 80, 100, 150]


def ratings(mu: float = 0.0, rank: int = 10, n_rows: int = 120) -> Any:
    """Complete a matrix of low rank from noisy entries, rows and columns without any included."""
    made = datasets.low_rank(n_rows, 80, 6_000, 3, 0.3, seed=4)
    shape = made.shape[0] + 2, made.shape[1] + 1
    rows = made.rows + 1
    mixed = np.random.default_rng(5).permutation(rows.size)
    triplets = (array[mixed] for array in (rows, made.columns, made.values))
    return problems.MatrixCompletion.from_data(*triplets, shape=shape, rank=rank, mu=mu)


def small(name: str) -> Any:
    """A sparse problem with some hundred examples and popular features, without empty rows; or ratings."""
    if name == "matrix_completion":
        problem = ratings(rank=3)
        problem.solve()
        return problem
    random = np.random.default_rng(3)
    X = csr_array(random_array((400, 60), density=0.1, rng=random))
    X = X + csr_array((np.full(400, 0.3), (np.arange(400), np.zeros(400, int))), shape=X.shape)
    y = X @ random.normal(size=60)
    labels = np.where(y + 0.3 * random.normal(size=400) > np.median(y), 1.0, -1.0)
    target = y if name == "least_squares" else labels
    problem = problems.LINEAR_PROBLEMS[name].from_data(X, target, l2=5.0)
    problem.solve()
    return problem


CELLS = [
    (name, problem, workers)
    for name, peer in registry.PEERS.items()
    if not peer.stepped
    for problem in peer.problems
    for workers in ((1, 2) if peer.cores == "workers" else (1,))
]
REACHED = {
    "sklearn_sgd_optimal": 2e-3,
    "vowpal_wabbit": 1e-3,
    "libmf": 1e-3,
}  # SGD gets nowhere near the others


def need(name: str) -> None:
    package = registry.PEERS[name].modules[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("name", "problem", "workers"), CELLS)
def test_a_peer_finds_the_optimum_of_our_objective(
    name: str, problem: str, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    need(name)
    gap = REACHED.get(name, 1e-5)
    affinity = os.sched_getaffinity(0)
    solved = small(problem)
    capfd.readouterr()
    result = peers.fit(solved, name, epochs=1000, workers=workers, seed=2**31 + 5, target=gap)
    assert capfd.readouterr().out == ""
    assert result.suboptimality <= gap
    assert result.status == Status.OK
    seconds = [row.train_seconds for row in result.history]
    assert seconds == sorted(seconds)
    size = (solved.n_weights,)
    assert (result.workers, result.weights.shape, result.weights.dtype) == (workers, size, np.float64)
    assert os.sched_getaffinity(0) == affinity
    assert 5e-324 * float(workers) > 0  # no library has switched subnormal numbers off


def factors_twin(problem: Any, seed: int) -> np.ndarray:
    """SGD on our objective, by rows, from normal factors of the variance that ours start with."""
    random, size = np.random.RandomState(seed), (problem.n_rows, problem.n_columns)
    left, right = (random.normal(0.0, problem.init_scale / 3**0.5, (side, problem.rank)) for side in size)
    for _ in range(EPOCHS):
        for entry in np.argsort(problem.rows, kind="stable"):
            u, v = problem.rows[entry], problem.columns[entry]
            slope = 2 * (left[u] @ right[v] - problem.values[entry])
            left[u], right[v] = left[u] - STEP * slope * right[v], right[v] - STEP * slope * left[u]
    return np.concatenate([left, right]).ravel()


def test_surprise_minimises_our_objective_with_our_step() -> None:
    need("surprise_svd")
    problem = ratings()
    result = peers.fit(problem, "surprise_svd", step_size=STEP, epochs=EPOCHS, seed=2**31 + 5)
    np.testing.assert_allclose(result.weights, factors_twin(problem, 2**31 + 5), rtol=1e-9)
    assert result.objective == problem.objective(result.weights) < problem.objective_at_zero


@pytest.mark.parametrize("name", ["surprise_svd", "libmf"])
@pytest.mark.parametrize("mixed", [False, True])
def test_factors_find_the_optimum_of_our_objective(name: str, mixed: bool) -> None:
    need(name)
    problem = small("matrix_completion")
    if mixed:  # of rank 10, above LIBMF's padding of 8
        problem = ratings()
        problem.solve()
    result = peers.fit(problem, name, step_size=0.02, epochs=500, seed=0, target=1e-2)
    assert result.suboptimality <= 1e-2


def test_a_fit_that_gets_stuck_is_made_again_off_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "PATIENCE", 0.05)
    begun, never = [], threading.Event()

    def sleep_at_first() -> np.ndarray:
        begun.append(time.perf_counter())
        if len(begun) < 3:
            never.wait(60)
        return np.zeros(5)

    record = registry.Peer(
        "stuck", (), lambda *_: lambda _: factors.unless_stuck(sleep_at_first), registry.LINEAR
    )
    monkeypatch.setitem(peers.PEERS, "stuck", record)
    result = peers.fit(make("hinge"), "stuck", epochs=1, seed=0)
    never.set()
    assert len(begun) == 4  # the first three warm it up
    assert result.history[-1].train_seconds < 0.05 <= begun[1] - begun[0]


@pytest.mark.parametrize("name", ["surprise_svd", "libmf"])
def test_peers_of_matrix_completion_have_no_penalty(name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"{name} .* mu per rating, not per factor; it must be 0"):
        peers.fit(ratings(mu=0.5), name, step_size=STEP, epochs=1, seed=0)


def test_a_peer_with_threads_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(peers, "pin", asked.append)
    for cores in ("one", "workers", "free"):
        record = registry.Peer("named", (), lambda *_: lambda epochs: np.zeros(5), registry.LINEAR)
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
    missing = registry.Peer("Missing", ("no_such_module",), lambda *_: None, registry.LINEAR, cores="workers")
    monkeypatch.setitem(peers.PEERS, "missing", missing)
    monkeypatch.setattr(plan, "OWN_STEPS", (*plan.OWN_STEPS, "missing"))
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


def test_own_steps_need_a_penalty() -> None:
    with pytest.raises(NotImplementedError, match="l2 is 0"):
        peers.fit(make("logistic", 0.0), "liblinear", epochs=1, seed=0)


def test_every_peer_is_offered_to_specs_and_the_spec_names_those_that_choose_their_steps() -> None:
    found = spec.load(spec.SPECS / "peers.toml", "full")
    named = {name for grid in found.grid for name in grid.run.backend}
    problems = {"logistic", "hinge", "matrix_completion"}
    chosen = {name for name, peer in registry.PEERS.items() if set(peer.problems) & problems}
    assert chosen - named == {"sklearn_sgd_unshuffled"}


def test_the_best_peer_is_chosen_in_each_pair(tmp_path: Path) -> None:
    loaded = tables.load(fake_run.write(tmp_path, experiments=("peers",), replicates=3))
    free = "grid sampling step_rule step_size step_parameter epochs merge_every hot_weights".split()
    value = "seconds_to_1e-2_with_setup"
    sides = ({"backend": "best_peer"}, {"backend": "replicated", "workers": 2})
    pairs = tables.ratio(loaded, value, *sides, {"dataset": "rcv1_twin"}, free)
    trials = tables.select(loaded, {"dataset": "rcv1_twin", "backend": ["snapml", "liblinear"]})
    assert sorted(pairs["above"]) == sorted(trials.groupby("replicate")[value].min())
    bare = trials["seconds_to_1e-2"] + trials["setup_seconds"] - trials["compile_seconds"]
    assert (bare + trials["check_seconds"]).tolist() == pytest.approx(trials[value].tolist())
    pairs = tables.ratio(
        loaded,
        value,
        sides[0],
        {"backend": "best_own"},
        {"dataset": "rcv1_twin"},
        [*free, "workers", "method"],
    )
    ours = tables.select(loaded, {"dataset": "rcv1_twin"}).query("backend not in @peers.PEERS")
    assert sorted(pairs["below"]) == sorted(ours.groupby("replicate")[value].min())
    rates = tables.ratio(loaded, "updates_per_second", *sides, {"dataset": "rcv1_twin"}, free)
    assert sorted(rates["above"]) == sorted(trials.groupby("replicate")["updates_per_second"].max())


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
