"""Other people's solvers on our problems, timed as ours are, behind the same result."""

from experiments.peers.fitting import PRECISE, fit
from experiments.peers.record import Options, Peer
from experiments.peers.registry import AGAIN, ALONE, OWN_STEPS, PEERS

__all__ = ["AGAIN", "ALONE", "OWN_STEPS", "PEERS", "PRECISE", "Options", "Peer", "fit"]
