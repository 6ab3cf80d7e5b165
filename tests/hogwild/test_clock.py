"""What `train_seconds` counts: updates and nothing else, on a virtual clock that only known work moves."""

import gc
import threading
import time
from types import SimpleNamespace

import pytest

import hogwild
from hogwild import assembly, optimise, training
from hogwild.engine import loops
from hogwild.engine.compiling import config
from hogwild.engine.delays import NoDelay
from hogwild.engine.sampling import WithReplacement
from hogwild.engine.steps import Constant
from hogwild.problems import LeastSquares
from hogwild.sharing import guards, replicas, rounds, schedule
from hogwild.sharing.schedule import Segment
from hogwild.sharing.shares import Shares
from hogwild.teams import caller, crew, threads, work
from hogwild.teams.processes import ProcessTeam
from tests.hogwild.cases import plan_for, problem

UPDATE, SECOND = 1_000, 1_000_000_000  # nanoseconds
EVALUATION, COMPILING, SETTING_UP, CALLBACK, COLLECTION = 1_000, 300, 200, 50, 10  # seconds
EXAMPLES, EPOCHS = 480, 3  # 480 are whole shares of 3 workers and 4 evaluations
IN_PROCESS = [name for name, backend in hogwild.BACKENDS.items() if backend.team in ("caller", "threads")]
OBSERVABLE = [name for name in IN_PROCESS if hogwild.BACKENDS[name].observable]


class VirtualClock:
    """A clock for each thread; the caller's is never behind that of a worker, for whose work it waits."""

    def __init__(self):
        self.caller = threading.get_ident()
        self.times = {self.caller: 0}
        self.update = [UPDATE]  # nanoseconds of an update of each worker
        self.collected = 0

    def read(self):
        if threading.get_ident() == self.caller:
            self.times[self.caller] = max(self.times.values())
        return self.times.setdefault(threading.get_ident(), self.times[self.caller])

    def advance(self, nanoseconds):
        self.times[threading.get_ident()] = self.read() + nanoseconds

    def collect(self, phase, info):
        self.collected += phase == "start"
        self.advance(COLLECTION * SECOND)

    def sleep(self, seconds):
        self.advance(SECOND)
        time.sleep(0)

    def module(self):
        """What stands for the module `time`."""
        return SimpleNamespace(
            perf_counter_ns=self.read,
            perf_counter=lambda: self.read() * 1e-9,
            thread_time=lambda: self.read() * 1e-9,
            monotonic=time.monotonic,  # how long to wait for the end of a process
            sleep=self.sleep,
        )


@pytest.fixture
def clock(monkeypatch):
    """Make everything that a run does cost known time; collections become due all the time."""
    clock = VirtualClock()
    for module in (caller, crew, optimise, threads, training, work):
        monkeypatch.setattr(module, "time", clock.module())
    perform, assign, evaluate = crew.perform, Shares.assign, LeastSquares.objective

    def run(updates, job, step, begin, end):
        if end == begin:
            clock.advance(COMPILING * SECOND)
        litter = [[] for _ in range(5_000)]
        worker = threading.current_thread().name.rpartition("-")[2]
        clock.advance((end - begin) * clock.update[int(worker) if worker.isdigit() else 0])
        del litter

    def start_together(own, segment, stop):
        clock.times[threading.get_ident()] = clock.times[clock.caller]
        return perform(own, segment, stop)

    def set_up(self, plan, worker):
        clock.advance(SETTING_UP * SECOND)
        return assign(self, plan, worker)

    def objective(self, weights):
        clock.advance(EVALUATION * SECOND)
        return evaluate(self, weights)

    monkeypatch.setattr(schedule, "run", run)
    monkeypatch.setattr(crew, "perform", start_together)
    monkeypatch.setattr(Shares, "assign", set_up)
    monkeypatch.setattr(LeastSquares, "objective", objective)
    gc.callbacks.append(clock.collect)
    thresholds = gc.get_threshold()
    gc.set_threshold(700)
    yield clock
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(clock.collect)


def run(clock, backend="serial", workers=1, **options):
    case = problem(examples=EXAMPLES)
    case.objective_at_zero  # noqa: B018 - kept with the problem: no checkpoint evaluates it
    return hogwild.minimize(
        case,
        backend=backend,
        workers=workers,
        **{"epochs": EPOCHS, "callback": lambda row: clock.advance(CALLBACK * SECOND), **options},
    )


