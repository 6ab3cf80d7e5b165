"""Damaged specs and run directories: refused by the file's name, or reported, and never a crash."""

import json
from pathlib import Path

import pytest

from experiments.design import spec
from experiments.judge import tables
from experiments.measure import journal
from tests import fuzz
from tests.experiments.fuzzed import READERS, body_line, run_files


@pytest.mark.parametrize(
    ("name", "inputs"), [("spec", 300), ("journal", 300), ("tables", 25), ("verify", 25)]
)
def test_damaged_files_are_refused_by_name(name: str, inputs: int, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    _, kinds, examples = fuzz.attempt(READERS[name], 7, range(inputs), folder)
    assert not kinds, examples


@pytest.mark.parametrize(
    "body", [{}, {"trial": {}}, {"trial": {"trial": []}, "history": []}, {"retired": [[]]}, {"retired": 7}]
)
def test_a_line_of_no_known_kind_is_not_believed_for_its_checksum(body: dict, tmp_path: Path) -> None:
    (tmp_path / journal.JOURNAL).write_text(body_line(body) + body_line({"retired": ["a"]}))
    found = journal.scan(tmp_path)
    assert (found.torn, found.retired) == ([1], {"a"})


def test_nesting_without_an_end_is_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / journal.JOURNAL).write_text("[" * 100_000 + "\n")
    assert journal.scan(tmp_path).torn == [1]


def test_a_spec_with_nesting_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("a = " + "[" * 10_000)
    with pytest.raises(spec.SpecError, match=r"s\.toml"):
        spec.load(tmp_path / "s.toml")


def test_tables_of_no_run_name_the_directory_and_what_finds_the_place(tmp_path: Path) -> None:
    for name, content in run_files().items():
        (tmp_path / name).write_bytes(content)
    assert len(tables.load(tmp_path).trials)
    (tmp_path / journal.ENVIRONMENT).write_text(json.dumps([1]))
    (tmp_path / journal.TRIALS).write_bytes(run_files()[journal.TRIALS].replace(b",status,", b",state,"))
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: its files are not those of a run.*verify"):
        tables.load(tmp_path)
