"""Replicas: what a merge does to each coordinate, and when it happens."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hogwild
from hogwild.engine.compiling import config
from hogwild.engine.loops import Batches, Job, Singles
from hogwild.engine.steps import Constant
from hogwild.problems.base import Problem
from hogwild.problems.matrix_completion import MatrixCompletion
from hogwild.sharing import replicas
from hogwild.sharing.moves import Multiplied
from hogwild.sharing.replicas import LONGEST, SHORTEST, Replica, Replicas
from tests.hogwild.cases import completion, grid_cut, plan_for, problem

SIZE = 12


def replicas_of(workers: int, merge_every: int | None = None) -> tuple[list[Replica], np.ndarray]:
    case = problem(features=SIZE)
    schedule = Replicas(merge_every).prepared(case, workers)
    weights = schedule.lay_out(np.zeros(SIZE), workers)
    plan = plan_for(case, schedule, weights, workers)
    return [schedule.assign(plan, worker).state for worker in range(workers)], weights


def prepared(workers: int, case: Any) -> Replica:
    return Replicas().prepared(case, workers).replica


def done(replica: Replica, rate: float, updates: int) -> None:
    """Count updates as done that are not."""
    replica.cells["rate"][replica.worker] = rate
    replica.cells["left"][replica.worker] -= updates


@given(
    arrays(np.float64, (3, SIZE), elements=st.floats(-8, 8, width=16)),
    arrays(np.float64, SIZE, elements=st.floats(0, 4, width=16)),
    st.floats(0.125, 2),
    st.integers(1, 5),
)
def test_a_merge_is_as_if_the_workers_had_worked_in_turn(
    given_rows: np.ndarray, curvature: np.ndarray, rate: float, updates: int
) -> None:
    (replica,), _ = replicas_of(1, merge_every=10)
    replica = replica._replace(curvature=curvature)
    for row, values in zip((replica.shared, replica.own, replica.base), given_rows, strict=True):
        row[:] = values
    done(replica, rate, updates)
    replicas.merge(replica)
    shared, own, base = given_rows
    left = np.maximum(1 - rate * updates * curvature / 4, 0) ** 4
    expected = np.where(own == base, shared, own + left * (shared - base))
    assert replica.shared.tolist() == pytest.approx(expected)
    assert replica.shared.tolist() == replica.own.tolist() == replica.base.tolist()
    assert replica.lock[0] == 0  # it is free again
    assert replica.cells["left"][0] == 10


def test_what_a_replica_shows_multiplied_is_added_as_it_is() -> None:
    (one, other), _ = replicas_of(2, merge_every=10)
    factors = np.linspace(1, 2, SIZE)
    for replica, moved in ((one, 0.5), (other, 3.0)):
        replica.curvature[:] = 0
        replica.own[:] = moved * factors
        replicas.merge(replica._replace(moves=Multiplied(factors)))
    assert other.shared.tolist() == other.own.tolist() == pytest.approx([3.5] * SIZE)


def test_two_that_settle_a_coordinate_settle_it_once() -> None:
    """Both go from 0 to the optimum 1; the sum of their moves would be 2."""
    for curvature, expected in ((0.0, 2.0), (1e3, 1.0)):
        (one, other), _ = replicas_of(2, merge_every=10)
        for replica in (one, other):
            replica.curvature[:] = curvature
            replica.own[:] = 1.0
            done(replica, 1.0, 1)
        replicas.merge(one)
        replicas.merge(other)
        assert other.shared.tolist() == [expected] * SIZE


@given(st.floats(0, 12))
def test_what_is_left_of_a_move_is_close_to_the_exponential(contracted: float) -> None:
    (replica,), _ = replicas_of(1, merge_every=10)
    replica.curvature[:], replica.shared[:], replica.own[:] = contracted, 1.0, 1.0
    done(replica, 1.0, 1)
    replicas.merge(replica)
    assert 0 <= math.exp(-contracted) - (replica.shared[0] - 1.0) + 1e-12 < 0.08


def test_the_curvature_of_least_squares_is_the_diagonal_of_its_hessian() -> None:
    made = problem()
    hessian = 2 * np.square(made.X.toarray()).mean(axis=0)
    assert made.curvature().tolist() == pytest.approx(hessian.tolist())
    assert problem(l2=60.0).curvature().tolist() == pytest.approx((hessian + 1).tolist())  # 120 examples


def test_a_factor_has_the_share_of_updates_that_its_row_or_column_has() -> None:
    made = completion()
    found = made.curvature().reshape(-1, made.rank)
    assert found.shape[0] == made.n_rows + made.n_columns
    assert found[:, 0].tolist() == found[:, 1].tolist()
    assert found[: made.n_rows, 0].sum() == pytest.approx(2 * np.abs(made.values).mean())


def test_constraints_do_not_survive_merges_so_there_are_none_on_them() -> None:
    with pytest.raises(ValueError, match="leaves the constraints of graph_cut"):
        hogwild.minimize(grid_cut(), backend="replicated")


def test_workers_learn_of_each_other_at_merges() -> None:
    (one, other), weights = replicas_of(2, merge_every=3)
    for each in (one, other):
        replicas.join(each)
    one.curvature[:] = 0
    one.own[0], other.own[1], other.own[2] = 1.0, 5.0, -1.0
    one.own[2] = 2.0
    replicas.merge(one)
    assert weights[0].tolist()[:3] == [1.0, 0.0, 2.0]
    assert other.own[0] == 0.0
    replicas.leave_segment(other)
    assert weights[0].tolist()[:3] == other.own.tolist()[:3] == [1.0, 5.0, 1.0]
    assert one.own[1] == 0.0
    replicas.leave_segment(one)
    assert one.own.tolist() == other.own.tolist()


def test_a_worker_begins_a_segment_with_what_is_shared() -> None:
    (one, other), weights = replicas_of(2, merge_every=3)
    weights[0] = 7.0
    replicas.join(one)
    assert one.own.tolist() == one.base.tolist() == [7.0] * SIZE
    assert other.own.tolist() == [0.0] * SIZE
    replicas.leave_segment(other)  # it has had nothing to do, and nothing to merge
    assert weights[0].tolist() == [7.0] * SIZE


@pytest.mark.parametrize(("batch_size", "merge_every"), [(1, 7), (1, 1000), (4, 2), (4, 13)])
def test_workers_take_all_updates_once_whole_batches_and_merge_after_each_period(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, merge_every: int
) -> None:
    """In turns here, so that what each took can be told."""
    if not config.DISABLE_JIT:
        pytest.skip("the compiled loop cannot be watched")
    pieces: list[list[int]] = []
    merges: list[int] = []
    monkeypatch.setattr(replicas, "run_part", lambda updates, job, step, *bounds: pieces.append(list(bounds)))
    monkeypatch.setattr(replicas, "merge_in_time", lambda replica: merges.append(len(pieces)))
    workers, weights = replicas_of(2, merge_every=merge_every)
    case, kind = problem(features=SIZE, examples=400), Singles() if batch_size == 1 else Batches(batch_size)
    order, rule = np.empty(50, np.uint32), Constant(0.1)
    job = Job(case.kernel_record(), None, None, None, weights, 0, order, np.empty(0))
    counts = [1, 1]
    while any(counts):
        for number, replica in enumerate(workers):
            counts[number] = replicas.run_periods(kind, job, rule, replica, 10, 387)
            assert counts[number] <= 50 + batch_size
            for each in replica.cells:
                if each["left"] <= 0:
                    each["left"] = each["period"]
    assert [position for begin, end in pieces for position in range(begin, end)] == list(range(10, 387))
    assert all((begin - 10) % batch_size == 0 for begin, _ in pieces)
    assert bool(merges) == (merge_every < 1000)


@pytest.mark.parametrize("sampling", ["fresh_permutation", "shuffled_once"])
def test_a_lone_worker_is_serial_to_the_bit(sampling: str) -> None:
    options: dict[str, Any] = {"epochs": 3, "step_size": 0.05, "sampling": sampling, "seed": 1}
    serial = hogwild.minimize(problem(l2=0.1), backend="serial", **options)
    for merge_every in (1, 7, None):
        lone = hogwild.minimize(
            problem(l2=0.1),
            backend=hogwild.backend("replicated", merge_every=merge_every),
            workers=1,
            **options,
        )
        assert lone.weights.tobytes() == serial.weights.tobytes()
        assert lone.updates == serial.updates


@pytest.mark.parametrize(
    ("worked", "merged_in", "period"),
    [
        (950, 50, 400),  # a twentieth already
        (950, 75, 600),
        (950, 950, 800),  # not more than doubled
        (9_500, 50, 200),
    ],
)
def test_the_period_adapts_to_the_cost_of_merging(
    monkeypatch: pytest.MonkeyPatch, worked: int, merged_in: int, period: int
) -> None:
    merge_in_time = getattr(replicas.merge_in_time, "py_func", replicas.merge_in_time)
    (replica,), _ = replicas_of(1, merge_every=400)
    replica = replica._replace(adapts=True, longest=LONGEST)
    clock = iter([100, 200, 200 + worked, 200 + worked + merged_in])
    monkeypatch.setattr(replicas, "ticks", lambda: next(clock))
    merge_in_time(replica)
    assert replica.cells["period"][0] == 400  # nothing to measure before the first merge
    merge_in_time(replica)
    assert replica.cells["period"][0] == replica.cells["left"][0] == period


def test_the_period_keeps_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    merge_in_time = getattr(replicas.merge_in_time, "py_func", replicas.merge_in_time)
    for step, limit in ((1, SHORTEST), (10**6, LONGEST)):
        (replica,), _ = replicas_of(1)
        replica = replica._replace(longest=LONGEST)
        now = [10**9]

        def clock(step: int = step, now: list[int] = now) -> int:
            now[0] += step if now[0] % 2 else 10**3 + 1
            return now[0]

        monkeypatch.setattr(replicas, "ticks", clock)
        for _ in range(20):
            merge_in_time(replica)
        assert replica.cells["period"][0] == limit


def test_a_worker_merges_a_few_times_an_epoch_however_expensive_it_is() -> None:
    assert prepared(4, problem(examples=120)).longest == SHORTEST
    large = prepared(4, problem(examples=6400, features=SIZE))
    assert large.longest == 6400 / 4 / (4 * Problem.merges)
    assert large.cells["period"][0] == large.longest
    factors = prepared(2, completion(entries=6400))
    assert factors.longest == 6400 / 2 / (2 * MatrixCompletion.merges)
    larger = prepared(2, problem(examples=64_000, features=SIZE))
    assert larger.cells["period"][0] == replicas.FIRST < larger.longest


def test_what_has_no_replicas_cannot_merge_them() -> None:
    with pytest.raises(ValueError, match="merge_every is 5; the backend 'hogwild_threads' has no options"):
        hogwild.backend("hogwild_threads", merge_every=5)
    with pytest.raises(ValueError, match="merge_every is 0"):
        hogwild.backend("replicated", merge_every=0)
