"""A small trial, to be changed at will."""

from experiments.design.plan import Trial
from experiments.design.workloads import Workload

WORKLOAD = Workload(
    "least_squares", 0.0, "float64", "synthetic", (("density", 0.5), ("n_examples", 60), ("n_features", 8)), 7
)
STEP = {"step_rule": "constant", "step_size": 0.1}
TRIAL = Trial(
    experiment="mine",
    grid="small",
    replicate=0,
    workload=WORKLOAD,
    order_seed=3,
    backend="serial",
    epochs=3,
    **STEP,
)
