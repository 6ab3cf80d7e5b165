"""Conflict-free rounds: their schedule against its slow twin, their weights against serial ones."""

import itertools
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import hogwild
from hogwild import assembly
from hogwild.arguments import derived_seed
from hogwild.engine.delays import NoDelay
from hogwild.engine.loops import Job, run_examples
from hogwild.engine.sampling import (
    SAMPLINGS,
    FreshPermutation,
    ShuffledOnce,
    epoch_key,
    examples_at,
    shuffled_order,
)
from hogwild.engine.steps import InverseTime, in_epoch
from hogwild.problems import LINEAR_PROBLEMS, GraphCut, LeastSquares, MatrixCompletion
from hogwild.sharing import conflicts, rounds
from hogwild.sharing.guards import Unguarded
from tests.hogwild.cases import WATCHED, completion, grid_cut, problem
from tests.hogwild.twins import schedule_twin

KEPT_OR_NOT = (
    "shuffled_once",
    "fresh_permutation",
    "with_replacement",
)
SLOW = hogwild.Observe(gradient_delay=1e-6)
LEAST = conflicts.UPDATES_PER_WORKER
STEP = InverseTime(0.05, 0.7)  # every position has a rate of its own


def sparse_rows(
    name: str = "least_squares",
    examples: int = 400,
    features: int = 3000,
    starts: type = np.int32,
    **options: Any,
) -> Any:
    """Rows of up to three entries, every tenth one empty, in few conflicts."""
    random = np.random.default_rng(3)
    rows = np.repeat(np.arange(examples), 3)
    rows, columns = rows[rows % 10 > 0], random.integers(0, features, 3 * examples)
    coordinates = rows.astype(np.int32), columns[: rows.size].astype(np.int32)
    X = sp.csr_array(sp.coo_array((random.normal(size=rows.size), coordinates), shape=(examples, features)))
    X.indptr = X.indptr.astype(starts)
    y = np.sign(random.normal(size=examples))
    return LINEAR_PROBLEMS[name].from_data(X, y, l2=0.5, **options)


def all_as_serial(case: Any, backend: str, workers: Iterable[int], **options: Any) -> list[Any]:
    """Return the runs, whose weights and histories are those of a serial one to the bit."""
    options = {"step_size": STEP, "epochs": 2, "seed": 6, "evaluations_per_epoch": 3} | options
    serial = hogwild.minimize(case, **options)
    assert serial.parallel_share is None
    results = [hogwild.minimize(case, backend=backend, workers=number, **options) for number in workers]
    for result in results:
        assert result.weights.tobytes() == serial.weights.tobytes()
        assert [row.objective for row in result.history] == [row.objective for row in serial.history]
        assert sum(result.updates) == sum(serial.updates)
    return results


def same_as_serial(case: Any, backend: str, workers: int, **options: Any) -> Any:
    return all_as_serial(case, backend, [workers], **options)[0]


# what is scheduled has nothing to do with the problem: one of the others with each sampling
OTHERS: dict[str, Any] = {
    "matrix_completion": lambda: completion(rows=150, columns=200, entries=300, mu=0.5),
    "graph_cut": lambda: grid_cut(side=12),
    "logistic": lambda: sparse_rows("logistic"),
    "hinge": lambda: sparse_rows("hinge"),
    "single_precision": lambda: sparse_rows(dtype=np.float32),
    "wide_row_starts": lambda: sparse_rows(starts=np.int64),
}


@pytest.mark.parametrize(
    ("family", "sampling"),
    [
        *(("least_squares", sampling) for sampling in SAMPLINGS),
        *zip(itertools.cycle(OTHERS), SAMPLINGS, strict=False),
    ],
)
def test_any_number_of_workers_is_serial_to_the_bit(family: str, sampling: str) -> None:
    case = OTHERS.get(family, sparse_rows)()
    alone, *others = all_as_serial(case, "cyclades", (1, 2, 3, 8), sampling=sampling)
    assert alone.parallel_share == 0
    for result in others:
        assert result.parallel_share > 0.6
        assert min(result.updates) > 0


@pytest.mark.parametrize("sampling", KEPT_OR_NOT)
def test_processes_are_serial_to_the_bit(sampling: str) -> None:
    result = same_as_serial(sparse_rows(), "cyclades_processes", 3, sampling=sampling)
    assert result.parallel_share > 0.6


