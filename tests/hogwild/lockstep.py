"""Replicas that take turns, each a period long: as far apart as workers side by side, but without a race."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from hogwild.engine.sampling import SAMPLINGS
from hogwild.engine.steps import Constant, WeightDecay, in_epoch
from hogwild.problems import LINEAR_PROBLEMS
from hogwild.problems.dual import dual_rows, merging
from hogwild.problems.rows import NoPenalty
from hogwild.sharing import replicas
from hogwild.sharing.hot import Hot
from hogwild.sharing.replicas import Replicas
from hogwild.sharing.schedule import Assignment
from tests.hogwild.cases import plan_for


def sparse_problem(name: str, popularity: str, l2: float, examples: int = 2000, features: int = 400) -> Any:
    """Rows of about ten features, drawn uniformly or by Zipf's law, positive ones if it says so; solved."""
    random = np.random.default_rng(3)
    ranks = np.arange(1.0, features + 1)
    chances = np.ones(features) if "uniform" in popularity else 1 / ranks
    columns = random.choice(features, size=(examples, 12), p=chances / chances.sum())
    values = random.normal(size=columns.shape) / np.sqrt(12)
    values = np.abs(values) if "positive" in popularity else values
    rows = np.repeat(np.arange(examples), 12)
    X = sp.csr_array((values.ravel(), (rows, columns.ravel())), shape=(examples, features))
    y = X @ random.normal(size=features) + 0.3 * random.normal(size=examples)
    kind = LINEAR_PROBLEMS[name]
    case = kind.from_data(X, np.sign(y) if kind.task == "classification" else y, l2=l2)
    case.solve()
    return case


def lockstep(
    case: Any,
    step: float,
    workers: int,
    period: int | None,
    epochs: int,
    *,
    method: str = "touched",
    hot_weights: int | None = None,
    evaluations: int = 1,
    seed: int = 1,
    start: np.ndarray | None = None,
    enough: float = -np.inf,
) -> np.ndarray:
    """Return the suboptimality after each part of each epoch, until it is enough.

    ``method`` is a penalty, or ``"sdca"``. Without a period, it is the longest.
    """
    record, rule = case.kernel_record(), Constant(step)
    if method == "scaled":
        record, rule = record._replace(penalty=NoPenalty()), WeightDecay(rule, 2 * case.l2)
    how = (
        merging(case, workers, period, case.n_weights)
        if method == "sdca"
        else replicas.merging(case, workers)
    )
    period = how.longest if period is None else period
    schedule = Replicas(period) if hot_weights is None else Hot(period, hot_weights=hot_weights)
    schedule = schedule.prepared(case, workers, merging=how._replace(first=period))
    record = schedule.record(record, case.n_weights)
    if method == "sdca":
        record = dual_rows(record, case.l2, schedule.moves)
    weights = schedule.lay_out(np.zeros(case.n_weights) if start is None else start, workers)
    order = SAMPLINGS["fresh_permutation"](seed)
    plan = plan_for(case, schedule, weights, workers, problem=record, sampling=order, block=period)
    team = [schedule.assign(plan, worker) for worker in range(workers)]
    found = []
    for epoch in range(epochs):
        for part in range(evaluations):
            bounds = (case.n_examples * bound // evaluations for bound in (part, part + 1))
            _segment(team, rule, epoch, *bounds)
            if method == "scaled":
                rule = rule.after(epoch, epoch + (part + 1) / evaluations)
            scale = rule.scale if method == "scaled" else 1.0
            found.append(float(case.suboptimality(case.objective(scale * schedule.combine(weights)))))
            if found[-1] <= enough:
                return np.array(found)
    return np.array(found)


def _segment(team: list[Assignment], rule: Any, epoch: int, begin: int, end: int) -> None:
    done = 1
    team[0].plan.schedule.begin(team[0].plan.guard)
    for own in team:
        own.state.cells["now"][own.worker] = 0.0
        replicas.join(own.state)  # all at once, as side by side
    while done:
        done = 0
        for own in team:
            job, now = own.job(epoch), in_epoch(rule, epoch)
            done += replicas.run_periods(own.plan.updates, job, now, own.state, begin, end)
    for own in team:
        own.plan.schedule.end(own)
