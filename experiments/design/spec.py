"""An experiment is a TOML file; what is wrong with one is said with the names of the file and the key.

A spec states a question, the claims it tests and the figures it draws, and lists grids. A grid is a product
of lists; a scalar is a list of one. A preset (``smoke``, ``quick``, ``full``) overrides keys.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationError, create_model, model_validator
from pydantic_core import ErrorDetails

import hogwild
from experiments.design import ledger, workloads
from experiments.design.kinds import STRICT, Many, NotNegative, Positive, Scalar, Workers, one_of
from experiments.design.options import OPTIONS

SPECS = Path(__file__).parents[1] / "specs"
PRESETS = ("smoke", "quick", "full")
LONGEST = 500  # characters of a key or a value in a message


class SpecError(ValueError):
    """A spec that cannot be run: the message names the file, the key and what is allowed."""


class _Strict(BaseModel):
    model_config = STRICT


_fields: dict[str, Any] = {name: option.in_a_spec for name, option in OPTIONS.items()}
_Options: Any = create_model("_Options", __base__=_Strict, **_fields)


class RunOptions(_Options):
    """The table ``grid.run``: a list of values for every option that is swept, a value for the others."""


class Grid(_Strict):
    """A product of problems, data and run options; ``solve = false`` where only speed is asked for.

    ``l2`` is λ of a linear model's penalty or µ of matrix completion's, ``rank`` that of the factors.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    problem: Many[Annotated[str, one_of("problem", lambda: hogwild.problems.PROBLEMS)]]
    dataset: Annotated[str, one_of("data set", lambda: hogwild.datasets.NAMES)]
    l2: Many[NotNegative] = [0.0]
    dtype: Many[Literal["float64", "float32"]] = ["float64"]
    data: dict[str, Many[Scalar]] = {}
    run: RunOptions
    solve: bool = True
    rank: PositiveInt | None = None
    replicates: PositiveInt | None = None
    workers_limit: Workers | None = None

    @model_validator(mode="after")
    def _data_options(self) -> Grid:
        allowed = workloads.options(self.dataset)
        for name in self.data:
            if name not in allowed:
                raise ValueError(
                    f"data: {self.dataset!r} has no option {name!r}; allowed: {', '.join(allowed)}"
                )
        for name in self.problem:
            if hogwild.problems.PROBLEMS[name].takes is not workloads.kind_of_data(self.dataset):
                raise ValueError(f"dataset: {self.dataset!r} is not for the problem {name!r}")
        if not self.solve and any(step.tune for step in self.run.step_size):
            raise ValueError("run.step_size: tune needs the optimum, and solve is false")
        return self


class Precision(_Strict):
    """How narrow the intervals of an experiment's main ratios must be, as a share of their medians."""

    claims: Annotated[list[str], Field(min_length=1)]
    width: Positive


class Preset(_Strict):
    """A size: replicates, the seconds it takes on two cores, and overrides by dotted ``grid.section.key``.

    An experiment that has not reached the precision it states goes on to ``most_replicates``.
    """

    replicates: PositiveInt = 1
    most_replicates: PositiveInt | None = None
    tuning_replicates: PositiveInt = 1
    seconds: PositiveInt | None = None
    set: dict[str, Any] = {}


