"""What a peer is: a solver of somebody else's, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hogwild.problems import Problem

NEVER = 1e-12  # a tolerance that ends no fit before its budget does, above rounding
Fit = Callable[[int], Any]


class Options(NamedTuple):
    """What a peer may use: as many threads, our step size, a seed, a folder for its files."""

    workers: int
    step_size: float | None
    seed: int
    folder: Path


class Peer(NamedTuple):
    """A solver, and how it is run.

    Attributes
    ----------
    title : str
        For figures and tables.
    modules : tuple of str
        What it imports, first the package that must be installed.
    prepare : function of a problem and Options
        Converts the data (set-up) and returns what is timed: a function that fits so many epochs, or
        iterations of the peer's own kind, from zero (factors: from its random start), and returns the weights
        or what has them as ``coef_``.
    problems : tuple of classes
        The problems that it minimises.
    order : str
        In which it visits the examples.
    cores : str
        ``"one"``: it has one thread and is pinned as `serial` is; ``"workers"``: as many as it is told;
        ``"free"``: threads of its own, which count as one worker. Only the first is pinned.
    stepped : bool
        Whether it takes our step size; the others choose their own.
    penalty : str
        With which penalty its objective is ours: ``"any"``, ``"positive"`` or ``"none"``.
    """

    title: str
    modules: tuple[str, ...]
    prepare: Callable[[Any, Options], Fit]
    problems: tuple[type[Problem], ...]
    order: str = "fresh_permutation"
    cores: Literal["one", "workers", "free"] = "one"
    stepped: bool = False
    penalty: Literal["any", "positive", "none"] = "positive"

    def refusal(self, problem: Any) -> str:
        """Say why this is not an objective that it minimises; empty if it is one."""
        if type(problem) not in self.problems:
            return f"minimises {', '.join(kind.name for kind in self.problems)}, not {problem.name}"
        if self.penalty == "positive" and problem.l2 == 0:
            return "needs a penalty, and l2 is 0"
        if self.penalty == "none" and problem.mu > 0:
            return "would charge mu per rating, not per factor; it must be 0"
        return ""
