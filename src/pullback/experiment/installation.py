"""What this installation has."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import jax

from .. import __version__, config, extras
from ..data import data_directory
from .rows import check
from .run import device

_CACHE = ("enable_compilation_cache", "compilation_cache_dir")


def diagnose_installation(data_dir: Path | None = None) -> dict[str, str]:
    """Versions, devices, where data lie, and a gradient check of a small network."""
    small = config.parse(
        {
            "data": {"source": "xor", "n": 40, "noise": 0.1},
            "network": {"hidden": [4], "activation": "tanh"},
        },
        "doctor",
    )
    report = check(small)
    found = {
        "pullback": __version__,
        "python": platform.python_version(),
    }
    found |= {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "numpy", "scikit-learn")
    }
    keeps, folder = (getattr(jax.config, f"jax_{name}") for name in _CACHE)
    found |= {
        "device": device(),
        "data": str(data_directory(data_dir)),
        "compiled programs": (keeps and folder) or "not kept",
    }
    for extra in extras.EXTRAS:
        found[extra] = "yes" if extras.there(extra) else f"no: {extras.command(extra)}"
    found["gradient check"] = (
        f"{'ok' if report.ok else 'FAILED'}: worst relative error {report.worst:.1e}"
    )
    return found
