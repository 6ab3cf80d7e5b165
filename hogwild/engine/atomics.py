"""The machine instructions that kernels need beyond numba: atomics, pause, prefetch, yield.

Each is a Python function with a compiled twin. Shared weights are read and written with *relaxed* atomics:
they cost nothing on a 64-bit machine, but keep the compiler from holding a shared cell in a register, where a
whole loop of updates would be lost.
"""

import inspect
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

CACHE_LINE = 64
# beyond this a waiting worker gives its core away: four workers on two cores must not wait for each other
SPINS_BEFORE_YIELD = 50
_interpreter_lock = threading.Lock()  # makes the read-modify-write twins atomic among Python threads


def _element(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return cgutils.get_item_pointer(
        context, builder, signature.args[0], array, [index], wraparound=False, boundscheck=False
    )


def _value(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.cast(builder, arguments[2], signature.args[2], signature.args[0].dtype)


def _size(signature: Any) -> int:
    return signature.args[0].dtype.bitwidth // 8


def _twin(python: Callable[..., Any], typer: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function that emits LLVM code as the compiled twin of a Python function."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        type_callable(python)(lambda context: typer)
        lower_builtin(python, *[types.Any] * len(inspect.signature(python).parameters))(emit)
        return emit

    return register


def _register_load(python: Callable[..., Any], ordering: str) -> None:
    @_twin(python, lambda array, index: array.dtype)
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(
            _element(context, builder, signature, arguments), ordering, _size(signature)
        )


def _register_store(python: Callable[..., Any], ordering: str) -> None:
    @_twin(python, lambda array, index, value: types.void)
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = _value(context, builder, signature, arguments)
        builder.store_atomic(
            value, _element(context, builder, signature, arguments), ordering, _size(signature)
        )
        return context.get_dummy_value()


def load(array: Any, index: Any) -> Any:
    """Read one cell, relaxed."""
    return array[index]


def load_acquire(array: Any, index: Any) -> Any:
    """Read one cell; later reads of this worker are not moved before it."""
    return array[index]


def store(array: Any, index: Any, value: Any) -> None:
    """Write one cell, relaxed."""
    array[index] = value


def store_release(array: Any, index: Any, value: Any) -> None:
    """Write one cell; earlier writes of this worker are visible to whoever reads it."""
    array[index] = value


def exchange(array: Any, index: Any, value: Any) -> Any:
    """Write one cell and return what was there, as one step."""
    with _interpreter_lock:
        previous = array[index]
        array[index] = value
        return previous


def fetch_add(array: Any, index: Any, value: Any) -> Any:
    """Add to one cell and return what was there, as one step."""
    with _interpreter_lock:
        previous = array[index]
        array[index] += value
        return previous


_register_load(load, "monotonic")
_register_load(load_acquire, "acquire")
_register_store(store, "monotonic")
_register_store(store_release, "release")


@_twin(exchange, lambda array, index, value: array.dtype)
def _emit_exchange(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    value = _value(context, builder, signature, arguments)
    return builder.atomic_rmw("xchg", _element(context, builder, signature, arguments), value, "acquire")


@_twin(fetch_add, lambda array, index, value: array.dtype)
def _emit_fetch_add(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    value = _value(context, builder, signature, arguments)
    kind = "fadd" if isinstance(signature.args[0].dtype, types.Float) else "add"
    return builder.atomic_rmw(kind, _element(context, builder, signature, arguments), value, "monotonic")


def prefetch(array: Any, index: Any) -> None:
    """Ask for the cache line of a cell, to be read soon."""


@_twin(prefetch, lambda array, index: types.void)
def _emit_prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, word = _element(context, builder, signature, arguments), ir.IntType(32)
    opaque = str(pointer.type) == "ptr"
    address_type = pointer.type if opaque else ir.IntType(8).as_pointer()
    address = pointer if opaque else builder.bitcast(pointer, address_type)
    signature_type = ir.FunctionType(ir.VoidType(), [address_type, word, word, word])
    name = "llvm.prefetch.p0" if opaque else "llvm.prefetch.p0i8"
    function = cgutils.get_or_insert_function(builder.module, signature_type, name)
    builder.call(function, [address, word(0), word(3), word(1)])  # for reading, keep in all levels, data
    return context.get_dummy_value()


def pause() -> None:
    """Tell the core that this is a spin loop."""


@_twin(pause, lambda: types.void)
def _emit_pause(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    if platform.machine() in ("x86_64", "AMD64"):
        name, parameters = "llvm.x86.sse2.pause", []
    elif platform.machine() in ("aarch64", "arm64"):
        name, parameters = "llvm.aarch64.hint", [ir.IntType(32)(1)]
    else:  # elsewhere a spin loop is only less polite
        return context.get_dummy_value()
    signature_type = ir.FunctionType(ir.VoidType(), [parameter.type for parameter in parameters])
    builder.call(cgutils.get_or_insert_function(builder.module, signature_type, name), parameters)
    return context.get_dummy_value()


def keep() -> None:
    """Do nothing, in a way that the compiler may not leave out: the body of a loop that only takes time."""


@_twin(keep, lambda: types.void)
def _emit_keep(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    nothing = ir.FunctionType(ir.VoidType(), [])
    builder.asm(nothing, "", "", [], side_effect=True)
    return context.get_dummy_value()


def ticks() -> Any:
    """Return a clock of the core itself, in units of its own: cheap enough to read within an update."""
    return np.uint64(time.perf_counter_ns())


@_twin(ticks, lambda: types.uint64)
def _emit_ticks(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(64), []), "llvm.readcyclecounter"
    )
    return builder.call(function, [])


def give_way() -> None:
    """Let another thread have this core."""
    time.sleep(0)  # lets go of the interpreter's lock, too, which sched_yield does not


@_twin(give_way, lambda: types.void)
def _emit_give_way(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
    )
    builder.call(function, [])
    return context.get_dummy_value()
