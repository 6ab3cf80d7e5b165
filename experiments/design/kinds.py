"""What a value in a spec may be, as pydantic checks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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


class Step(BaseModel):
    """A step-size rule; each of its numbers may be a list, which is swept.

    With ``tune`` the list is one of candidates: every cell is run with each of them on tuning replicates,
    which have seeds of their own, and is reported with the one that was soonest at suboptimality 1e-2.
    """

    model_config = STRICT

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


StepOrNumber = Annotated[
    Step,
    BeforeValidator(
        lambda value: value if isinstance(value, dict) else {"rule": "constant", "initial": value}
    ),
]
