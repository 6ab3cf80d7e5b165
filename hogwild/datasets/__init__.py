"""Data sets: synthetic ones to order, twins of the paper's, real source code, files, and RCV1 itself.

Makers return a `Dataset` of examples with targets, `Ratings` for matrix completion or a `Graph` to be cut.
Equal arguments give the same bits. RCV1 is fetched by scikit-learn, which the extra ``hogwild[datasets]``
installs; all else needs NumPy and SciPy only. Files are foreign: SECURITY.md says what their readers promise.
"""

from collections.abc import Callable
from typing import Any

from hogwild.datasets.files import fetch_rcv1, load_svmlight
from hogwild.datasets.generator import synthetic
from hogwild.datasets.graphs import Graph, entity_graph, load_dimacs, load_edges, voxel_image
from hogwild.datasets.large import large_synthetic
from hogwild.datasets.popularity import popular_first
from hogwild.datasets.ratings import Ratings, jumbo_twin, kdd_twin, load_ratings, low_rank, netflix_twin
from hogwild.datasets.record import Dataset
from hogwild.datasets.source_code import python_source
from hogwild.datasets.stored import RowsWriter, convert_svmlight, open_rows, save_rows, shuffle_rows
from hogwild.datasets.tutorial import guide
from hogwild.datasets.twin import rcv1_twin

NAMES: dict[str, Callable[..., Any]] = {
    maker.__name__: maker
    for maker in (
        *(guide, synthetic, large_synthetic, rcv1_twin, python_source, load_svmlight, fetch_rcv1, open_rows),
        *(low_rank, jumbo_twin, netflix_twin, kdd_twin, load_ratings),
        *(voxel_image, entity_graph, load_edges, load_dimacs),
    )
}

__all__ = [
    "NAMES",
    "Dataset",
    "Graph",
    "Ratings",
    "RowsWriter",
    "convert_svmlight",
    "entity_graph",
    "fetch_rcv1",
    "guide",
    "jumbo_twin",
    "kdd_twin",
    "large_synthetic",
    "load_dimacs",
    "load_edges",
    "load_ratings",
    "load_svmlight",
    "low_rank",
    "netflix_twin",
    "open_rows",
    "popular_first",
    "python_source",
    "rcv1_twin",
    "save_rows",
    "shuffle_rows",
    "synthetic",
    "voxel_image",
]
