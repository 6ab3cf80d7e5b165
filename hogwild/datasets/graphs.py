"""Graphs to be cut: stand-ins for the paper's two, edge lists and DIMACS files."""

import itertools
import math
import os
import re
import reprlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hogwild import checks
from hogwild.datasets import patterns, record
from hogwild.datasets.lines import NUMBER, WHOLE, Block, Source, Table, blocks, existing, read_table

_INT32 = np.iinfo(np.int32).max
_STEEPNESS = 8.0  # of the object's edge in a voxel image
_SAME = 0.8  # share of a mention's links to mentions that go to its own entity's
_EDGE = "u v or u v capacity: node numbers >= 0, different, and a number >= 0, on all lines alike"
_EDGES = Table(rb"(?:[ \t]*,[ \t]*|[ \t]+)", b",", (3, 2), largest=_INT32 - 1, comment=b"#")
_LINE = "c ..., p max NODES ARCS (first), n ID s, n ID t or a SRC DST CAP"


class Graph(NamedTuple):
    """Undirected edges and the terminals to part, for `hogwild.problems.graph_cuts.GraphCut`.

    Parameters
    ----------
    heads, tails : ndarray of int32, shape (n_edges,)
        The nodes of each edge.
    capacities : ndarray of float64, shape (n_edges,)
    terminals : ndarray of int32, shape (n_labels,)
        The node that has each label.
    n_nodes : int
    name, description : str
        What to call the data and, in a sentence, how they were made.
    """

    heads: np.ndarray
    tails: np.ndarray
    capacities: np.ndarray
    terminals: np.ndarray
    n_nodes: int
    name: str
    description: str

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of the edges in their order and of the terminals, computed at each access."""
        return record.arrays_hash((self.n_nodes,), self.heads, self.tails, self.capacities, self.terminals)


def voxel_image(
    shape: tuple[int, int, int] = (24, 24, 24),
    noise: float = 0.3,
    largest_capacity: int = 10,
    seed: int = 0,
) -> Graph:
    """Return the cut that parts a bright object from the background of a noisy 3-D image.

    The object is an ellipsoid with a bump, of grey value 1 with a smooth edge to the background's 0. Each
    voxel has edges to its 6 neighbours, of whole capacities from 1 to the largest, the larger the more alike
    the two grey values are. It also has edges to the source by its grey value and to the sink by one minus
    it, clipped to [0, 1], times the largest capacity and rounded, without those of 0. It stands in for the
    abdomen of Niu et al. (2011): 512 x 512 x 551 voxels, 6-connected, capacities up to 10, cut in two.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along each side, at least 2.
    noise : float >= 0
        Standard deviation of the Gaussian noise in the grey values.
    largest_capacity : int >= 1
    seed : int
        Of the bump's direction and the noise.

    Returns
    -------
    Graph
        Voxels in C order, then the source (the object's label, 0) and the sink (the background's, 1).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, with its name and value.
    """
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise TypeError(f"shape is {shape!r}; it must be three integers >= 2")
    sides = [checks.integer("shape", side, 2) for side in shape]
    size = math.prod(sides)
    if size > _INT32 - 2:
        raise ValueError(f"shape is {shape!r}; it must have at most {_INT32 - 2} voxels")
    noise = checks.real("noise", noise, "a number >= 0")
    largest = checks.integer("largest_capacity", largest_capacity, 1)
    rng = np.random.default_rng(checks.integer("seed", seed))

    grey = _object(rng, sides) + noise * rng.standard_normal(sides)
    nodes = np.arange(size, dtype=np.int32).reshape(sides)
    first, second = (
        np.concatenate([np.delete(nodes, end, axis).ravel() for axis, end in enumerate(ends)])
        for ends in ([-1, -1, -1], [0, 0, 0])
    )
    levels = grey.ravel()
    squares = np.square(levels[first] - levels[second])
    alike = np.exp(-squares / (2 * squares.mean() or 1.0))
    parts = [(first, second, 1 + np.rint((largest - 1) * alike))]
    for terminal, fit in ((size, levels), (size + 1, 1 - levels)):
        capacities = np.rint(largest * np.clip(fit, 0, 1))
        linked = np.flatnonzero(capacities).astype(np.int32)
        parts.append((linked, np.full(linked.size, terminal, np.int32), capacities[linked]))
    heads, tails, capacities = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    description = (
        f"Voxel image: {' x '.join(map(str, sides))}, {heads.size:,} edges of capacities up to {largest}, "
        f"noise {noise:g}; seed {seed}."
    )
    terminals = np.array([size, size + 1], np.int32)
    return Graph(heads, tails, capacities, terminals, size + 2, "voxel_image", description)


def _object(rng: np.random.Generator, sides: list[int]) -> np.ndarray:
    """Return grey values of an ellipsoid of half the image's width, with a bump in a random direction."""
    places = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij", sparse=True)
    direction = rng.standard_normal(3)
    direction *= 0.5 / np.linalg.norm(direction)
    radii = [(0.6, 0.5, 0.4), (0.3, 0.3, 0.3)]
    inside = [
        1 - sum(((place - at) / radius) ** 2 for place, at, radius in zip(places, centre, axes, strict=True))
        for centre, axes in zip((np.zeros(3), direction), radii, strict=True)
    ]
    # np.tanh does not overflow far outside, as the equal logistic function would
    return (1 + np.tanh(_STEEPNESS / 2 * np.maximum(*inside))) / 2


