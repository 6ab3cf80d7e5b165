"""Graph cuts as a linear program over simplices: a vector of label shares for each node."""

import functools
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hogwild import checks
from hogwild.datasets.graphs import Graph
from hogwild.datasets.record import arrays_hash
from hogwild.engine import contract
from hogwild.engine.atomics import load, prefetch
from hogwild.engine.compiling import compiled, inlined
from hogwild.engine.contract import add
from hogwild.problems.base import Problem
from hogwild.problems.optimum import Optimum
from hogwild.problems.solvers import cuts
from hogwild.problems.sparsity import Sparsity, sparsity_of_pairs

_MOST = 2**31 - 1
_ONE = np.uint64(1)


class CutEdges(NamedTuple):
    """Edges with capacities, as kernels see them; weights are a row of label shares for each node."""

    heads: np.ndarray  # uint32, the smaller node
    tails: np.ndarray
    capacities: np.ndarray
    fixed: np.ndarray  # uint8 of shape (n_nodes,): 1 for a terminal
    labels: int


@contract.count.of(CutEdges)
def _count_edges(problem):
    return problem.capacities.size


@contract.support.of(CutEdges)
def _support_of_edge(problem, example):
    touched = np.uint64(2 * problem.labels)
    return example * touched, (example + _ONE) * touched


@contract.gathers.of(CutEdges)
def _edges_gather(problem):
    return True


@contract.fetch_far_ahead.of(CutEdges)
def _fetch_edge(problem, example):
    prefetch(problem.heads, example)
    prefetch(problem.tails, example)
    prefetch(problem.capacities, example)


@contract.fetch_ahead.of(CutEdges)
def _fetch_shares(problem, example, weights):
    # the first line of each: further lines follow in order, which the processor foresees
    labels = np.uint64(problem.labels)
    prefetch(weights, problem.heads[example] * labels)
    prefetch(weights, problem.tails[example] * labels)


@contract.coefficient.of(CutEdges)
def _coefficient_of_edge(problem, example, start, end, weights, scale, scratch):
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
def _ends_agree(problem, scalar):
    return scalar == 0


@contract.write.of(CutEdges)
def _write_shares(problem, guard, example, start, end, scalar, rate, weights, scratch):
    head, tail, labels = problem.heads[example], problem.tails[example], np.uint64(problem.labels)
    moves_head, moves_tail = problem.fixed[head] == 0, problem.fixed[tail] == 0  # see `_coefficient_of_edge`
    if moves_head:
        _move(guard, head, labels, -rate * scalar, weights, scratch)
    if moves_tail:
        _move(guard, tail, labels, rate * scalar, weights, scratch)


@contract.variables.of(CutEdges)
def _variables_of_edge(problem, start, end):
    return np.uint64(0), np.uint64(2)


@contract.variable.of(CutEdges)
def _variable_of_edge(problem, example, place):
    head, tail = problem.heads[example], problem.tails[example]
    return np.uint64(head if place == np.uint64(0) else tail)


@contract.is_fixed.of(CutEdges)
def _node_is_terminal(problem, variable):
    return problem.fixed[variable] != 0


@inlined
def _move(guard: Any, node: Any, labels: Any, distance: Any, weights: Any, scratch: Any) -> None:
    """Move a node's shares along the signs in ``scratch`` and back onto the simplex."""
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

    name, takes, error_names = "graph_cut", Graph, ("cut",)
    constrained = True

    def __init__(
        self,
        heads: np.ndarray,
        tails: np.ndarray,
        capacities: np.ndarray,
        terminals: np.ndarray,
        n_nodes: int,
    ) -> None:
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
        heads: npt.ArrayLike,
        tails: npt.ArrayLike,
        capacities: npt.ArrayLike,
        *,
        terminals: npt.ArrayLike,
        n_nodes: int | None = None,
        dtype: npt.DTypeLike = np.float64,
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

    @classmethod
    def from_dataset(cls, data: Any, *, l2: float = 0.0, dtype: Any = np.float64, **settings: Any) -> Self:
        """Make the problem of a `Graph`; a cut has no penalty."""
        data = cls._of_its_kind(data)
        if l2 != 0:
            raise ValueError(f"l2 is {l2!r}; {cls.name} has no penalty, so it must be 0")
        edges, ends = (data.heads, data.tails, data.capacities), data.terminals
        return cls.from_data(*edges, terminals=ends, n_nodes=data.n_nodes, dtype=dtype, **settings)

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
        return cuts.solve(self)


@compiled
def _project_rows(shares: np.ndarray, scratch: np.ndarray) -> None:
    labels = np.uint64(shares.shape[1])
    for node in range(shares.shape[0]):
        for label in range(shares.shape[1]):
            scratch[label] = shares[node, label]
        threshold = simplex_threshold(scratch, np.uint64(0), labels)
        for label in range(shares.shape[1]):
            shares[node, label] = max(shares[node, label] - threshold, shares.dtype.type(0))
