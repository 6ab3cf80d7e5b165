import atexit
import os
import shutil
import tempfile

import hypothesis
import pytest

if "HOGWILD_CACHE_DIR" not in os.environ:
    # a cache of their own: tests must see what a new user sees, and leave nothing in the user's folders
    os.environ["HOGWILD_CACHE_DIR"] = tempfile.mkdtemp(prefix="hogwild-tests-")
    atexit.register(shutil.rmtree, os.environ["HOGWILD_CACHE_DIR"], ignore_errors=True)
hypothesis.settings.register_profile("suite", deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what may wait for ever, or count twice, without the compiler: exchanges are two steps."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        reason = "nothing is one step between interpreted processes: a lock's release can be overwritten"
        names = ("locked_processes", "aig_processes", "replicated_processes")
        for item in items:
            if any(name in item.name for name in names):
                item.add_marker(pytest.mark.skip(reason=reason))
