"""`minimize`: the set-up, the loop over segments, the clocks and the stopping rules."""

import gc
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hogwild import checks
from hogwild.arguments import (
    PENALTIES,
    Limits,
    check_combination,
    check_dual,
    check_scaled,
    checked_workers,
    derived_seed,
    starting_weights,
)
from hogwild.backends import BACKENDS, POLICIES, TEAMS
from hogwild.choice import AUTO, choose
from hogwild.cyclades import ConflictFree, keep_schedule, parallel_share
from hogwild.delays import delay_of
from hogwild.dual import dual_rows
from hogwild.hot import hot_first
from hogwild.instruments import instrumented, observations
from hogwild.linear import NoPenalty, relabelled, spread
from hogwild.policies import PADDING, Padded, Private, combined, laid_out
from hogwild.problem import Problem
from hogwild.problems import LinearProblem
from hogwild.replicas import Replicated, adding, every, replicated
from hogwild.result import Checkpoint, Result, Status
from hogwild.sampling import SAMPLINGS, AsStored, ShuffledBlocks, ShuffledOnce, shuffled_order
from hogwild.steps import Shrinking, as_step, in_epoch, step_at
from hogwild.work import Plan, Segment, block_size, plan_for, usable_cores, warm_up

DIVERGENCE_FACTOR = 1e3  # an objective this many times the larger of f(0) and the start counts as exploded
METHODS = ("sgd", "sdca")
DEFAULT_STEP = 0.1
_SMALL_SCALE = 2.0**-20  # below it the stored weights are made the weights: they would overflow one day
_MOST_SHRINKAGE = 20.0  # logarithm of a factor that workers may apply before that is looked at again


