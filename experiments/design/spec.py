"""What an experiment is: one TOML file, validated, with messages that name the file and the key.

A spec says which question it answers, which claims it tests, which figures it draws, and lists grids. A grid
is a product of lists; a scalar is a list of one. A preset (``smoke``, ``quick``, ``full``) changes keys.
"""

from __future__ import annotations

import copy
import importlib
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

import hogwild
from experiments.design import workloads
from experiments.peers import AGAIN, PEERS
from hogwild.choice import AUTO

SPECS = Path(__file__).parents[1] / "specs"
LEDGER = Path(__file__).parents[1] / "claims.toml"
PRESETS = ("smoke", "quick", "full")
LONGEST = 500  # characters of a key or a value in a message
WORKERS = re.compile(r"(?:(?P<low>[1-9]\d*)\.\.)?(?:(?P<factor>[1-9]\d*)\*)?(?P<unit>cores|[1-9]\d*)")

T = TypeVar("T")


class SpecError(ValueError):
    """A spec that cannot be run: the message names the file, the key and what is allowed."""


def _one_of(kind: str, allowed: Callable[[], Iterable[str]]) -> AfterValidator:
    def check(value: str) -> str:
        names = list(allowed())
        if value not in names:
            raise ValueError(f"unknown {kind} {value!r}; allowed: {', '.join(names)}")
        return value

    return AfterValidator(check)


def _worker_count(value: int | str) -> int | str:
    if not WORKERS.fullmatch(str(value)):
        raise ValueError(f"{value!r} is no number of workers; allowed: 2, 'cores', '2*cores', '1..2*cores'")
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scalar = bool | int | float | str
Many = Annotated[
    list[T], BeforeValidator(lambda value: value if isinstance(value, list) else [value]), Field(min_length=1)
]
Workers = Annotated[int | str, AfterValidator(_worker_count)]
AsTable = BeforeValidator(
    lambda value: value if isinstance(value, dict) else {"rule": "constant", "initial": value}
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(_Strict):
    """A step-size rule; each of its numbers may be a list, which is swept.

    With ``tune`` they are candidates instead: every cell is run with all of them on tuning replicates, which
    have seeds of their own, and is reported with the one that was soonest at suboptimality 1e-2.
    """

    rule: Literal["constant", "inverse_time", "exponential_backoff"]
    initial: Many[Positive]
    decay: Many[Positive] | None = None
    factor: Many[Positive] | None = None
    tune: bool = False

    @property
    def parameters(self) -> list[float] | list[None]:
        """The values of the rule's second number, ``[None]`` where it has none."""
        return self.decay or self.factor or [None]

    @model_validator(mode="after")
    def _complete(self) -> Step:
        wanted = {"constant": None, "inverse_time": "decay", "exponential_backoff": "factor"}[self.rule]
        given = [name for name in ("decay", "factor") if getattr(self, name) is not None]
        if given != ([wanted] if wanted else []):
            raise ValueError(
                f"rule {self.rule!r} takes {'initial and ' + wanted if wanted else 'initial only'}"
            )
        return self


class RunOptions(_Strict):
    """The options of :func:`hogwild.minimize` that a grid sets; the lists are swept."""

    backend: Many[Annotated[str, _one_of("backend", lambda: [*hogwild.BACKENDS, AUTO, *PEERS, *AGAIN])]]
    workers: Many[Workers] = [1]
    method: Many[Literal["sgd", "sdca"]] = ["sgd"]
    sampling: Many[Annotated[str, _one_of("sampling", lambda: hogwild.sampling.SAMPLINGS)]] = [
        "fresh_permutation"
    ]
    step_size: Many[Annotated[Step, AsTable]] = [Step(rule="constant", initial=[0.1])]
    epochs: Many[PositiveInt] = [10]
    batch_size: Many[PositiveInt] = [1]
    gradient_threshold: Many[NotNegative] = [0.0]
    gradient_delay: Many[NotNegative] = [0.0]
    penalty: Many[Literal["touched", "scaled"]] = ["touched"]  # the same where l2 is 0
    merge_every: Many[Annotated[int, Field(ge=0)]] = [0]  # 0: adapted
    hot_weights: Many[Annotated[int, Field(ge=0)]] = [0]  # 0: the library's default
    page_cache: Many[Literal["warm", "cold"]] = ["warm"]  # cold: mapped data leave it before each epoch
    initial_weights: Literal["default", "normal"] = "default"
    target: Positive | None = None
    tolerance: Positive | None = None
    time_limit: Positive | None = 60.0
    evaluations_per_epoch: PositiveInt = 1
    instrument: bool = False
    pin: bool = True


class Grid(_Strict):
    """A product of problems, data and run options; ``solve = false`` where only speed is asked for.

    ``l2`` is λ of a linear model's penalty or µ of matrix completion's, ``rank`` that of the factors.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    problem: Many[Annotated[str, _one_of("problem", lambda: hogwild.problems.PROBLEMS)]]
    dataset: Annotated[str, _one_of("data set", lambda: hogwild.datasets.NAMES)]
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
    """How narrow the intervals of an experiment's headline ratios are to be, as a share of their medians."""

    claims: Annotated[list[str], Field(min_length=1)]
    width: Positive


class Preset(_Strict):
    """A size: replicates, seconds it takes on two cores, and overrides by dotted ``grid.section.key``.

    With ``most_replicates`` an experiment that states a precision and does not have it goes on to that many.
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
    size: Preset = Preset()  # the chosen one of the presets

    @model_validator(mode="after")
    def _references(self) -> Spec:
        names = [grid.name for grid in self.grid]
        if len(set(names)) < len(names):
            raise ValueError(f"two grids have the same name: {', '.join(names)}")
        headline = self.precision.claims if self.precision else []
        if unlisted := [name for name in headline if name not in self.claims]:
            raise ValueError(f"precision.claims: {unlisted[0]!r} is not among this experiment's claims")
        for size in self.presets.values():
            if (size.most_replicates or size.replicates) < size.replicates:
                raise ValueError(
                    f"most_replicates {size.most_replicates} is below replicates {size.replicates}"
                )
        for kind, used in (("claims", self.claims), ("figures", self.figures)):
            known = _known(kind) if used else None
            for name in used:
                if known is not None and name not in known:
                    raise ValueError(f"{kind}: unknown name {name!r}; allowed: {', '.join(known)}")
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
    """Load the named experiments, ours for ``[]`` or ``["all"]``; a name that ends in ``.toml`` is a path."""
    known = {path.stem: path for path in sorted(SPECS.glob("*.toml"))}
    if not names or names == ["all"]:
        names = list(known)
    unknown = [name for name in names if name not in known and not name.endswith(".toml")]
    if unknown:
        raise SpecError(
            f"unknown experiment {unknown[0]!r}; allowed: all, {', '.join(known)}, or a path to a .toml file"
        )
    return [load(known.get(name) or Path(name), preset) for name in dict.fromkeys(names)]


def _validate(path: Path, raw: dict[str, Any]) -> Spec:
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        raise SpecError("\n".join(_message(path, raw, problem) for problem in error.errors())) from None


def _message(path: Path, raw: dict[str, Any], problem: Any) -> str:
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


def _known(kind: str) -> list[str] | None:
    """The names that another part of the house offers, None where its packages are missing."""
    if kind == "claims":
        ledger = tomllib.loads(LEDGER.read_text(encoding="utf-8"))
        return [claim["id"] for claim in ledger["claim"]]
    try:
        return list(importlib.import_module("experiments.report.figures").NAMES)
    except ImportError:
        return None
