"""How kernels are compiled: one decorator, one way to choose a body by the type of a record.

Records (problems, policies, samplings, step sizes) are ``typing.NamedTuple``s. A *generic* function picks its
body by the type of its first argument, when Python calls it and when compiled code does, so one loop serves
every combination at the speed of a hand-specialised one. With ``NUMBA_DISABLE_JIT=1`` the same bodies run as
plain Python.
"""

import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import config as numba_config
from numba import njit
from numba.extending import overload

config: Any = numba_config  # its attributes are made at run time

UNUSED_CACHE_DAYS = 30


def user_cache() -> Path:
    """Return the folder for what can be made again: ``$HOGWILD_CACHE_DIR``, else one in the user's cache."""
    given = os.environ.get("HOGWILD_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hogwild"


@functools.cache
def _kernel_cache() -> str:
    """Return a cache folder that no other version of this source shares.

    numba decides by a kernel's own file whether its cache is fresh; a change in a file it calls into goes
    unnoticed (numba issue 1833) and would be measured as the old code. So the hash of the whole package is in
    the folder's name.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache() / "kernels")
    folder = root / f"hogwild-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for other in root.glob("hogwild-*"):
            if time.time() - other.stat().st_mtime > UNUSED_CACHE_DAYS * 86_400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:  # a read-only home: numba then compiles in every process
        return ""
    return str(folder)


# LLVM inlines the parts of a kernel: left alone it keeps calls in the inner loop, each counting references of
# every array passed (twice the time per update); numba's own inlining gives the same code and takes three
# times as long to compile. Wrappers that nobody calls through would be a quarter of the compile time.
_KERNEL: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_INLINED: dict[str, Any] = {**_KERNEL, "forceinline": True, "no_cpython_wrapper": True}
_interpreted = np.errstate(over="ignore")  # integers wrap around in compiled code without a word


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of a kernel, to be inlined."""
    return _interpreted(function) if config.DISABLE_JIT else njit(**_INLINED)(function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call: without the GIL, without fastmath, cached on disk."""
    if config.DISABLE_JIT:
        return _interpreted(function)
    folder = _kernel_cache()
    if not folder:
        return njit(**_KERNEL)(function)
    previous = config.CACHE_DIR
    config.CACHE_DIR = folder
    try:
        return njit(cache=True, **_KERNEL)(function)
    finally:
        config.CACHE_DIR = previous


def generic(function: Callable[..., Any]) -> Any:
    """Make a function whose body is chosen by the type of its first argument, a record.

    The decorated function itself only documents what the bodies do. ``@name.of(RecordType)`` adds a body.
    """
    bodies: dict[type, Callable[..., Any]] = {}

    @_interpreted
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return bodies[type(arguments[0])](*arguments)

    def of(*record_types: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def register(body: Callable[..., Any]) -> Callable[..., Any]:
            bodies.update(dict.fromkeys(record_types, body))
            return body

        return register

    @overload(call, strict=False, jit_options=_INLINED)  # type: ignore[arg-type]
    def choose(*arguments: Any) -> Callable[..., Any] | None:
        record_type = getattr(arguments[0], "instance_class", None)
        return bodies.get(record_type) if record_type else None

    call.of = of  # type: ignore[attr-defined]
    return call
