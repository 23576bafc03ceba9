"""One experiment from its file to its folder: load, check, train, save, examine.

The command line calls these functions, and so can a program: nothing here prints.
"""

from .installation import diagnose_installation as diagnose_installation
from .outcome import Outcome as Outcome
from .outcome import describe as describe
from .over_peers import RoundTick as RoundTick
from .rows import check as check
from .rows import survey_network as survey_network
from .run import device as device
from .run import evaluate as evaluate
from .run import prepare_again as prepare_again
from .run import resume as resume
from .run import train as train
