"""What pyproject.toml, the reference versions and CITATION.cff say about each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import hogwild

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REFERENCE = [Requirement(line) for line in (ROOT / "requirements/reference.txt").read_text().splitlines()]


def declared():
    yield from PROJECT["project"]["dependencies"]
    for requirements in PROJECT["project"]["optional-dependencies"].values():
        yield from requirements
    for requirements in PROJECT["dependency-groups"].values():
        yield from requirements


def test_the_version_is_the_same_everywhere():
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert PROJECT["project"]["version"] == hogwild.__version__ == citation[1]


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_the_reference_versions_fit_on_every_python(python):
    environment = {
        "python_full_version": python,
        "python_version": python[:4],
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    pinned = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in REFERENCE
        if not requirement.marker or requirement.marker.evaluate(environment)
    }
    for text in declared():
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate(environment):
            assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_the_reference_versions_are_exact_and_name_no_host():
    for requirement in REFERENCE:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert requirement.url is None
