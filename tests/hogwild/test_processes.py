"""What happens when processes die, and what is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import numpy as np
import psutil
import pytest

import hogwild
from hogwild.teams.memory import Shared
from tests.hogwild.cases import problem
from tests.hogwild.family import shared_memory, workers


def kill_a_worker_soon(started):
    """Kill one worker process as soon as the run trains."""

    def kill():
        started.wait(60)
        workers()[0].kill()

    threading.Thread(target=kill, daemon=True).start()


@pytest.mark.parametrize("backend", ["hogwild_processes", "pool"])
def test_a_killed_worker_ends_the_run_with_its_name(backend):
    started = threading.Event()
    kill_a_worker_soon(started)
    with pytest.raises(hogwild.WorkerDied, match=r"worker \d \(process \d+\) ended early with exit code -9"):
        hogwild.minimize(
            problem(examples=3000, features=50),
            backend=backend,
            workers=2,
            epochs=10**6,
            time_limit=60,
            step_size=1e-4,
            callback=lambda row: started.set(),
        )
    assert workers() == []


@pytest.mark.parametrize("backend", ["hogwild_processes", "pool"])
def test_a_killed_parent_leaves_no_process_and_no_shared_memory(backend, tmp_path):
    """The workers of a parent that is killed in training end by themselves, and nothing stays in /dev/shm."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys
        import hogwild
        from tests.hogwild.cases import problem

        if __name__ == "__main__":
            hogwild.minimize(
                problem(examples=3000, features=50), backend={backend!r}, workers=2, epochs=10**6,
                step_size=1e-4, time_limit=120, callback=lambda row: print(row.updates, flush=True),
            )
        """)
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with (
        tempfile.TemporaryDirectory(prefix="hogwild-") as folder,  # short, for it holds the server's socket
        subprocess.Popen(
            [sys.executable, script],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": root, "TMPDIR": folder},
            cwd=root,
        ) as parent,
    ):
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline().strip().isdigit()
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 3  # two workers and at least the fork server
        parent.kill()
    left = psutil.wait_procs(family, timeout=30)[1]
    for process in left:
        process.kill()
    assert left == []
    deadline = time.monotonic() + 10
    while (new := shared_memory(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert new == set()


@pytest.mark.parametrize("backend", ["hogwild_processes", "pool"])
def test_a_script_without_a_guard_runs_once(backend):
    """Workers do not run the caller's script again, here one that comes from standard input."""
    script = f"""
import hogwild, numpy as np
problem = hogwild.problems.LeastSquares.from_data(np.eye(6), np.ones(6))
print(sum(hogwild.minimize(problem, backend={backend!r}, workers=2, epochs=1).updates))
"""
    assert subprocess.check_output([sys.executable], input=script, text=True, timeout=120).split() == ["6"]


def test_an_exception_in_a_worker_arrives_with_its_traceback(monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("inside the worker")

    monkeypatch.setattr("hogwild.teams.crew.perform", fail)
    with pytest.raises(RuntimeError, match=r"(?s)worker 0 failed.*inside the worker"):
        hogwild.minimize(problem(), backend="hogwild_threads", workers=1)


def test_ctrl_c_ends_a_run_and_its_workers():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    over = threading.Event()

    def press() -> None:
        wait = 1.0
        while not over.wait(wait):
            os.kill(os.getpid(), signal.SIGINT)
            wait = 10.0  # again, if need be: in the callback of a weak reference Python drops an interrupt

    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            hogwild.minimize(
                problem(examples=3000, features=50),
                backend="hogwild_threads",
                workers=2,
                epochs=10**7,
                step_size=1e-4,
                time_limit=60,
            )
    finally:
        over.set()
        signal.signal(signal.SIGINT, before)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("hogwild")] == []


def test_shared_records_are_views_of_one_block():
    record = ("text", (np.arange(3), np.zeros((2, 2), np.float32)), np.zeros(0))
    handle = Shared(record)
    first, second = handle.open(), handle.open()
    first[1][0][1] = 7
    assert second[1][0].tolist() == [0, 7, 2]
    assert first[0] == "text"
    assert first[2].shape == (0,)
    assert record[1][0].tolist() == [0, 1, 2]


def test_import_is_light():
    """Importing the package loads neither numba nor scipy; they come with the first use."""
    code = "import hogwild, sys; print([m for m in ('numba', 'scipy', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_public_name_is_there():
    for name in hogwild.__all__:
        assert getattr(hogwild, name) is not None
    assert "minimize" in dir(hogwild)
    with pytest.raises(AttributeError, match="maximize"):
        hogwild.maximize  # noqa: B018
