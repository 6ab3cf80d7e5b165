"""Workers that die, stop, fail or run out of memory, at every stage of a run of every backend."""

import collections
import contextlib
import functools
import gc
import os
import resource
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

import hogwild
from hogwild import backends
from hogwild.engine.compiling import config
from hogwild.teams.processes import ProcessTeam
from tests.hogwild.cases import problem, slow_but
from tests.hogwild.family import footprint, left_behind, shared_memory, workers
from tests.hogwild.faults import (
    HANG_SECONDS,
    MOMENTS,
    PROCESSES,
    SIGNALS,
    THREADS,
    WITHIN,
    Fault,
    Pressed,
    Presses,
    orphans,
    press,
    run_with,
    watched,
)

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="faults are those of compiled runs")

COUNTS: collections.Counter[str] = collections.Counter()


@pytest.fixture(scope="module", autouse=True)
def _counts(request):
    """Start the server of processes before anything is counted; at the end, print what was."""
    hogwild.minimize(case_of("pool"), backend="hogwild_processes", workers=1, epochs=1)
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nfaults:", ", ".join(f"{count} {name}" for name, count in sorted(COUNTS.items())))


def case_of(backend):
    return problem(examples=60 if backend == "pool" else 3000, features=50)


def check(fault, backend):
    case = case_of(backend)
    outcome = run_with(fault, case, backend=often_merged(backend), workers=2)
    COUNTS[fault.kind] += outcome.injected
    COUNTS["hung"] += outcome.hung
    COUNTS["left something behind"] += bool(outcome.left)
    assert outcome.wrong(fault, case.n_examples) == []


def often_merged(name):
    return hogwild.backend(name, merge_every=8) if hogwild.BACKENDS[name].schedule.adds_moves else name


def lock_of(team):
    """Return its lock: that of merges, or the guard's."""
    return team.schedule.replica.lock if team.schedule.adds_moves else team.guard.cell


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", SIGNALS + WITHIN)
@pytest.mark.parametrize("backend", slow_but(["locked_processes", "replicated_processes", "pool"], PROCESSES))
def test_a_process_with_a_fault(backend, kind, moment):
    check(Fault(kind, moment), backend)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", WITHIN)
@pytest.mark.parametrize("backend", slow_but(["round_robin", "cyclades"], THREADS))
def test_a_thread_with_a_fault(backend, kind, moment):
    check(Fault(kind, moment), backend)


INTERRUPTED = (
    "serial",
    "hogwild_threads",
    "round_robin",
    "hogwild_processes",
    "replicated_processes",
    "pool",
)


@functools.cache
def run_once(backend):
    """Have everything compiled: Python drops an interrupt that comes while LLVM calls back."""
    hogwild.minimize(
        case_of(backend),
        backend=backend,
        workers=None if backend == "serial" else 2,
        epochs=1,
        step_size=1e-3,
    )


@pytest.mark.parametrize("moment", ["start", "training"])
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("backend", INTERRUPTED)
def test_ctrl_c(backend, times, moment):
    """The first one ends the run; those that follow at once do not keep it from putting everything away."""
    run_once(backend)
    for delay in (0.0, 0.003, 0.03):
        workers = None if backend == "serial" else 2
        how = Presses(times, moment, delay, gap=0.001)
        outcome = press(how, case_of(backend), backend=backend, workers=workers)
        COUNTS["Ctrl-C"] += outcome.injected
        COUNTS["left something behind"] += bool(outcome.left)
        assert outcome.left == {}
        assert outcome.error is Pressed, outcome.text


@pytest.mark.parametrize(
    ("backend", "moment", "delay"),
    [
        ("locked_processes", "start", 0.0),
        ("replicated_processes", "training", 0.0),
        ("pool", "start", 0.5),
        ("pool", "training", 0.0),
    ],
)
def test_a_parent_is_killed(backend, moment, delay):
    left = orphans(moment, delay, case_of(backend), backend=backend, workers=2)
    COUNTS["killed parents"] += 1
    COUNTS["left something behind"] += bool(left)
    assert left == {}


