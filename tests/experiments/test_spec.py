"""Specs: what is read, what is refused, and how the message names file and key."""

from pathlib import Path

import pytest

from experiments import statistics
from experiments.design import ledger, spec
from experiments.report.figures import catalogue

SMALL = """
question = "Does it load at all?"
[[grid]]
name = "small"
problem = "least_squares"
dataset = "synthetic"
[grid.data]
n_features = 10
density = [0.1, 0.2]
nonzeros = 1_000
[grid.run]
backend = ["serial", "hogwild_threads"]
workers = [1, "2*cores"]
step_size = [0.1, {rule = "exponential_backoff", initial = [0.1, 0.2], factor = 0.9}]
[presets.smoke]
replicates = 2
[presets.smoke.set]
"small.data.density" = 0.5
"small.run.epochs" = [3]
"""


def write(folder: Path, text: str = SMALL) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_scalars_become_lists(tmp_path: Path) -> None:
    grid = spec.load(write(tmp_path)).grid[0]
    assert grid.problem == ["least_squares"]
    assert grid.data == {"n_features": [10], "density": [0.1, 0.2], "nonzeros": [1_000]}
    assert [(step.rule, step.initial, step.parameters) for step in grid.run.step_size] == [
        ("constant", [0.1], [None]),
        ("exponential_backoff", [0.1, 0.2], [0.9]),
    ]


def test_a_preset_changes_only_its_keys(tmp_path: Path) -> None:
    smoke, quick = (spec.load(write(tmp_path), preset) for preset in ("smoke", "quick"))
    assert smoke.grid[0].data["density"] == [0.5]
    assert smoke.grid[0].run.epochs == [3]
    assert (smoke.size.replicates, quick.size.replicates) == (2, 1)
    assert quick.grid[0].data["density"] == [0.1, 0.2]
    assert smoke.grid[0].run.backend == quick.grid[0].run.backend
    assert smoke.name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"serial", "hog',
            '"serial", "xhog',
            ["small.run.backend[1]", "unknown backend 'xhogwild_threads'", "locked"],
        ),
        ('problem = "least', 'problem = "xleast', ["small.problem[0]", "unknown problem", "hinge"]),
        ('dataset = "syn', 'dataset = "xsyn', ["small.dataset", "unknown data set 'xsynthetic'", "guide"]),
        ("density = [", "densty = [", ["small: data", "no option 'densty'", "density", "nonzeros"]),
        ("workers = [1,", "wrkers = [1,", ["small.run.wrkers", "unknown key"]),
        ('"2*cores"', '"all"', ["small.run.workers[1]", "'all'", "'2*cores'"]),
        ('"2*cores"', '"0..cores"', ["small.run.workers[1]", "'0..cores'"]),
        ("workers = [1,", "workers = [0,", ["small.run.workers[0]", "0 is no number of workers"]),
        ('rule = "exp', 'rule = "xexp', ["small.run.step_size[1].rule", "unknown rule", "inverse_time"]),
        ("factor = 0.9", "decay = 0.9", ["small.run.step_size[1]", "initial and factor"]),
        ("[0.1, {rule", "[-0.1, {rule", ["small.run.step_size[0].initial[0]", "greater than 0", "-0.1"]),
        ('question = "Does it load at all?"', "", ["question", "required"]),
        ("[[grid]]", "[[grids]]", ["grids: unknown key"]),
        ("[presets.smoke]", "[presets.smok]", ["presets.smok", "'smoke'"]),
        (
            '"small.data.density" =',
            '"smal.data.density" =',
            ["presets.smoke.set", "'smal.data.density'", "grids: small"],
        ),
        ('"small.run.epochs" = [3]', '"small.run.epochs" = "3"', ["small.run.epochs[0]", "integer", "'3'"]),
        ('"small.run.epochs" =', '"small.name.epochs" =', ["presets.smoke.set", "'name' is not a table"]),
        ("nonzeros = 1_000", "nonzeros = ", ["Invalid value", "line 10"]),
        ("factor = 0.9}", "factor = 0.9, tune = 1}", ["small.run.step_size[1]", "tune", "boolean"]),
        ("replicates = 2", "replicates = 2\nmost_replicates = 1", ["most_replicates 1", "replicates 2"]),
        ("[[grid]]", "precision = {claims = ['K1'], width = 0.1}\n[[grid]]", ["'K1' is not among"]),
        ("[[grid]]", "precision = {claims = ['K1'], width = 0}\n[[grid]]", ["precision.width", "greater"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SMALL
    with pytest.raises(spec.SpecError) as caught:
        spec.load(write(tmp_path, SMALL.replace(old, new)))
    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    for word in words:
        assert word in message


def test_a_step_can_only_be_tuned_where_the_optimum_is_known(tmp_path: Path) -> None:
    text = SMALL.replace("factor = 0.9}", "factor = 0.9, tune = true}")
    assert spec.load(write(tmp_path, text)).grid[0].run.step_size[1].tune
    with pytest.raises(spec.SpecError, match="tune needs the optimum, and solve is false"):
        spec.load(write(tmp_path, text.replace("[grid.data]", "solve = false\n[grid.data]")))


def test_two_grids_need_two_names(tmp_path: Path) -> None:
    grid = SMALL[SMALL.index("[[grid]]") : SMALL.index("[presets")]
    with pytest.raises(spec.SpecError, match="same name: small, small"):
        spec.load(write(tmp_path, SMALL.replace("[presets.smoke]", grid + "[presets.smoke]")))


def test_unknown_claims_are_refused(tmp_path: Path) -> None:
    known = ledger.ids()[0]
    with pytest.raises(spec.SpecError, match=rf"claims: unknown name 'Z9'; allowed: {known}, "):
        spec.load(write(tmp_path, f'claims = ["{known}", "Z9"]\n' + SMALL))
    assert spec.load(write(tmp_path, f'claims = ["{known}"]\n' + SMALL)).claims == [known]


def test_unknown_experiments_are_refused_and_paths_are_taken(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match="unknown experiment 'sparsty'; allowed: all, averaging"):
        spec.find(["sparsty"], "quick")
    assert spec.find([str(write(tmp_path))], "quick")[0].name == "mine"
    with pytest.raises(spec.SpecError, match=r"gone\.toml: .*No such file"):
        spec.find([str(tmp_path / "gone.toml")], "quick")


@pytest.mark.parametrize("name", [path.stem for path in sorted(spec.SPECS.glob("*.toml"))])
def test_an_experiment_of_ours_says_what_it_costs_and_draws_what_there_is(name: str) -> None:
    sizes = [spec.find([name], preset)[0] for preset in spec.PRESETS]
    smoke, quick, full = (loaded.size.seconds or 0 for loaded in sizes)
    assert 0 < smoke <= quick <= full
    # so that whoever tries one out, or all of them, need not ask first
    assert smoke <= 15
    assert quick <= 90
    assert full <= 900
    assert set(sizes[0].figures) <= set(catalogue.figures())


def test_the_reference_run_has_the_replicates_that_a_verdict_needs() -> None:
    few = [loaded.name for loaded in spec.find([], "full") if loaded.claims and loaded.size.replicates < 6]
    assert few == []
    assert statistics.coverage(6) >= statistics.LEVEL > statistics.coverage(5)
