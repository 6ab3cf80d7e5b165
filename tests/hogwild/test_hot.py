"""Popular weights in replicas, the others shared: where each lies, what a run ends with, what is left."""

import functools
import gc
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hogwild
from hogwild.engine.steps import InverseTime
from hogwild.problems import LinearProblem
from hogwild.sharing.hot import HOT_WEIGHTS, Hot
from hogwild.sharing.moves import Multiplied
from hogwild.sharing.replicas import merge, merging
from hogwild.teams.memory import Shared
from tests.hogwild.cases import completion, plan_for, problem

BACKENDS = [name for name, backend in hogwild.BACKENDS.items() if "hot_weights" in backend.options]
PAGE = mmap.PAGESIZE // 8
FEATURES = 3 * PAGE
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone can do it")


@functools.cache
def wide(dtype: Any = np.float64) -> Any:
    """Rows of about 15 non-zeros, the features at the end the popular ones."""
    dense = problem("logistic", features=FEATURES, examples=200, density=0.01).X.toarray()
    dense[:, -3:] = np.random.default_rng(1).normal(size=(200, 3))
    labels = np.where(dense[:, -3:].sum(axis=1) > 0, 1.0, -1.0)
    return hogwild.problems.Logistic.from_data(dense, labels, l2=1.0, dtype=dtype)


def layout(workers: int, hot_weights: int, case: LinearProblem) -> tuple[Hot, np.ndarray]:
    schedule = Hot(hot_weights=hot_weights).prepared(case, workers)
    return schedule, schedule.lay_out(np.arange(case.n_weights, dtype=case.dtype), workers)


def seen_by(schedule: Hot, weights: np.ndarray, workers: int) -> list[tuple[Any, np.ndarray]]:
    """Each worker's replica, and the weights that it works on."""
    plan = plan_for(wide(), schedule, weights, workers)
    assigned = [schedule.assign(plan, worker) for worker in range(workers)]
    return [(own.state, own.plan.weights) for own in assigned]


def test_workers_have_hot_weights_of_their_own_and_see_the_same_cold_ones() -> None:
    schedule, weights = layout(2, 1, wide())
    (one, ours), (other, theirs) = seen_by(schedule, weights, 2)
    assert one.shared.size == one.own.size == one.base.size == one.curvature.size == PAGE
    assert ours.size == theirs.size == FEATURES
    assert sorted(schedule.places) == list(range(FEATURES))
    assert sorted(schedule.places[-3:]) == [0, 1, 2]
    assert ours[schedule.places].tolist() == schedule.combine(weights).tolist() == list(range(FEATURES))
    hottest, coldest = (np.flatnonzero(schedule.places == place)[0] for place in (0, FEATURES - 1))
    ours[0] = ours[-1] = -1.0
    assert (theirs[0], theirs[-1]) == (hottest, -1.0)
    assert schedule.combine(weights)[[hottest, coldest]].tolist() == [hottest, -1.0]
    merge(one)
    assert schedule.combine(weights)[hottest] == -1.0
    assert theirs[0] == hottest
    merge(other)
    assert theirs[0] == -1.0


def test_curvatures_and_popularity_go_together() -> None:
    case = wide()
    schedule, _ = layout(2, PAGE + 1, case)
    hot = schedule.places < 2 * PAGE
    assert schedule.replica.curvature.size == hot.sum() == 2 * PAGE  # whole pages
    assert schedule.replica.curvature[schedule.places[hot]].tolist() == case.curvature()[hot].tolist()
    assert case.degrees[hot].min() >= case.degrees[~hot].max()


def test_only_hot_moves_are_multiplied() -> None:
    case = wide()
    factors = np.linspace(1, 2, FEATURES)
    multiplied = merging(case, 2)._replace(moves=Multiplied(factors))
    moves = Hot(hot_weights=1).prepared(case, 2, merging=multiplied).moves
    assert isinstance(moves, Multiplied)
    places = layout(2, 1, case)[0].places
    assert moves.factors[places].tolist() == np.where(places < PAGE, factors, 1.0).tolist()