def entity_graph(n_entities: int = 200, n_mentions: int = 2_000, similar: int = 4, seed: int = 0) -> Graph:
    """Return the cut that gives each mention in texts the entity it means: a multiway cut.

    Entities, nodes 0 to ``n_entities - 1``, are the terminals; mentions follow. Each mention means an entity
    drawn by Zipf's popularity, and has edges to it, to ``similar - 1`` entities that might be meant, by the
    same popularity, and to ``similar`` other mentions, 80 % of them drawn from the same entity's, the others
    from all. Edges drawn twice count once. Capacities are similarities: uniform in (0.5, 1] between those of
    the same entity, else in (0, 0.75], so that the strongest candidate usually is the true one.

    It stands in for DBLife of Niu et al. (2011): 18,167 entities, 180,110 mentions. By default it preserves
    the ratio of the two numbers, and that the most popular entity makes Δ; not the values of Δ and ρ (theirs:
    0.0043 and 0.0086), which are larger here, the more so the fewer the entities.

    Parameters
    ----------
    n_entities : int >= 2
    n_mentions : int >= 1
    similar : int >= 1
        How many entities, and how many mentions, each mention is linked to at most by its own draws.
    seed : int

    Returns
    -------
    Graph
        Its description states the realised Δ.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, with its name and value.
    """
    n_entities = checks.integer("n_entities", n_entities, 2, _INT32)
    n_mentions = checks.integer("n_mentions", n_mentions, 1, _INT32 - n_entities)
    similar = checks.integer("similar", similar, 1)
    rng = np.random.default_rng(checks.integer("seed", seed))

    popularity, n_nodes = patterns.zipf(rng, n_entities, 1.0), n_entities + n_mentions
    meant = popularity.draw(rng, n_mentions)
    by_entity, counts = np.argsort(meant, kind="stable"), np.bincount(meant, minlength=n_entities)
    groups = np.cumsum(counts) - counts
    targets = [meant] + [popularity.draw(rng, n_mentions) for _ in range(similar - 1)]
    for _ in range(similar):
        related = by_entity[groups[meant] + rng.integers(counts[meant])]
        anyone = rng.integers(n_mentions, size=n_mentions)
        targets.append(n_entities + np.where(rng.random(n_mentions) < _SAME, related, anyone))
    ends = np.tile(n_entities + np.arange(n_mentions), 2 * similar), np.concatenate(targets)
    heads, tails, _ = _merged(*ends, np.ones(ends[0].size), n_nodes)
    truth = np.concatenate([np.arange(n_entities), meant])
    draw = rng.random(heads.size)
    capacities = np.where(truth[heads] == truth[tails], 1 - draw / 2, 0.75 * (1 - draw))
    delta = np.bincount(np.concatenate([heads, tails])).max() / heads.size
    description = (
        f"Entity graph: {n_entities:,} entities, {n_mentions:,} mentions, {heads.size:,} edges, the most "
        f"popular node in {delta:.1%} of them; seed {seed}."
    )
    terminals = np.arange(n_entities, dtype=np.int32)
    return Graph(heads, tails, capacities, terminals, n_nodes, "entity_graph", description)


