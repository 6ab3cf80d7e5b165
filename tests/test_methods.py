"""METHODS.md names code and tests: they exist, each rule has both, and every interval is accounted for."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "METHODS.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:hogwild|experiments|tests|benchmarks)/[^`]+)`", TEXT)))


def test_everything_that_is_named_exists() -> None:
    assert len(NAMED) > 20
    for name in NAMED:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), name
        if function:
            assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_rule_has_code_and_a_test() -> None:
    rows = [line.split(" | ") for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[0].strip("| ")) for row in rows] == list(range(1, 13))
    for row in rows:
        assert len(row) == 5, row
        assert re.search(r"`(hogwild|experiments)/", row[3]), row
        assert "`tests/" in row[4], row


def test_every_function_that_makes_draws_or_writes_an_interval_is_named() -> None:
    found = set()
    for path in (ROOT / "experiments").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = "\n".join(source.splitlines()[node.lineno : node.end_lineno])
                if re.search(r"median_interval\(|\.low\b|, low, high", text):
                    found.add(f"{path.relative_to(ROOT)}::{node.name}")
    assert len(found) > 10
    assert found <= set(NAMED)


def test_nothing_else_makes_intervals() -> None:
    for path in (ROOT / "experiments").rglob("*.py"):
        assert not re.search(r"bootstrap|quantile|scipy\.stats|\.std\(|\.sem\(", path.read_text()), path
