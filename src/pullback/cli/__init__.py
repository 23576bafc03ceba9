"""The command line: thin verbs over the library.

stdout carries the result, stderr the progress. Exit codes: 0 done; 1 a defect of ours; 2 usage or
configuration; 3 data missing or broken; 4 diverged; 5 checkpoint broken or incompatible; 6 a check
or threshold missed; 7 cannot write; 8 a worker of a cluster is gone or silent; 130 interrupted,
after a checkpoint.

Nothing heavy is imported here: `pullback --help` must answer at once, and does not import JAX.
"""

from . import checks as checks
from . import diagnosis as diagnosis
from . import models as models
from . import network as network
from . import pages as pages
from . import searches as searches
from . import setup as setup
from . import studies as studies
from . import training as training
from .base import main as main
from .data import data as data
