"""The options of a trial, a record for each: specs, trials, keys, columns and calls are derived from them.

A new option is one entry in this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PositiveInt

import hogwild
from experiments.design.kinds import Count, Many, NotNegative, Positive, Step, StepOrNumber, Workers, one_of
from experiments.peers import AGAIN, PEERS, Peer
from hogwild.choice import AUTO

REQUIRED: Any = ...  # in place of a default
STEP_FIELDS = ("step_rule", "step_size", "step_parameter")


class Target(StrEnum):
    """Whose argument an option is."""

    MINIMIZE = "minimize"  # `hogwild.minimize`
    BACKEND = "backend"  # a backend that has this option
    OBSERVE = "observe"  # what is observed, or changed for an observation
    STEP = "step"  # the step-size rule
    HARNESS = "harness"  # the harness alone


class Cell(NamedTuple):
    """What decides whether an option makes a difference; ``asked`` are all values that a grid asks for."""

    backend: str
    method: str
    problem: str
    l2: float
    asked: Mapping[str, list[Any]]

    @property
    def peer(self) -> Peer | None:
        """The record of somebody else's solver, None for a backend of ours."""
        return PEERS.get(self.backend)

    @property
    def ours(self) -> hogwild.Backend | None:
        """The record of our backend, None for a peer and for ``"auto"``."""
        return hogwild.BACKENDS.get(AGAIN.get(self.backend, self.backend))

    @property
    def alone(self) -> bool:
        """Whether it always has one worker."""
        return self.peer.cores != "workers" if self.peer else self.ours is not None and self.ours.alone


Rule = Callable[["Option", Any, Cell], Any]


def as_asked(option: Option, value: Any, cell: Cell) -> Any:
    """Use the value in every cell."""
    return value


def of_the_backend(option: Option, value: Any, cell: Cell) -> Any:
    """Use the value where the backend has this option, the default elsewhere."""
    return value if cell.ours is not None and option.name in cell.ours.options else option.default


def count_of_workers(option: Option, value: Any, cell: Cell) -> Any:
    """Use one worker where there cannot be several."""
    return 1 if cell.alone else value


def method_of(option: Option, value: Any, cell: Cell) -> Any:
    """Use the cell's method: the default for peers, which have their own."""
    return cell.method


def sampling_of(option: Option, value: Any, cell: Cell) -> Any:
    """Use the order in which a peer visits the examples, whatever the value."""
    return cell.peer.order if cell.peer else value


def penalty_of(option: Option, value: Any, cell: Cell) -> Any:
    """Use one way where there is no penalty, or where a solver has its own way to pay it."""
    if cell.l2 == 0 or cell.method == "sdca":
        return option.default
    return cell.asked[option.name][0] if cell.peer else value


class Option(NamedTuple):
    """One option.

    Attributes
    ----------
    name : str
        In a spec (``grid.run.name``), and of the field of a trial.
    kind : type
        Of a single value, as pydantic checks it.
    default : Any
        Used where a spec gives none; `REQUIRED` if it must. Settings at their defaults are not in a trial's
        key, so a default must never change.
    target : Target
        Whose argument it is.
    rule : function of an Option, a value and a Cell
        The value that a trial gets. Where an option makes no difference it is always the same, so that no
        trial is run twice.
    swept : bool
        Whether a spec may give a list, all of whose values are run.
    column : str
        In trials.csv; none if empty. A swept option has one of its own name.
    unset : bool
        Whether the default leaves the choice to the library.
    """

    name: str
    kind: Any
    default: Any = REQUIRED
    target: Target = Target.MINIMIZE
    rule: Rule = as_asked
    swept: bool = True
    column: str = ""
    unset: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a trial that hold it, with their defaults."""
        return dict.fromkeys(STEP_FIELDS) if self.target == Target.STEP else {self.name: self.default}

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in trials.csv."""
        return tuple(self.fields) if self.swept else (self.column,) if self.column else ()

    @property
    def in_a_spec(self) -> tuple[Any, Any]:
        """The type and the default that it has in a spec."""
        if not self.swept:
            return self.kind, self.default
        many: Any = Many
        return many[self.kind], self.default if self.default is REQUIRED else [self.default]