@pytest.mark.parametrize("sampling", KEPT_OR_NOT)
@pytest.mark.parametrize("block", [1, 50, 128])
def test_schedules_in_several_blocks(monkeypatch: pytest.MonkeyPatch, sampling: str, block: int) -> None:
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: block)
    same_as_serial(sparse_rows(), "cyclades", 3, sampling=sampling)


@pytest.mark.parametrize("sampling", KEPT_OR_NOT)
@pytest.mark.parametrize("batch_size", [3, 7, 300])
def test_mini_batches_are_serial_to_the_bit(sampling: str, batch_size: int) -> None:
    case = sparse_rows(features=20_000)
    _, result = all_as_serial(case, "cyclades", (1, 3), sampling=sampling, batch_size=batch_size)
    assert (result.parallel_share > 0.6) == (batch_size < 300)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_in_which_all_or_none_conflict(sampling: str) -> None:
    one = same_as_serial(
        LeastSquares.from_data(np.ones((120, 1)), np.ones(120), l2=0.5), "cyclades", 3, sampling=sampling
    )
    assert one.parallel_share == 0
    assert one.updates == (240, 0, 0)
    disjoint = LeastSquares.from_data(np.eye(300), np.arange(300.0), l2=0.5)
    none = same_as_serial(disjoint, "cyclades", 3, sampling=sampling)
    assert none.parallel_share == 1
    assert min(none.updates) > 150
    few = LeastSquares.from_data(np.eye(5), np.arange(5.0), l2=0.5)
    same_as_serial(few, "cyclades", 8, sampling=sampling)
    empty = LeastSquares.from_data(sp.csr_array((40, 3)), np.ones(40), l2=0.5)
    same_as_serial(empty, "cyclades", 3, sampling=sampling)


def test_delayed_gradients_and_given_weights_are_serial_to_the_bit() -> None:
    same_as_serial(sparse_rows(), "cyclades", 2, observe=SLOW, initial_weights="normal")


def test_hot_features_leave_all_to_one_worker_but_for_a_stretch_without_them() -> None:
    X = sp.csr_array(np.vstack([np.pad(np.ones((200, 1)), ((0, 0), (0, 200))), np.eye(201)[1:]]))
    sampling = ShuffledOnce(0)
    owners = schedule(LeastSquares.from_data(X, np.ones(400), l2=0.5).kernel_record(), sampling, 0, 400, 2)
    assert (np.maximum(owners, ~owners)[:200] == 0).all()
    rounds = np.flatnonzero(owners < 0)
    assert np.diff(rounds[:4]).tolist() == [2 * LEAST, 4 * LEAST, 8 * LEAST]  # looked at ever more seldom
    late = rounds[rounds >= 200][0]
    assert np.maximum(owners, ~owners)[late:].mean() == pytest.approx(0.5, abs=0.02)


def schedule(record: Any, sampling: Any, begin: int, end: int, workers: int, batch_size: int = 1) -> Any:
    owners = np.full(record.targets.size, 99, np.int32)
    space = conflicts.space_for(owners.size, int(record.indices.max(initial=0)) + 1, workers)
    conflicts.schedule(record, sampling, 1, begin, end, batch_size, owners, space)
    again = owners.copy()
    space.stamp[0] = 2**31 - 3  # stamps begin anew
    conflicts.schedule(record, sampling, 1, begin, end, batch_size, again, space)
    assert again.tolist() == owners.tolist()
    assert (np.delete(owners, np.arange(begin, end)) == 99).all()
    return owners[begin:end]


