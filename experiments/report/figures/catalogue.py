"""The figures by name: a function that draws one is registered with the text that stands below it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from experiments.judge import tables

Drawn = tuple[Figure, pd.DataFrame] | None
Draw = Callable[[tables.Run], Drawn]


class Entry(NamedTuple):
    """A figure: what stands below it, and what draws it."""

    caption: str
    draw: Draw


_FIGURES: dict[str, Entry] = {}


def caption(text: str) -> Callable[[Draw], Draw]:
    """Register a function as the figure of its name.

    The function takes a run and returns a figure with the trials that it shows, None where the run has none.
    Where from and on which machine the numbers are is added to the caption when the figure is drawn.
    """

    def register(draw: Draw) -> Draw:
        if draw.__name__ in _FIGURES:
            raise ValueError(f"there are two figures named {draw.__name__}")
        _FIGURES[draw.__name__] = Entry(" ".join(text.split()), draw)
        return draw

    return register


def figures() -> dict[str, Entry]:
    """Return all figures of the modules in this folder."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return _FIGURES
