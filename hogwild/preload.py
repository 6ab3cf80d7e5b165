"""What the server of worker processes has ready: the package, and a numba that has run once."""

import atexit
import contextlib
import os
from multiprocessing import forkserver

from hogwild import optimise  # noqa: F401  (all that a plan may name)
from hogwild.engine.sampling import epoch_key

epoch_key(0, 0)  # numba's own set-up takes half a second, once here instead of once in every worker


@atexit.register  # a parent that ends by itself does so, but one that is killed cannot
def _remove_socket() -> None:
    socket = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        os.unlink(socket)
        os.rmdir(os.path.dirname(socket))
