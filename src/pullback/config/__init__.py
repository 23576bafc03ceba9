"""One experiment file in TOML ⇄ typed objects.

Whatever has a name in the file comes from the closed registries in `tables`: nothing is imported by
name. Precedence is defaults, then the file, then settings given one by one (``-s
rule.learning_rate=0.1``).
"""

from .keys import put as put
from .peers import PeerNetwork as PeerNetwork
from .peers import Peers as Peers
from .sections import Choices as Choices
from .sections import Data as Data
from .sections import Experiment as Experiment
from .sections import Range as Range
from .sections import Sweep as Sweep
from .sections import Tune as Tune
from .tables import ALGORITHMS as ALGORITHMS
from .tables import AUGMENTATIONS as AUGMENTATIONS
from .tables import CODECS as CODECS
from .tables import INITIALIZERS as INITIALIZERS
from .tables import JOINS as JOINS
from .tables import LAYERS as LAYERS
from .tables import LOSSES as LOSSES
from .tables import METHODS as METHODS
from .tables import MIXINGS as MIXINGS
from .tables import PARTITIONS as PARTITIONS
from .tables import PENALTIES as PENALTIES
from .tables import REGISTRIES as REGISTRIES
from .tables import RULES as RULES
from .tables import SCHEDULES as SCHEDULES
from .tables import TABLES as TABLES
from .tables import TOPOLOGIES as TOPOLOGIES
from .tables import Section as Section
from .tables import Table as Table
from .tables import name_of as name_of
from .tables import plain as plain
from .tables import spelled as spelled
from .text import decode as decode
from .text import parse as parse
from .text import read as read
from .text import schema as schema
