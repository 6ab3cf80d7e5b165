"""Small problems for the tests."""

import numpy as np
import pytest
import scipy.sparse as sp

from hogwild import Observe
from hogwild.engine.delays import NoDelay
from hogwild.engine.loops import Singles
from hogwild.engine.sampling import FreshPermutation
from hogwild.engine.steps import Constant
from hogwild.problems import LINEAR_PROBLEMS, GraphCut, MatrixCompletion
from hogwild.sharing.guards import Unguarded
from hogwild.sharing.schedule import Plan

WATCHED = Observe(instrument=True)


def slow_but(fast, values):
    """Parameters of which all but a few are marked slow."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


def arrays(examples=120, features=9, density=0.4, seed=0, labels=False):
    """Dense X with empty rows, targets and true weights."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(examples, features)) * (random.random((examples, features)) < density)
    weights = random.normal(size=features)
    y = X @ weights + 0.1 * random.normal(size=examples)
    return X, np.where(y > 0, 1.0, -1.0) if labels else y, weights


def problem(name="least_squares", l2=0.0, dtype=np.float64, **shape):
    kind = LINEAR_PROBLEMS[name]
    X, y, weights = arrays(labels=kind.task == "classification", **shape)
    return kind.from_data(sp.csr_array(X), y, l2=l2, true_weights=weights, dtype=dtype)


def completion(rows=20, columns=15, entries=200, rank=2, mu=0.0, noise=0.0, dtype=np.float64):
    """Random entries of a low-rank matrix, with the factors that made them."""
    random = np.random.default_rng(4)
    left, right = random.normal(size=(rows, rank)), random.normal(size=(columns, rank))
    u, v = random.integers(0, rows, entries), random.integers(0, columns, entries)
    values = (left[u] * right[v]).sum(axis=1) + noise * random.normal(size=entries)
    factors = np.concatenate([left, right]).ravel()
    return MatrixCompletion.from_data(
        u, v, values, shape=(rows, columns), rank=rank, mu=mu, true_weights=factors, dtype=dtype
    )


def grid_cut(side=4, labels=2):
    """A square grid whose nodes all have an edge to one terminal, as an image's do."""
    random = np.random.default_rng(5)
    nodes = np.arange(side * side).reshape(side, side)
    pairs = [(nodes[:-1], nodes[1:]), (nodes[:, :-1], nodes[:, 1:])]
    heads, tails = (np.concatenate([pair[end].ravel() for pair in pairs]) for end in (0, 1))
    terminals = side * side + np.arange(labels)
    likes = side * side + nodes.ravel() * labels // nodes.size
    heads, tails = np.append(heads, nodes.ravel()), np.append(tails, likes)
    capacities = random.integers(1, 6, heads.size)
    return GraphCut.from_data(heads, tails, capacities, terminals=terminals)


def plan_for(case, schedule, weights, workers, **changed):
    """What the workers of a run share; by default single examples, a constant step, no guard."""
    return Plan(
        problem=case.kernel_record(),
        schedule=schedule,
        guard=Unguarded(),
        sampling=FreshPermutation(0),
        delay=NoDelay(),
        step=Constant(0.1),
        weights=weights,
        workers=workers,
        updates=Singles(),
        block=50,
        scratch=case.scratch_size(1),
    )._replace(**changed)
