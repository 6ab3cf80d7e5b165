"""`minimize`: its arguments and the set-up of a run."""

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
from hogwild.engine.delays import delay_of
from hogwild.engine.sampling import SAMPLINGS, AsStored, ShuffledBlocks, ShuffledOnce, shuffled_order
from hogwild.engine.steps import Shrinking, as_step
from hogwild.observe.instruments import instrumented, observations
from hogwild.problems.base import Problem
from hogwild.problems.dual import adding, dual_rows
from hogwild.problems.linear import LinearProblem
from hogwild.problems.rows import NoPenalty, relabelled, spread
from hogwild.result import Checkpoint, Result
from hogwild.sharing.guards import PADDING, Padded, laid_out
from hogwild.sharing.hot import HOT_WEIGHTS, hot_first
from hogwild.sharing.replicas import every, moves_of, replicated
from hogwild.sharing.rounds import ConflictFree, keep_schedule, parallel_share
from hogwild.teams.borrowed import orderly
from hogwild.teams.work import Plan, block_size, plan_for, usable_cores, warm_up
from hogwild.training import Training, bounds_of

METHODS = ("sgd", "sdca")
DEFAULT_STEP = 0.1


@orderly()
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
    there are changes neither the examples nor, but for races, the updates. With the backend `averaging` each
    of them performs as many.

    Parameters
    ----------
    problem : Problem
        See `hogwild.problems`.
    method : {"sgd", "sdca"}
        ``"sdca"`` (`hogwild.problems.dual`) has no step size and goes on to any accuracy, but slowly in one
        fixed order. Several workers without a guard (`hogwild_threads`, `hogwild_padded`,
        `hogwild_hot_replicated` and theirs with processes) lose writes and end near the optimum, not at it:
        at suboptimalities from 1e-11 to 1e-5, as the race goes. Replicas lose nothing; 2 workers need up to
        twice serial's epochs, 16 up to 3.5 times. It is for linear models with ``l2 > 0`` from their own
        start, without mini-batches or a threshold; not for the backends `averaging` and `pool`, nor for
        several workers with replacement, who might move one dual variable at once.
    backend : str
        A name in `hogwild.BACKENDS`; or ``"auto"``: serial, Hogwild! threads or replicas, whichever a short
        trial before the run finds the fastest here (`Result.reason`).
    workers : int, optional
        Default: 1 for serial, else the number of usable cores.
    step_size : float or a record of `hogwild.steps`, optional
        Default: 0.1. For the method `sgd` alone.
    sampling : str
        A name in `hogwild.sampling.SAMPLINGS`. ``"shuffled_once"`` and ``"shuffled_blocks"`` make a copy of
        the data, in memory; ``"as_stored"`` and ``"stored_blocks"`` stream them as they lie. The workers of
        `averaging` each begin a stream at a row of their own, or walk its blocks in an order of their own.
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
        Weights of features that no example has shrink, too. ``"scaled"`` is for the method `sgd`, not for
        the backend `pool`, and not with ``instrument``.
    initial_weights : None, "normal" or array_like of shape (n_weights,)
        The problem's own start (zeros for linear models); N(0, 1)/√n as in the tutorial; or given.
    target : float, optional
        Stop at this suboptimality, at once if the start has it; the problem is solved for it
        (`Problem.solve`), off every clock.
    tolerance : float, optional
        Stop when an epoch lowers the objective, or leaves it as it was, by no more than this share of it. An
        epoch that raises it is no convergence, and the run goes on.
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
        Divergence and an elapsed time limit are a status, not an exception; a target or a tolerance that was
        not met is in the message.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was given and what is allowed, before any work starts.
    UncertifiedOptimum
        If the minimum cannot be certified well enough to tell when the target is reached.
    WorkerDied
        If a worker process ends before its work is done, or is stopped (SIGSTOP) beyond the time limit.
    RuntimeError
        If a worker fails, with its traceback.
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
        problem.solve(limits.target)

    begin = time.perf_counter()
    shuffled = isinstance(order, ShuffledOnce | ShuffledBlocks)
    layout = shuffled_order(problem.n_examples, order.seed) if shuffled else None
    block = block_size(batch_size, problem.nonzeros, problem.n_examples, gradient_delay)
    record = problem.kernel_record(threshold, layout)
    rule: Any = step
    if scaled and isinstance(problem, LinearProblem) and problem.l2 > 0:
        record, rule = record._replace(penalty=NoPenalty()), Shrinking(step, 2 * problem.l2 / batch_size)
    compile_seconds = 0.0

    def assemble(name: str, workers: int) -> tuple[Plan, Any]:
        nonlocal compile_seconds
        make = POLICIES[BACKENDS[name].policy]
        policy: Any
        if dual and make is replicated and isinstance(problem, LinearProblem):
            hot = hot_weights or HOT_WEIGHTS
            merged = hot if BACKENDS[name].policy == "hot_replicated" else problem.n_weights
            policy = adding(workers, problem, merge_every, min(merged, problem.n_weights))
        else:
            policy = make(workers, problem)
            policy = policy if merge_every is None else every(policy, merge_every)
        rows = record
        if BACKENDS[name].policy == "hot_replicated" and isinstance(problem, LinearProblem):
            policy = hot_first(policy, problem, hot_weights)
            rows = relabelled(record, policy.places)
        start = laid_out(policy, weights, workers)
        if instrument:
            policy = instrumented(policy, workers, problem.n_weights)
        room = problem.scratch_size(batch_size)
        if isinstance(policy, Padded):
            room, rows = room * PADDING, spread(record, PADDING)
        if dual and isinstance(problem, LinearProblem):  # as checked above
            rows = dual_rows(rows, problem.l2, moves_of(policy))
        plan = Plan(rows, policy, order, delay, start, workers, batch_size, block, room)
        if BACKENDS[name].team != "pool":
            compile_seconds += warm_up(plan_for(plan, 0), rule)
        if isinstance(policy, ConflictFree) and isinstance(order, ShuffledOnce | AsStored):
            keep_schedule(rows, plan_for(plan, 0).policy, order, block, batch_size)
        cores: list[int | None] = [None] * workers
        if pin:
            available = usable_cores()
            cores[: len(available)] = available[:workers]
        return plan, TEAMS[BACKENDS[name].team](plan, rule, cores)

    reason, team = "", None
    try:
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
        run = Training(problem, team, workers, rule, limits, batch_size)
        run.go(bounds_of(problem.n_examples, evaluations, batch_size), callback or (lambda checkpoint: None))
        observed = parallel = None
        if isinstance(team.policy, ConflictFree):
            parallel = parallel_share(team.policy, int(run.updates.sum()))
        if instrument:
            observed = observations(team.policy, weights, np.array(team.weights))
    finally:
        if team is not None:
            team.close()
    return Result(
        weights=run.weights,
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
        starved_seconds=tuple(run.starved_seconds.tolist()),
        observations=observed,
        parallel_share=parallel,
    )
