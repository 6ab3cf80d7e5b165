"""What a value in a spec may be, as pydantic checks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, create_model, model_validator

import hogwild

WORKERS = re.compile(r"(?:(?P<low>[1-9]\d*)\.\.)?(?:(?P<factor>[1-9]\d*)\*)?(?P<unit>cores|[1-9]\d*)")
T = TypeVar("T")
# no other keys than a table has, and no value that must be converted
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


def one_of(kind: str, allowed: Callable[[], Iterable[str]]) -> AfterValidator:
    """Return a check that a name is one of a list, which is not made before a spec is read."""

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
Count = Annotated[int, Field(ge=0)]
Scalar = bool | int | float | str
Many = Annotated[
    list[T], BeforeValidator(lambda value: value if isinstance(value, list) else [value]), Field(min_length=1)
]
Workers = Annotated[int | str, AfterValidator(_worker_count)]


def _rule_name(record: type) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", record.__name__).lower()


# The library's step-size rules as specs name them: a first number, ``initial``, and at most another one.
RULES: dict[str, Any] = {_rule_name(record): record for record in get_args(hogwild.steps.StepSize)}
PARAMETERS: dict[str, tuple[str, ...]] = {name: record._fields[1:] for name, record in RULES.items()}
_parameters: dict[str, Any] = {
    name: (Many[Positive] | None, None) for names in PARAMETERS.values() for name in names
}
_Parameters: Any = create_model("_Parameters", __config__=STRICT, **_parameters)


class Step(_Parameters):
    """A step-size rule; each of its numbers may be a list, which is swept.

    With ``tune`` the list is one of candidates: every cell is run with each of them on tuning replicates,
    which have seeds of their own, and is reported with the one that was soonest at suboptimality 1e-2.
    """

    rule: Annotated[str, one_of("rule", lambda: RULES)]
    initial: Many[Positive]
    tune: bool = False

    @property
    def parameters(self) -> list[float] | list[None]:
        """The values of the rule's second number, ``[None]`` where it has none."""
        return next((getattr(self, name) for name in PARAMETERS[self.rule]), [None])

    @model_validator(mode="after")
    def _complete(self) -> Step:
        wanted = PARAMETERS[self.rule]
        if wanted != tuple(name for name in _parameters if getattr(self, name) is not None):
            takes = " and ".join(("initial", *wanted)) if wanted else "initial only"
            raise ValueError(f"rule {self.rule!r} takes {takes}")
        return self


StepOrNumber = Annotated[
    Step,
    BeforeValidator(
        lambda value: value if isinstance(value, dict) else {"rule": "constant", "initial": value}
    ),
]
