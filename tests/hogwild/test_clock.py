"""What `train_seconds` counts: updates and nothing else, on a virtual clock that only known work moves."""

import gc
import threading
import time
from types import SimpleNamespace

import pytest

import hogwild
from hogwild import optimise, training
from hogwild.arguments import UNOBSERVED
from hogwild.engine import delays, sampling
from hogwild.engine import loops as kernels
from hogwild.engine.compiling import config
from hogwild.engine.steps import Constant
from hogwild.problems import LeastSquares
from hogwild.sharing import guards as policies
from hogwild.sharing import rounds as cyclades
from hogwild.teams import crew as teams
from hogwild.teams import work
from tests.hogwild.cases import problem

UPDATE, SECOND = 1_000, 1_000_000_000  # nanoseconds
EVALUATION, COMPILING, SETTING_UP, CALLBACK, COLLECTION = 1_000, 300, 200, 50, 10  # seconds
EXAMPLES, EPOCHS = 480, 3  # 480 are whole shares of 3 workers and 4 evaluations
IN_PROCESS = [name for name, backend in hogwild.BACKENDS.items() if backend.team in ("caller", "threads")]
SHARING = [name for name in IN_PROCESS if hogwild.BACKENDS[name].policy not in UNOBSERVED]


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
    for module in (optimise, teams, training, work):
        monkeypatch.setattr(module, "time", clock.module())
    perform, scratch_for, evaluate = teams.perform, work.scratch_for, LeastSquares.objective

    def run_block(plan, step, epoch, begin, end, scratch, flags):
        if end == begin:
            clock.advance(COMPILING * SECOND)
        litter = [[] for _ in range(5_000)]
        worker = threading.current_thread().name.rpartition("-")[2]
        clock.advance((end - begin) * clock.update[int(worker) if worker.isdigit() else 0])
        del litter
        return end - begin

    def start_together(plan, worker, segment, flags, scratch):
        clock.times[threading.get_ident()] = clock.times[clock.caller]
        return perform(plan, worker, segment, flags, scratch)

    def set_up(plan):
        clock.advance(SETTING_UP * SECOND)
        return scratch_for(plan)

    def objective(self, weights):
        clock.advance(EVALUATION * SECOND)
        return evaluate(self, weights)

    monkeypatch.setattr(work, "run_block", run_block)
    monkeypatch.setattr(teams, "perform", start_together)
    monkeypatch.setattr(work, "scratch_for", set_up)
    monkeypatch.setattr(teams, "scratch_for", set_up)
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
    monkeypatch.setattr(optimise, "block_size", lambda *arguments: 10)
    limit = (EXAMPLES + 25) * UPDATE * 1e-9
    result = run(clock, backend, time_limit=limit, evaluations_per_epoch=evaluations)
    assert result.updates == (EXAMPLES + 30,)
    assert result.status == "timeout"
    assert result.train_seconds == pytest.approx((EXAMPLES + 30) * UPDATE * 1e-9)


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize(
    ("backend", "options"),
    [(name, {"batch_size": size}) for name in IN_PROCESS for size in (1, 7)]
    + [(name, {"observe": hogwild.Observe(instrument=True)}) for name in IN_PROCESS if name in SHARING],
)
def test_all_that_a_run_needs_is_compiled_when_it_starts(backend, options):
    loops = [kernels.run_examples, kernels.run_batches, policies.retire_worker, teams.spin_until]
    loops += [cyclades.run_rounds, cyclades.agreed]
    seen = []
    hogwild.minimize(
        problem(),
        backend=backend,
        workers=1 if backend == "serial" else 2,
        **options,
        observe=hogwild.Observe(gradient_delay=1e-9),
        epochs=2,
        evaluations_per_epoch=2,
        callback=lambda row: seen.append([len(loop.signatures) for loop in loops]),
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
    plan = work.Plan(
        case.kernel_record(),
        policies.Unguarded(),
        sampling.WithReplacement(0),
        delays.NoDelay(),
        case.start(None),
        workers=1,
        batch_size=1,
        block=5,
        room=0,
    )
    team = teams.ProcessTeam(plan, Constant(0.1), [None])
    try:
        _, reports = team.run(work.Segment(Constant(0.1), 0, CollectsGarbage(), 5, 60.0))
    finally:
        team.close()
    assert reports[0].updates == 5  # from example 0 on
