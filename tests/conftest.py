import os
import tempfile

import hypothesis

# a cache of their own: tests must see what a new user sees, and leave nothing in the user's folders
os.environ.setdefault("HOGWILD_CACHE_DIR", tempfile.mkdtemp(prefix="hogwild-tests-"))
hypothesis.settings.register_profile("suite", deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")