@pytest.mark.parametrize("evaluations", [1, 2, 4])
@pytest.mark.parametrize(
    ("backend", "workers"), [("serial", 1), ("hogwild_threads", 1), ("hogwild_threads", 3)]
)
def test_training_time_is_that_of_the_updates_however_often_it_is_evaluated(
    clock, backend, workers, evaluations
):
    clock.update = [UPDATE] * workers
    result = run(clock, backend, workers, evaluations_per_epoch=evaluations)
    assert clock.collected > 0
    assert sum(result.updates) == EPOCHS * EXAMPLES
    each = EPOCHS * EXAMPLES / workers
    assert result.train_seconds == pytest.approx(each * UPDATE * 1e-9, rel=1e-9)
    assert sum(result.updates) / result.train_seconds == pytest.approx(workers * 1e9 / UPDATE)
    assert [seconds * 1e9 / UPDATE for seconds in result.cpu_seconds] == pytest.approx([each] * workers)
    checkpoints = 1 + EPOCHS * evaluations
    assert len(result.history) == checkpoints
    wait = result.wall_seconds - result.train_seconds - result.eval_seconds
    assert result.eval_seconds > checkpoints * EVALUATION - 1
    assert wait > (checkpoints - 1) * CALLBACK - 1
    assert result.compile_seconds > COMPILING - 1
    assert result.setup_seconds > result.compile_seconds + SETTING_UP - 1


def test_training_lasts_until_the_slowest_worker_has_done_its_share(clock):
    clock.update = [UPDATE, 5 * UPDATE, 2 * UPDATE]
    result = run(clock, "hogwild_threads", 3, evaluations_per_epoch=2)
    assert result.train_seconds == pytest.approx(EPOCHS * EXAMPLES / 3 * 5 * UPDATE * 1e-9)
    assert result.cpu_seconds[2] == pytest.approx(EPOCHS * EXAMPLES / 3 * 2 * UPDATE * 1e-9)


def test_a_planted_slowdown_is_found_to_the_last_digit(clock):
    rates = []
    for clock.update in ([1_000], [1_100]):
        result = run(clock)
        rates.append(result.updates[0] / result.train_seconds)
    assert rates[0] / rates[1] == pytest.approx(1.1)


@pytest.mark.parametrize("evaluations", [1, 2, 4])
@pytest.mark.parametrize("backend", ["serial", "hogwild_threads"])
def test_only_training_uses_up_the_time_limit(clock, monkeypatch, backend, evaluations):
    """Of 25 updates' time, in blocks of 10: the third is begun. Neither evaluation nor waking takes of it."""
    monkeypatch.setattr(assembly, "block_size", lambda *arguments: 10)
    limit = (EXAMPLES + 25) * UPDATE * 1e-9
    result = run(clock, backend, time_limit=limit, evaluations_per_epoch=evaluations)
    assert result.updates == (EXAMPLES + 30,)
    assert result.status == "timeout"
    assert result.train_seconds == pytest.approx((EXAMPLES + 30) * UPDATE * 1e-9)


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize(
    ("backend", "options"),
    [(name, {"batch_size": size}) for name in IN_PROCESS for size in (1, 7)]
    + [(name, {"observe": hogwild.Observe(instrument=True)}) for name in IN_PROCESS if name in OBSERVABLE],
)
def test_all_that_a_run_needs_is_compiled_when_it_starts(backend, options):
    options = dict(options)
    kernels = [loops.run, loops.run_examples, loops.run_batches, guards.retire_worker, crew.spin_until]
    kernels += [replicas.run_periods, replicas.leave_segment, rounds.run_rounds, rounds.agreed]
    kernels += [rounds.leave_segment]
    seen, observe = [], options.pop("observe", hogwild.Observe())
    hogwild.minimize(
        problem(),
        backend=backend,
        workers=1 if backend == "serial" else 2,
        **options,
        observe=observe._replace(gradient_delay=1e-9),
        epochs=2,
        evaluations_per_epoch=2,
        callback=lambda row: seen.append([len(kernel.signatures) for kernel in kernels]),
    )
    assert len(seen) == 5
    assert all(counts == seen[0] for counts in seen)


class CollectsGarbage:
    """Arrives in another process as the answer whether it collects garbage: 0 or 1."""

    def __reduce__(self):
        return gc.isenabled, ()


def test_worker_processes_collect_no_garbage():
    assert gc.isenabled()
    case = problem(examples=5)
    plan = plan_for(
        case, Shares(), case.start(None), 1, sampling=WithReplacement(0), delay=NoDelay(), block=5
    )
    team = ProcessTeam(plan, [None])
    try:
        _, reports = team.run(Segment(Constant(0.1), 0, CollectsGarbage(), 5, 60.0))
    finally:
        team.close()
    assert reports[0].updates == 5  # from example 0 on
