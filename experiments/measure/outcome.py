"""What becomes of a trial: how it ended, its columns and its history."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a trial ended: as `hogwild.Status` has it, or without a result."""

    OK = "ok"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"  # it cannot run here
    ERROR = "error"  # an exception ended it


MEASURED = (Status.OK, Status.DIVERGED, Status.TIMEOUT)


class Impossible(RuntimeError):
    """A trial that cannot run here: the message is its reason."""


@dataclass
class Outcome:
    """What one trial left: values for columns of ``trials.csv`` and rows for ``history.csv``."""

    columns: dict[str, Any]
    history: list[tuple[Any, ...]] = field(default_factory=list)
