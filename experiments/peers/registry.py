"""The peers: other people's solvers on our objective, a short function and a line here each.

Left out, for having no wheels for the supported Pythons: lightning, liblinear-official, xlearn; for failing
there: tick 0.8 (no model can be constructed); for other penalties: celer; of matrix completion: `implicit`,
which weighs all cells, and `cmfrec`, which has no wheels and compiles for more than a minute.
"""

from __future__ import annotations

from experiments.peers import factors, linear
from experiments.peers.record import Peer
from hogwild.problems import HingeSVM, LeastSquares, Logistic, MatrixCompletion

ANY = (Logistic, HingeSVM, LeastSquares)
CLASSIFIERS = (Logistic, HingeSVM)
SKLEARN = ("sklearn", "sklearn.linear_model", "sklearn.svm", "sklearn.datasets")
PEERS: dict[str, Peer] = {
    "sklearn_sgd": Peer("scikit-learn SGD", SKLEARN, linear.sgd, ANY, stepped=True, penalty="any"),
    "sklearn_sgd_unshuffled": Peer(
        "scikit-learn SGD, unshuffled",
        SKLEARN,
        linear.unshuffled,
        ANY,
        "shuffled_once",
        stepped=True,
        penalty="any",
    ),
    "sklearn_sgd_optimal": Peer("scikit-learn SGD, own steps", SKLEARN, linear.bottou, CLASSIFIERS),
    "sklearn_saga": Peer("scikit-learn SAGA", SKLEARN, linear.saga, (Logistic, LeastSquares)),
    "sklearn_lbfgs": Peer("scikit-learn L-BFGS", SKLEARN, linear.lbfgs, (Logistic,)),
    "sklearn_lsqr": Peer("scikit-learn LSQR", SKLEARN, linear.lsqr, (LeastSquares,)),
    "liblinear": Peer("LIBLINEAR, dual", SKLEARN, linear.liblinear, CLASSIFIERS),
    "liblinear_newton": Peer("LIBLINEAR, Newton", SKLEARN, linear.liblinear_newton, (Logistic,)),
    "snapml": Peer("Snap ML", ("snapml",), linear.snapml, ANY, cores="workers"),
    "skglm": Peer("skglm", ("skglm",), linear.skglm, CLASSIFIERS),
    "cyanure": Peer("Cyanure", ("cyanure", "cyanure.estimators"), linear.cyanure, (Logistic, LeastSquares)),
    "vowpal_wabbit": Peer(
        "Vowpal Wabbit",
        ("vowpalwabbit", *SKLEARN),
        linear.vowpal_wabbit,
        (Logistic,),
        "shuffled_once",
        cores="free",
    ),
    "surprise_svd": Peer(
        "Surprise SVD",
        ("surprise",),
        factors.surprise_svd,
        (MatrixCompletion,),
        "as_stored",
        stepped=True,
        penalty="none",
    ),
    "libmf": Peer(
        "LIBMF",
        ("libmf", "libmf.mf"),
        factors.libmf,
        (MatrixCompletion,),
        "shuffled_blocks",
        cores="workers",
        penalty="none",
    ),
}
# Ours under a second name: a pipeline that can tell these two apart measures something else than backends.
AGAIN = {"serial_again": "serial", "hogwild_threads_again": "hogwild_threads"}