class Spec(_Strict):
    """One experiment, with the overrides of one preset applied."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    question: Annotated[str, Field(min_length=10)]
    claims: list[str] = []
    figures: list[str] = []
    precision: Precision | None = None
    grid: Annotated[list[Grid], Field(min_length=1)]
    presets: dict[Literal["smoke", "quick", "full"], Preset] = {}
    size: Preset = Preset()  # the preset that was chosen

    @model_validator(mode="after")
    def _references(self) -> Spec:
        names = [grid.name for grid in self.grid]
        if len(set(names)) < len(names):
            raise ValueError(f"two grids have the same name: {', '.join(names)}")
        precise = self.precision.claims if self.precision else []
        if unlisted := [name for name in precise if name not in self.claims]:
            raise ValueError(f"precision.claims: {unlisted[0]!r} is not among this experiment's claims")
        for size in self.presets.values():
            if (size.most_replicates or size.replicates) < size.replicates:
                raise ValueError(
                    f"most_replicates {size.most_replicates} is below replicates {size.replicates}"
                )
        known = ledger.ids() if self.claims else ()
        if unknown := [name for name in self.claims if name not in known]:
            raise ValueError(f"claims: unknown name {unknown[0]!r}; allowed: {', '.join(known)}")
        return self


def load(path: Path, preset: str = "quick") -> Spec:
    """Read a spec and apply a preset; every preset is checked, whichever is asked for.

    Raises
    ------
    SpecError
        If the file cannot be read, is no TOML, or says something that is not allowed.
    """
    try:
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))  # with its own line ends
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path.name}: {str(error)[:LONGEST]}") from error
    raw["name"] = path.stem
    _validate(path, raw)
    return {name: _validate(path, _override(path, raw, name)) for name in PRESETS}[preset]


def find(names: list[str], preset: str) -> list[Spec]:
    """Load the named experiments; ``[]`` and ``["all"]`` mean ours, and ``….toml`` is a path."""
    known = {path.stem: path for path in sorted(SPECS.glob("*.toml"))}
    if not names or names == ["all"]:
        names = list(known)
    unknown = [name for name in names if name not in known and not name.endswith(".toml")]
    if unknown:
        raise SpecError(
            f"unknown experiment {unknown[0]!r}; allowed: all, {', '.join(known)}, or a path to a .toml file"
        )
    return [load(known.get(name) or Path(name), preset) for name in dict.fromkeys(names)]


def check_figures(specs: Iterable[Spec], known: Iterable[str]) -> None:
    """Make sure that all figures that specs ask for can be drawn.

    Raises
    ------
    SpecError
        If not.
    """
    allowed = list(known)
    for found in specs:
        if unknown := [name for name in found.figures if name not in allowed]:
            raise SpecError(
                f"{found.name}.toml: figures: unknown name {unknown[0]!r}; allowed: {', '.join(allowed)}"
            )


def _validate(path: Path, raw: dict[str, Any]) -> Spec:
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        raise SpecError("\n".join(_message(path, raw, problem) for problem in error.errors())) from None


def _message(path: Path, raw: dict[str, Any], problem: ErrorDetails) -> str:
    """Name the key as an override would: ``grid.section.key``."""
    location = list(problem["loc"])
    if location[:1] == ["grid"] and len(location) > 1 and isinstance(location[1], int):
        grid = raw["grid"][location[1]]
        location[:2] = [grid.get("name", f"grid {location[1] + 1}") if isinstance(grid, dict) else "grid"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = "unknown key"
    elif problem["type"] != "value_error" and problem["type"] != "missing":
        text += f", not {problem['input']!r}"
    return f"{path.name}: {key[:LONGEST]}: {text[:LONGEST]}" if key else f"{path.name}: {text[:LONGEST]}"


def _override(path: Path, raw: dict[str, Any], preset: str) -> dict[str, Any]:
    changed = copy.deepcopy(raw)
    grids = {grid["name"]: grid for grid in changed["grid"]}
    changed["size"] = changed.get("presets", {}).get(preset, {})
    for key, value in changed["size"].get("set", {}).items():
        name, *parts = key.split(".")
        if name not in grids or not parts:
            raise SpecError(
                f"{path.name}: presets.{preset}.set: {key[:LONGEST]!r} must be grid.key or grid.section.key; "
                f"grids: {', '.join(grids)[:LONGEST]}"
            )
        table = grids[name]
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise SpecError(
                    f"{path.name}: presets.{preset}.set: {key[:LONGEST]!r}: {part[:LONGEST]!r} is not a table"
                )
        table[parts[-1]] = value
    return changed
