"""The command line: ``python -m experiments list | run | verify | figures | claims | readme | paper``."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from experiments.design.plan import Trial

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
errors = Console(stderr=True)
FAILED_TRIALS = 3  # exit status of a run that ended, with trials of status "error"


class Preset(StrEnum):
    """Sizes of an experiment."""

    smoke = "smoke"
    quick = "quick"
    full = "full"


Directory = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A run directory.")
]


def _fail(error: Exception) -> typer.Exit:
    errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(2)


@app.command("list")
def list_experiments() -> None:
    """Name the experiments, their questions and their cost."""
    from experiments.design import plan, spec
    from hogwild.teams.work import usable_cores

    table = Table.grid(padding=(0, 2))
    try:
        for name in sorted(path.stem for path in spec.SPECS.glob("*.toml")):
            costs = []
            for preset in spec.PRESETS:
                loaded = spec.find([name], preset)
                trials = plan.make(loaded, len(usable_cores()))
                costs.append(f"{preset} {len(trials)} trials, about {loaded[0].size.seconds} s")
            table.add_row(name, f"{loaded[0].question}\n{'; '.join(costs)}\n")
    except spec.SpecError as error:
        raise _fail(error) from None
    Console().print(table, highlight=False)


@app.command()
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Experiments; none or 'all': every one.")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Size of the experiments.")] = Preset.quick,
    out: Annotated[Path | None, typer.Option(help="Run directory; default results/<preset>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials and run none.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Drop what the directory holds and measure again.")
    ] = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="Go on in a directory of another machine or other software.")
    ] = False,
) -> None:
    """Run experiments, or what is left of them; ends with status 3 if a trial raised an exception."""
    from experiments.design import plan, spec
    from experiments.judge import precision
    from experiments.measure import journal, machine, runner
    from experiments.report.figures.catalogue import figures
    from hogwild.teams.work import usable_cores

    directory = out or Path("results") / preset
    cores = len(usable_cores())
    try:
        specs = spec.find(names or [], preset)
        spec.check_figures(specs, figures())
        trials = plan.make(specs, cores)
        if dry_run:
            _show(trials)
            return
        counts = runner.run(
            trials,
            directory,
            preset=preset,
            command=shlex.join(["python", "-m", "experiments", *sys.argv[1:]]),
            console=errors,
            fresh=fresh,
            mix=mix,
            spare=plan.spare(specs, cores),
            wanted=lambda directory, left: precision.choose(directory, left, specs),
            costs=plan.costs(specs, trials),
        )
    except (spec.SpecError, runner.RunError, journal.JournalError, machine.BusyError) as error:
        raise _fail(error) from None
    except KeyboardInterrupt:
        errors.print(
            f"stopped; the same command goes on where it was: {directory}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(130) from None
    _sum_up(directory, counts)


@app.command()
def verify(directory: Directory) -> None:
    """Check that a run's files are whole and follow from each other; ends with status 1 if not."""
    from experiments.judge.verify import problems

    found = problems(directory)
    for problem in found:
        errors.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)
    print(f"{directory}: whole and consistent")


@app.command()
def figures(directory: Directory) -> None:
    """Draw a run's figures from its CSVs."""
    from experiments.report.figures import draw

    for path in draw(directory):
        print(path)


@app.command()
def claims(directory: Directory) -> None:
    """Judge the claims on a run's CSVs, write claims.csv and show the verdicts."""
    from experiments.judge.claims import judge, show

    show(judge(directory))


@app.command()
def readme(
    directory: Directory,
    path: Annotated[Path, typer.Option("--readme", help="The file with the markers.")] = Path("README.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if the text is stale.")
    ] = False,
) -> None:
    """Rewrite the results in the README from a run's CSVs."""
    from experiments.report.readme import update

    update(directory, path, check=check)


@app.command()
def paper(directory: Directory) -> None:
    """Build a run's paper.pdf."""
    from experiments.report.paper import build

    print(build(directory))


def _sum_up(directory: Path, counts: Counter[str]) -> None:
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    errors.print(f"{directory}: {summary}", highlight=False, soft_wrap=True)
    if counts["error"]:
        raise typer.Exit(FAILED_TRIALS)


def _show(trials: list[Trial]) -> None:
    plain = ("key", "experiment", "grid", "method", "backend", "sampling", "epochs")
    table = Table(*plain, "workers", "step", "workload", "replicate: seeds of data, order")
    for trial in trials:
        what, step = trial.workload, "tuned" if trial.tuned_on else trial.step_rule or "none"
        if trial.step_size is not None:
            step = f"{trial.step_size:g}"
        if trial.step_parameter is not None:
            step += f" {trial.step_rule} {trial.step_parameter:g}"
        data = " ".join(f"{name}={value}" for name, value in what.data)
        workers = f"{trial.workers}" + (f" (skipped: {trial.skip})" if trial.skip else "")
        workload = f"{what.problem} l2={what.l2:g} {what.dataset} {data}"
        seeds = f"{trial.replicate}: {what.data_seed}, {trial.order_seed}"
        table.add_row(*(str(getattr(trial, name)) for name in plain), workers, step, workload, seeds)
    Console(width=None if sys.stdout.isatty() else 240).print(table)
    print(f"{len(trials)} trials")
