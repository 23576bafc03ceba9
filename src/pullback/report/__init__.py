"""The report of a run: figures, and one page that holds them all and asks for nothing else.

It reads the folder of a run and nothing beside it: neither JAX, nor the data, nor the network.
"""

from .page import write_report as write_report
