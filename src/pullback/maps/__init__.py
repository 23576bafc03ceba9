"""Maps: functions with their reverse derivatives, and networks made of them."""

from .activation import Elementwise as Elementwise
from .activation import Identity as Identity
from .activation import LeakyRelu as LeakyRelu
from .activation import Relu as Relu
from .activation import Selu as Selu
from .activation import Sigmoid as Sigmoid
from .activation import Softmax as Softmax
from .activation import SquaredExponential as SquaredExponential
from .activation import Tanh as Tanh
from .affine import Affine as Affine
from .compose import Add as Add
from .compose import Part as Part
from .compose import Skip as Skip
from .compose import Subtract as Subtract
from .compose import Towers as Towers
from .compose import chain as chain
from .compose import skip as skip
from .compose import towers as towers
from .core import Map as Map
from .core import Net as Net
from .core import Node as Node
from .core import Run as Run
from .core import key_for as key_for