@pytest.mark.parametrize("features", [5, PAGE, HOT_WEIGHTS])
def test_fewer_features_than_hot_ones_are_all_hot(features: int) -> None:
    schedule, weights = layout(2, HOT_WEIGHTS, problem(features=features, examples=5, density=0.01))
    _, (replicas, seen) = seen_by(schedule, weights, 2)
    assert seen is replicas.own
    assert -(-features // PAGE) * PAGE == seen.size
    assert seen[schedule.places].tolist() == list(range(features))


@pytest.mark.parametrize(("dtype", "hot_weights"), [(np.float64, 1), (np.float32, None)])
@pytest.mark.parametrize("sampling", ["fresh_permutation", "shuffled_once", "with_replacement", "as_stored"])
def test_a_lone_worker_is_serial_to_the_bit(sampling: str, hot_weights: int | None, dtype: Any) -> None:
    for more in ({}, {"batch_size": 7}, {"gradient_threshold": 0.001}, {"method": "sdca"}):
        options: dict[str, Any] = {"epochs": 2, "sampling": sampling, "seed": 1, **more}
        serial = hogwild.minimize(wide(dtype), **options)
        for merge_every in (7, None):
            lone = hogwild.minimize(
                wide(dtype),
                backend=hogwild.backend(
                    "hogwild_hot_replicated", hot_weights=hot_weights, merge_every=merge_every
                ),
                workers=1,
                **options,
            )
            assert lone.weights.tobytes() == serial.weights.tobytes()
            assert lone.updates == serial.updates


@pytest.mark.parametrize("merge_every", [1, 7, None])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_with_a_common_factor_it_is_serial_to_its_rounding(batch_size: int, merge_every: int | None) -> None:
    options: dict[str, Any] = {"epochs": 3, "seed": 1, "batch_size": batch_size, "evaluations_per_epoch": 2}
    options |= {"penalty": "scaled", "step_size": InverseTime(0.5, 0.7)}
    serial = hogwild.minimize(wide(), **options)
    backend = hogwild.backend("hogwild_hot_replicated", hot_weights=1, merge_every=merge_every)
    lone = hogwild.minimize(wide(), backend=backend, workers=1, **options)
    np.testing.assert_allclose(lone.weights, serial.weights, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_several_workers_get_where_one_gets(backend: str, dtype: Any) -> None:
    for kind in ({"method": "sgd"}, {"method": "sdca"}, {"penalty": "scaled"}):
        options: dict[str, Any] = {"epochs": 8, **kind}
        ends: dict[str, list[float]] = {"serial": [], backend: []}
        for seed in range(3):
            for name, found in ends.items():
                own = {} if name == "serial" else {"hot_weights": 1, "merge_every": 16}
                how, workers = hogwild.backend(name, **own), 1 if name == "serial" else 2
                result = hogwild.minimize(wide(dtype), backend=how, workers=workers, seed=seed, **options)
                found.append(result.objective)
        assert np.median(ends[backend]) == pytest.approx(np.median(ends["serial"]), rel=0.02)


def test_weights_are_the_same_wherever_they_lie_in_a_shared_block() -> None:
    schedule, weights = layout(2, 1, wide())
    _, there = Shared((np.ones(3), weights)).open()  # behind the data, as for processes
    for block in (there, np.array(there)):
        assert schedule.combine(block).tolist() == list(range(FEATURES))
    assert seen_by(schedule, there, 2)[1][1][schedule.places].tolist() == list(range(FEATURES))


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_stays_mapped_or_open(backend: str) -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "rw-s" in line]
        return len(mapped), len(os.listdir("/proc/self/fd"))

    options: dict[str, Any] = {"backend": hogwild.backend(backend, hot_weights=1), "workers": 2, "epochs": 1}
    hogwild.minimize(wide(), **options)  # the server of processes starts once
    before = left()
    for _ in range(2):
        hogwild.minimize(wide(), **options)
    assert left() == before


def test_it_is_for_linear_models_and_hot_weights_for_it() -> None:
    with pytest.raises(ValueError, match="'hogwild_hot_replicated'; it is for linear models, not for matrix"):
        hogwild.minimize(completion(), backend="hogwild_hot_replicated")
    with pytest.raises(
        ValueError, match="hot_weights is 5; the backend 'replicated' has these options: merge"
    ):
        hogwild.backend("replicated", hot_weights=5)
    with pytest.raises(ValueError, match="hot_weights is 0"):
        hogwild.backend("hogwild_hot_replicated", hot_weights=0)
    with pytest.raises(TypeError, match=r"hot_weights is 0\.5"):
        hogwild.backend("hogwild_hot_replicated", hot_weights=0.5)
