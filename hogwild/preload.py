"""What the server of worker processes has ready: the package, and a numba that has run once."""

from hogwild import guide_pool  # noqa: F401  (its initialiser is a pool's entry point)
from hogwild.sampling import epoch_key

epoch_key(0, 0)  # numba's own set-up takes half a second, once here instead of once in every worker
