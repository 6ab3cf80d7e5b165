"""Graphs to be cut: voxel images, entities with their mentions, and files."""

import numpy as np
import pytest

from hogwild import datasets
from hogwild.datasets import Graph, entity_graph, load_dimacs, load_edges, voxel_image
from hogwild.problems.graph_cuts import GraphCut


def problem(graph: Graph) -> GraphCut:
    return GraphCut.from_data(
        graph.heads, graph.tails, graph.capacities, terminals=graph.terminals, n_nodes=graph.n_nodes
    )


@pytest.mark.parametrize("make", [voxel_image, entity_graph])
def test_form(make):
    first, again, other = (make(seed=seed) for seed in (3, 3, 4))
    assert first.content_hash == again.content_hash != other.content_hash
    assert first.name == make.__name__ in datasets.NAMES
    assert first.description.endswith(".")
    assert first.heads.dtype == first.tails.dtype == first.terminals.dtype == np.int32
    assert first.capacities.dtype == np.float64
    edges = np.sort(np.column_stack([first.heads, first.tails]), axis=1)
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert problem(first).n_nodes == first.n_nodes


def test_a_merged_edge_and_a_split_one_have_hashes_of_their_own():
    graph = entity_graph()
    first = graph._replace(heads=graph.heads[:1], tails=graph.tails[:1], capacities=np.array([2.0]))
    twice = np.zeros(2, np.int64)
    split = first._replace(heads=first.heads[twice], tails=first.tails[twice], capacities=np.ones(2))
    assert first.content_hash != split.content_hash


@pytest.mark.parametrize("largest", [1, 10])
def test_voxels_are_6_connected_and_linked_to_the_terminals(largest):
    graph = voxel_image((5, 4, 3), largest_capacity=largest)
    size = 60
    assert graph.n_nodes == 62
    assert np.array_equal(graph.terminals, [60, 61])
    between = graph.tails < size
    assert between.sum() == 4 * 4 * 3 + 5 * 3 * 3 + 5 * 4 * 2
    places = np.array(np.unravel_index([graph.heads[between], graph.tails[between]], (5, 4, 3)))
    assert np.all(np.abs(places[:, 0] - places[:, 1]).sum(axis=0) == 1)
    assert graph.heads.max() < size
    assert np.array_equal(graph.capacities, np.rint(graph.capacities))
    assert graph.capacities.min() == 1
    assert graph.capacities.max() == largest
    # each grey value, cut off at 0 and 1, goes to the two terminals, up to the rounding of both parts
    shares = np.bincount(graph.heads[~between], graph.capacities[~between], size)
    assert np.all(np.abs(shares - largest) <= 1)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_minimum_cut_is_the_object(noise):
    shape = (20, 18, 16)
    graph = voxel_image(shape, noise)
    built = problem(graph)
    found = built.solve()
    assert (found.certificate, found.value) == ("duality_gap", pytest.approx(0, abs=1e-9))
    foreground = built.labels(found.weights)[:-2].reshape(shape) == 0
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    ellipsoid = (x / 0.6) ** 2 + (y / 0.5) ** 2 + (z / 0.4) ** 2 < 1
    assert foreground[ellipsoid].mean() > 0.8  # all but its tips, which cost more to part than to give up
    assert foreground[~ellipsoid].mean() < 0.04  # the bump
    assert not foreground[[0, -1]].any()


def test_entities_are_linked_to_their_mentions():
    graph = entity_graph(50, 3_000, similar=4)
    assert graph.n_nodes == 3_050
    assert np.array_equal(graph.terminals, np.arange(50))
    assert graph.capacities.min() > 0
    assert graph.capacities.max() <= 1
    to_entity = graph.heads < 50
    assert graph.tails.min() >= 50  # no edge between entities
    candidates = np.bincount(graph.tails[to_entity] - 50, minlength=3_000)
    assert candidates.min() >= 1
    assert candidates.max() == 4
    related = np.bincount(np.concatenate([graph.heads[~to_entity], graph.tails[~to_entity]]))[50:]
    assert related.mean() == pytest.approx(8, rel=0.1)  # four of its own, and four of others
    popular = np.sort(np.bincount(graph.heads[to_entity], minlength=50))[::-1]
    assert popular[0] > 5 * popular[25]
    assert problem(graph).sparsity().delta == pytest.approx(popular[0] / graph.heads.size)


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["# a\n0 1 2.5\n\n3\t1 0 # b\n2 3 4\n", "0,1,2.5\n3, 1, 0\n2,3,4\n"])
def test_edges(tmp_path, text):
    graph = load_edges(write(tmp_path / "g.txt", text), terminals=[0, 3])
    assert np.array_equal(graph.heads, [0, 3, 2])
    assert np.array_equal(graph.tails, [1, 1, 3])
    assert np.array_equal(graph.capacities, [2.5, 0, 4])
    assert np.array_equal(graph.terminals, [0, 3])
    assert graph.n_nodes == 4
    assert graph.name == "g"
    assert problem(graph).n_examples == 3