@pytest.mark.parametrize("backend", ["locked_processes", "replicated_processes"])
def test_a_worker_that_holds_a_lock_is_killed(backend, monkeypatch):
    """Both are stopped until one of them holds the lock; it is the one without which the lock stays taken."""
    before, teams_made = footprint(), []

    class Seen(ProcessTeam):
        def __init__(self, *arguments):
            teams_made.append(self)
            super().__init__(*arguments)

    def attack():
        begun.wait()
        pair = workers()
        cells = lock_of(teams_made[0])
        for _ in range(10_000):
            for worker in pair:
                worker.suspend()
            while any(worker.status() != psutil.STATUS_STOPPED for worker in pair):
                time.sleep(0.0005)
            for victim, other in (pair, pair[::-1]):
                if cells[0]:
                    other.resume()
                    time.sleep(0.01)
                    if cells[0]:  # for the other one waits
                        killed.append(victim.pid)
                        victim.kill()
                        return
                    other.suspend()
            for worker in pair:
                worker.resume()
            time.sleep(0.001)

    begun, killed = threading.Event(), []
    attacker = threading.Thread(target=attack, daemon=True)
    attacker.start()
    case = problem(examples=300, features=20_000, density=0.01)
    monkeypatch.setitem(backends.TEAMS, "processes", Seen)
    with watched(), pytest.raises(hogwild.WorkerDied, match="exit code -9"):
        hogwild.minimize(
            case,
            backend=often_merged(backend),
            workers=2,
            epochs=10**7,
            step_size=1e-4,
            time_limit=HANG_SECONDS,
            evaluations_per_epoch=1,
            callback=lambda row: begun.set(),
        )
    attacker.join()
    teams_made.clear()
    assert killed
    COUNTS["kill"] += 1
    assert left_behind(before) == {}


@pytest.mark.parametrize("backend", ["hogwild_processes", "round_robin_processes", "pool"])
def test_a_worker_that_is_stopped_for_ever_costs_no_more_than_the_time_limit(backend):
    before, stopped = footprint(), []

    def stop(row):
        stopped.append(workers()[0].pid)
        os.kill(stopped[-1], signal.SIGSTOP)

    with watched(), pytest.raises(hogwild.WorkerDied, match="stopped by a signal, and the time limit"):
        hogwild.minimize(
            case_of(backend),
            backend=backend,
            workers=2,
            epochs=10**7,
            step_size=1e-4,
            time_limit=0.5,
            callback=stop,
        )
    COUNTS["stopped for ever"] += 1
    assert left_behind(before) == {}


@pytest.mark.parametrize("backend", ["aig_processes", "pool"])
def test_the_server_of_processes_is_killed(backend):
    """Its workers count as lost; the next run starts another server."""

    def kill(row):
        if row.updates == 0:
            workers()[0].parent().kill()

    with watched(), pytest.raises(hogwild.WorkerDied, match="exit code 255"):
        hogwild.minimize(
            case_of(backend), backend=backend, workers=2, epochs=10**7, step_size=1e-4, callback=kill
        )
    COUNTS["killed servers"] += 1
    before = footprint()
    assert sum(hogwild.minimize(case_of(backend), backend=backend, workers=2, epochs=1).updates) > 0
    different = left_behind(before)
    assert different.keys() <= {"children", "descriptors"}  # those of the new server


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS"])
@pytest.mark.parametrize("backend", ["serial", "hogwild_threads", "hogwild_processes", "pool"])
def test_what_the_system_does_not_grant_at_the_start(backend, limit):
    """Memory or descriptors run out while a run is set up."""
    case, before = problem(examples=30_000, features=200), footprint()
    options = {"backend": backend, "workers": None if backend == "serial" else 2, "epochs": 1}
    number = getattr(resource, limit)
    old = resource.getrlimit(number)
    used = {
        "RLIMIT_FSIZE": 1000,
        "RLIMIT_NOFILE": len(os.listdir("/proc/self/fd")),
        "RLIMIT_AS": int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**20,
    }
    try:
        resource.setrlimit(number, (used[limit], old[1]))
        with contextlib.suppress(MemoryError, OSError, RuntimeError), watched():
            hogwild.minimize(case, **options)
            # there may be room for so little in what was freed before
            assert limit == "RLIMIT_AS" or (limit == "RLIMIT_NOFILE" and backend == "serial")
    finally:
        resource.setrlimit(number, old)
    COUNTS["exhausted"] += 1
    assert left_behind(before) == {}
    assert sum(hogwild.minimize(case, **options).updates) == case.n_examples


def test_a_pool_that_lost_a_worker_leaves_no_semaphore_until_a_collection():
    def kill(checkpoint):
        for process in workers():
            process.kill()

    before = shared_memory(os.getpid())
    gc.disable()
    try:
        with pytest.raises(hogwild.WorkerDied):
            hogwild.minimize(case_of("pool"), backend="pool", workers=2, callback=kill)
        assert shared_memory(os.getpid()) <= before
    finally:
        gc.enable()