def minimize(
    problem: Problem,
    *,
    method: str = "sgd",
    backend: str = "serial",
    workers: int | None = None,
    step_size: Any = None,
    sampling: str = "fresh_permutation",
    epochs: int = 20,
    batch_size: int = 1,
    gradient_threshold: float = 0.0,
    penalty: str = "touched",
    initial_weights: Any = None,
    target: float | None = None,
    tolerance: float | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    evaluations_per_epoch: int = 1,
    gradient_delay: float = 0.0,
    instrument: bool = False,
    merge_every: int | None = None,
    hot_weights: int | None = None,
    pin: bool = False,
    callback: Callable[[Checkpoint], Any] | None = None,
) -> Result:
    """Minimise a problem by stochastic gradient descent or stochastic dual coordinate ascent.

    All workers together perform exactly ``epochs × n_examples`` updates, unless the run stops early; how many
    there are changes neither the examples nor, but for races, the updates.

    Parameters
    ----------
    problem : Problem
        See `hogwild.problems`.
    method : {"sgd", "sdca"}
        ``"sdca"`` (`hogwild.dual`) has no step size and goes on to any accuracy, but slowly in one fixed
        order. It is for linear models with ``l2 > 0`` from their own start, without mini-batches or a
        threshold; not for the backends `averaging` and `pool`, nor for several workers with replacement, who
        might move one dual variable at once.
    backend : str
        A name in `hogwild.BACKENDS`; or ``"auto"``: serial, Hogwild! threads or replicas, whichever a short
        trial before the run finds the fastest here (`Result.reason`).
    workers : int, optional
        Default: 1 for serial, else the number of usable cores.
    step_size : float or a record of `hogwild.steps`, optional
        Default: 0.1. For the method `sgd` alone.
    sampling : str
        A name in `hogwild.sampling.SAMPLINGS`. ``"shuffled_once"`` and ``"shuffled_blocks"`` make a copy of
        the data, in memory; ``"as_stored"`` and ``"stored_blocks"`` stream them as they lie.
    epochs : int
    batch_size : int
        Examples whose gradients are averaged into one update step; counted as that many updates.
    gradient_threshold : float
        Components are updated only where ``|gradient|`` exceeds it (the tutorial uses 0.01).
    penalty : {"touched", "scaled"}
        How updates pay a linear model's ``l2``: each for its own example's weights, by ``2 l2 w_u / d_u``
        (Niu et al. 2011, eq. 2.3); or each for all weights, by a common factor that is kept apart from them
        (`hogwild.steps.Shrinking`). On average over the examples that is the same gradient. The factor saves
        a look-up for each entry, and an example that the hinge loss is content with then writes nothing.
        Workers that share weights take their paces for equal: where the factor is small within a pass and
        cores are not equally fast, that is a bias. Weights of features that no example has shrink, too.
        ``"scaled"`` is for the method `sgd`, not for the backends `pool` and `hogwild_hot_replicated`, and
        not with ``instrument``.
    initial_weights : None, "normal" or array_like of shape (n_weights,)
        The problem's own start (zeros for linear models); N(0, 1)/√n as in the tutorial; or given.
    target : float, optional
        Stop at this suboptimality; the problem is solved for it, off every clock.
    tolerance : float, optional
        Stop when an epoch lowers the objective by less than this share of it.
    time_limit : float, optional
        Seconds of training.
    seed : int
    evaluations_per_epoch : int
    gradient_delay : float
        Seconds that every gradient keeps its core busy longer, 0 or 1e-9 to 1 (Niu et al. 2011, Figure 5c).
    instrument : bool
        Observe lost writes, staleness, collisions and waiting (`Result.observations`). It takes time and
        memory; a run without it pays nothing. For compiled backends on shared weights, ``batch_size`` 1.
    merge_every : int, optional
        A worker's updates from one merge of its replica to the next, for the backends that have replicas; by
        default as many as make merging a twentieth of the work, within limits.
    hot_weights : int, optional
        How many of the most popular weights have a replica, for the backends that share the others; by
        default 16,384. Rounded up to whole pages of memory, or all if there are no more.
    pin : bool
        Bind each worker to a core of its own, as far as there are cores (Linux).
    callback : callable, optional
        Called with each `Checkpoint`.

    Returns
    -------
    Result
        Divergence and an elapsed time limit are a status, not an exception.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was given and what is allowed, before any work starts.
    WorkerDied
        If a worker process ends before its work is done.
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem is a {type(problem).__name__}; make one with hogwild.problems.<Problem>.from_data(…)"
        )
    dual = checks.choice("method", method, METHODS) == "sdca"
    checks.choice("backend", backend, (*BACKENDS, AUTO))
    chosen = BACKENDS["hogwild_threads" if backend == AUTO else backend]
    order = SAMPLINGS[checks.choice("sampling", sampling, SAMPLINGS)](
        derived_seed(checks.integer("seed", seed), "order")
    )
    workers = checked_workers(workers, chosen)
    step = as_step(DEFAULT_STEP if step_size is None else step_size)
    batch_size = checks.integer("batch_size", batch_size, minimum=1)
    threshold = checks.real("gradient_threshold", gradient_threshold, "a number of at least 0")
    check_combination(problem, chosen, backend, batch_size, threshold, instrument)
    if dual:
        check_dual(problem, chosen, workers, sampling, step_size, batch_size, threshold, initial_weights)
    scaled = checks.choice("penalty", penalty, PENALTIES) == "scaled"
    if scaled:
        check_scaled(problem, chosen, method, instrument)
    if merge_every is not None:
        merge_every = checks.integer("merge_every", merge_every, minimum=1)
        if chosen.policy not in ("replicated", "hot_replicated"):
            raise ValueError(
                f"merge_every is {merge_every}; the backend {backend!r} has no replicas to merge"
            )
    if hot_weights is not None:
        hot_weights = checks.integer("hot_weights", hot_weights, minimum=1)
        if chosen.policy != "hot_replicated":
            raise ValueError(
                f"hot_weights is {hot_weights}; the backend {backend!r} does not tell hot from cold"
            )
    delay = delay_of(gradient_delay)
    evaluations = checks.integer("evaluations_per_epoch", evaluations_per_epoch, minimum=1)
    limits = Limits(
        checks.integer("epochs", epochs, minimum=1),
        None if target is None else checks.positive("target", target),
        None if tolerance is None else checks.positive("tolerance", tolerance),
        math.inf if time_limit is None else checks.positive("time_limit", time_limit),
    )
    weights = starting_weights(problem, initial_weights, seed)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {callback!r}; it must be callable")
    if limits.target is not None:
        problem.solve()

    begin = time.perf_counter()
    shuffled = isinstance(order, ShuffledOnce | ShuffledBlocks)
    layout = shuffled_order(problem.n_examples, order.seed) if shuffled else None
    block = block_size(batch_size, problem.nonzeros, problem.n_examples)
    record = problem.kernel_record(threshold, layout)
    rule: Any = step
    if scaled and isinstance(problem, LinearProblem) and problem.l2 > 0:
        record, rule = record._replace(penalty=NoPenalty()), Shrinking(step, 2 * problem.l2 / batch_size)
    compile_seconds = 0.0

    def assemble(name: str, workers: int) -> tuple[Plan, Any]:
        nonlocal compile_seconds
        make = POLICIES[BACKENDS[name].policy]
        policy = (adding if dual and make is replicated else make)(workers, problem)
        if merge_every is not None:
            policy = every(policy, merge_every)
        rows = record
        if BACKENDS[name].policy == "hot_replicated" and isinstance(problem, LinearProblem):
            policy = hot_first(policy, problem, hot_weights)
            rows = relabelled(record, policy.places)
        start = laid_out(policy, weights, workers)
        if instrument:
            policy = instrumented(policy, workers, problem.n_weights)
        room = problem.room(batch_size)
        if isinstance(policy, Padded):
            room, rows = room * PADDING, spread(record, PADDING)
        if dual and isinstance(problem, LinearProblem):  # as checked above
            rows = dual_rows(rows, problem.l2)
        plan = Plan(rows, policy, order, delay, start, workers, batch_size, block, room)
        if BACKENDS[name].workers != "pool":
            compile_seconds += warm_up(plan_for(plan, 0), rule)
        if isinstance(policy, ConflictFree) and isinstance(order, ShuffledOnce | AsStored):
            keep_schedule(rows, plan_for(plan, 0).policy, order, block, batch_size)
        cores: list[int | None] = [None] * workers
        if pin:
            available = usable_cores()
            cores[: len(available)] = available[:workers]
        return plan, TEAMS[BACKENDS[name].workers](plan, rule, cores)

    reason, team = "", None
    if backend == AUTO:
        names = ["hogwild_threads"] + ["replicated"] * (not problem.constrained)
        candidates = {"serial": 1} | (dict.fromkeys(names, workers) if workers > 1 else {})
        choice = choose(candidates, assemble, rule, problem.nonzeros, problem.n_examples, limits.epochs)
        backend, team, workers, reason = choice
    if dual and team is not None:  # its trial has moved the dual variables
        team.close()
        team = None
    if team is None:
        _, team = assemble(backend, workers)
    setup_seconds = time.perf_counter() - begin
    try:
        run = _Run(problem, team, workers, rule, limits, batch_size)
        run.go(_bounds(problem.n_examples, evaluations, batch_size), callback or (lambda checkpoint: None))
        observed = parallel = None
        if isinstance(team.policy, ConflictFree):
            parallel = parallel_share(team.policy, int(run.updates.sum()))
        if instrument:
            observed = observations(team.policy, weights, np.array(team.weights))
    finally:
        team.close()
    return Result(
        weights=run.sound_weights,
        history=run.history,
        status=run.status,
        message=run.message,
        backend=backend,
        reason=reason,
        workers=workers,
        setup_seconds=setup_seconds,
        compile_seconds=compile_seconds,
        updates=tuple(run.updates.tolist()),
        cpu_seconds=tuple(run.cpu_seconds.tolist()),
        observations=observed,
        parallel_share=parallel,
    )


class _Run:
    """The state of a run between segments."""

    def __init__(
        self, problem: Problem, team: Any, workers: int, step: Any, limits: Limits, batch_size: int
    ) -> None:
        self._problem, self._team, self._step, self._limits = problem, team, step, limits
        self._batch_size = batch_size
        self.history: list[Checkpoint] = []
        self.status, self.message = Status.OK, "all epochs done"
        self.sound_weights = self._weights()
        self.updates: np.ndarray = np.zeros(workers, np.int64)
        self.cpu_seconds: np.ndarray = np.zeros(workers)
        self._train_seconds = self._eval_seconds = 0.0
        self._too_much = math.inf

    def go(self, bounds: list[int], callback: Callable[[Checkpoint], Any]) -> None:
        """Run the epochs, evaluating at the given positions of each, until a stopping rule holds."""
        self._begin = time.perf_counter()
        callback(self._evaluate())
        self._too_much = DIVERGENCE_FACTOR * max(self._problem.objective_at_zero, self.history[0].objective)
        collecting = gc.isenabled()
        for epoch in range(self._limits.epochs):
            for first, last in itertools.pairwise(bounds):
                gc.disable()  # a collection of the caller's objects is not training
                try:
                    for part in itertools.pairwise(self._stops(epoch, first, last)):
                        self._train(epoch, *part)
                finally:
                    if collecting:
                        gc.enable()
                callback(self._evaluate())
                if self._is_over(epoch, len(bounds) - 1):
                    return

    def _stops(self, epoch: int, first: int, last: int) -> list[int]:
        """Return the positions between which no more than `_MOST_SHRINKAGE` is to be expected."""
        if not isinstance(self._step, Shrinking):
            return [first, last]
        passes = first / self._problem.n_examples, (last - first) / self._problem.n_examples
        rate = step_at(in_epoch(self._step, epoch), epoch + passes[0])  # which does not grow
        parts = math.ceil(min(self._step.strength * rate * passes[1] / _MOST_SHRINKAGE, last - first))
        return [first + bound for bound in _bounds(last - first, max(parts, 1), self._batch_size)]

    def _train(self, epoch: int, first: int, last: int) -> None:
        left = self._limits.time_limit - self._train_seconds
        began, step = time.perf_counter(), self._step
        if isinstance(step, Shrinking) and step.scale < _SMALL_SCALE:
            with np.errstate(invalid="ignore"):  # what has exploded
                self._team.weights[...] *= step.scale
            self._step = step._replace(logarithm=0.0)
        self._train_seconds += time.perf_counter() - began
        seconds, reports = self._team.run(Segment(self._step, epoch, first, last, left))
        self._train_seconds += seconds
        self.updates = np.array([report.updates for report in reports]) + (
            self.updates if self.updates.size else 0
        )
        self.cpu_seconds += [report.cpu_seconds for report in reports]
        if isinstance(self._step, Shrinking):
            self._step = self._step.after(epoch, self._passes)
            if isinstance(self._team.policy, Replicated):  # what replicas share has no scale
                self._step = self._step._replace(logarithm=0.0)

    @property
    def _passes(self) -> float:
        """Passes over the data that all updates so far are."""
        copies = len(self._team.weights) if isinstance(self._team.policy, Private) else 1
        return float(self.updates.sum() / self._problem.n_examples / copies)

    def _weights(self) -> np.ndarray:
        """Return the weights that count, while the workers are at rest and nobody races with it."""
        weights = np.array(combined(self._team.policy, self._team.weights))
        if isinstance(self._step, Shrinking):
            with np.errstate(invalid="ignore"):
                weights *= weights.dtype.type(self._step.scale)
        return self._problem.settle(weights)

    def _evaluate(self) -> Checkpoint:
        begin = time.perf_counter()
        weights = self._weights()
        objective = self._problem.objective(weights)
        errors = self._problem.weight_errors(weights)
        if objective <= self._too_much:
            self.sound_weights = weights
        now = time.perf_counter()
        self._eval_seconds += now - begin
        done = int(self.updates.sum())
        checkpoint = Checkpoint(
            self._passes,
            done,
            self._train_seconds,
            self._eval_seconds,
            now - self._begin,
            objective,
            self._problem.suboptimality(objective),
            *errors,
        )
        self.history.append(checkpoint)
        return checkpoint

    def _is_over(self, epoch: int, segments: int) -> bool:
        """Apply the stopping rules after a checkpoint; set status and message where one holds."""
        now, limits = self.history[-1], self._limits
        if not now.objective <= self._too_much:
            self.status = Status.DIVERGED
            start = self.history[0].objective
            self.message = (
                f"diverged in epoch {epoch + 1}: objective {start:.3g} at first, {now.objective:.3g} now"
            )
            return True
        if limits.target is not None and now.suboptimality <= limits.target:
            self.message = f"reached the target suboptimality {limits.target:g} after {now.epoch:g} epochs"
            return True
        if limits.tolerance is not None and len(self.history) > segments:
            before = self.history[-1 - segments].objective
            if before - now.objective < limits.tolerance * abs(before):
                self.message = (
                    f"an epoch lowered the objective by less than the tolerance {limits.tolerance:g}"
                )
                return True
        if self._train_seconds >= limits.time_limit:
            self.status, self.message = (
                Status.TIMEOUT,
                f"the time limit of {limits.time_limit:g} s of training has passed",
            )
            return True
        return False


def _bounds(examples: int, evaluations: int, batch_size: int) -> list[int]:
    """Return the positions of an epoch at which it is evaluated: about equal parts, whole batches."""
    batches = -(-examples // batch_size)
    marks = {min(batches * part // evaluations * batch_size, examples) for part in range(evaluations + 1)}
    return sorted(marks)
