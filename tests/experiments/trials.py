"""A small trial, to be changed at will."""

from experiments.design.plan import Trial
from experiments.design.workloads import Workload

WORKLOAD = Workload(
    "least_squares", 0.0, "float64", "synthetic", (("density", 0.5), ("n_examples", 60), ("n_features", 8)), 7
)
TRIAL = Trial(
    "mine", "small", 0, WORKLOAD, 3, "serial", 1, "fresh_permutation", "constant", 0.1, None, 1, 0.0, 3,
    "default", None, None, 60.0, 1,
)  # fmt: skip
