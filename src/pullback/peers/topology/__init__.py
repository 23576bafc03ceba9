"""Topologies: who speaks to whom, and in which phases."""

from .core import Topology as Topology
from .drawn import ErdosRenyi as ErdosRenyi
from .drawn import RandomRegular as RandomRegular
from .edge_list import EdgeList as EdgeList
from .exponential import ExponentialGraph as ExponentialGraph
from .exponential import OnePeerExponential as OnePeerExponential
from .graphs import Complete as Complete
from .graphs import Grid as Grid
from .graphs import Hypercube as Hypercube
from .graphs import Path as Path
from .graphs import Ring as Ring
from .graphs import Torus as Torus
from .graphs import TwoCliques as TwoCliques
from .stars import Star as Star
from .stars import Stars as Stars
from .stars import StarTree as StarTree
