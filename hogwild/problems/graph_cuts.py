"""Graph cuts as a linear program over simplices: a vector of label shares for each node."""

import functools
import time
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from hogwild import checks
from hogwild.datasets.record import arrays_hash
from hogwild.engine import contract
from hogwild.engine.atomics import load, prefetch
from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.contract import add
from hogwild.problems.base import Problem
from hogwild.problems.optimum import Optimum
from hogwild.problems.sparsity import Sparsity, sparsity_of_pairs

_MOST = 2**31 - 1
_MOST_FLOW = 2.0**30
_MOST_PROGRAM = 100_000  # edges times labels that the linear program is asked to solve
_ONE = np.uint64(1)


class CutEdges(NamedTuple):
    """Edges with capacities, as kernels see them; weights are a row of label shares for each node."""

    heads: Any  # uint32, the smaller node
    tails: Any
    capacities: Any
    fixed: Any  # uint8 of shape (n_nodes,): 1 for a terminal
    labels: Any


@contract.count.of(CutEdges)
def _(problem):
    return problem.capacities.size


@contract.support.of(CutEdges)
def _(problem, example):
    touched = np.uint64(2 * problem.labels)
    return example * touched, (example + _ONE) * touched


@contract.gathers.of(CutEdges)
def _(problem):
    return True


@contract.fetch_far_ahead.of(CutEdges)
def _(problem, example):
    prefetch(problem.heads, example)
    prefetch(problem.tails, example)
    prefetch(problem.capacities, example)


@contract.fetch_ahead.of(CutEdges)
def _(problem, example, weights):
    # the first line of each: further lines follow in order, which the processor foresees
    labels = np.uint64(problem.labels)
    prefetch(weights, problem.heads[example] * labels)
    prefetch(weights, problem.tails[example] * labels)


@contract.coefficient.of(CutEdges)
def _(problem, example, start, end, weights, scale, scratch):
    labels = np.uint64(problem.labels)
    head, tail = problem.heads[example] * labels, problem.tails[example] * labels
    differs = False
    for label in range(labels):
        away = load(weights, head + label) - load(weights, tail + label)
        scratch[label] = np.sign(away)
        differs = differs or away != 0
    capacity = problem.capacities[example]  # read on both sides of a choice, each update counts references
    return capacity if differs else capacity * 0


@contract.gradient_is_zero.of(CutEdges)
def _(problem, scalar):
    return scalar == 0


@contract.write.of(CutEdges)
def _(problem, guard, example, start, end, scalar, rate, weights, scratch):
    if problem.fixed[problem.heads[example]] == 0:
        _move(problem, guard, problem.heads[example], -rate * scalar, weights, scratch)
    if problem.fixed[problem.tails[example]] == 0:
        _move(problem, guard, problem.tails[example], rate * scalar, weights, scratch)


@contract.variables.of(CutEdges)
def _(problem, start, end):
    return np.uint64(0), np.uint64(2)


@contract.variable.of(CutEdges)
def _(problem, example, place):
    head, tail = problem.heads[example], problem.tails[example]
    return np.uint64(head if place == np.uint64(0) else tail)


@contract.is_fixed.of(CutEdges)
def _(problem, variable):
    return problem.fixed[variable] != 0


@inlined
def _move(problem: Any, guard: Any, node: Any, distance: Any, weights: Any, scratch: Any) -> None:
    """Move a node's shares along the signs in ``scratch`` and back onto the simplex."""
    labels = np.uint64(problem.labels)
    first, old, new, spare = node * labels, labels, labels + labels, labels + labels + labels
    for label in range(labels):
        share = load(weights, first + label)
        scratch[old + label] = share
        scratch[new + label] = share + distance * scratch[label]
        scratch[spare + label] = scratch[new + label]
    threshold = simplex_threshold(scratch, spare, labels)
    for label in range(labels):
        target = max(scratch[new + label] - threshold, weights.dtype.type(0))
        if target != scratch[old + label]:
            seen = scratch[old + label]
            add(guard, weights, first + label, seen, target - seen)