@given(
    st.integers(1, 160),
    st.floats(0.3, 5),
    st.integers(1, 400),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([FreshPermutation, ShuffledOnce]),
    st.integers(0, 2**32),
)
def test_schedules_equal_their_twin_and_keep_workers_apart(
    examples: int, entries: float, features: int, workers: int, batch_size: int, kind: Any, seed: int
) -> None:
    random = np.random.default_rng(seed)
    X = sp.random_array((examples, features), density=min(1, entries / features), rng=random, format="csr")
    case = LeastSquares.from_data(X, np.ones(examples), l2=0.5)
    begin = batch_size * random.integers(0, 1 + examples // (4 * batch_size))
    record, sampling = case.kernel_record(), kind(int(seed))
    owners = schedule(record, sampling, begin, examples, workers, batch_size)
    order = examples_at(sampling, examples, np.uint64(epoch_key(seed, 1)), begin, examples)
    rows = [case.X.indices[case.X.indptr[i] : case.X.indptr[i + 1]].tolist() for i in order]
    expected = schedule_twin(rows, workers, batch_size, LEAST)
    assert owners.tolist() == expected
    starts = np.flatnonzero(owners < 0).tolist() or [0]
    for first, last in zip(starts, [*starts[1:], len(rows)], strict=True):
        performed_by: dict[int, int] = {}
        for place in range(first, last):
            owner = max(owners[place], ~owners[place])
            assert 0 <= owner < workers
            for variable in rows[place]:
                assert performed_by.setdefault(variable, owner) == owner


@given(st.lists(st.one_of(st.integers(1, 9), st.integers(200, 300), st.integers(1, 10**9)), max_size=80))
def test_components_are_sorted_longest_first_and_stay_in_order(loads: list[int]) -> None:
    items, spare = np.arange(len(loads), dtype=np.int32), np.empty(len(loads), np.int32)
    conflicts.sort_longest_first(np.array(loads, np.int64), items, spare, len(loads), max(loads, default=0))
    assert items.tolist() == sorted(range(len(loads)), key=lambda item: -loads[item])


def test_what_is_constant_is_no_conflict() -> None:
    """Every node of the grid has an edge to a terminal: were these variables, all would be one component."""
    assert same_as_serial(grid_cut(side=12), "cyclades", 2).parallel_share == 1
    star = GraphCut.from_data(np.zeros(200, int), np.arange(1, 201), np.ones(200), terminals=[1, 2])
    assert same_as_serial(star, "cyclades", 2).parallel_share < 0.1
    hub = MatrixCompletion.from_data(np.zeros(99, int), np.arange(99), np.ones(99), rank=2, mu=0.5)
    assert same_as_serial(hub, "cyclades", 2).parallel_share == 0


@pytest.mark.parametrize("sampling", KEPT_OR_NOT)
def test_a_time_limit_ends_all_workers_after_the_same_update(
    monkeypatch: pytest.MonkeyPatch, sampling: str
) -> None:
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: 10)
    case = sparse_rows(examples=2000)
    result = hogwild.minimize(
        case,
        backend="cyclades",
        workers=3,
        step_size=STEP,
        epochs=10**6,
        time_limit=0.1,
        sampling=sampling,
        evaluations_per_epoch=2,
    )
    assert result.status == "timeout"
    performed = sum(result.updates)
    assert performed % 10 == 0
    record = SAMPLINGS[sampling](derived_seed(0, "order"))
    layout = shuffled_order(2000, record.seed) if sampling.startswith("shuffled") else None
    weights, order = np.zeros(case.n_weights), np.empty(2000, np.uint32)
    for epoch in range(-(-performed // 2000)):
        end = min(2000, performed - 2000 * epoch)
        records = (case.kernel_record(0.0, layout), Unguarded(), record, NoDelay())
        run_examples(Job(*records, weights, epoch, order, np.zeros(0)), in_epoch(STEP, epoch), 0, end)
    assert result.weights.tobytes() == weights.tobytes()


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("sampling", ["fresh_permutation", "shuffled_once"])
def test_nobody_waits_for_a_worker_that_failed(
    monkeypatch: pytest.MonkeyPatch, failing: int, sampling: str
) -> None:
    run_rounds = rounds.run_rounds

    def fail(updates: Any, job: Any, step: Any, state: Any, begin: int, end: int, *share: int) -> int:
        if end > 100 and state.worker == failing:
            raise ZeroDivisionError("inside the worker")
        return int(run_rounds(updates, job, step, state, begin, end, *share))

    monkeypatch.setattr(rounds, "run_rounds", fail)
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: 60)
    threads = threading.active_count()
    with pytest.raises(RuntimeError, match=rf"(?s)worker {failing} failed.*inside the worker"):
        hogwild.minimize(sparse_rows(), backend="cyclades", workers=3, sampling=sampling, step_size=STEP)
    assert threading.active_count() == threads


def test_what_shares_nothing_cannot_be_watched() -> None:
    with pytest.raises(ValueError, match="instrument is True; the backend 'cyclades' has no shared kernel"):
        hogwild.minimize(problem(), backend="cyclades", observe=WATCHED)
