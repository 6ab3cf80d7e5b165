"""The claims ledger as its file has it: specs name its claims, the judge decides them."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

LEDGER = Path(__file__).parents[1] / "claims.toml"


def entries(path: Path = LEDGER) -> list[dict[str, Any]]:
    """Return the tables ``[[claim]]`` of a ledger, unchecked (`experiments.judge.claims` checks them)."""
    claims: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    return claims


@functools.cache
def ids() -> tuple[str, ...]:
    """Return the ids of all claims in our ledger."""
    return tuple(entry["id"] for entry in entries())