BackendName = Annotated[str, one_of("backend", lambda: [*hogwild.BACKENDS, AUTO, *PEERS, *AGAIN])]
SamplingName = Annotated[str, one_of("sampling", lambda: hogwild.sampling.SAMPLINGS)]
TENTH = Step(rule="constant", initial=[0.1])
_TABLE = (
    Option("method", Literal["sgd", "sdca"], "sgd", rule=method_of),
    Option("backend", BackendName),
    Option("workers", Workers, 1, rule=count_of_workers),
    Option("sampling", SamplingName, "fresh_permutation", rule=sampling_of),
    Option("step_size", StepOrNumber, TENTH, Target.STEP),
    Option("batch_size", PositiveInt, 1),
    Option("gradient_threshold", NotNegative, 0.0),
    Option("epochs", PositiveInt, 10),
    Option("gradient_delay", NotNegative, 0.0, Target.OBSERVE),
    Option("penalty", Literal["touched", "scaled"], "touched", rule=penalty_of),
    # 0: adapted
    Option("merge_every", Count, 0, Target.BACKEND, of_the_backend, unset=True),
    # 0: the library's default
    Option("hot_weights", Count, 0, Target.BACKEND, of_the_backend, unset=True),
    # cold: mapped data leave it before each epoch
    Option("page_cache", Literal["warm", "cold"], "warm", Target.HARNESS),
    Option("initial_weights", Literal["default", "normal"], "default", swept=False, unset=True),
    Option("target", Positive | None, None, swept=False),
    Option("tolerance", Positive | None, None, swept=False),
    Option("time_limit", Positive | None, 60.0, swept=False),
    Option("evaluations_per_epoch", PositiveInt, 1, swept=False),
    Option("instrument", bool, False, Target.OBSERVE, swept=False, column="instrument"),
    Option("pin", bool, True, Target.OBSERVE, swept=False, column="pinned"),
)
OPTIONS = {option.name: option for option in _TABLE}

# The axes of a grid; the step is another, with numbers of its own.
SWEPT = tuple(name for name, option in OPTIONS.items() if option.swept and option.target != Target.STEP)
FIXED = tuple(name for name, option in OPTIONS.items() if not option.swept)
# Columns of trials.csv that hold options -> fields of a trial.
COLUMNS = {
    column: name for option in _TABLE for column, name in zip(option.columns, option.fields, strict=False)
}
# Those that a spec may sweep. Trials are compared if they agree in all that the comparison does not name.
# A workload is named by the first of them that set it apart, and by its epochs only if nothing else does.
RUN_COLUMNS = tuple(
    sorted((column for option in _TABLE if option.swept for column in option.columns), key="epochs".__eq__)
)
# What holds for the trials of a file without one of these columns: it is older than the option.
DEFAULTS: dict[str, Any] = {
    column: option.default
    for option in _TABLE
    if option.default is not REQUIRED and option.target != Target.STEP
    for column in option.columns
}


def effective(
    chosen: Mapping[str, Any], asked: Mapping[str, list[Any]], problem: str, l2: float
) -> dict[str, Any]:
    """Return the settings of a cell, given the value that was chosen for each swept option."""
    peer = chosen["backend"] in PEERS
    method = OPTIONS["method"].default if peer else chosen["method"]
    cell = Cell(chosen["backend"], method, problem, l2, asked)
    return {name: OPTIONS[name].rule(OPTIONS[name], value, cell) for name, value in chosen.items()}


def arguments(trial: object, target: Target) -> dict[str, Any]:
    """Return the options of a trial that have this target, without those that are left to the library."""
    return {
        name: value
        for name, option in OPTIONS.items()
        if option.target == target
        and not ((value := getattr(trial, name)) == option.default and option.unset)
    }
