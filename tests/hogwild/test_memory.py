"""No backend makes a copy of the data: training has to do with what its process is allowed beside them.

The limit is the system's (``RLIMIT_DATA`` counts private memory, not maps of files), so that a copy that is
made and dropped between two looks is caught, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hogwild

NONZEROS, PER_ROW, FEATURES = 9_000_000, 60, 3_000
ROOM = 0.15  # of the data, for all that is neither data nor weights
SCRIPT = """
import resource, sys, traceback
import numpy as np
import scipy.sparse as sp
import hogwild
from hogwild.problems import LeastSquares

NONZEROS, PER_ROW, FEATURES, ROOM = {sizes}
backend, sampling, where, folder = sys.argv[1:]


def status(name, process="self"):
    lines = open(f"/proc/{{process}}/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def rows(examples):
    random = np.random.default_rng(0)
    starts = random.integers(0, FEATURES // PER_ROW, size=(examples, 1), dtype=np.int32)
    indices = (starts + np.arange(PER_ROW, dtype=np.int32) * (FEATURES // PER_ROW)).ravel()
    pointers = np.arange(0, examples * PER_ROW + 1, PER_ROW, dtype=np.int32)
    X = sp.csr_array((random.standard_normal(indices.size), indices, pointers), shape=(examples, FEATURES))
    return X, random.standard_normal(examples)


def load(name, examples):
    if where == "memory":
        return rows(examples)
    data = hogwild.datasets.open_rows(f"{{folder}}/{{name}}")
    return data.X, data.y


def train(X, y, callback=None):
    problem = LeastSquares.from_data(X, y, l2=0.1)
    workers = 1 if backend == "serial" else 2
    options = dict(backend=backend, workers=workers, sampling=sampling, step_size=1e-4, epochs=2)
    result = hogwild.minimize(problem, **options, callback=callback)
    return problem.errors(result.weights)


if where == "write":
    for name, examples in (("small", 100), ("large", NONZEROS // PER_ROW)):
        hogwild.datasets.save_rows(f"{{folder}}/{{name}}", *rows(examples))
    sys.exit()
train(*load("small", 100))  # compiled, and its threads and processes started once
X, y = load("large", NONZEROS // PER_ROW)
size = sum(part.nbytes for part in (X.data, X.indices, X.indptr, y))
assert size > 100e6
allowed = int(status("VmData") + ROOM * size + 3 * 5 * 8 * FEATURES)
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
shared = []
try:
    train(X, y, lambda checkpoint: shared.append(status("RssShmem")))
except MemoryError:
    traceback.print_exc()
    sys.exit("a copy")
print(max(shared) / size)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    script = folder / "script.py"
    script.write_text(SCRIPT.format(sizes=(NONZEROS, PER_ROW, FEATURES, ROOM)))
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}

    def ended(*arguments):
        command = [sys.executable, script, *arguments, folder]
        return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)

    assert ended("serial", "as_stored", "write").returncode == 0
    return ended


BACKENDS = ["serial", "hogwild_threads", "replicated", "hogwild_processes"]
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and counts of Linux"),
    pytest.mark.skipif(
        os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="9 million non-zeros, interpreted"
    ),
]


@pytest.mark.parametrize(("sampling", "where"), [("as_stored", "files"), ("fresh_permutation", "memory")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_copies_no_data(run, backend, sampling, where):
    done = run(backend, sampling, where)
    assert done.returncode == 0, done.stderr
    # processes cannot see the memory of their parent: they share one copy, unless they map files
    copies = 1.0 if (backend, where) == ("hogwild_processes", "memory") else 0.0
    assert copies - 0.05 <= float(done.stdout) <= copies + 0.05


def test_shuffling_once_is_the_copy_that_it_says(run):
    done = run("serial", "shuffled_once", "memory")
    assert done.returncode == 1
    assert "kernel_record" in done.stderr
    assert done.stderr.endswith("a copy\n")


def test_every_team_is_measured():
    assert {hogwild.BACKENDS[name].team for name in BACKENDS} == {"caller", "threads", "processes"}
