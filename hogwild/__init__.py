"""Lock-free parallel SGD (Hogwild!) and its rivals behind one call: `hogwild.minimize`."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# where each public name lives; loaded on first use, so that `import hogwild` does not wait for numba
_HOMES = {
    "minimize": "hogwild.optimise",
    "Result": "hogwild.result",
    "Checkpoint": "hogwild.result",
    "Status": "hogwild.result",
    "BACKENDS": "hogwild.backends",
    "Backend": "hogwild.backends",
    "Observe": "hogwild.observe.conditions",
    "backend": "hogwild.backends",
    "UncertifiedOptimum": "hogwild.problems.optimum",
    "WorkerDied": "hogwild.teams.crew",
}
_MODULES = {
    "problems": "hogwild.problems",
    "datasets": "hogwild.datasets",
    "steps": "hogwild.engine.steps",
    "sampling": "hogwild.engine.sampling",
}
__all__ = [
    "BACKENDS",
    "Backend",
    "Checkpoint",
    "Observe",
    "Result",
    "Status",
    "UncertifiedOptimum",
    "WorkerDied",
    "backend",
    "minimize",
    *_MODULES,
]

if TYPE_CHECKING:
    from hogwild import datasets as datasets
    from hogwild import problems as problems
    from hogwild.backends import BACKENDS, Backend, backend
    from hogwild.engine import sampling as sampling
    from hogwild.engine import steps as steps
    from hogwild.observe.conditions import Observe
    from hogwild.optimise import minimize
    from hogwild.problems.optimum import UncertifiedOptimum
    from hogwild.result import Checkpoint, Result, Status
    from hogwild.teams.crew import WorkerDied


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hogwild' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
