"""The readers of specs and of runs, for `tests.fuzz`."""

import functools
import hashlib
import json
import random
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from experiments.design import spec
from experiments.judge import tables, verify
from experiments.measure import journal
from tests.experiments import fake_run
from tests.fuzz import Files, Reader

SPEC = """question = "Is what is asked for read?"
claims = []

[presets.quick]
replicates = 2
set = { "small.run.epochs" = [3], "small.data.density" = 0.25 }

[[grid]]
name = "small"
problem = "least_squares"
dataset = "synthetic"
data = { n_examples = 60, n_features = 8, density = [0.5, 1.0] }
l2 = [0.0, 1e-2]

[grid.run]
backend = ["serial", "hogwild_threads"]
workers = [1, "cores"]
step_size = { rule = "inverse_time", initial = [0.1], decay = 1.0 }
epochs = 5
"""


class Refused(Exception):
    """A file that must not be read."""


def spec_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    return {"s.toml": SPEC.encode()}, {}


def spec_read(folder: Path) -> Any:
    found = spec.load(folder / "s.toml")
    raw = tomllib.loads((folder / "s.toml").read_bytes().decode())
    assert found.question == raw["question"]
    assert [grid.name for grid in found.grid] == [grid["name"] for grid in raw["grid"]]


def body_line(body: dict[str, Any]) -> str:
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    return json.dumps({"checksum": checksum, **body}) + "\n"


def journal_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    bodies: list[Any] = []
    for number in range(rng.randrange(1, 4)):
        trial = {"trial": f"t{number}", "status": "ok", "objective": rng.random()}
        bodies.append({"trial": trial, "history": [[0, rng.random()], [1, None]]})
    if rng.random() < 0.3:
        bodies.append({"retired": ["t0"]})
    if rng.random() < 0.3:  # whole, and of no known kind
        strange: list[Any] = [{}, {"trial": 1}, {"trial": {}}, {"retired": 7}, {"retired": [[]]}]
        strange += [{"trial": {"trial": []}, "history": []}, {"trial": {"trial": "t9"}}]
        strange += [{"trial": {"trial": "t9"}, "history": 7}, {"trial": {"trial": "t9"}, "history": [7]}]
        bodies.insert(rng.randrange(len(bodies) + 1), rng.choice(strange))
    return {journal.JOURNAL: "".join(map(body_line, bodies)).encode()}, {}


def journal_read(folder: Path) -> Any:
    found = journal.scan(folder)
    journal.tables([record | {"trial": {"trial": key}} for key, record in found.records.items()])
    return sorted(found.records), sorted(found.retired), found.torn


def journal_model(files: Files) -> Any:
    records, retired, torn = set(), [], []
    lines = files[journal.JOURNAL].split(b"\n")
    for number, line in enumerate(lines, 1):
        if number == len(lines):
            torn += [number] * bool(line)
            continue
        try:
            body = json.loads(line)
            if body.pop("checksum") != json.loads(body_line(body))["checksum"]:
                raise ValueError
            if "retired" in body:
                assert all(isinstance(key, str) for key in body["retired"])
                retired = sorted(set(body["retired"]))
            else:
                assert isinstance(body["trial"]["trial"], str)
                assert all(isinstance(row, list) for row in body["history"])
                records.add(body["trial"]["trial"])
        except Exception:
            torn.append(number)
    return sorted(records), retired, torn


@functools.cache
def run_files() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        fake_run.write(Path(folder, "run"), experiments=("guide",), replicates=1)
        names = (journal.TRIALS, journal.HISTORY, journal.ENVIRONMENT)
        return {name: Path(folder, "run", name).read_bytes() for name in names}


def run_sound(rng: random.Random) -> tuple[Files, dict[str, Any]]:
    return dict(run_files()), {}


def loaded(folder: Path) -> None:
    assert len(tables.load(folder).trials) < 1_000


def verified(folder: Path) -> None:
    for reason in verify.problems(folder):
        assert any(name in reason for name in (*run_files(), folder.name)), reason


def either(files: Files) -> Any:
    """Return what stands for any answer: there is no second reader to compare with."""
    return ...


BAD = (ValueError, OSError)
READERS = {
    "spec": Reader(spec_sound, spec_read, either, Refused, (spec.SpecError,)),
    "journal": Reader(journal_sound, journal_read, journal_model, Refused, (journal.JournalError,)),
    "tables": Reader(run_sound, loaded, either, Refused, BAD),
    "verify": Reader(run_sound, verified, either, Refused, ()),
}
