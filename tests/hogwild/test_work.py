"""What each worker does of a segment: its share, and the steps that it takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import hogwild
from hogwild.engine.steps import Constant, ExponentialBackoff, InverseTime, step_at
from hogwild.problems import LeastSquares
from hogwild.sharing.schedule import Segment, share_of
from hogwild.sharing.shares import paced
from hogwild.teams.work import usable_cores
from tests.hogwild.cases import problem

EXAMPLES = 240


@pytest.mark.parametrize("step", [Constant(0.2), InverseTime(0.2, 3.0), ExponentialBackoff(0.2, 0.5)])
@pytest.mark.parametrize("epoch", [0, 2])
def test_all_workers_begin_and_end_with_the_same_step(step, epoch):
    segment = Segment(step, epoch, 120, 240, np.inf)
    for workers in (1, 3):
        for worker in range(workers):
            begin, end = share_of(segment.begin, segment.end, worker, workers, 1)
            rule = paced(segment, begin, workers, EXAMPLES)
            first, last = (float(step_at(rule, epoch + place / EXAMPLES)) for place in (begin, end))
            if isinstance(step, InverseTime):
                expected = [0.2 / (1 + 3.0 * (epoch + passes)) for passes in (0.5, 1.0)]
            else:
                expected = [0.2 * 0.5**epoch if isinstance(step, ExponentialBackoff) else 0.2] * 2
            assert [first, last] == pytest.approx(expected)


@pytest.mark.parametrize("backend", ["hogwild_threads", "atomic", "locked", "aig", "hogwild_processes"])
def test_workers_who_share_no_feature_take_the_steps_of_their_time(backend):
    # one feature for each worker's half, so the end does not depend on who was faster
    columns = np.repeat([0, 1], EXAMPLES // 2)
    X = sp.csr_array((np.ones(EXAMPLES), (np.arange(EXAMPLES), columns)), shape=(EXAMPLES, 2))
    case, step = LeastSquares.from_data(X, np.ones(EXAMPLES)), InverseTime(0.01, 2.0)
    options = {"step_size": step, "sampling": "as_stored", "epochs": 2}
    result = hogwild.minimize(case, backend=backend, workers=2, **options)
    left = 1.0  # of the distance to the optimum
    for update in range(EXAMPLES):
        left *= 1 - 2 * 0.01 / (1 + 2.0 * 2 * update / EXAMPLES)
    np.testing.assert_allclose(result.weights, 1 - left, rtol=1e-12)


NEIGHBOUR = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("busy", flush=True)
while True:
    pass
"""


@pytest.fixture
def neighbour():
    """Keep the core busy that a lone worker is bound to."""
    command = [sys.executable, "-c", NEIGHBOUR, str(usable_cores()[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system does not tell")
@pytest.mark.parametrize("backend", ["serial", "hogwild_threads", "hogwild_processes"])
def test_a_worker_that_has_to_share_its_core_says_so(neighbour, backend):
    limits = {"epochs": 100_000, "time_limit": 0.5}
    result = hogwild.minimize(
        problem(examples=20_000), backend=backend, workers=1, observe=hogwild.Observe(pin=True), **limits
    )
    (ran,), (starved,) = result.cpu_seconds, result.starved_seconds
    assert starved / (ran + starved) > 0.2  # half, where both are treated alike
