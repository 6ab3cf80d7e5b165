"""The peers of matrix completion, ``(1/|E|) Σ (L_u·R_v − Z_uv)²``, so µ = 0.

They charge a penalty once for each rating and ours is charged once for each factor: no other µ is the same.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from experiments.peers.record import Fit, Options

PATIENCE = 1.0  # seconds
ASLEEP = 0.002  # share of them that a process computes in, if it only waits
T = TypeVar("T")


def surprise_svd(problem: Any, options: Options) -> Fit:
    """Surprise's SGD on factors (Hug 2020), row by row, of half the squared error: there the step doubles.

    It starts from normal factors of the variance of ours. What it reads are tuples, in Python, made here.
    """
    import surprise

    order = np.argsort(problem.rows, kind="stable")
    ends = np.cumsum(problem.row_degrees)[:-1]
    parts = (np.split(array[order], ends) for array in (problem.columns, problem.values))
    by_row = {
        row: list(zip(columns.tolist(), values.tolist(), strict=True))
        for row, (columns, values) in enumerate(zip(*parts, strict=True))
    }
    shape, scale = (problem.n_rows, problem.n_columns), (problem.values.min(), problem.values.max())
    data = surprise.Trainset(by_row, {}, *shape, problem.n_examples, scale, {}, {})  # SVD reads rows alone
    own: dict[str, Any] = {"n_factors": problem.rank, "biased": False, "reg_all": 0.0}
    own |= {"init_std_dev": problem.init_scale / math.sqrt(3.0), "random_state": options.seed}
    if options.step_size is not None:
        own["lr_all"] = 2.0 * options.step_size

    def fit(epochs: int) -> np.ndarray:
        model = surprise.SVD(n_epochs=epochs, **own).fit(data)
        return np.concatenate([model.pu, model.qi])

    return fit


class Stuck(RuntimeError):
    """A fit that will never end."""


def unless_stuck(call: Callable[[], T]) -> T:
    """Return what a call returns, made in a thread; `Stuck` if this process no longer computes anything.

    What is stuck is left asleep until the process ends.
    """
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    computed = -1.0
    while thread.is_alive():
        thread.join(PATIENCE)
        before, computed = computed, time.process_time()
        if computed - before < ASLEEP * PATIENCE and thread.is_alive():
            raise Stuck
    return found[0]


class _Entries(ctypes.Structure):
    """`mf_problem` of LIBMF's header."""

    _fields_ = (("m", ctypes.c_int), ("n", ctypes.c_int), ("nnz", ctypes.c_longlong), ("R", ctypes.c_void_p))


def libmf(problem: Any, options: Options) -> Fit:
    """LIBMF: blocks of the matrix that share no row or column side by side (Chin et al. 2015), in float32.

    Steps are its own, from its 0.1 down with the gradients that a row's or a column's factors have had; so is
    the start, whatever the seed. Its fit has no set-up: it copies, permutes and sorts the entries each time.
    It is called by its C interface: the package's own `fit` would convert the entries each time, with indices
    in float32, and free none of them. `nox` compiles it with the SSE loops that its own makefile asks for.

    Where an epoch takes about a millisecond, a fit may wait for itself for ever: its threads can be through
    one more epoch between `resume` and `terminate`, and nobody wakes them.
    """
    from libmf import mf

    train, free = mf.mf.mf_train, mf.mf.mf_destroy_model
    train.argtypes, train.restype = (ctypes.POINTER(_Entries), mf.MFParam), ctypes.POINTER(mf.MFModel)
    free.argtypes, free.restype = (ctypes.POINTER(train.restype),), None
    entries = np.empty(problem.n_examples, [("u", np.int32), ("v", np.int32), ("r", np.float32)])
    entries["u"], entries["v"], entries["r"] = problem.rows, problem.columns, problem.values
    shape = problem.n_rows, problem.n_columns
    own: dict[str, Any] = {"fun": mf.P_L2_MFR, "k": problem.rank, "eta": 0.1, "quiet": True, "copy_data": 1}
    own |= {"nr_threads": options.workers, "nr_bins": max(20, 2 * options.workers + 1)}  # 20: its default
    unseen = np.concatenate([problem.row_degrees, problem.column_degrees]) == 0

    def fit(epochs: int) -> np.ndarray:
        data = _Entries(*shape, entries.size, entries.ctypes.data)
        model = unless_stuck(lambda: train(data, mf.MFParam(nr_iters=epochs, **own)))
        sides = zip((model.contents.P, model.contents.Q), shape, strict=True)
        found = np.concatenate([np.ctypeslib.as_array(side, (size, problem.rank)) for side, size in sides])
        free(model)
        found[unseen] = 0.0  # nan there
        return found

    return fit
