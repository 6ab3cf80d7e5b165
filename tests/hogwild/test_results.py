"""What a run gives back agrees with itself: weights, objective, status, message, history and tallies."""

import itertools
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hogwild
from hogwild import optimise
from hogwild.arguments import Limits
from hogwild.engine.compiling import config
from hogwild.engine.steps import Constant, WeightDecay
from hogwild.problems import HingeSVM, LeastSquares
from hogwild.result import Result
from hogwild.sharing.private import Private
from hogwild.sharing.shares import Shares
from hogwild.teams.work import Report
from hogwild.training import DIVERGENCE_FACTOR, Training, bounds_of
from tests.hogwild.cases import completion, grid_cut, problem

if config.DISABLE_JIT:  # compiled code warns of nothing
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
EXAMPLES = 24
TARGET, TOLERANCE = 0.3, 0.05
OPTIONS = {
    "step_size": st.sampled_from([1e-3, 0.05, 1.0, 50.0, 1e200]),
    "epochs": st.integers(1, 5),
    "evaluations_per_epoch": st.sampled_from([1, 2, 3, 2 * EXAMPLES]),
    "target": st.sampled_from([None, TARGET]),
    "tolerance": st.sampled_from([None, TOLERANCE]),
    "initial_weights": st.sampled_from([None, "normal", "huge", "solved"]),
    "seed": st.integers(0, 3),
}


def same(one: float, other: float) -> bool:
    """Equal to the bit."""
    return np.float64(one).tobytes() == np.float64(other).tobytes()


def agrees(case, result: Result, *, epochs, target=None, tolerance=None, copies=1, **_) -> None:
    """Check everything that a result says against everything else, and the weights against the problem."""
    first, last, copies = result.history[0], result.history[-1], copies * case.n_examples
    assert same(case.objective(result.weights), result.objective)
    assert same(case.suboptimality(result.objective), result.suboptimality)
    assert result.checkpoint in result.history
    assert np.isfinite(result.weights).all()
    assert result.weights.dtype == case.dtype
    assert sum(result.updates) == last.updates
    assert [row.updates for row in result.history] == sorted({row.updates for row in result.history})
    assert all(row.epoch == pytest.approx(row.updates / copies) for row in result.history)
    limit = DIVERGENCE_FACTOR * max(first.objective, case.objective_at_zero)
    assert all(row.objective <= limit and math.isfinite(row.objective) for row in result.history[1:-1])
    if result.status == "diverged":
        assert "diverged" in result.message
        assert result.checkpoint == result.history[max(len(result.history) - 2, 0)]
        return
    assert result.status == "ok"
    assert result.objective == last.objective <= limit
    if "reached the target" in result.message:
        assert result.suboptimality <= target
        assert all(row.suboptimality > target for row in result.history[:-1])
    elif "by no more than the tolerance" in result.message:
        rows = [row for row in result.history if row.epoch == pytest.approx(last.epoch - 1)]
        assert 0 <= rows[-1].objective - last.objective <= tolerance * rows[-1].objective
    else:
        assert result.message.startswith("all epochs done")
        assert last.updates == epochs * copies
        assert ("target" in result.message) == (target is not None)
        assert ("tolerance" in result.message) == (tolerance is not None)
        assert target is None or not result.suboptimality <= target


def start(case, kind):
    if kind == "huge":  # its square is beyond the largest number
        return np.full(case.n_weights, 1e30 if case.dtype == np.float32 else 1e200)
    return case.solve().weights if kind == "solved" else kind


def run(case, options, backend, **more):
    options = {**options, **more, "initial_weights": start(case, options["initial_weights"])}
    workers = 1 if backend == "serial" else 2
    result = hogwild.minimize(case, backend=backend, workers=workers, **options)
    agrees(case, result, copies=workers if hogwild.BACKENDS[backend].whole_runs else 1, **options)
    return result


SLOW = ("hogwild_processes", "pool")


