"""What every data set is: sparse rows, targets, and where they come from."""

import hashlib
from typing import NamedTuple

import numpy as np
from scipy import sparse

from hogwild import checks


def content_hash(X: sparse.csr_array, y: np.ndarray) -> str:
    """Return the SHA-256 (hexadecimal) of X's shape and three arrays and of y."""
    return arrays_hash(X.shape, X.indptr, X.indices, X.data, y)


def arrays_hash(sizes: tuple[int, ...], *arrays: np.ndarray) -> str:
    """Return the SHA-256 (hexadecimal) of sizes and of arrays as they are: types, shapes, order and all."""
    digest = hashlib.sha256(repr(tuple(int(size) for size in sizes)).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Dataset(NamedTuple):
    """Examples for supervised learning.

    Parameters
    ----------
    X : scipy.sparse.csr_array, shape (n_examples, n_features)
        One example a row; indices sorted and distinct within a row.
    y : ndarray, shape (n_examples,)
        Targets: real numbers for regression, -1 and +1 for classification.
    true_weights : ndarray, shape (n_features,), or None
        The weights that made the targets, where there are such.
    name, description : str
        What to call the data and, in a sentence, how they were made.
    """

    X: sparse.csr_array
    y: np.ndarray
    true_weights: np.ndarray | None
    name: str
    description: str

    @property
    def content_hash(self) -> str:
        """`content_hash` of X and y, computed at each access."""
        return content_hash(self.X, self.y)

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple["Dataset", "Dataset"]:
        """Return the examples in two random parts, (train, test), each in a random order.

        Rows may come in an order (of files, of classes) that streaming them as stored would follow.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the examples that go to the test part, rounded to whole examples.
        seed : int

        Raises
        ------
        ValueError
            If a part would be empty.
        """
        test = held_out(self.y.size, test_fraction, seed)
        order = np.random.default_rng([seed, 1]).permutation(self.y.size)
        return self._part(order[~test[order]], "train"), self._part(order[test[order]], "test")

    def _part(self, chosen: np.ndarray, part: str) -> "Dataset":
        description = f"{self.description} The {part} part, {chosen.size:,} of {self.y.size:,} examples."
        return self._replace(X=self.X[chosen], y=self.y[chosen], description=description)


def held_out(count: int, test_fraction: float, seed: int) -> np.ndarray:
    """Return which of ``count`` examples are held out at random: a mask, never none or all of them."""
    share = checks.real("test_fraction", test_fraction, "a number in (0, 1)", maximum=1.0)
    rng = np.random.default_rng(checks.integer("seed", seed))
    n_test = round(share * count)
    if not 0 < n_test < count:
        raise ValueError(
            f"test_fraction is {test_fraction!r}; it must leave examples on each side, of {count}"
        )
    test = np.zeros(count, bool)
    test[rng.permutation(count)[:n_test]] = True
    return test