def test_edges_without_capacities(tmp_path):
    graph = load_edges(write(tmp_path / "g.txt", "0 1\n1 2\n"), np.array([2, 0]))
    assert np.array_equal(graph.capacities, [1, 1])


@pytest.mark.parametrize(
    ("text", "terminals", "error", "message"),
    [
        ("0 1\n1\n", [0, 1], ValueError, "g.txt'; line 2 is '1', which must be u v"),
        ("# x\n0 1\n1 2 3\n", [0, 1], ValueError, "line 3 is '1 2 3', which"),
        ("0\n1\n", [0, 1], ValueError, "line 1 is '0', which"),
        ("0 1\n0 -1\n", [0, 1], ValueError, "line 2 is '0 -1', which"),
        ("0 1\n\n0 b\n", [0, 1], ValueError, "line 3 is '0 b', which"),
        ("0 1\n# y\n2 2\n", [0, 1], ValueError, "line 3 is '2 2', which"),
        ("0 1 1\n1 2 -1\n", [0, 1], ValueError, "line 2 is '1 2 -1', which"),
        ("0 2147483648\n", [0, 1], ValueError, "line 1 is '0 2147483648', which"),
        ("# nothing\n", [0, 1], ValueError, "g.txt'; the file has no lines of u v"),
        ("0 1\n", [0, 2], ValueError, "terminals holds 0 to 2; allowed are 0 to 1"),
        ("0 1\n", [1, 1], ValueError, r"terminals is \[1, 1\]; it must name at least two"),
        ("0 1\n", [0.0, 1.0], TypeError, "terminals has dtype float64"),
    ],
)
def test_edges_refuses(tmp_path, text, terminals, error, message):
    with pytest.raises(error, match=message):
        load_edges(write(tmp_path / "g.txt", text), terminals)


HEAD = "c toy\np max 4 6\nn 1 s\nn 4 t\n"


def test_dimacs_adds_up_arcs_between_the_same_nodes(tmp_path):
    arcs = "a 1 2 3\na 2 1 2\na 2 3 1\na 2 3 4\na 4 3 0\na 3 3 9\n"
    graph = load_dimacs(write(tmp_path / "toy.max", HEAD + arcs))
    assert np.array_equal(graph.heads, [0, 1])
    assert np.array_equal(graph.tails, [1, 2])
    assert np.array_equal(graph.capacities, [5, 5])
    assert np.array_equal(graph.terminals, [0, 3])
    assert graph.n_nodes == 4
    assert problem(graph).solve().objective == 0  # the arc to the sink holds nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p min 3 2\n", "toy.max'; line 1 is 'p min 3 2', which must be c"),
        ("a 1 2 3\n", "line 1 is 'a 1 2 3', which"),
        (HEAD + "a 1 5 3\n", r"line 5 is 'a 1 5 3', which .* ID is 5; it must be an integer in \[1, 4\]"),
        (HEAD + "a 1 2 x\n", "line 5 is 'a 1 2 x', which"),
        (HEAD + "a 1 2 -3\n", "line 5 is 'a 1 2 -3', which .* CAP is -3.0"),
        (HEAD + "n 2 s\n", "line 5 is 'n 2 s', which"),
        (HEAD + "p max 4 6\n", "line 5 is 'p max 4 6', which"),
        (HEAD + "a 1 2 3\n", "the file has 1 arcs and .* the 6 arcs"),
        ("p max 3 1\nn 1 s\na 1 2 3\n", "a source s and another node as sink t"),
        ("p max 3 1\nn 1 s\nn 1 t\na 1 2 3\n", "a source s and another node as sink t"),
        ("p max 3 1\nn 1 s\nn 2 t\na 1 2 0\n", "no arc of positive capacity"),
        ("", "toy.max'; the file has 0 arcs"),
    ],
)
def test_dimacs_refuses(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_dimacs(write(tmp_path / "toy.max", text))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: voxel_image((4, 4)), TypeError, r"shape is \(4, 4\); it must be three integers"),
        (lambda: voxel_image((4, 4, 1)), ValueError, "shape is 1; it must be an integer >= 2"),
        (lambda: voxel_image((2**11, 2**11, 2**11)), ValueError, "it must have at most"),
        (lambda: voxel_image(noise=-1), ValueError, "noise is -1"),
        (lambda: voxel_image(largest_capacity=0), ValueError, "largest_capacity is 0"),
        (lambda: entity_graph(1), ValueError, "n_entities is 1"),
        (lambda: entity_graph(n_mentions=0), ValueError, "n_mentions is 0"),
        (lambda: entity_graph(similar=0), ValueError, "similar is 0"),
        (lambda: load_dimacs("absent.max"), FileNotFoundError, "path is 'absent.max'"),
        (lambda: load_edges("absent.txt", [0, 1]), FileNotFoundError, "path is 'absent.txt'"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
