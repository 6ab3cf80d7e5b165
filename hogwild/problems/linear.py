"""Linear models on sparse rows."""

import functools
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from hogwild import checks
from hogwild.datasets.record import Dataset, content_hash
from hogwild.datasets.rows import blocks_of, checked_rows, counts
from hogwild.problems import losses
from hogwild.problems.base import Problem, square_sum
from hogwild.problems.optimum import Optimum, solve
from hogwild.problems.rows import (
    DegreeScaled,
    EveryComponent,
    LargeComponents,
    LinearRows,
    NoPenalty,
    add_squares,
)
from hogwild.problems.sparsity import Sparsity, sparsity_of

CURVED_EXAMPLES, RUN = 5_000, 50  # in runs of so many: the memory likes neighbours


class LinearProblem(Problem):
    """``min_w (1/m) Σ_i [ loss(x_i·w, y_i) + l2 Σ_{u∈e_i} w_u²/d_u ]`` over sparse rows x_i.

    e_i is the support of x_i and d_u the number of examples with feature u, so the penalty sums to ``l2
    ‖w‖²`` over the data (Niu et al. 2011, eq. 2.3): an update touches only the coordinates of its example.
    Make one with `from_data`. A subclass, beside its loss in `hogwild.problems.losses`, names the loss.

    Attributes
    ----------
    loss : record
        Of the class: with its default settings.
    task : str
        ``"regression"`` on real targets, or ``"classification"`` with labels -1 and +1.
    X : csr_array of shape (n_examples, n_features)
        Canonical: sorted, no duplicates, no explicit zeros.
    y : ndarray of shape (n_examples,)
        In the precision of X; labels are -1 and +1.
    l2 : float
        λ of the penalty, on the sum over the examples.
    true_weights : ndarray of shape (n_features,) or None
        The weights that generated the data, where they are known.
    targets : tuple of float
        The suboptimalities that count as reaching an accuracy.
    """

    takes = Dataset
    loss: Any
    task: ClassVar[Literal["regression", "classification"]]
    _advice = ", or give the problem a larger penalty or columns of one scale"

    def __init__(
        self, X: csr_array, y: np.ndarray, l2: float, true_weights: np.ndarray | None, loss: Any
    ) -> None:
        self.X, self.y, self.l2, self.true_weights, self.loss = X, y, l2, true_weights, loss
        self.n_examples, self.n_features = X.shape
        self.n_weights = self.n_variables = self.n_features
        self.nonzeros, self.dtype = X.nnz, X.dtype

    @classmethod
    def from_data(
        cls,
        X: Any,
        y: npt.ArrayLike,
        *,
        l2: float = 0.0,
        true_weights: npt.ArrayLike | None = None,
        dtype: npt.DTypeLike | None = None,
        **settings: float,
    ) -> Self:
        """Check the data and make a problem of them; nothing is copied that is canonical already.

        Memory-mapped rows (`hogwild.datasets.open_rows`) are read once and never copied. Arrays and files
        must stay as they are afterwards: compiled code follows their indices without checking again.

        Parameters
        ----------
        X : sparse array or matrix, or array_like, of shape (n_examples, n_features)
        y : array_like of shape (n_examples,)
            Real numbers for least squares; -1/+1 or 0/1 for the classifiers.
        l2 : float, default 0
            λ of the degree-scaled penalty (see the class).
        true_weights : array_like of shape (n_features,), optional
        dtype : float32 or float64, optional
            Precision of data and weights. Default: that of X if it is one of these, else float64.
        **settings
            Of the loss, by the names of its record's fields.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was given and what is allowed.
        """
        loss = losses.with_settings(cls.loss, settings)
        X = checked_rows(X, _precision(X, dtype))
        examples, features = (f"({size},) to go with X" for size in X.shape)
        y = checks.vector("y", y, examples, X.shape[0])
        y = cls._checked_targets(y if y.dtype == X.dtype else y.astype(np.float64))
        y = checks.vector("y", y, examples, X.shape[0], X.dtype)
        if true_weights is not None:
            size, kind = X.shape[1], np.dtype(np.float64)
            true_weights = checks.vector("true_weights", true_weights, features, size, kind)
        return cls(X, y, checks.real("l2", l2, "a number of at least 0"), true_weights, loss)

    @classmethod
    def from_dataset(cls, data: Any, *, l2: float = 0.0, dtype: Any = None, **settings: Any) -> Self:
        """Make the problem of a `Dataset`; λ and the settings of the loss are those of `from_data`."""
        data = cls._of_its_kind(data)
        true_weights = data.true_weights
        return cls.from_data(data.X, data.y, l2=l2, true_weights=true_weights, dtype=dtype, **settings)

    @classmethod
    def _checked_targets(cls, y: np.ndarray) -> np.ndarray:
        return y

    @functools.cached_property
    def degrees(self) -> np.ndarray:
        """d_u: the number of examples with each feature, shape (n_features,)."""
        return counts(self.X.indices, self.n_features)

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the data, hexadecimal."""
        return content_hash(self.X, self.y)

    def objective(self, weights: np.ndarray) -> float:
        """Return the objective at weights of shape (n_features,), summed in float64."""
        with np.errstate(over="ignore", invalid="ignore"):
            vector = weights.astype(self.dtype, copy=False)
            loss = 0.0
            for first, last, rows in blocks_of(self.X):
                margins = (rows @ vector).astype(np.float64, copy=False)
                loss += losses.value(self.loss, margins, self.y[first:last]).sum()
            touched = weights[self.degrees > 0].astype(np.float64) if self.l2 else np.zeros(1)
            return float(loss / self.n_examples + self.l2 / self.n_examples * square_sum(touched))

    def margins(self, weights: np.ndarray) -> np.ndarray:
        """Return x·w of each example at weights of shape (n_features,)."""
        return np.concatenate([rows @ weights for _, _, rows in blocks_of(self.X)])

    def _find_optimum(self, precision: float) -> Optimum:
        return solve(self.loss, self.X, self.y, self.l2, precision)

    def _settings(self) -> tuple[Any, ...]:
        return self.l2, *self.loss

    @functools.cached_property
    def objective_at_zero(self) -> float:
        """f(0), the top of the scale of suboptimality."""
        return self.objective(np.zeros(self.n_features, self.dtype))

    def sparsity(self) -> Sparsity:
        """Return Ω, Δ and ρ of the examples."""
        return sparsity_of(self.X)

    def scratch_size(self, batch_size: int) -> int:
        """Return the cells of scratch that an update needs: a gradient for mini-batches."""
        return self.n_features if batch_size > 1 else 0

    def curvature(self) -> np.ndarray:
        """Return the mean square of each feature times the loss's mean second derivative.

        From at most 5,000 examples: a feature rarer than that settles in no period.
        """
        sums, step = np.zeros(self.n_features), RUN * -(-self.n_examples // CURVED_EXAMPLES)
        mean = sums / add_squares(self.X.indptr, self.X.indices, self.X.data, RUN, step, sums)
        return losses.mean_curvature(self.loss) * mean + 2 * self.l2 / self.n_examples

    def kernel_record(self, threshold: float = 0.0, order: np.ndarray | None = None) -> LinearRows:
        """Return the data as kernels see them, the rows laid out in an order if one is given."""
        X, y = (self.X, self.y) if order is None else (self.X[order], self.y[order])
        penalty: NoPenalty | DegreeScaled = NoPenalty()
        if self.l2:
            penalty = DegreeScaled((2 * self.l2 / np.maximum(self.degrees, 1)).astype(self.dtype))
        limit = self.dtype.type(threshold)
        chosen = LargeComponents(limit) if threshold else EveryComponent()
        starts = X.indptr.view(np.uint32 if X.indptr.itemsize == 4 else np.uint64)
        columns = X.indices.astype(np.int32, copy=False).view(np.uint32)  # SciPy's copies may be wider
        return LinearRows(starts, columns, X.data, y, self.loss, penalty, chosen)

    def __repr__(self) -> str:
        settings = "".join(f"{name}={value}, " for name, value in self.loss._asdict().items())
        return (
            f"{type(self).__name__}(n_examples={self.n_examples}, n_features={self.n_features}, "
            f"nonzeros={self.nonzeros}, l2={self.l2}, {settings}dtype={self.dtype})"
        )


class Regression(LinearProblem):
    """A linear model of real targets."""

    task = "regression"
    error_names = ("mean_absolute_residual",)

    def errors(self, weights: np.ndarray) -> dict[str, float]:
        """Return the mean absolute residual."""
        return {"mean_absolute_residual": float(np.abs(self.margins(weights) - self.y).mean())}


class Classification(LinearProblem):
    """A linear model of two classes."""

    task = "classification"
    error_names, held_out_errors = ("error_rate",), ("error_rate",)

    @classmethod
    def _checked_targets(cls, y: np.ndarray) -> np.ndarray:
        if ((y == -1) | (y == 1)).all():
            return y
        if ((y == 0) | (y == 1)).all():
            return 2 * y.astype(np.float64) - 1
        labels = set(np.unique(y).tolist())
        shown = ", ".join(f"{label:g}" for label in sorted(labels)[:5])
        raise ValueError(
            f"y holds the labels {shown}{', …' if len(labels) > 5 else ''}; allowed are -1 and +1, or 0 and 1"
        )

    def errors(self, weights: np.ndarray) -> dict[str, float]:
        """Return the share of labels that the sign of the margin gets wrong (zero counts as -1)."""
        predicted = np.where(self.margins(weights) > 0, 1, -1)
        return {"error_rate": float((predicted != self.y).mean())}


def _precision(X: Any, dtype: npt.DTypeLike | None) -> np.dtype:
    if dtype is not None:
        return checks.floating(dtype)
    given = getattr(X, "dtype", None)
    return np.dtype(np.float32 if given == np.float32 else np.float64)
