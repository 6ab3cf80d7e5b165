"""How long a user waits before anything is trained: the import, and the first call, in a new process."""

import os
import subprocess
import sys
import tempfile

import hogwild
from benchmarks.training import PROBLEMS

FIRST_CALL = """
import hogwild
from hogwild import datasets

data = datasets.synthetic(100, 100, nonzeros_per_row=10, task="{task}", seed=0)
problem = hogwild.problems.PROBLEMS["{problem}"].from_data(data.X, data.y)
print(hogwild.minimize(problem, epochs=1).setup_seconds)
"""


class Import:
    """Seconds of an import in a new process: of the package, and of all that training needs, numba too."""

    timeout = 60

    def timeraw_import(self) -> str:
        return "import hogwild"

    def timeraw_import_for_training(self) -> str:
        return "from hogwild import minimize, problems"


class FirstCall:
    """Set-up seconds of the first call in a process, with and without a compiled kernel on disk."""

    params = (PROBLEMS, ["compiled", "cached"])
    param_names = ("problem", "kernel")
    timeout = 120

    def setup(self, problem: str, kernel: str) -> None:
        self.cache = tempfile.TemporaryDirectory()
        if kernel == "cached":
            self.call(problem)

    def teardown(self, problem: str, kernel: str) -> None:
        self.cache.cleanup()

    def track_setup_seconds(self, problem: str, kernel: str) -> float:
        return self.call(problem)

    track_setup_seconds.unit = "s"  # type: ignore[attr-defined]

    def call(self, problem: str) -> float:
        task = hogwild.problems.LINEAR_PROBLEMS[problem].task
        code = FIRST_CALL.format(problem=problem, task=task)
        env = {**os.environ, "NUMBA_CACHE_DIR": self.cache.name}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        )
        return float(done.stdout)
