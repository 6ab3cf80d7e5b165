"""The speed of our code over its history, measured by asv: `nox -s bench`.

For asv the lower figure is always the better one, so ratios are times over the serial time, not the reverse.
"""

import os
from pathlib import Path

if "ASV_ENV_DIR" in os.environ:
    # asv installs one commit after another into one environment: kernels of one must never serve another.
    commit = os.environ.get("ASV_COMMIT", "unknown")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(os.environ["ASV_ENV_DIR"], "numba", commit[:16]))
