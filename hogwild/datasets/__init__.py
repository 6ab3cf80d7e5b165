"""Data sets: the tutorial's, synthetic ones to order, an RCV1 twin, real source code, files, and RCV1 itself.

Equal arguments give the same bits. Generated sets need NumPy and SciPy only; files and RCV1 are read by
scikit-learn, which the extra ``hogwild[datasets]`` installs.
"""

from collections.abc import Callable

from hogwild.datasets.files import fetch_rcv1, load_svmlight
from hogwild.datasets.generator import synthetic
from hogwild.datasets.record import Dataset
from hogwild.datasets.source_code import python_source
from hogwild.datasets.tutorial import guide
from hogwild.datasets.twin import rcv1_twin

NAMES: dict[str, Callable[..., Dataset]] = {
    maker.__name__: maker for maker in (guide, synthetic, rcv1_twin, python_source, load_svmlight, fetch_rcv1)
}

__all__ = [
    "NAMES",
    "Dataset",
    "fetch_rcv1",
    "guide",
    "load_svmlight",
    "python_source",
    "rcv1_twin",
    "synthetic",
]
