"""What every problem has in common: its optimum, its scale of suboptimality, how a run starts and ends."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

import joblib
import numpy as np

from hogwild.engine.compiling import user_cache
from hogwild.problems.optimum import VERSION, Optimum, UncertifiedOptimum
from hogwild.problems.sparsity import Sparsity

_CERTIFIED = 0.1  # of the smallest target: what the certificate of an optimum may leave open
_SMALLEST_SCALE = 1e-12  # of f(0): a smaller f(0) − f* is rounding


@functools.cache
def _cached_optimum() -> Any:
    memory = joblib.Memory(user_cache() / "optima", verbose=0)

    # the hash stands for the data
    @memory.cache(ignore=["problem"])
    def find(
        version: int,
        name: str,
        content_hash: str,
        dtype: str,
        settings: tuple[Any, ...],
        precision: float,
        problem: Problem,
    ) -> Optimum:
        return problem._find_optimum(precision)

    return find


class Problem:
    """A sum over examples, each touching a few of the weights. See the subclasses in `hogwild.problems`.

    A subclass gives the class attributes, what raises ``NotImplementedError`` here, and the bodies of
    `hogwild.engine.contract` for its kernel record.

    Attributes
    ----------
    name : str
    takes : type
        What it is made of: `Dataset`, `Ratings` or `Graph` of `hogwild.datasets`.
    error_names : tuple of str
        The keys of `errors`.
    held_out_errors : tuple of str
        Those among them that say something on examples held out.
    targets : tuple of float
        The suboptimalities that count as reaching an accuracy.
    n_examples, n_weights : int
    n_variables : int
        What has a lock of its own: a weight, or a block of weights that belong together.
    nonzeros : int
        Weights that one pass over the examples touches, counted as often as it does.
    dtype : numpy.dtype
        Precision of data and weights.
    merges : int
        In an epoch a worker merges its replica at least this often times the number of workers, and at its
        end: then hardly more epochs are needed than with one worker.
    constrained : bool
        Whether weights must stay in a set: then moves of workers do not add up, and replicas cannot merge.
    convex : bool
        Whether an optimum's certificate speaks of the global minimum. Else f* is the best that was found.
    precision : float
        Of the certificate that the solver aims at unless a better one is asked for, as a share of f(0) − f*.
    """

    name: ClassVar[str]
    takes: ClassVar[type]
    error_names: ClassVar[tuple[str, ...]]
    held_out_errors: ClassVar[tuple[str, ...]] = ()
    targets: ClassVar[tuple[float, ...]] = (1e-2, 1e-3)
    merges: ClassVar[int] = 1
    constrained: ClassVar[bool] = False
    convex: ClassVar[bool] = True
    precision: ClassVar[float] = 1e-7
    _advice: ClassVar[str] = ""  # where an optimum is not certified
    n_examples: int
    n_weights: int
    n_variables: int
    nonzeros: int
    dtype: np.dtype
    true_weights: np.ndarray | None = None
    _optimum: Optimum | None = None
    _wanted: float = math.inf  # of the optimum's certificate, as a share of f(0) − f*

    @classmethod
    def from_dataset(cls, data: Any, *, l2: float = 0.0, dtype: Any = None, **settings: Any) -> Self:
        """Make the problem of what a maker of `hogwild.datasets` returns.

        Parameters
        ----------
        data : `takes`
        l2 : float
            The weight of the problem's penalty, λ or µ.
        dtype : float32 or float64
        **settings
            Further ones of the problem.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what was given and what is allowed.
        """
        raise NotImplementedError

    @classmethod
    def _of_its_kind(cls, data: Any) -> Any:
        if not isinstance(data, cls.takes):
            raise TypeError(f"data is a {type(data).__name__}; {cls.name} takes a {cls.takes.__name__}")
        return data

    def objective(self, weights: np.ndarray) -> float:
        """Return the objective at weights of shape (n_weights,), summed in float64."""
        raise NotImplementedError

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the data, hexadecimal."""
        raise NotImplementedError

    @functools.cached_property
    def objective_at_zero(self) -> float:
        """The top of the scale of suboptimality: the objective at zero weights, or what stands for them."""
        raise NotImplementedError

    def errors(self, weights: np.ndarray) -> dict[str, float]:
        """Return the errors that the field reports of such a problem."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return facts about a problem beyond those that all problems have."""
        return {}

    def sparsity(self) -> Sparsity:
        """Return Ω, Δ and ρ of the examples."""
        raise NotImplementedError

    def curvature(self) -> np.ndarray:
        """Return the objective's typical second derivative along each coordinate, shape (n_weights,).

        How fast a worker's updates settle a coordinate decides how replicas are merged.
        """
        raise NotImplementedError

    def kernel_record(self, threshold: float = 0.0, order: np.ndarray | None = None) -> Any:
        """Return the data as kernels see them, the examples laid out in an order if one is given."""
        raise NotImplementedError

    def _find_optimum(self, precision: float) -> Optimum:
        raise NotImplementedError

    def _settings(self) -> tuple[Any, ...]:
        """Return what decides the optimum beside the data."""
        return ()

    def start(self, random: np.random.Generator) -> np.ndarray:
        """Return the weights that a run starts from if none are given: zeros."""
        return np.zeros(self.n_weights, self.dtype)

    def settle(self, weights: np.ndarray) -> np.ndarray:
        """Return the feasible weights that these stand for: for most problems themselves."""
        return weights

    def scratch_size(self, batch_size: int) -> int:
        """Return the cells of scratch that a worker's update needs."""
        return 0

    def weight_errors(self, weights: np.ndarray) -> tuple[float, float]:
        """Return ``‖w − w_true‖₁`` (the tutorial's) and ``‖w − w_true‖₂ / ‖w_true‖₂``; nan if unknown."""
        if self.true_weights is None:
            return float("nan"), float("nan")
        with np.errstate(over="ignore", invalid="ignore"):
            away = weights.astype(np.float64) - self.true_weights
            square = square_sum(self.true_weights)
            relative = float(np.sqrt(square_sum(away) / square)) if square else float("nan")
            return float(np.abs(away).sum()), relative

    def solve(self, target: float | None = None) -> Optimum:
        """Return the minimum to high precision with its certificate; kept on disk by the data's content.

        The certificate, as a share of f(0) − f*, must be within a tenth of the target. Where it is not,
        suboptimality is nan.

        Parameters
        ----------
        target : float, optional
            The smallest suboptimality that will be asked for. Default: the smallest of `targets`.

        Raises
        ------
        UncertifiedOptimum
            If there is no such certificate for a target that was given; by default that is a warning. Always
            where nothing can certify the minimum: for the hinge loss without a penalty.
        NotImplementedError
            If nothing here finds the minimum of so large a problem.
        """
        wanted = _CERTIFIED * (min(self.targets) if target is None else target)
        optimum = self._optimum
        if optimum is None or not self._error_of(optimum) <= wanted:
            what = VERSION, self.name, self.content_hash, str(self.dtype), self._settings()
            optimum = _cached_optimum()(*what, min(self.precision, wanted), self)
        error = self._error_of(optimum)
        if not error <= wanted:
            message = (
                f"the optimum of {self.name} by {optimum.solver} is certified to a suboptimality of "
                f"{error:.1e}; needed is {wanted:.1e}, a tenth of the smallest target. "
                f"Ask for a target of {error / _CERTIFIED:.1e} or more{self._advice}"
            )
            if target is not None:  # and nothing has changed for others
                raise UncertifiedOptimum(message)
            warnings.warn(f"{message}; until then suboptimality is nan", stacklevel=2)
        self._optimum, self._wanted = optimum, wanted
        return optimum

    @property
    def optimum_error(self) -> float:
        """What the optimum's certificate leaves open, an upper bound of its suboptimality; nan until solved.

        No suboptimality between 0 and 1 is too small by more than that.
        """
        return float("nan") if self._optimum is None else self._error_of(self._optimum)

    def _error_of(self, optimum: Optimum) -> float:
        value = optimum.value
        return value / (self._scale_of(optimum) + value) if value else 0.0

    @property
    def certified(self) -> bool:
        """Whether the optimum is that of the problem, as exactly as was asked for: not the best known."""
        return self.convex and self.optimum_error <= self._wanted

    def _scale_of(self, optimum: Optimum) -> float:
        return max(self.objective_at_zero - optimum.objective, _SMALLEST_SCALE * self.objective_at_zero)

    def suboptimality(self, objective: float) -> float:
        """Return ``(f − f*) / (f(0) − f*)``, 0 at or below f*.

        nan until `solve` was called, and where its optimum is not certified well enough. A run ends below f*
        if it comes nearer to the minimum than the certificate, or finds another minimum of a problem that is
        not convex.
        """
        return self.gauge()(objective)

    def gauge(self, target: float | None = None) -> Callable[[float], float]:
        """Return `suboptimality` as it is now, even if another run has the problem solved again.

        Parameters
        ----------
        target : float, optional
            What the optimum must be certified for. Default: what was asked of `solve` last.
        """
        optimum, wanted = self._optimum, self._wanted if target is None else _CERTIFIED * target
        if optimum is None or not self._error_of(optimum) <= wanted:
            return lambda objective: float("nan")
        lowest, scale = optimum.objective, self._scale_of(optimum)

        def suboptimality(objective: float) -> float:
            away = max(objective - lowest, 0.0)  # nan stays nan
            if scale > 0:
                return away / scale
            return 0.0 if away == 0 else math.inf

        return suboptimality


def square_sum(vector: np.ndarray) -> np.floating[Any]:
    """Return the sum of squares without BLAS, whose threads would go on spinning on the workers' cores."""
    return np.square(vector).sum()