@pytest.mark.parametrize("backend", [name for name in hogwild.BACKENDS if name not in SLOW])
@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_a_result_agrees_with_itself(backend, options):
    run(problem(examples=EXAMPLES), options, backend)


@pytest.mark.parametrize("backend", SLOW)
@settings(max_examples=4, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_a_result_of_processes_agrees_with_itself(backend, options):
    run(problem(examples=EXAMPLES), options | {"evaluations_per_epoch": 2}, backend)


@pytest.mark.parametrize("penalty", ["touched", "scaled"])
@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_a_result_with_a_penalty_agrees_with_itself(penalty, options):
    run(problem("hinge", l2=1.0, examples=EXAMPLES), options, "serial", penalty=penalty)


@pytest.mark.parametrize("case", [completion(dtype=np.float32), grid_cut()], ids=["float32", "constrained"])
@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries(OPTIONS))
def test_a_result_of_another_problem_agrees_with_itself(case, options):
    if case.constrained and options["initial_weights"] not in (None, "solved"):
        options["initial_weights"] = None
    run(case, options, "hogwild_threads")


def test_what_averaging_returns_is_the_average_that_was_evaluated():
    case = problem(examples=EXAMPLES)
    result = hogwild.minimize(case, backend="averaging", workers=3, epochs=2, step_size=0.02)
    assert result.updates == (2 * EXAMPLES,) * 3
    assert [row.epoch for row in result.history] == [0, 1, 2]
    assert result.message == "all epochs done"
    assert len(result.cpu_seconds) == 3
    assert same(case.objective(result.weights), result.objective)


def test_after_a_divergence_objective_and_weights_are_of_the_last_sound_checkpoint():
    case = problem()
    case.solve()
    result = hogwild.minimize(case, step_size=5.0, epochs=40)
    assert result.status == "diverged"
    assert same(case.objective(result.weights), result.objective)
    assert result.checkpoint == result.history[-2]
    assert math.isfinite(result.suboptimality)


def test_a_start_whose_objective_is_no_number_is_a_divergence_before_any_update():
    result = hogwild.minimize(problem(), initial_weights=np.full(9, 1e200), step_size=1e-3)
    assert result.status == "diverged"
    assert "at the start" in result.message
    assert len(result.history) == 1
    assert result.updates == (0,)
    assert (result.weights == 1e200).all()


def test_weights_that_are_no_numbers_are_a_divergence_even_if_the_loss_does_not_mind():
    """A margin of infinity costs the hinge loss nothing."""
    case = HingeSVM.from_data(np.full((2, 1), 1e200), np.ones(2))
    result = hogwild.minimize(case, step_size=1e200, epochs=2)
    assert result.status == "diverged"
    assert (result.weights == 0).all()
    assert result.objective == 1


def test_a_start_at_the_target_is_done():
    case = problem(l2=1.0)
    result = hogwild.minimize(case, initial_weights=case.solve().weights, target=0.1)
    assert result.message == "reached the target suboptimality 0.1 after 0 epochs"
    assert sum(result.updates) == 0


class Script(LeastSquares):
    """A problem whose objective is told in advance."""

    told: list[float]

    def objective(self, weights):
        return self.told.pop(0)


def setup_of(case, step, limits):
    return SimpleNamespace(given=SimpleNamespace(problem=case, limits=limits, batch_size=1), step=step)


def told(objectives, monkeypatch=None, *, gaps=None, seconds=0.0, short=0, **limits):
    """Train where the objective of each checkpoint is given; the last segment is some updates short."""
    case = Script.from_data(np.eye(4), np.ones(4))
    case.told = [float(objectives[0]), *(float(value) for value in objectives)]  # first of all f(0)
    case.objective_at_zero  # noqa: B018
    if gaps is not None:
        found = iter(gaps)
        case.gauge = lambda target: lambda objective: next(found)
    ends = itertools.count(1)

    def perform(segment):
        last = next(ends) == len(objectives) - 1
        done = segment.end - segment.begin - (short if last else 0)
        return seconds, [Report(done, 0.0, 0.0, 0)]

    team = SimpleNamespace(weights=np.zeros(4), schedule=Shares(), run=perform)
    given_limits = {"target": None, "tolerance": None, "time_limit": math.inf} | limits
    limits = Limits(len(objectives) - 1, **given_limits)
    training = Training(setup_of(case, Constant(0.1), limits), team, 1)
    training.go(bounds_of(4, 1, 1), lambda checkpoint: None)
    return training


