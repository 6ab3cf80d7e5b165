"""Processes that do what a test must not do itself, forked from it: nothing is imported again."""

import multiprocessing
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess

CONTEXT = multiprocessing.get_context("fork")


def started(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Start a function in a process of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*multi-threaded")  # the child does not use the others
        process = CONTEXT.Process(target=work, args=arguments, daemon=True)
        process.start()
    return process


def killed(process: BaseProcess) -> int | None:
    """Kill a process that has not ended yet; return its exit status."""
    process.kill()
    process.join()
    return process.exitcode
