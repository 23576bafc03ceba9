"""Data: where they come from, how they are divided, and in which order training reads them."""

from .batches import Batches as Batches
from .batches import Chunk as Chunk
from .catalogue import listing as listing
from .encode import Encoder as Encoder
from .examples import Examples as Examples
from .generated import circles as circles
from .generated import digits as digits
from .generated import moons as moons
from .generated import xor as xor
from .images import fashion_mnist as fashion_mnist
from .images import mnist as mnist
from .loaded import Loaded as Loaded
from .loaded import load as load
from .parts import split as split
from .prepare import Preparation as Preparation
from .prepare import read_inputs as read_inputs
from .registry import data_set as data_set
from .registry import known as known
from .rows import Rows as Rows
from .spec import DataSpec as DataSpec
from .standardize import Standardizer as Standardizer
from .store import data_directory as data_directory
from .store import fetch as fetch
from .store import verify as verify
from .table import read_table as read_table
