"""Trainings of one study compile much of the same: what one has compiled, the next finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental.compilation_cache import compilation_cache

_FOLDER = "jax_compilation_cache_dir"
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextmanager
def shared_programs() -> Iterator[None]:
    """Keep compiled programs in a folder of this process alone, which is gone afterwards.

    A folder that the user has given to JAX is left as it is.
    """
    if getattr(jax.config, _FOLDER):
        yield
        return
    before = {name: getattr(jax.config, name) for name in _SETTINGS}
    with tempfile.TemporaryDirectory(prefix="pullback-") as folder:
        for name, value in {**_SETTINGS, _FOLDER: folder}.items():
            jax.config.update(name, value)
        try:
            yield
        finally:
            for name, value in {**before, _FOLDER: None}.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