@compiled
def simplex_threshold(scratch: Any, first: Any, length: Any) -> Any:
    """Return τ such that ``max(v − τ, 0)`` is the point of the simplex nearest to v.

    v are ``length`` cells of ``scratch`` from ``first``; they are left in another order. The pivoting of
    Duchi, Shalev-Shwartz, Singer & Chandra 2008, Figure 2: linear time on average, with the median of three
    as pivot.
    """
    if length == np.uint64(2):
        one, other = scratch[first], scratch[first + _ONE]
        both = (one + other - 1) / 2
        return both if abs(one - other) < 1 else max(one, other) - 1
    begin, end = first, first + length
    total, kept = scratch[first] * 0, np.uint64(0)
    while begin < end:
        low, middle, high = (
            scratch[begin],
            scratch[begin + (end - begin) // np.uint64(2)],
            scratch[end - _ONE],
        )
        pivot = max(min(low, high), min(max(low, high), middle))
        # larger ones to the front, those equal to the pivot behind them
        front, place, back = begin, begin, end
        above = scratch[first] * 0
        while place < back:
            value = scratch[place]
            if value > pivot:
                scratch[place], scratch[front] = scratch[front], value
                above += value
                front += _ONE
                place += _ONE
            elif value < pivot:
                back -= _ONE
                scratch[place], scratch[back] = scratch[back], value
            else:
                place += _ONE
        with_pivot = total + above + pivot * (back - front)
        number = kept + (back - begin)
        if with_pivot - number * pivot < 1:  # all of these stay positive: look among the smaller ones
            total, kept, begin = with_pivot, number, back
        else:
            end = front
    return (total - 1) / kept


class GraphCut(Problem):
    """``min (1/|E|) Σ_{(u,v)∈E} w_uv ‖x_u − x_v‖₁`` with every x_v on the simplex of the labels.

    A terminal is fixed to its label (Niu et al. 2011, eq. 2.5). The weights are the label shares of the
    nodes, node after node; a node's shares are one variable. With two labels the minimum is twice the minimum
    cut, over the number of edges. Make one with `from_data`.

    Attributes
    ----------
    heads, tails : ndarray of shape (n_examples,)
        The nodes of each edge, the smaller one first.
    capacities : ndarray of shape (n_examples,)
    terminals : ndarray of shape (n_labels,)
        The node that is fixed to each label.
    n_nodes, n_labels : int
    """

    name = "graph_cut"
    constrained = True

    def __init__(self, heads: Any, tails: Any, capacities: Any, terminals: Any, n_nodes: int) -> None:
        self.heads, self.tails, self.capacities = heads, tails, capacities
        self.terminals, self.n_nodes, self.n_labels = terminals, n_nodes, terminals.size
        self.n_examples, self.dtype = capacities.size, capacities.dtype
        self.n_variables, self.n_weights = n_nodes, n_nodes * self.n_labels
        self.nonzeros = self.n_examples * 2 * self.n_labels
        self._fixed = np.zeros(n_nodes, np.uint8)
        self._fixed[terminals] = 1

    @classmethod
    def from_data(
        cls,
        heads: Any,
        tails: Any,
        capacities: Any,
        *,
        terminals: Any,
        n_nodes: int | None = None,
        dtype: Any = np.float64,
    ) -> Self:
        """Check an edge list and make a problem of it; edges have no direction.

        Parameters
        ----------
        heads, tails : array_like of int, of shape (n_examples,)
        capacities : array_like of shape (n_examples,)
            Of at least 0.
        terminals : array_like of int, of shape (n_labels,)
            At least two different nodes, one for each label.
        n_nodes : int, optional
            Default: as many as the indices ask for.
        dtype : float32 or float64

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was given and what is allowed.
        """
        precision = checks.floating(dtype)
        capacities = checks.vector("capacities", capacities, "(n_examples,), at least one", dtype=precision)
        if capacities.min() < 0:
            raise ValueError(f"capacities holds {capacities.min()}; all must be at least 0")
        most = (_MOST if n_nodes is None else checks.integer("n_nodes", n_nodes, 2, _MOST)) - 1
        heads = checks.indices("heads", heads, capacities.size, most)
        tails = checks.indices("tails", tails, capacities.size, most)
        terminals = checks.indices("terminals", terminals, np.size(terminals), most)
        if terminals.size < 2 or np.unique(terminals).size < terminals.size:
            raise ValueError(f"terminals is {terminals.tolist()}; it must name at least two different nodes")
        if (heads == tails).any():
            raise ValueError(
                f"heads and tails both name node {heads[heads == tails][0]}; no edge may be a loop"
            )
        nodes = n_nodes or 1 + int(max(heads.max(), tails.max(), terminals.max()))
        low, high = np.minimum(heads, tails), np.maximum(heads, tails)
        return cls(low, high, np.array(capacities), terminals, nodes)

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the edges, in their order, and of the terminals, hexadecimal."""
        return arrays_hash((self.n_nodes,), self.heads, self.tails, self.capacities, self.terminals)

    def shares(self, weights: np.ndarray) -> np.ndarray:
        """Return the label shares of shape (n_nodes, n_labels), a view of the weights."""
        return weights.reshape(-1, self.n_labels)

    def objective(self, weights: np.ndarray) -> float:
        """Return the objective at feasible weights of shape (n_weights,), summed in float64."""
        shares, total = self.shares(weights), 0.0
        chunk = max(1, 10_000_000 // self.n_labels)
        for begin in range(0, self.n_examples, chunk):
            part = slice(begin, begin + chunk)
            away = np.abs(shares[self.heads[part]] - shares[self.tails[part]])
            total += float((self.capacities[part] * away.sum(axis=1, dtype=np.float64)).sum(dtype=np.float64))
        return total / self.n_examples

    @functools.cached_property
    def objective_at_zero(self) -> float:
        """The objective at `start`: free nodes in the middle of the simplex."""
        return self.objective(self.start(np.random.default_rng(0)))

    def start(self, random: np.random.Generator) -> np.ndarray:
        """Return equal shares of all labels for every free node."""
        return self._pin_terminals(np.full((self.n_nodes, self.n_labels), 1 / self.n_labels, self.dtype))

    def settle(self, weights: np.ndarray) -> np.ndarray:
        """Return the nearest feasible weights: concurrent steps of two workers leave the simplex a little."""
        settled = np.array(self.shares(weights))
        _project_rows(settled, np.empty(self.n_labels, settled.dtype))
        return self._pin_terminals(settled)

    def _pin_terminals(self, shares: np.ndarray) -> np.ndarray:
        shares[self.terminals] = np.eye(self.n_labels, dtype=self.dtype)
        return shares.ravel()

    def scratch_size(self, batch_size: int) -> int:
        """Return the cells of scratch that an update needs: signs, old and new shares, a copy to pivot in."""
        return 4 * self.n_labels

    def labels(self, weights: np.ndarray) -> np.ndarray:
        """Return each node's label: the one with the largest share, shape (n_nodes,)."""
        return self.shares(weights).argmax(axis=1)

    def errors(self, weights: np.ndarray) -> dict[str, float]:
        """Return the capacity that the rounded labels cut."""
        labels = self.labels(weights)
        parted = labels[self.heads] != labels[self.tails]
        return {"cut": float(self.capacities[parted].sum(dtype=np.float64))}

    def sparsity(self) -> Sparsity:
        """Return Ω, Δ and ρ of the edges, with nodes as variables: Ω is 2."""
        return sparsity_of_pairs(self.heads, self.tails, self.n_nodes)

    def kernel_record(self, threshold: float = 0.0, order: np.ndarray | None = None) -> CutEdges:
        """Return the edges as kernels see them, laid out in an order if one is given."""
        arrays = self.heads, self.tails, self.capacities
        heads, tails, capacities = arrays if order is None else (array[order] for array in arrays)
        return CutEdges(heads.view(np.uint32), tails.view(np.uint32), capacities, self._fixed, self.n_labels)

    def _find_optimum(self, precision: float) -> Optimum:
        """Solve two labels by maximum flow, more by linear programming where that is small enough."""
        began = time.perf_counter()
        if self.n_labels == 2:
            lower, weights = _minimum_cut(self)
            solver = "maximum flow"
        elif self.n_examples * self.n_labels <= _MOST_PROGRAM:
            lower, weights = _linear_program(self)
            solver = "HiGHS"
        else:
            size = f"{self.n_examples} edges with {self.n_labels} labels"
            raise NotImplementedError(
                f"no certified optimum for {size}: the maximum flow needs two labels, the linear program at "
                f"most {_MOST_PROGRAM} edges times labels"
            )
        objective, seconds = self.objective(weights), time.perf_counter() - began
        return Optimum(objective, weights, "duality_gap", max(objective - lower, 0.0), solver, seconds)


@compiled
def _project_rows(shares: Any, scratch: Any) -> None:
    labels = np.uint64(shares.shape[1])
    for node in range(shares.shape[0]):
        for label in range(shares.shape[1]):
            scratch[label] = shares[node, label]
        threshold = simplex_threshold(scratch, np.uint64(0), labels)
        for label in range(shares.shape[1]):
            shares[node, label] = max(shares[node, label] - threshold, shares.dtype.type(0))


def _minimum_cut(problem: GraphCut) -> tuple[float, np.ndarray]:
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


def _linear_program(problem: GraphCut) -> tuple[float, np.ndarray]:
    """Return a lower bound and shares that attain it, up to the solver's tolerance, by linear programming.

    The shares need not be 0 and 1: the minimum is that of the relaxation, which is what is minimised here.
    """
    from scipy.optimize import linprog

    edges, labels, size = problem.n_examples, problem.n_labels, problem.n_weights
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
