"""Penalties: what the weights cost by themselves, and what is done to them after each update."""

from .core import Penalty as Penalty
from .core import Proximable as Proximable
from .core import Sum as Sum
from .norms import L1 as L1
from .norms import L2 as L2
from .norms import ElasticNet as ElasticNet
from .norms import Linf as Linf
from .norms import LogSumExp as LogSumExp
from .proximal import MaxNorm as MaxNorm
from .proximal import Proximal as Proximal
from .structure import GroupLasso as GroupLasso
from .structure import Orthogonality as Orthogonality
from .structure import Tie as Tie