def test_a_rise_is_not_convergence():
    training = told([1, 0.5, 0.500001, 0.7, 0.7], tolerance=1e-3)
    assert len(training.history) == 5
    assert training.message.startswith("an epoch lowered the objective by no more than the tolerance")
    training = told([1, 0.5, 0.7, 0.6, 0.65], tolerance=1e-3)
    assert training.status == "ok"
    assert training.message == (
        "all epochs done; the tolerance 0.001 was never met, and the last epoch raised the objective"
    )
    training = told([1, 0.5, 0.25], tolerance=1e-3)
    assert training.message == "all epochs done; the tolerance 0.001 was never met"


def test_an_objective_that_stands_still_is_within_any_tolerance():
    assert len(told([1, 0, 0, 0], tolerance=1e-9).history) == 3


def test_an_epoch_that_the_time_limit_cut_short_says_nothing_about_the_tolerance():
    training = told([1, 0.999, 0.5], tolerance=0.1, time_limit=1.0, seconds=2.0)
    assert (training.status, len(training.history)) == ("timeout", 2)


def test_the_target_counts_though_the_time_is_up_and_so_do_all_epochs():
    training = told([1, 0.5, 0.1], gaps=[1, 0.5, 0.1], target=0.5, time_limit=1.0, seconds=2.0)
    assert (training.status, len(training.history)) == ("ok", 2)
    assert "reached the target" in training.message
    done = told([1, 0.5], time_limit=1.0, seconds=2.0)
    assert (done.status, done.message) == ("ok", "all epochs done")
    cut = told([1, 0.5], time_limit=1.0, seconds=2.0, short=1)
    assert (cut.status, "time limit" in cut.message) == ("timeout", True)


def test_a_suboptimality_that_is_not_known_is_no_target_reached():
    training = told([1, 0.5, 0.1], gaps=[math.nan] * 3, target=0.5)
    assert training.status == "ok"
    assert training.message == "all epochs done; the target suboptimality 0.5 was not reached"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_last_sound_weights_survive(bad):
    training = told([1, 0.5, bad, 0.1])
    assert (training.status, len(training.history)) == ("diverged", 3)
    assert training.message == f"diverged in epoch 2: objective 1 at first, {bad} now"
    at_once = told([bad, 0.5])
    assert (at_once.status, len(at_once.history)) == ("diverged", 1)
    assert at_once.message == f"diverged at the start: its objective is {bad}"


def test_copies_that_a_time_limit_ended_apart_are_averaged_on_one_scale() -> None:
    """Each copy has shrunk by what its own worker has done, not by what workers do on average."""
    case = problem("logistic", l2=1.0, examples=100)
    step, stored = WeightDecay(Constant(1.5), 2.0), np.random.default_rng(0).normal(size=(2, case.n_weights))
    team = SimpleNamespace(weights=stored.copy(), schedule=Private())
    run = Training(setup_of(case, step, Limits(1, None, None, 1.0)), team, 2)
    run.updates = np.array([30, 90])
    run._bring_to_one_scale(step, 0)
    run._step = step.after(0, 0.6)
    own = [step.after(0, passes).scale for passes in (0.3, 0.9)]
    np.testing.assert_allclose(run._weights(), (stored * np.array(own)[:, None]).mean(axis=0), rtol=1e-12)


def test_a_team_is_put_away_whatever_happens_after_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even while somebody keeps the exception, as an interactive session does."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    monkeypatch.setattr(optimise, "Training", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:
        hogwild.minimize(problem(), backend="hogwild_threads", workers=2)
    assert threading.active_count() == before
    assert kept.value is not None