def _merged(
    heads: np.ndarray, tails: np.ndarray, capacities: np.ndarray, n_nodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return undirected edges, each once with its capacities added up; loops are left out."""
    low, high = np.minimum(heads, tails).astype(np.int64), np.maximum(heads, tails)
    proper = low < high
    edges, places = np.unique((low * n_nodes + high)[proper], return_inverse=True)
    total = np.bincount(places, capacities[proper], edges.size)
    return (edges // n_nodes).astype(np.int32), (edges % n_nodes).astype(np.int32), total


def load_edges(path: str | os.PathLike[str], terminals: Sequence[int] | np.ndarray) -> Graph:
    """Read an edge list: ``u v`` or ``u v capacity`` on each line, separated by spaces or commas.

    Parameters
    ----------
    path : str or os.PathLike
        Text; what follows a ``#`` is a comment. Nodes are numbered from 0. Capacities are on all lines or on
        none, and then 1.
    terminals : array_like of int, shape (n_labels,)
        At least two different nodes of the file, one for each label.

    Returns
    -------
    Graph
        Edges as the file has them, repeated ones included; as many nodes as the largest number asks for.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If there is no such file, if a line is not as above, a loop or of a negative capacity, or if the
        terminals are not as above.
    """
    file = existing("path", path, "edges")
    table = read_table(Source("path", file, _EDGE), _EDGES, _refused)
    heads, tails = (table[:, side].astype(np.int32) for side in (0, 1))
    capacities = table[:, 2].copy() if table.shape[1] == 3 else np.ones(heads.size)
    n_nodes = 1 + int(max(heads.max(), tails.max()))
    labelled = checks.indices("terminals", terminals, np.size(terminals), n_nodes - 1)
    if labelled.size < 2 or np.unique(labelled).size < labelled.size:
        raise ValueError(f"terminals is {labelled.tolist()}; it must name at least two different nodes")
    description = f"The edges of {file.name}: {n_nodes:,} nodes, {heads.size:,} edges."
    return Graph(heads, tails, capacities, labelled, n_nodes, file.stem, description)


def load_dimacs(path: str | os.PathLike[str]) -> Graph:
    """Read a maximum-flow problem in DIMACS format as an undirected graph.

    The capacities of all arcs between two nodes, either way, are added up to one edge's; loops and edges of
    capacity 0 are left out. So a cut of the graph also counts the arcs from the sink's side to the source's:
    neither the value nor the sides of its minimum cut need be those of the directed problem.

    Parameters
    ----------
    path : str or os.PathLike
        Lines ``c`` (comments), ``p max NODES ARCS``, ``n ID s``, ``n ID t`` and ``a SRC DST CAP``; ids count
        from 1.

    Returns
    -------
    Graph
        Nodes count from 0; source and sink are the terminals, in this order.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, a line is not as above, or a source, a sink or arcs are missing.
    """
    source = Source("path", existing("path", path, "a DIMACS maximum-flow problem"), _LINE)
    n_nodes = n_arcs = 0
    ends: dict[bytes, int] = {}
    nodes, capacities = array("q"), array("d")

    def node(text: bytes) -> int:
        return checks.integer("ID", _whole(text), 1, n_nodes) - 1

    for number, line in enumerate(itertools.chain.from_iterable(map(_lines, blocks(source))), 1):
        try:
            match [part[0] for part in itertools.islice(re.finditer(rb"[^ \t]+", line), 5)]:
                case [] | [b"c", *_]:
                    pass
                case [b"p", b"max", many, arcs] if not n_nodes:
                    n_nodes = checks.integer("NODES", _whole(many), 2, _INT32)
                    n_arcs = checks.integer("ARCS", _whole(arcs), 1)
                case [b"n", end, (b"s" | b"t") as side] if side not in ends:
                    ends[side] = node(end)
                case [b"a", start, end, capacity]:
                    nodes.extend((node(start), node(end)))
                    capacities.append(_capacity(capacity))
                case _:
                    raise ValueError("lines of other kinds, or a second one of p, n s or n t, are refused")
        except ValueError as error:
            raise source.refusal(number, line, 0, str(error)) from None
    if len(ends) < 2 or ends[b"s"] == ends[b"t"] or len(capacities) != n_arcs:
        raise ValueError(
            f"path is {str(path)!r}; the file has {len(capacities)} arcs and the ends "
            f"{ {side.decode(): end + 1 for side, end in ends.items()} }; it must have "
            f"the {n_arcs} arcs of its line p, a source s and another node as sink t"
        )
    pairs = np.asarray(nodes).reshape(-1, 2)
    heads, tails, total = _merged(pairs[:, 0], pairs[:, 1], np.asarray(capacities), n_nodes)
    kept = total > 0
    if not np.isfinite(total).all():
        raise ValueError(f"path is {str(path)!r}; capacities of arcs between two nodes add up to infinity")
    if not kept.any():
        raise ValueError(f"path is {str(path)!r}; the file has no arc of positive capacity, but loops")
    file = source.file
    description = f"The DIMACS problem {file.name}: {n_nodes:,} nodes, {kept.sum():,} edges."
    terminals = np.array([ends[b"s"], ends[b"t"]], np.int32)
    return Graph(heads[kept], tails[kept], total[kept], terminals, n_nodes, file.stem, description)


def _refused(rows: np.ndarray) -> np.ndarray:
    """Say which cells of an edge list are not allowed: the other end of a loop, a negative capacity."""
    cells = np.zeros(rows.shape, bool)
    cells[:, 1] = rows[:, 0] == rows[:, 1]
    cells[:, 2:] = rows[:, 2:] < 0
    return cells


def _lines(block: Block) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in block.text.split(b"\n")[1:-1]]


def _whole(text: bytes) -> int:
    if not re.fullmatch(WHOLE, text):
        raise ValueError(f"{reprlib.repr(text.decode(errors='backslashreplace'))} is no whole number")
    return int(text)


def _capacity(text: bytes) -> float:
    if not re.fullmatch(NUMBER, text):
        raise ValueError(f"{reprlib.repr(text.decode(errors='backslashreplace'))} is no number")
    return checks.real("CAP", float(text), "a number >= 0")
