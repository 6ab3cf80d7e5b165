import atexit
import os
import shutil
import tempfile

import hypothesis

if "HOGWILD_CACHE_DIR" not in os.environ:
    # a cache of their own: tests must see what a new user sees, and leave nothing in the user's folders
    os.environ["HOGWILD_CACHE_DIR"] = tempfile.mkdtemp(prefix="hogwild-tests-")
    atexit.register(shutil.rmtree, os.environ["HOGWILD_CACHE_DIR"], ignore_errors=True)
hypothesis.settings.register_profile("suite", deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")
