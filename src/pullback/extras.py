"""What can be installed beside the package, and how it is said that it is not."""

from __future__ import annotations

import importlib.util

from .errors import ConfigError

# The packages of each extra, by the names under which they are imported.
EXTRAS = {
    "parquet": ("pyarrow",),
    "tune": ("optuna",),
    "cluster": ("ray",),
    "onnx": ("onnx",),
    "serve": ("starlette", "uvicorn"),
}


def there(extra: str) -> bool:
    """Whether all packages of an extra are installed; none of them is imported."""
    return all(importlib.util.find_spec(package) for package in EXTRAS[extra])


def command(extra: str) -> str:
    """What installs an extra.

    >>> command("tune")
    "pip install 'pullback[tune]'"
    """
    return f"pip install 'pullback[{extra}]'"


def require(extra: str, wants: str) -> None:
    """Refuse to go on without an extra.

    Args:
        extra: its name.
        wants: the sentence that says who wants what.

    Raises:
        ConfigError: one of its packages is not installed.
    """
    if not there(extra):
        raise ConfigError(wants, next=command(extra))
