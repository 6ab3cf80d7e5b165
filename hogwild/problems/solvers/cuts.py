"""Minima of graph cuts: two labels by maximum flow, more by linear programming where it is small enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from hogwild.problems.optimum import Optimum

if TYPE_CHECKING:
    from hogwild.problems.graph_cuts import GraphCut

_MOST = 2**31 - 1
_MOST_FLOW = 2.0**30
_MOST_PROGRAM = 100_000  # edges times labels that the linear program is asked to solve


def solve(problem: GraphCut) -> Optimum:
    """Return the minimum of the relaxation and its certificate."""
    began = time.perf_counter()
    edges, labels = problem.n_examples, problem.n_labels
    if labels == 2:
        lower, weights = minimum_cut(problem)
        solver = "maximum flow"
    elif edges * labels <= _MOST_PROGRAM:
        lower, weights = linear_program(problem)
        solver = "HiGHS"
    else:
        size = f"{edges} edges with {labels} labels"
        raise NotImplementedError(
            f"no certified optimum for {size}: the maximum flow needs two labels, the linear program at "
            f"most {_MOST_PROGRAM} edges times labels"
        )
    objective, seconds = problem.objective(weights), time.perf_counter() - began
    return Optimum(objective, weights, "duality_gap", max(objective - lower, 0.0), solver, seconds)


def minimum_cut(problem: GraphCut) -> tuple[float, np.ndarray]:
    """Return the maximum flow's lower bound of the objective, and shares of 0 and 1, the minimum cut.

    The flow is one of whole numbers: other capacities are rounded down to multiples of their sum over 2³⁰.
    """
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    exact = problem.capacities.astype(np.float64)
    unit, total = 1.0, float(exact.sum())
    if total > _MOST or (exact != np.floor(exact)).any():
        unit = total / _MOST_FLOW
    nodes, ends = problem.n_nodes, (problem.heads, problem.tails)
    there = sp.coo_array(((exact / unit).astype(np.int64), ends), shape=(nodes, nodes))
    capacities = sp.csr_array(there + there.T).astype(np.int32)
    source, sink = (int(node) for node in problem.terminals)
    found = maximum_flow(capacities, source, sink)
    left = sp.csr_array(capacities.astype(np.int64) - sp.csr_array(found.flow))
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    shares = np.tile(np.array([0.0, 1.0]), (nodes, 1))
    shares[reached] = 1.0, 0.0
    return 2.0 * unit * float(found.flow_value) / problem.n_examples, shares.ravel()


def linear_program(problem: GraphCut) -> tuple[float, np.ndarray]:
    """Return a lower bound and shares that attain it, up to the solver's tolerance, by linear programming.

    The shares need not be 0 and 1: the minimum is that of the relaxation, which is what is minimised here.
    """
    from scipy.optimize import linprog

    edges, labels = problem.n_examples, problem.n_labels
    size = problem.n_weights
    pairs, places = edges * labels, np.arange(edges * labels)
    ends = [(nodes[:, None] * labels + np.arange(labels)).ravel() for nodes in (problem.heads, problem.tails)]
    ones = np.ones(pairs)
    away = sp.csr_array(
        (np.concatenate([ones, -ones]), (np.tile(places, 2), np.concatenate(ends))), shape=(pairs, size)
    )
    slack = sp.eye_array(pairs)
    above = sp.block_array([[away, -slack], [-away, -slack]], format="csr")
    sums = sp.kron(sp.eye_array(problem.n_nodes), np.ones((1, labels)))
    sums = sp.hstack([sums, sp.coo_array((problem.n_nodes, pairs))], format="csr")
    bounds = np.zeros((size + pairs, 2))
    bounds[:, 1] = np.inf
    pinned = (problem.terminals[:, None] * labels + np.arange(labels)).ravel()
    bounds[pinned, :] = np.eye(labels).ravel()[:, None]
    capacities = np.repeat(problem.capacities.astype(np.float64), labels) / edges
    cost = np.concatenate([np.zeros(size), capacities])
    found = linprog(cost, above, np.zeros(2 * pairs), sums, np.ones(problem.n_nodes), bounds, method="highs")
    if found.status != 0:
        raise RuntimeError(f"the linear program of the cut was not solved: {found.message}")
    # any flow of a label over an edge within its capacity is a dual point, whatever the solver's tolerances
    flow = np.clip(np.diff(found.ineqlin.marginals.reshape(2, -1), axis=0)[0], -capacities, capacities)
    divergence = (away.T @ flow).reshape(-1, labels)
    free = np.delete(divergence, problem.terminals, axis=0)
    lower = free.min(axis=1).sum() + divergence[problem.terminals, np.arange(labels)].sum()
    return float(lower), problem.settle(found.x[:size])
