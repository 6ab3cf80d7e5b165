"""Under which conditions a run is watched."""

from typing import NamedTuple


class Observe(NamedTuple):
    """What research asks of a run beside its result.

    Attributes
    ----------
    instrument : bool
        Observe lost writes, staleness, collisions and waiting (`hogwild.Result.observations`). It takes time
        and memory; a run without it pays nothing. For compiled backends on shared weights, ``batch_size`` 1.
    gradient_delay : float
        Extra seconds that every gradient keeps its core busy, 0 or 1e-9 to 1 (Niu et al. 2011, Figure 5c).
    pin : bool
        Bind each worker to a core of its own, as far as there are cores (Linux).
    """

    instrument: bool = False
    gradient_delay: float = 0.0
    pin: bool = False
