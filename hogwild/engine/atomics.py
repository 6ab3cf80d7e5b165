"""The machine instructions that kernels need beyond numba: atomics, pause, prefetch, yield.

Each is a Python function with a compiled twin. A cell is an element of an array, or a named field of one
(`hogwild.engine.cells`). Shared weights are read and written with *relaxed* atomics: they cost nothing on a
64-bit machine, but keep the compiler from holding a shared cell in a register, where a whole loop of updates
would be lost.
"""

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
_interpreter_lock = threading.Lock()  # makes the read-modify-write twins atomic among Python threads


def _cell_type(array: Any, field: Any) -> Any:
    """Return the type of a cell; None if a field's name is not known when the caller is compiled."""
    if field is None:
        return None if isinstance(array.dtype, types.Record) else array.dtype
    return array.dtype.typeof(field.literal_value) if isinstance(field, types.StringLiteral) else None


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, field: Any = None) -> Any:
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    pointer = cgutils.get_item_pointer(
        context, builder, array_type, array, [index], wraparound=False, boundscheck=False
    )
    if field is None:
        return pointer
    kind, offset = _cell_type(array_type, field), array_type.dtype.offset(field.literal_value)
    return cgutils.get_record_member(builder, pointer, offset, context.get_data_type(kind))


def _twin(python: Callable[..., Any], typer: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function that emits LLVM code as the compiled twin of a Python function."""

    def register(emit: Callable[..., Any]) -> Callable[..., Any]:
        type_callable(python)(lambda context: typer)
        lower_builtin(python, types.VarArg(types.Any))(emit)
        return emit

    return register


def _register_load(python: Callable[..., Any], ordering: str) -> None:
    @_twin(python, lambda array, index, field=None: _cell_type(array, field))
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        field = signature.args[2] if len(signature.args) > 2 else None
        cell = _pointer(context, builder, signature, arguments, field)
        return builder.load_atomic(cell, ordering, _cell_type(signature.args[0], field).bitwidth // 8)


def _writing(typer: Callable[..., Any]) -> Callable[..., Any]:
    """Register an emitter as the twin of a function of a cell and a value; it is given the cell's pointer.

    ``typer`` maps the cell's type to that of the result.
    """

    def register(python: Callable[..., Any], emit: Callable[..., Any]) -> None:
        def returned(array: Any, index: Any, value: Any, field: Any = None) -> Any:
            kind = _cell_type(array, field)
            return None if kind is None else typer(kind)

        @_twin(python, returned)
        def emit_with_cell(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            field = signature.args[3] if len(signature.args) > 3 else None
            kind = _cell_type(signature.args[0], field)
            value = context.cast(builder, arguments[2], signature.args[2], kind)
            cell = _pointer(context, builder, signature, arguments, field)
            return emit(builder, cell, value, kind) or context.get_dummy_value()

    return register


def load(array: Any, index: Any, field: str | None = None) -> Any:
    """Read one cell, relaxed."""
    return array[index] if field is None else array[field][index]


def load_acquire(array: Any, index: Any, field: str | None = None) -> Any:
    """Read one cell; later reads of this worker are not moved before it."""
    return array[index] if field is None else array[field][index]


def store(array: Any, index: Any, value: Any, field: str | None = None) -> None:
    """Write one cell, relaxed."""
    (array if field is None else array[field])[index] = value


def store_release(array: Any, index: Any, value: Any, field: str | None = None) -> None:
    """Write one cell; earlier writes of this worker are visible to whoever reads it."""
    (array if field is None else array[field])[index] = value


def exchange(array: Any, index: Any, value: Any, field: str | None = None) -> Any:
    """Write one cell and return its old value, as one step."""
    cells = array if field is None else array[field]
    with _interpreter_lock:
        previous = cells[index]
        cells[index] = value
        return previous


def fetch_add(array: Any, index: Any, value: Any, field: str | None = None) -> Any:
    """Add to one cell and return its old value, as one step."""
    cells = array if field is None else array[field]
    with _interpreter_lock:
        previous = cells[index]
        cells[index] += value
        return previous


def _emit_store(ordering: str) -> Callable[..., Any]:
    def emit(builder: Any, cell: Any, value: Any, kind: Any) -> Any:
        builder.store_atomic(value, cell, ordering, kind.bitwidth // 8)

    return emit


def _emit_exchange(builder: Any, cell: Any, value: Any, kind: Any) -> Any:
    return builder.atomic_rmw("xchg", cell, value, "acquire")


def _emit_fetch_add(builder: Any, cell: Any, value: Any, kind: Any) -> Any:
    operation = "fadd" if isinstance(kind, types.Float) else "add"
    return builder.atomic_rmw(operation, cell, value, "monotonic")


_register_load(load, "monotonic")
_register_load(load_acquire, "acquire")
_returning_nothing, _returning_the_cell = _writing(lambda kind: types.void), _writing(lambda kind: kind)
_returning_nothing(store, _emit_store("monotonic"))
_returning_nothing(store_release, _emit_store("release"))
_returning_the_cell(exchange, _emit_exchange)
_returning_the_cell(fetch_add, _emit_fetch_add)


def prefetch(array: Any, index: Any) -> None:
    """Ask for the cache line of a cell that will soon be read."""


@_twin(prefetch, lambda array, index: types.void)
def _emit_prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, word = _pointer(context, builder, signature, arguments), ir.IntType(32)
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
    """Do nothing, in a way that the compiler cannot remove: the body of a loop that only takes time."""


@_twin(keep, lambda: types.void)
def _emit_keep(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    nothing = ir.FunctionType(ir.VoidType(), [])
    builder.asm(nothing, "", "", [], side_effect=True)
    return context.get_dummy_value()


def ticks() -> Any:
    """Return the core's own clock, in its own units: cheap enough to read within an update."""
    return np.uint64(time.perf_counter_ns())


@_twin(ticks, lambda: types.uint64)
def _emit_ticks(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(64), []), "llvm.readcyclecounter"
    )
    return builder.call(function, [])


def give_way() -> None:
    """Yield this core to another thread."""
    time.sleep(0)  # releases the interpreter's lock, too, which sched_yield does not


@_twin(give_way, lambda: types.void)
def _emit_give_way(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
    )
    builder.call(function, [])
    return context.get_dummy_value()
