"""Several runs at once, and runs in places that are not the main thread of a program's first process."""

import itertools
import multiprocessing
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import pytest
from joblib.externals.loky import get_reusable_executor

import hogwild
from hogwild.engine.compiling import config
from hogwild.teams import borrowed
from tests.hogwild.cases import problem, slow_but
from tests.hogwild.family import footprint, left_behind
from tests.hogwild.faults import HANG_SECONDS

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="compiled runs, many at a time")

EXAMPLES = 60
KINDS = ("serial", "round_robin", "cyclades", "locked_processes", "cyclades_processes", "pool")
ELSEWHERE = ("cyclades", "cyclades_processes", "pool")  # in a process that has to load everything


def run(backend, pin=False, callback=None):
    """Return the bytes of a run's weights where they are always the same, else nothing, and its updates."""
    workers = None if backend == "serial" else 2
    result = hogwild.minimize(
        problem(examples=EXAMPLES),
        backend=backend,
        workers=workers,
        epochs=2,
        step_size=0.01,
        observe=hogwild.Observe(pin=pin),
        callback=callback,
    )
    same = hogwild.BACKENDS[backend].reproducibility == "identical"
    return result.weights.tobytes() if same else b"", sum(result.updates)


def promised(backend):
    return 2 * EXAMPLES * (2 if backend == "averaging" else 1)


@pytest.fixture(scope="module", autouse=True)
def _server():
    run("pool")


@pytest.mark.parametrize("first", slow_but(["serial", "hogwild_processes", "pool"], hogwild.BACKENDS))
def test_any_two_backends_run_side_by_side(first):
    """Neither run disturbs the other one, nor what they borrow of the process."""
    names = list(hogwild.BACKENDS)
    others = names[names.index(first) :]
    before, alone = footprint(), {name: run(name) for name in {first, *others}}
    with ThreadPoolExecutor(2) as pool:
        for other in others:
            both = [pool.submit(run, name, pin=True) for name in (first, other)]
            found = [future.result(HANG_SECONDS) for future in both]
            assert found == [alone[first], alone[other]]
            assert [updates for _, updates in found] == [promised(first), promised(other)]
    assert left_behind(before) == {}


def test_many_at_once_from_threads():
    before = footprint()
    with ThreadPoolExecutor(len(KINDS)) as pool:
        found = list(pool.map(run, KINDS * 4, timeout=HANG_SECONDS))
    assert [updates for _, updates in found] == [promised(name) for name in KINDS * 4]
    assert left_behind(before) == {}


@pytest.mark.parametrize("outer", KINDS)
def test_a_run_within_the_callback_of_another(outer):
    before, inner = footprint(), itertools.cycle(KINDS)
    found = []
    run(outer, callback=lambda row: found.extend(run(next(inner)) for _ in range(2)))
    assert [updates for _, updates in found] == [promised(name) for name in KINDS]
    assert left_behind(before) == {}


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_joblib(backend):
    expected = [run(name) for name in ELSEWHERE]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        try:
            found = joblib.Parallel(2, backend=backend)(joblib.delayed(run)(name) for name in ELSEWHERE)
        finally:
            get_reusable_executor().shutdown(wait=True)
    assert found == expected


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_daemonic_worker_of_a_pool(method):
    expected = [run(name) for name in ELSEWHERE]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map_async(run, ELSEWHERE).get(HANG_SECONDS) == expected


def test_workers_run_on_the_cores_of_their_run():
    """The server of processes may have been started when its parent was bound to other cores."""
    cores = sorted(os.sched_getaffinity(0))
    seen = []

    def look(row):
        from tests.hogwild.family import workers

        seen.extend(os.sched_getaffinity(worker.pid) for worker in workers())

    os.sched_setaffinity(0, cores[:1])
    try:
        run("hogwild_processes", callback=look)
    finally:
        os.sched_setaffinity(0, cores)
    assert seen
    assert all(allowed == set(cores[:1]) for allowed in seen)


def test_the_callers_main_module_is_never_another():
    """Workers start while another thread looks all the time."""
    mains, over = set(), threading.Event()

    def look():
        while not over.is_set():
            mains.add(id(sys.modules["__main__"]))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for name in ("hogwild_processes", "pool"):
            run(name)
    finally:
        over.set()
        watcher.join()
    assert mains == {id(sys.modules["__main__"])}


def test_two_hundred_runs_leave_everything_as_it_was():
    for name in hogwild.BACKENDS:  # what is loaded once
        run(name)
    before = footprint()
    for name in itertools.islice(itertools.cycle(hogwild.BACKENDS), 200):
        assert run(name)[1] == promised(name)
    assert left_behind(before) == {}


def test_a_process_forked_beside_a_run_hears_ctrl_c() -> None:
    """What the run's own thread holds back is not for a child that does not have this thread."""
    state = borrowed._state
    kept = state.holds, state.owner, state.previous
    try:
        state.holds, state.owner, state.previous = 1, threading.get_ident(), None
        state.waiting.append((2, None))
        child = threading.Thread(target=borrowed._after_fork)
        child.start()
        child.join()
        assert (state.holds, state.waiting) == (0, [])
    finally:
        state.holds, state.owner, state.previous = kept
