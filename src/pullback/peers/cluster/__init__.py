"""Workers in processes of their own, on one machine or on many: the engine `cluster`, on Ray."""

from .crew import Crew as Crew
from .engine import Cluster as Cluster
from .source import Source as Source
