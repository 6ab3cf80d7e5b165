import fcntl
import os
from pathlib import Path

import pytest

from experiments.report import figures
from tests.experiments import fake_run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of everything with its figures as SVG, made once for all tests; nobody may change it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of all processes of this session
    directory = folder / "drawn"
    with (folder / "drawn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "figures" / "captions.json").exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(figures, "UNSTAMPED", {"svg": figures.UNSTAMPED["svg"]})  # half of the time
                figures.draw(fake_run.write(directory, replicates=3))
    return directory
