"""Imports go down: design, measure, judge, report, and the command line on top."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("design", "measure", "judge", "report", "cli")  # each may import those before it
EVERYWHERE = ("statistics", "peers")  # and these, which import nothing of the others
FILES = sorted((ROOT / "experiments").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """What a file imports of this package, anywhere in it, by its dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]  # as importlib takes them
        else:
            continue
        yield from (name for name in names if name.startswith("experiments."))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "experiments").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_itself_and_what_is_below_it(path: Path) -> None:
    room = room_of(path)
    below = ROOMS[: ROOMS.index(room)] if room in ROOMS else ROOMS if room == "__main__" else ()
    allowed = {room, *below, *(EVERYWHERE if room in ROOMS else ())}
    assert {name.split(".")[1] for name in imports(path)} <= allowed


def test_every_room_is_looked_at() -> None:
    assert {room_of(path) for path in FILES} == {*ROOMS, *EVERYWHERE, "__main__", "__init__"}
    assert "experiments.design.spec.SpecError" in imports(ROOT / "experiments" / "design" / "plan.py")
