"""Algorithms: what workers send each other, and what they make of it."""

from .averaging import FedAvg as FedAvg
from .consensus import GraphADMM as GraphADMM
from .consensus import StarADMM as StarADMM
from .core import Algorithm as Algorithm
from .core import Asked as Asked
from .core import Heard as Heard
from .core import Seat as Seat
from .core import Slots as Slots
from .core import Stage as Stage
from .core import Turn as Turn
from .core import Work as Work
from .core import hubs as hubs
from .core import message_key as message_key
from .core import period_turns as period_turns
from .core import turns as turns
from .corrected import ExactDiffusion as ExactDiffusion
from .corrected import Extra as Extra
from .corrected import GradientTracking as GradientTracking
from .gossip import DPSGD as DPSGD
from .gossip import Choco as Choco
from .push import PushSum as PushSum
from .relay import RelaySum as RelaySum
