"""Rules: how gradients become updates."""

from .descent import SGD as SGD
from .descent import Rule as Rule
