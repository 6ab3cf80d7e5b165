"""`minimize`: its arguments and its run."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hogwild.arguments import Arguments, checked
from hogwild.assembly import assemble, set_up
from hogwild.backends import BACKENDS, Backend
from hogwild.choice import choose
from hogwild.observe.conditions import Observe
from hogwild.observe.instruments import observations
from hogwild.problems import Problem
from hogwild.result import Checkpoint, Result
from hogwild.sharing.rounds import Rounds
from hogwild.teams.borrowed import orderly
from hogwild.training import Training, bounds_of


@orderly()
def minimize(
    problem: Problem,
    *,
    method: str = "sgd",
    backend: str | Backend = "serial",
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
    observe: Observe | None = None,
    callback: Callable[[Checkpoint], Any] | None = None,
) -> Result:
    """Minimise a problem by stochastic gradient descent or stochastic dual coordinate ascent.

    All workers together perform exactly ``epochs × n_examples`` updates, unless the run stops early. The
    number of workers changes neither the examples nor, races aside, the updates. With the backend `averaging`
    each of them performs as many.

    Parameters
    ----------
    problem : Problem
        See `hogwild.problems`.
    method : {"sgd", "sdca"}
        ``"sdca"`` (`hogwild.problems.dual`) has no step size and reaches any accuracy, but slowly in one
        fixed order. Several workers without a guard (`hogwild_threads`, `hogwild_padded`,
        `hogwild_hot_replicated` and their variants with processes) lose writes and end near the optimum, not
        at it: at suboptimalities from 1e-11 to 1e-5, as the race goes. Replicas lose nothing; 2 workers need
        up to twice serial's epochs, 16 up to 3.5 times. It is for linear models with ``l2 > 0`` from their
        own start, without mini-batches or a threshold. It is not for the backends `averaging` and `pool`, nor
        for several workers with replacement, which might move the same dual variable at once.
    backend : str or Backend
        A name in `hogwild.BACKENDS`, or a backend with options (`hogwild.backend`); or ``"auto"``: serial,
        Hogwild! threads or replicas, whichever a short trial before the run finds the fastest here
        (`Result.reason`).
    workers : int, optional
        Default: 1 for serial, else the number of usable cores.
    step_size : float or a record of `hogwild.steps`, optional
        Default: 0.1. For the method `sgd` alone.
    sampling : str
        A name in `hogwild.sampling.SAMPLINGS`. ``"shuffled_once"`` and ``"shuffled_blocks"`` make a copy of
        the data, in memory; ``"as_stored"`` and ``"stored_blocks"`` stream them as stored. The workers of
        `averaging` each begin a stream at a different row, or visit its blocks in a different order.
    epochs : int
    batch_size : int
        Examples whose gradients are averaged into one update step; counted as that many updates.
    gradient_threshold : float
        Components are updated only where ``|gradient|`` exceeds it (the tutorial uses 0.01).
    penalty : {"touched", "scaled"}
        How updates pay a linear model's ``l2``: each for its own example's weights, by ``2 l2 w_u / d_u``
        (Niu et al. 2011, eq. 2.3); or each for all weights, by a common factor that is kept apart from them
        (`hogwild.steps.WeightDecay`). On average over the examples the gradient is the same. The factor saves
        a look-up for each entry, and an example with zero hinge loss then writes nothing. Weights of features
        that no example has shrink, too. ``"scaled"`` is for the method `sgd`, not for the backend `pool`, and
        not with an instrument.
    initial_weights : None, "normal" or array_like of shape (n_weights,)
        The problem's own start (zeros for linear models); N(0, 1)/√n as in the tutorial; or given.
    target : float, optional
        Stop at this suboptimality, at once if the start has it. The problem is solved for that first
        (`Problem.solve`), off every clock.
    tolerance : float, optional
        Stop when an epoch lowers the objective by no more than this share of it, or leaves it unchanged. An
        epoch that raises it is not convergence, and the run goes on.
    time_limit : float, optional
        Seconds of training.
    seed : int
    evaluations_per_epoch : int
    observe : hogwild.Observe, optional
        Conditions of research: an instrument, an artificial delay, workers bound to cores.
    callback : callable, optional
        Called with each `Checkpoint`.

    Returns
    -------
    Result
        Divergence and an elapsed time limit are a status, not an exception; the message names a target or a
        tolerance that was not met.

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
    given = checked(**locals())  # nothing else is local yet
    if given.limits.target is not None:
        problem.solve(given.limits.target)
    return _run(given)


def _run(given: Arguments) -> Result:
    """Set up, choose, train, and put away."""
    begin, problem = time.perf_counter(), given.problem
    setup = set_up(given)
    name, workers, reason, assembled = given.backend.name, given.workers, "", None
    compile_seconds = 0.0
    try:
        if given.auto:
            choice = choose(setup)
            name, workers, reason, assembled, compile_seconds = choice
            if given.dual and assembled is not None:  # its trial has moved the dual variables
                assembled.team.close()
                assembled = None
        if assembled is None:
            backend = BACKENDS[name] if given.auto else given.backend
            assembled = assemble(setup, backend, workers)
            compile_seconds += assembled.compile_seconds
        team = assembled.team
        setup_seconds = time.perf_counter() - begin
        run = Training(setup, team, workers)
        run.go(bounds_of(problem.n_examples, given.evaluations, given.batch_size), given.callback)
        observed = parallel = None
        if isinstance(team.schedule, Rounds):
            parallel = team.schedule.parallel_share(int(run.updates.sum()))
        if given.observe.instrument:
            observed = observations(team.guard, given.weights, np.array(team.weights))
    finally:
        if assembled is not None:
            assembled.team.close()
    return Result(
        weights=run.weights,
        history=run.history,
        status=run.status,
        message=run.message,
        backend=name,
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
