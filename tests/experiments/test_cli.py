"""The command line, as a user types it."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from experiments.cli import FAILED_TRIALS, app
from experiments.design import plan, spec
from experiments.measure import environment, machine, runner
from experiments.measure.outcome import Outcome
from hogwild.teams.work import usable_cores

SPEC = """
question = "Does the command line work?"
[[grid]]
name = "small"
problem = "least_squares"
dataset = "synthetic"
data = {n_features = 8, density = 0.5, n_examples = 50}
run = {backend = ["serial", "hogwild_threads"], workers = 2, epochs = 2}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine.exclusive.__wrapped__, "__defaults__", (tmp_path / "lock",))
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 10_000)
    monkeypatch.setattr(environment, "streaming", lambda: None)
    path = tmp_path / "mine.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_list_names_every_experiment_and_its_cost() -> None:
    result = call("list")
    assert result.exit_code == 0
    for path in spec.SPECS.glob("*.toml"):
        assert path.stem in result.stdout
    assert (
        f"smoke {len(plan.make(spec.find(['guide'], 'smoke'), len(usable_cores())))} trials" in result.stdout
    )


def test_run_runs_a_spec_of_ones_own(path: Path, tmp_path: Path) -> None:
    result = call("run", path, "--preset", "smoke", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "2 ok" in result.stderr
    assert len((tmp_path / "run" / "trials.csv").read_text().splitlines()) == 3
    assert '"preset": "smoke"' in (tmp_path / "run" / "environment.json").read_text()
    again = call("run", path, "--preset", "quick", "--out", tmp_path / "run")
    assert again.exit_code == 2
    assert "of preset smoke, not quick" in again.stderr
    assert call("run", path, "--preset", "quick", "--out", tmp_path / "run", "--fresh").exit_code == 0


def test_dry_run_prints_the_trials_and_runs_none(path: Path, tmp_path: Path) -> None:
    result = call("run", path, "--dry-run", "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "hogwild_threads" in result.stdout
    assert "2 trials" in result.stdout
    assert not (tmp_path / "run").exists()


def test_results_go_to_a_directory_named_after_the_preset(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", path, "--preset", "smoke").exit_code == 0
    assert (tmp_path / "results" / "smoke" / "trials.csv").exists()


def test_a_trial_with_an_exception_shows_in_the_exit_status(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(trial: object) -> Outcome:
        raise ValueError("bad luck")

    monkeypatch.setattr(runner.run, "__kwdefaults__", {**runner.run.__kwdefaults__, "execute": execute})
    result = call("run", path, "--out", tmp_path / "run")
    assert result.exit_code == FAILED_TRIALS
    assert "bad luck" in result.stderr


def test_mistakes_end_with_a_message_and_status_2(path: Path, tmp_path: Path) -> None:
    result = call("run", "sparsty")
    assert result.exit_code == 2
    assert "unknown experiment 'sparsty'" in result.stderr
    path.write_text(SPEC.replace("serial", "seriel"), encoding="utf-8")
    result = call("run", path)
    assert result.exit_code == 2
    assert "small.run.backend[0]" in result.stderr
    path.write_text(f'figures = ["speedup", "speeddown"]{SPEC}', encoding="utf-8")
    result = call("run", path, "--dry-run")
    assert result.exit_code == 2
    assert "mine.toml: figures: unknown name 'speeddown'; allowed: " in result.stderr
    path.write_text(SPEC, encoding="utf-8")
    with machine.exclusive():
        result = call("run", path, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "another run is timing" in result.stderr


def test_an_interrupt_says_how_to_go_on(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(trial: object) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.run, "__kwdefaults__", {**runner.run.__kwdefaults__, "execute": execute})
    result = call("run", path, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "goes on where it was" in result.stderr


def test_the_other_commands_hand_over_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def module(name: str, **functions: object) -> None:
        fake = ModuleType(name)
        vars(fake).update(functions)
        monkeypatch.setitem(sys.modules, name, fake)

    module("experiments.report.figures", draw=lambda directory: [directory / "a.png"])
    module("experiments.judge.claims", judge=lambda directory: ("verdicts", directory), show=calls.append)
    module("experiments.report.readme", update=lambda *given, **named: calls.append((given, named)))
    module("experiments.judge.verify", problems=lambda folder: ["torn"] if folder == tmp_path / "x" else [])
    module("experiments.report.paper", build=lambda directory: directory / "paper.pdf")
    assert call("figures", tmp_path).stdout.replace("\n", "").endswith("a.png")
    assert call("claims", tmp_path).exit_code == 0
    assert call("readme", tmp_path, "--readme", "X.md", "--check").exit_code == 0
    assert call("verify", tmp_path).exit_code == 0
    (tmp_path / "x").mkdir()
    broken = call("verify", tmp_path / "x")
    assert (broken.exit_code, broken.stderr) == (1, "torn\n")
    assert call("paper", tmp_path).stdout.replace("\n", "").endswith("paper.pdf")
    assert calls == [("verdicts", tmp_path), ((tmp_path, Path("X.md")), {"check": True})]
    assert call("figures", tmp_path / "gone").exit_code == 2
