"""Methods that use curvature. They minimise a function of the whole data, not of a mini-batch."""

from .lbfgs import LBFGS as LBFGS
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .method import Method as Method
from .method import stuck as stuck
from .newton import Newton as Newton
from .newton_cg import NewtonCG as NewtonCG
from .trace import Trace as Trace
from .trace import minimise as minimise
