"""Other people's solvers on our problems, timed as ours are, behind the same result."""

from experiments.peers.fitting import PRECISE, fit
from experiments.peers.record import Options, Peer
from experiments.peers.registry import AGAIN, PEERS

__all__ = ["AGAIN", "PEERS", "PRECISE", "Options", "Peer", "fit"]
