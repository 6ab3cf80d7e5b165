"""The peers of linear models.

Ours is ``(1/m) [Σ loss + l2 |w|²]``, which has the minimum of ``C Σ loss + |w|²/2`` at C = 1 / (2 l2) and of
``(1/m) Σ loss + (alpha/2) |w|²`` at alpha = 2 l2 / m; whoever halves the squared error needs half of alpha.
No peer fits an intercept.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from experiments.peers.record import NEVER, Fit, Options
from hogwild.problems import HingeSVM, LeastSquares, Logistic

# as scikit-learn names them
LOSSES = {HingeSVM: "hinge", Logistic: "log_loss", LeastSquares: "squared_error"}


def C(problem: Any) -> float:
    """Weight of the losses next to half of the squared norm."""
    return float(1.0 / (2.0 * problem.l2))


def alpha(problem: Any, ratio: float = 1.0) -> float:
    """Weight of half of the squared norm next to a mean loss; ``ratio`` is our loss over theirs."""
    return float(2.0 * problem.l2 / (problem.n_examples * ratio))


def rows(problem: Any, dtype: Any = None) -> csr_matrix:
    """Return the data in the form that all of them take: a matrix with indices of 32 bits throughout."""
    X = problem.X
    starts = X.indptr.astype(np.int32, copy=False)
    return csr_matrix((X.data.astype(dtype or X.dtype, copy=False), X.indices, starts), shape=X.shape)


def sgd(problem: Any, options: Options, *, shuffle: bool = True, rate: str = "constant") -> Fit:
    """scikit-learn's SGD: half of our squared error, so there the step doubles and alpha halves."""
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    regression = isinstance(problem, LeastSquares)
    ratio = 2.0 if regression else 1.0
    settings: dict[str, Any] = {
        "loss": LOSSES[type(problem)],
        "penalty": "l2" if problem.l2 > 0 else None,
        "alpha": alpha(problem, ratio),
        "learning_rate": rate,
        "tol": None,
        "fit_intercept": False,
        "shuffle": shuffle,
        "random_state": options.seed,
    }
    if options.step_size is not None:
        settings["eta0"] = options.step_size * ratio
    kind = SGDRegressor if regression else SGDClassifier
    X = rows(problem)
    return lambda epochs: kind(max_iter=epochs, **settings).fit(X, problem.y)


def unshuffled(problem: Any, options: Options) -> Fit:
    return sgd(problem, options, shuffle=False)


def bottou(problem: Any, options: Options) -> Fit:
    """scikit-learn's own schedule, 1 / (alpha (t + t0)) (Bottou 2010)."""
    return sgd(problem, options._replace(step_size=None), rate="optimal")


def saga(problem: Any, options: Options) -> Fit:
    """scikit-learn's SAGA (Defazio, Bach and Lacoste-Julien 2014)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    X, y = rows(problem), problem.y
    own = {"solver": "saga", "tol": NEVER, "fit_intercept": False, "random_state": options.seed}
    if isinstance(problem, Logistic):
        return lambda epochs: LogisticRegression(C=C(problem), max_iter=epochs, **own).fit(X, y)
    return lambda epochs: Ridge(alpha=problem.l2, max_iter=epochs, **own).fit(X, y)


def lsqr(problem: Any, options: Options) -> Fit:
    """scikit-learn's ridge regression by LSQR (Paige and Saunders 1982)."""
    from sklearn.linear_model import Ridge

    X = rows(problem)
    own = {"solver": "lsqr", "tol": NEVER, "fit_intercept": False, "alpha": problem.l2}
    return lambda iterations: Ridge(max_iter=iterations, **own).fit(X, problem.y)


def lbfgs(problem: Any, options: Options) -> Fit:
    """scikit-learn's default for logistic regression."""
    from sklearn.linear_model import LogisticRegression

    X, own = rows(problem), {"C": C(problem), "tol": NEVER, "fit_intercept": False}
    return lambda iterations: LogisticRegression(max_iter=iterations, **own).fit(X, problem.y)


def liblinear(problem: Any, options: Options) -> Fit:
    """LIBLINEAR's dual coordinate descent (Hsieh et al. 2008; Yu, Huang and Lin 2011), by scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    own: dict[str, Any] = {"C": C(problem), "dual": True, "tol": NEVER, "fit_intercept": False}
    own["random_state"] = options.seed
    X, y = rows(problem), problem.y
    if isinstance(problem, HingeSVM):
        return lambda epochs: LinearSVC(loss="hinge", max_iter=epochs, **own).fit(X, y)
    return lambda epochs: LogisticRegression(solver="liblinear", max_iter=epochs, **own).fit(X, y)


def liblinear_newton(problem: Any, options: Options) -> Fit:
    """LIBLINEAR's trust region Newton method (Lin, Weng and Keerthi 2008); a budget counts its steps."""
    from sklearn.linear_model import LogisticRegression

    X = rows(problem)
    own = {"solver": "liblinear", "C": C(problem), "dual": False, "tol": NEVER, "fit_intercept": False}
    return lambda steps: LogisticRegression(max_iter=steps, **own).fit(X, problem.y)


