"""Small problems for the tests."""

import numpy as np
import scipy.sparse as sp

from hogwild.problems import PROBLEMS


def arrays(examples=120, features=9, density=0.4, seed=0, labels=False):
    """Dense X with empty rows, targets and true weights."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(examples, features)) * (random.random((examples, features)) < density)
    weights = random.normal(size=features)
    y = X @ weights + 0.1 * random.normal(size=examples)
    return X, np.where(y > 0, 1.0, -1.0) if labels else y, weights


def problem(name="least_squares", l2=0.0, dtype=np.float64, **shape):
    X, y, weights = arrays(labels=name != "least_squares", **shape)
    return PROBLEMS[name].from_data(sp.csr_array(X), y, l2=l2, true_weights=weights, dtype=dtype)
