"""Damaged files: each reader does what its slow model does; `nox -s fuzz` tries a million of them."""

import contextlib

import pytest

from tests import fuzz
from tests.hogwild import models
from tests.hogwild.fuzzed import READERS


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_by_name_or_read_as_they_are(name, tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    _, kinds, examples = fuzz.attempt(READERS[name], 7, range(300), folder)
    assert not kinds, examples


READER = fuzz.Reader(lambda rng: ({"f": b"1\n"}, {}), len, len, models.Refused, (ValueError,))


def refused(folder):
    raise ValueError("f is not as it should be")


def unexplained(folder):
    raise ValueError("no")


def lost(folder):
    raise KeyError(1)


def forbidden(files):
    raise models.Refused


@pytest.mark.parametrize(
    ("read", "model", "wrong"),
    [
        (lambda folder: 1, lambda files: 1, ""),
        (refused, forbidden, ""),
        (lambda folder: 1, lambda files: 2, "reads other data"),
        (lambda folder: -0.0, lambda files: 0.0, "reads other data"),
        (lambda folder: 1, forbidden, "accepts what it must refuse"),
        (refused, lambda files: 1, "refuses what is sound"),
        (unexplained, forbidden, "no file named: ValueError"),
        (lost, forbidden, "raises KeyError"),
    ],
)
def test_every_kind_of_failure_is_seen(read, model, wrong, tmp_path):
    reader = READER._replace(read=read, model=model)
    folder = tmp_path / "inputs"
    folder.mkdir()
    _, kinds, examples = fuzz.attempt(reader, 1, range(3), folder)
    assert list(kinds) == [wrong] * bool(wrong)
    for kind in kinds:
        kept = examples[kind].rpartition("files ")[2]
        files, _ = fuzz.case(reader, 1, 0)
        assert {name: (tmp_path / kept / name).read_bytes() for name in files} == files


def test_an_input_is_the_same_again_and_most_are_damaged():
    reader = READERS["load_svmlight"]
    first, again, other = ([fuzz.case(reader, seed, number) for number in range(100)] for seed in (1, 1, 2))
    assert first == again != other
    accepted = 0
    for files, options in first:
        with contextlib.suppress(models.Refused):
            accepted += bool(reader.model(files, **options))
    assert 10 < accepted < 60