def snapml(problem: Any, options: Options) -> Fit:
    """Snap ML's dual coordinate descent, with replicas where it has threads (Ioannou et al. 2019, SySCD)."""
    import snapml

    kind = {
        Logistic: snapml.LogisticRegression,
        HingeSVM: snapml.SupportVectorMachine,
        LeastSquares: snapml.LinearRegression,  # of half the squared error
    }[type(problem)]
    X, y = rows(problem, np.float32), problem.y.astype(np.float64)
    own: dict[str, Any] = {"n_jobs": options.workers, "tol": 0.0, "fit_intercept": False}
    own |= {"regularizer": problem.l2 * (1.0 if isinstance(problem, LeastSquares) else 2.0)}
    own |= {"random_state": options.seed % 2**31}
    return lambda epochs: kind(max_iter=epochs, **own).fit(X, y)


def skglm(problem: Any, options: Options) -> Fit:
    """skglm: L-BFGS, and for the hinge Anderson-accelerated coordinate descent on the dual.

    The dual's working set holds all examples from the start: its default, which begins with ten, is slower.
    """
    from skglm import datafits
    from skglm.penalties import L2, IndicatorBox
    from skglm.solvers import LBFGS, AndersonCD

    y = problem.y.astype(np.float64)
    if isinstance(problem, Logistic):
        X, penalty = csc_matrix(rows(problem, np.float64)), L2(alpha(problem))
        return lambda iterations: LBFGS(iterations, NEVER).solve(X, y, datafits.Logistic(), penalty)[0]
    dual = csc_matrix(rows(problem, np.float64).multiply(y[:, None]).T)
    box = IndicatorBox(C(problem))

    def fit(epochs: int) -> np.ndarray:
        solver = AndersonCD(1, epochs, y.size, tol=NEVER, fit_intercept=False)
        return np.asarray(dual @ solver.solve(dual, y, datafits.QuadraticSVC(), box)[0])

    return fit


def cyanure(problem: Any, options: Options) -> Fit:
    """Cyanure's choice among MISO, Catalyst and QNing (Mairal 2019)."""
    from cyanure.estimators import Classifier, Regression

    X, y = rows(problem), problem.y
    own: dict[str, Any] = {"penalty": "l2", "fit_intercept": False, "tol": NEVER, "verbose": False}
    own |= {"n_threads": 1, "random_state": options.seed % 2**31, "duality_gap_interval": 10**6}
    if isinstance(problem, Logistic):
        own |= {"loss": "logistic", "lambda_1": alpha(problem)}
        return lambda epochs: Classifier(max_iter=epochs, **own).fit(X, y)
    own["lambda_1"] = alpha(problem, 2.0)
    return lambda epochs: Regression(max_iter=epochs, **own).fit(X, y)


def vowpal_wabbit(problem: Any, options: Options) -> Fit:
    """Vowpal Wabbit's plain SGD with steps 1 / (1 + alpha t) (Bottou 2010), from its binary cache.

    Its adaptive updates, and any on the hinge, shrink the weights by other amounts than our penalty does.
    """
    import vowpalwabbit
    from sklearn.datasets import dump_svmlight_file

    text, cache = options.folder / "data.txt", options.folder / "data.cache"
    dump_svmlight_file(rows(problem), problem.y, str(text))
    text.write_bytes(re.sub(rb"(?m)^(\S+)", rb"\1 |", text.read_bytes()))
    bits, weight = max(math.ceil(math.log2(problem.n_features)), 1), alpha(problem)
    command = f"--quiet --holdout_off -b {bits} -d {text} --cache_file {cache} "
    vowpalwabbit.Workspace(command + "--noop").finish()
    command += f"--noconstant --loss_function logistic --sgd --l2 {weight!r} "
    command += f"--learning_rate 1 --power_t 1 --initial_t {1 / weight!r} "

    def fit(epochs: int) -> _Vowpal:
        return _Vowpal(vowpalwabbit.Workspace(f"{command}--passes {epochs}"), problem.n_features)

    return fit


class _Vowpal:
    """A trained model; what it keeps are weights before a common shrinkage, which its predictions tell."""

    def __init__(self, model: Any, n_features: int) -> None:
        self.model, self.n_features = model, n_features

    @property
    def coef_(self) -> np.ndarray:
        kept = np.array([self.model.get_weight(index) for index in range(self.n_features)])
        largest = int(np.abs(kept).argmax())
        value = 1.0 / max(float(abs(kept[largest])), 1e-30)  # keeps the prediction small: it is clipped at 50
        example = self.model.example(f"| {largest}:{value!r}")
        predicted = self.model.predict(example)
        self.model.finish_example(example)
        self.model.finish()
        return kept * abs(predicted)
