"""From checked arguments to a team that is ready: what all backends share, and what is a backend's own."""

from typing import Any, NamedTuple

import numpy as np

from hogwild.arguments import Arguments
from hogwild.backends import TEAMS, Backend
from hogwild.engine.loops import Batches, Singles
from hogwild.engine.sampling import ShuffledBlocks, ShuffledOnce, shuffled_order
from hogwild.engine.steps import StepRule, WeightDecay
from hogwild.observe.instruments import instrumented
from hogwild.problems import LinearProblem
from hogwild.problems.dual import dual_rows, merging
from hogwild.problems.rows import NoPenalty
from hogwild.sharing.guards import make_guard
from hogwild.sharing.replicas import Replicas
from hogwild.sharing.schedule import Plan, Schedule
from hogwild.teams.crew import Team
from hogwild.teams.work import block_size, usable_cores, warm_up


class Setup(NamedTuple):
    """What all backends have in common: the rows as kernels see them, in their order, and the step rule."""

    given: Arguments
    record: Any
    step: StepRule
    block: int


class Assembled(NamedTuple):
    """A team that is ready, the weights that it begins with, and the seconds it took to compile."""

    team: Team
    start: np.ndarray  # as the schedule has laid them out
    compile_seconds: float


def set_up(given: Arguments) -> Setup:
    """Lay out what all backends have in common."""
    problem, order = given.problem, given.sampling
    shuffled = isinstance(order, ShuffledOnce | ShuffledBlocks)
    layout = shuffled_order(problem.n_examples, order.seed) if shuffled else None
    delay = given.observe.gradient_delay
    block = block_size(given.batch_size, problem.nonzeros, problem.n_examples, delay)
    record, step = problem.kernel_record(given.threshold, layout), given.step
    if given.scaled and isinstance(problem, LinearProblem) and problem.l2 > 0:
        decay = 2 * problem.l2 / given.batch_size
        return Setup(given, record._replace(penalty=NoPenalty()), WeightDecay(step, decay), block)
    return Setup(given, record, step, block)


def assemble(setup: Setup, backend: Backend, workers: int) -> Assembled:
    """Make a backend's team for a set-up."""
    given, problem = setup.given, setup.given.problem
    schedule = _schedule(setup, backend, workers)
    guard = make_guard(backend.guard, workers, schedule.cells_for(problem.n_variables))
    if given.observe.instrument:
        guard = instrumented(guard, workers, problem.n_weights)
    record = schedule.record(setup.record, problem.n_weights)
    if given.dual and isinstance(problem, LinearProblem):  # as checked
        record = dual_rows(record, problem.l2, schedule.moves)
    start = schedule.lay_out(given.weights, workers)
    plan = Plan(
        *(record, schedule, guard, given.sampling, given.delay, setup.step, start, workers),
        updates=Singles() if given.batch_size == 1 else Batches(given.batch_size),
        block=setup.block,
        scratch=schedule.cells_for(problem.scratch_size(given.batch_size)),
    )
    compile_seconds = warm_up(plan) if backend.compiled else 0.0
    schedule.before(plan)
    return Assembled(TEAMS[backend.team](plan, _cores(workers, given.observe.pin)), start, compile_seconds)


def _schedule(setup: Setup, backend: Backend, workers: int) -> Schedule:
    """Return a backend's schedule with the state of a run."""
    given, problem, schedule = setup.given, setup.given.problem, backend.schedule
    if given.dual and isinstance(schedule, Replicas) and isinstance(problem, LinearProblem):
        merged = schedule.merged_weights(problem.n_weights)
        how = merging(problem, workers, schedule.merge_every, merged)
        return schedule.prepared(problem, workers, merging=how)
    schedule = schedule.prepared(problem, workers)
    common = isinstance(setup.step, WeightDecay) and workers > 1
    return schedule.with_common_factor() if common else schedule


def _cores(workers: int, pin: bool) -> list[int | None]:
    """Return the core to which each worker is bound, None for none."""
    available: list[int | None] = [*usable_cores()] if pin else []
    return [*available[:workers], *[None] * (workers - len(available))]
