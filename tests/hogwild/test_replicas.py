"""Replicas: what a merge does to each coordinate, and when it happens."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hogwild
from hogwild import replicas
from hogwild.policies import LINE, combined, laid_out, leave, placed, retire
from hogwild.replicas import FIRST_PERIOD, LONGEST, SHORTEST, Replicated
from tests.hogwild.cases import problem

SIZE = 12


def policies(workers: int, merge_every: int | None = None) -> tuple[list[Replicated], np.ndarray]:
    policy = replicas.replicated(workers, problem(features=SIZE))
    if merge_every is not None:
        policy = replicas.every(policy, merge_every)
    weights = laid_out(policy, np.zeros(SIZE), workers)
    return [placed(policy, weights, worker)[0] for worker in range(workers)], weights


def merged(shared: float, own: float, base: float) -> float:
    """The slow, obvious twin."""
    moved, others = own - base, shared - base
    if moved * others > 0:
        return own if abs(moved) > abs(others) else shared
    return base + moved + others


@given(arrays(np.float64, (3, SIZE), elements=st.floats(-8, 8, width=16)))
def test_a_merge_counts_an_agreed_move_once_and_adds_opposed_ones(given_rows: np.ndarray) -> None:
    (policy,), _ = policies(1)
    for row, values in zip((policy.shared, policy.own, policy.base), given_rows, strict=True):
        row[:] = values
    replicas.merge(policy)
    expected = [merged(*map(float, cell)) for cell in given_rows.T]
    assert policy.shared.tolist() == pytest.approx(expected)
    assert policy.shared.tolist() == policy.own.tolist() == policy.base.tolist()
    assert policy.cells[0] == 0  # the lock is free again


def test_workers_learn_of_each_other_at_merges() -> None:
    (one, other), weights = policies(2, merge_every=3)
    one.own[0], other.own[1], other.own[2] = 1.0, 5.0, -1.0
    one.own[2] = 2.0
    for _ in range(2):
        leave(one, 1)
    assert not weights[0].any()
    leave(one, 1)
    assert combined(one, weights).tolist()[:3] == [1.0, 0.0, 2.0]
    assert other.own[0] == 0.0
    retire(other)
    assert combined(one, weights).tolist()[:3] == other.own.tolist()[:3] == [1.0, 5.0, 1.0]
    assert one.own[1] == 0.0
    retire(one)
    assert one.own.tolist() == other.own.tolist()


@pytest.mark.parametrize("sampling", ["fresh_permutation", "shuffled_once"])
def test_a_lone_worker_is_serial_to_the_bit(sampling: str) -> None:
    options: dict[str, Any] = {"epochs": 3, "step_size": 0.05, "sampling": sampling, "seed": 1}
    serial = hogwild.minimize(problem(l2=0.1), backend="serial", **options)
    for merge_every in (1, 7, None):
        lone = hogwild.minimize(
            problem(l2=0.1), backend="replicated", workers=1, merge_every=merge_every, **options
        )
        assert lone.weights.tobytes() == serial.weights.tobytes()
        assert lone.updates == serial.updates


@pytest.mark.parametrize(
    ("worked", "merged_in", "period"),
    [
        (900, 100, FIRST_PERIOD),  # a tenth already
        (900, 150, FIRST_PERIOD * 3 // 2),
        (900, 900, FIRST_PERIOD * 2),  # not more than doubled
        (9_000, 100, FIRST_PERIOD // 2),
    ],
)
def test_the_period_adapts_to_the_cost_of_merging(
    monkeypatch: pytest.MonkeyPatch, worked: int, merged_in: int, period: int
) -> None:
    merge_in_time = getattr(replicas.merge_in_time, "py_func", replicas.merge_in_time)
    (policy,), _ = policies(1)
    clock = iter([100, 200, 200 + worked, 200 + worked + merged_in])
    monkeypatch.setattr(replicas, "ticks", lambda: next(clock))
    merge_in_time(policy, LINE)
    assert policy.cells[LINE + replicas._PERIOD] == FIRST_PERIOD  # nothing to measure before the first merge
    merge_in_time(policy, LINE)
    assert policy.cells[LINE + replicas._PERIOD] == policy.cells[LINE + replicas._LEFT] == period


def test_the_period_keeps_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    merge_in_time = getattr(replicas.merge_in_time, "py_func", replicas.merge_in_time)
    for step, limit in ((1, SHORTEST), (10**6, LONGEST)):
        (policy,), _ = policies(1)
        now = [10**9]

        def clock(step: int = step, now: list[int] = now) -> int:
            now[0] += step if now[0] % 2 else 10**3 + 1
            return now[0]

        monkeypatch.setattr(replicas, "ticks", clock)
        for _ in range(20):
            merge_in_time(policy, LINE)
        assert policy.cells[LINE + replicas._PERIOD] == limit


def test_what_has_no_replicas_cannot_merge_them() -> None:
    with pytest.raises(ValueError, match="merge_every is 5; the backend 'hogwild_threads' has no replicas"):
        hogwild.minimize(problem(), backend="hogwild_threads", merge_every=5)
    with pytest.raises(ValueError, match="merge_every is 0"):
        hogwild.minimize(problem(), backend="replicated", merge_every=0)
