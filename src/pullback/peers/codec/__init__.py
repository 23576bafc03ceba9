"""Codecs: a worker's vector as the bytes that travel, and back."""

from .core import Buffers as Buffers
from .core import Codec as Codec
from .core import Cost as Cost
from .core import Layout as Layout
from .core import Shapes as Shapes
from .core import require_contraction as require_contraction
from .dense import Dense as Dense
from .feedback import Fed as Fed
from .feedback import error_feedback as error_feedback
from .low_rank import LowRank as LowRank
from .quantise import Quantise as Quantise
from .sign import Sign as Sign
from .sparse import RandomK as RandomK
from .sparse import TopK as TopK
from .wire import overhead as overhead
from .wire import pack as pack
from .wire import unpack as unpack
