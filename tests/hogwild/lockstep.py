"""Replicas that take turns, each a period long: as far apart as workers side by side, but without a race."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from hogwild.engine.delays import delay_of
from hogwild.engine.loops import Singles
from hogwild.engine.sampling import SAMPLINGS
from hogwild.engine.steps import Constant, Shrinking, in_epoch
from hogwild.problems import LINEAR_PROBLEMS
from hogwild.problems.dual import adding, dual_rows
from hogwild.problems.rows import NoPenalty, relabelled
from hogwild.sharing import replicas
from hogwild.sharing.guards import LINE, combined, laid_out, placed, renew, retire_worker
from hogwild.sharing.hot import hot_first


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

    ``method`` is a penalty, or ``"sdca"``. Without a period, it is the longest of the policy.
    """
    record, rule = case.kernel_record(), Constant(step)
    if method == "scaled":
        record, rule = record._replace(penalty=NoPenalty()), Shrinking(rule, 2 * case.l2)
    if method == "sdca":
        policy: Any = adding(workers, case, period, case.n_weights)
    else:
        policy = replicas.replicated(workers, case)
    period = policy.longest if period is None else period
    policy = replicas.every(policy, period)
    if hot_weights is not None:
        policy = hot_first(policy, case, hot_weights)
        record = relabelled(record, policy.places)
    if method == "sdca":
        record = dual_rows(record, case.l2, replicas.moves_of(policy))
    weights = laid_out(policy, np.zeros(case.n_weights) if start is None else start, workers)
    team = [placed(policy, weights, worker) for worker in range(workers)]
    found = []
    for epoch in range(epochs):
        for part in range(evaluations):
            bounds = (case.n_examples * bound // evaluations for bound in (part, part + 1))
            _segment(team, record, SAMPLINGS["fresh_permutation"](seed), rule, epoch, *bounds, period)
            if method == "scaled":
                rule = rule.after(epoch, epoch + (part + 1) / evaluations)
            scale = rule.scale if method == "scaled" else 1.0
            found.append(float(case.suboptimality(case.objective(scale * combined(policy, weights)))))
            if found[-1] <= enough:
                return np.array(found)
    return np.array(found)


def _segment(
    team: list[Any], record: Any, order: Any, rule: Any, epoch: int, begin: int, end: int, period: int
) -> None:
    scratch, done = (np.empty(period, np.uint32), np.zeros(0)), 1
    for own, _ in team:
        renew(own)
        own.rates[(own.worker + 1) * LINE + replicas._NOW] = 0.0
        replicas.join(own)  # all at once, as side by side
    while done:
        done = 0
        for own, weights in team:
            how = (record, own, order, delay_of(0.0), in_epoch(rule, epoch), weights)
            done += replicas.run_periods(Singles(), *how, epoch, begin, end, *scratch)
    for own, _ in team:
        retire_worker(own)
