"""Tuning: trials of one shape in one compiled program, the search space, the study on disk."""

from .together import Together as Together
from .together import Trial as Trial
from .together import groups as groups
