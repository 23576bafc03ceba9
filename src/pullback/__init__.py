"""Pullback: feed-forward networks whose every derivative is written down and checked.

Each of them is open to inspection, in a program as in a report.
"""

__version__ = "0.1.0"
