"""The scale that shrinking weights have: taken up, cut short, far below one, the same for all workers."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hogwild
from hogwild import assembly, training
from hogwild.engine.steps import (
    Constant,
    ExponentialBackoff,
    InverseTime,
    WeightDecay,
    WeightDecayInEpoch,
    elapsed,
    in_epoch,
    scale_at,
    step_at,
)
from hogwild.sharing.schedule import Segment
from tests.hogwild.cases import problem
from tests.hogwild.shrinking import (
    BACKOFF,
    STEPS,
    covered_twin,
    epoch_twin,
    rate_twin,
    scaled,
    twin,
)


@pytest.mark.parametrize(
    ("backend", "workers"),
    [("serial", 1), ("hogwild_threads", 1), ("averaging", 1), ("averaging", 3)],
)
def test_weights_may_take_up_their_scale_at_any_time(
    monkeypatch: pytest.MonkeyPatch, backend: str, workers: int
) -> None:
    logarithms: list[float] = []

    def segment(step: Any, *rest: Any) -> Segment:
        logarithms.append(step.logarithm)
        return Segment(step, *rest)

    def run(small: float) -> np.ndarray:
        logarithms.clear()
        monkeypatch.setattr(training, "_SMALL_SCALE", small)
        options: dict[str, Any] = {"step_size": BACKOFF, "epochs": 8, "evaluations_per_epoch": 2}
        result = scaled(
            problem("hinge", l2=40.0, examples=50), backend=backend, workers=workers, seed=2, **options
        )
        return np.asarray(result.weights)

    monkeypatch.setattr(training, "Segment", segment)
    never = run(0.0)
    assert min(logarithms) < -10
    assert logarithms == sorted(logarithms, reverse=True)
    often = run(0.5)
    assert min(logarithms) >= math.log(0.5)
    assert logarithms.count(0.0) > 3
    np.testing.assert_allclose(often, never, rtol=1e-9)
    np.testing.assert_allclose(run(2.0**-20), never, rtol=1e-9)


def far_shrunk(dtype: Any, backend: str = "serial", workers: int = 1) -> tuple[Any, Any]:
    case, step, epochs = problem("hinge", l2=400.0, dtype=dtype, examples=40), 0.05, 51
    assert 2 * case.l2 * step * epochs > 2000
    options: dict[str, Any] = {"step_size": step, "epochs": epochs, "sampling": "as_stored"}
    result = scaled(case, backend=backend, workers=workers, **options)
    assert result.status == "ok"
    assert np.isfinite(result.weights).all()
    assert result.objective == case.objective(result.weights)
    return case, result


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_weights_that_have_shrunk_to_nothing_many_times_equal_the_twin(dtype: Any, tolerance: float) -> None:
    case, result = far_shrunk(dtype)
    expected = twin(case, Constant(0.05), np.zeros(9), "as_stored", 51)
    np.testing.assert_allclose(result.weights, expected, rtol=tolerance, atol=tolerance * 0.1)


@pytest.mark.parametrize("backend", ["hogwild_threads", "replicated", "averaging"])
def test_with_several_workers_they_stay_sound(backend: str) -> None:
    far_shrunk(np.float32, backend, 2)


@pytest.mark.parametrize(("dtype", "l2"), [(np.float32, 1100.0), (np.float64, 8000.0)])
def test_weights_may_shrink_by_any_factor_in_one_pass(dtype: Any, l2: float) -> None:
    """Mean penalties of 0.4 and 2.7: a step of 0.05 is far from too long for them."""
    case = problem("hinge", l2=l2, dtype=dtype, examples=3000)
    assert scaled(case, step_size=0.05, epochs=1).status == "ok"


@pytest.mark.parametrize("decay", [1e-13, 1e-17])
def test_a_step_that_hardly_decays_shrinks_as_a_constant_one(decay: float) -> None:
    case = problem(l2=2.0)
    steady, decaying = (scaled(case, step_size=step, epochs=2) for step in (0.1, InverseTime(0.1, decay)))
    np.testing.assert_allclose(decaying.weights, steady.weights, rtol=1e-9)


def test_an_absurd_penalty_is_a_divergence_or_nothing_left() -> None:
    for l2 in (1e6, 1e12):
        result = scaled(problem("hinge", l2=l2), epochs=2, step_size=0.1)
        assert np.isfinite(result.weights).all()


steps = st.one_of(
    st.builds(Constant, st.floats(1e-3, 1)),
    st.builds(InverseTime, st.floats(1e-3, 1), st.floats(1e-2, 10)),
    st.builds(ExponentialBackoff, st.floats(1e-3, 1), st.floats(0.3, 1)),
)


def log_scale(rule: Any, passes: float) -> float:
    return float(rule.start - rule.power * elapsed(rule.step, passes))


@given(steps, st.floats(1e-3, 10), st.integers(0, 50), st.integers(1, 500), st.data())
def test_the_scale_is_that_of_the_position(
    step: Any, strength: float, epoch: int, examples: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, examples - 1))
    position = data.draw(st.integers(first, examples))
    since, passes = epoch + first / examples, epoch + position / examples
    known = data.draw(st.floats(-20, 0))
    own = in_epoch(WeightDecay(step, strength, since, known), epoch)
    expected = known - strength * (covered_twin(step, passes) - covered_twin(step, since))
    assert log_scale(own, passes) == pytest.approx(expected, abs=1e-9)
    assert scale_at(own, passes) == pytest.approx(math.exp(expected))


@given(steps, st.floats(1e-3, 10), st.lists(st.integers(1, 99), max_size=3, unique=True))
def test_the_scale_is_what_the_steps_since_leave(step: Any, strength: float, percents: list[int]) -> None:
    rule = WeightDecay(step, strength)
    assert (rule.since, rule.logarithm, rule.scale) == (0.0, 0.0, 1.0)
    logarithm, cells = 0.0, 200
    for epoch in range(3):
        for first, last in itertools.pairwise([0.0, *(percent / 100 for percent in sorted(percents)), 1.0]):
            within = in_epoch(rule, epoch)
            assert isinstance(within, WeightDecayInEpoch)
            assert log_scale(within, epoch + first) == pytest.approx(rule.logarithm, abs=1e-9)
            middles = epoch + first + (np.arange(cells) + 0.5) / cells * (last - first)
            rates = [float(step_at(within, time)) for time in middles]
            assert rates == pytest.approx([rate_twin(step, time) for time in middles])
            logarithm -= strength * sum(rates) / cells * (last - first)
            later = rule.after(epoch, epoch + last)
            assert later.since == epoch + last
            assert later.logarithm < rule.logarithm
            assert later.scale == math.exp(later.logarithm)
            assert later.logarithm == pytest.approx(logarithm, rel=1e-3)
            rule = later
    assert rule.logarithm == pytest.approx(-strength * covered_twin(step, 3.0), rel=1e-9)


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_cut_short_has_the_weights_of_its_updates(
    monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: 7)
    case = problem(l2=2.0, examples=60)
    result = scaled(
        case,
        step_size=step,
        epochs=10**6,
        time_limit=0.02,
        observe=hogwild.Observe(gradient_delay=1e-4),
        seed=5,
        sampling="as_stored",
    )
    assert result.status == "timeout"
    whole, rest = divmod(sum(result.updates), 60)
    weights = twin(case, step, np.zeros(9), "as_stored", whole)
    weights = epoch_twin(case, step, weights, np.arange(rest), whole)
    np.testing.assert_allclose(result.weights, weights, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "backend", ["serial", "hogwild_threads", "replicated", "cyclades", "averaging", "hogwild_processes"]
)
@pytest.mark.parametrize("time_limit", [1e-9, 0.01])
def test_a_time_limit_leaves_sound_weights(
    monkeypatch: pytest.MonkeyPatch, backend: str, time_limit: float
) -> None:
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: 7)
    case, workers = problem("hinge", l2=2.0), 1 if backend == "serial" else 3
    result = scaled(
        case, backend=backend, workers=workers, step_size=BACKOFF, epochs=10**6, time_limit=time_limit
    )
    assert result.status == "timeout"
    assert np.isfinite(result.weights).all()
    assert result.objective == case.objective(result.weights) <= result.history[0].objective
