"""Pullback: feed-forward networks whose every derivative is written down, checked and open to inspection."""

__version__ = "0.1.0"
