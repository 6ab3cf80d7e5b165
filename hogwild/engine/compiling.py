"""How kernels are compiled: one decorator, and dispatch on the type of a record.

Records (problems, guards, samplings, step sizes) are ``typing.NamedTuple``s. A *generic* function picks its
body by the type of its first argument, whether Python or compiled code calls it. So one loop serves every
combination at the speed of a hand-specialised one. With ``NUMBA_DISABLE_JIT=1`` the same bodies run as plain
Python.
"""

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import config as numba_config
from numba import njit
from numba.extending import overload

T = TypeVar("T", bound=type)
config: Any = numba_config  # its attributes are made at run time

UNUSED_CACHE_DAYS = 30


def user_cache() -> Path:
    """Return the folder for what can be made again: ``$HOGWILD_CACHE_DIR``, else one in the user's cache.

    Kernels and optima in it are unpickled, so anyone who can write there can run code as this user. A folder
    that others can write to is refused with a warning. This process and its workers then use a temporary
    folder, which is removed with the process.
    """
    given = os.environ.get("HOGWILD_CACHE_DIR")
    parts = ("kernels", "optima", "rows")
    if not given:
        with contextlib.suppress(RuntimeError):  # a user without a home
            given = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hogwild")
    return _private(given, "HOGWILD_CACHE_DIR", parts)


@functools.cache
def _private(given: str | None, variable: str, parts: tuple[str, ...] = ()) -> Path:
    """Return a folder, with parts, that only this user can write to: the given one if it is safe."""
    try:
        if not given:
            raise FileNotFoundError("there is no home folder")
        folder = Path(given)
        for part in (folder, *(folder / name for name in parts)):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            if why := _unsafe(part):
                raise PermissionError(why)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        reason = error
    temporary = tempfile.mkdtemp(prefix="hogwild-")  # for this user alone
    atexit.register(_remove, temporary, os.getpid())
    os.environ[variable] = temporary  # for the workers, too
    warnings.warn(
        f"{given!r} is not used as a cache: {reason}. What is compiled and solved goes with this process; "
        f"give {variable} a folder that only you can write to",
        RuntimeWarning,
        stacklevel=3,
    )
    for name in parts:
        Path(temporary, name).mkdir()
    return Path(temporary)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _unsafe(folder: Path) -> str:
    """Return who else could put files into a folder, or another folder in its place; empty if nobody.

    As sshd does for a user's keys, it checks the folders above, too, up to the home folder. Unlike sshd, it
    accepts one of those that everybody can write to if it is sticky, as ``/tmp`` is.
    """
    if not hasattr(os, "geteuid"):
        return ""
    user, home = os.geteuid(), Path(os.path.expanduser("~"))
    for whole in {folder.absolute(), folder.resolve()}:
        for place in (whole, *whole.parents):
            status = place.stat()
            above = place != whole
            if status.st_uid != user and not (above and status.st_uid == 0):
                return f"{str(place)!r} belongs to the user {status.st_uid}"
            others = status.st_mode & stat.S_IWOTH
            others |= status.st_mode & stat.S_IWGRP and not _alone(status.st_gid, user)
            if others and not (above and status.st_mode & stat.S_ISVTX):
                return f"others can write to {str(place)!r}"
            if place == home:
                break
    return ""


def _alone(group: int, user: int) -> bool:
    """Return whether a group is the private one that many systems make for a user, with no other member."""
    import grp
    import pwd

    try:
        entry, name = grp.getgrgid(group), pwd.getpwuid(user).pw_name
    except KeyError:
        return False
    return entry.gr_name == name and set(entry.gr_mem) <= {name}


@functools.cache
def _kernel_cache() -> str:
    """Return a cache folder that no other version of this source shares.

    numba decides by a kernel's own file whether its cache is fresh. A change in a file it calls into goes
    unnoticed (numba issue 1833), and the old code would be measured. So the hash of the whole package is in
    the folder's name.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    try:
        given = os.environ.get("NUMBA_CACHE_DIR")
        root = _private(given, "NUMBA_CACHE_DIR") if given else user_cache() / "kernels"
        folder = root / f"hogwild-{digest.hexdigest()[:16]}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if _unsafe(folder):
            return ""
        os.utime(folder)
        for other in root.glob("hogwild-*"):
            if time.time() - other.stat().st_mtime > UNUSED_CACHE_DAYS * 86_400:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:  # not even a temporary folder: numba then compiles in every process
        return ""
    return str(folder)


# LLVM inlines the parts of a kernel. Left alone it keeps calls in the inner loop, and each counts references
# to every array passed (twice the time per update). numba's own inlining gives the same code but takes three
# times as long to compile. Wrappers that nobody calls would be a quarter of the compile time.
_KERNEL: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_INLINED: dict[str, Any] = {**_KERNEL, "forceinline": True, "no_cpython_wrapper": True}
_interpreted = np.errstate(over="ignore")  # integers wrap around silently in compiled code


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


class Generic:
    """A function whose body is chosen by the type of its first argument, a record. See `generic`."""

    def __init__(self, function: Callable[..., Any], default: Callable[..., Any] | None) -> None:
        self._name = function.__name__
        self._default = default
        self._bodies: dict[type, Callable[..., Any]] = {}

    def of(self, *record_types: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a body for records of some types, and for those that extend them."""

        def register(body: Callable[..., Any]) -> Callable[..., Any]:
            self._bodies.update(dict.fromkeys(record_types, body))
            return body

        return register

    def acts_on(self, record_type: type) -> bool:
        """Return whether records of a type have a body other than the default."""
        return any(kind in self._bodies for kind in lineage(record_type))

    def body_for(self, record_type: type) -> Callable[..., Any]:
        """Return the body for records of a type.

        Raises
        ------
        TypeError
            If there is none, saying how to write it.
        """
        for kind in lineage(record_type):
            if kind in self._bodies:
                return self._bodies[kind]
        if self._default is not None:
            return self._default
        name = self._name
        raise TypeError(
            f"`{name}` has no body for {record_type.__name__}: write one and decorate it with "
            f"`@{name}.of({record_type.__name__})`"
        )


def lineage(record_type: type) -> Iterator[type]:
    """Iterate over a type of record and those that it `extends`, nearest first."""
    kind: type | None = record_type
    while kind is not None:
        yield kind
        kind = getattr(kind, "_extended", None)


def extends(base: type) -> Callable[[T], T]:
    """Let a type of record use the bodies of another one wherever it has none of its own.

    It must have the fields that those bodies read.
    """

    def register(record_type: T) -> T:
        record_type._extended = base  # type: ignore[attr-defined]
        return record_type

    return register


def generic(function: Callable[..., Any]) -> Any:
    """Make a function whose body is chosen by the type of its first argument, a record.

    The function's own body is the default. ``@name.of(RecordType)`` adds another one.
    """
    return _generic(function, function)


def abstract(function: Callable[..., Any]) -> Any:
    """Make a `generic` function without a default: a record without a body is an error."""
    return _generic(function, None)


def _generic(function: Callable[..., Any], default: Callable[..., Any] | None) -> Any:
    bodies = Generic(function, default)

    @_interpreted
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return bodies.body_for(type(arguments[0]))(*arguments)

    @overload(call, strict=False, jit_options=_INLINED)  # type: ignore[arg-type]
    def choose(*arguments: Any) -> Callable[..., Any] | None:
        record_type = getattr(arguments[0], "instance_class", None)
        return bodies.body_for(record_type) if record_type else None

    call.of, call.acts_on, call.body_for = bodies.of, bodies.acts_on, bodies.body_for  # type: ignore[attr-defined]
    return call
