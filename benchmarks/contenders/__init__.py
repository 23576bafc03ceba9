"""Who is timed: one class per library, each doing the same work in its own best way.

Those of PEERS compute on the processor, those of GPU_PEERS on a GPU.
"""

from .core import Contender as Contender
from .core import processors as processors
from .ours import Pullback as Pullback
from .plain import NumPy, Optax
from .scikit_learn import ScikitLearn as ScikitLearn
from .torch_peers import Torch, TorchCompiled, TorchCuda, TorchFused, TorchGraph, TorchInductor

PEERS = (ScikitLearn, NumPy, Optax, Torch, TorchFused, TorchInductor)
GPU_PEERS = (TorchCuda, TorchCompiled, TorchGraph)
