"""Compiled programs in the user's cache: what one command has compiled, the next finds.

A short training is mostly compiling, and the second of its kind need not be. JAX keeps the programs
and knows by their text, its version and its options which is which; here it is told where, apart
for each kind of processor, and what is oldest goes when there are too many.
"""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from .files import user_cache

# Some 8 to 100 kB each.
MOST = 4096

_UNREADABLE = "Error reading persistent compilation cache entry for '([^']*)'"
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_LOGGED = "TF_CPP_MIN_LOG_LEVEL"
_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def keep_programs() -> None:
    """Let JAX keep what it compiles in the user's cache, here and in processes started from here.

    Nothing is changed if JAX has begun, or has been given a folder by JAX_COMPILATION_CACHE_DIR;
    with JAX_ENABLE_COMPILATION_CACHE=0 it keeps none. A folder that cannot be made, or that others
    may write to, is not used: whoever writes there makes this process run what they please.
    """
    if "jax" in sys.modules or _FOLDER in os.environ:
        return
    told = _told_of_processor()
    try:
        programs = user_cache() / "programs"
        folder = programs / _kind(told)
        programs.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (_ours(programs) and _ours(folder)):
            return
        names = os.listdir(folder)
    except (OSError, RuntimeError):
        return
    if len(names) > MOST:
        _forget(folder, names)
    for name, value in {_FOLDER: str(folder), **_ALL}.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache")
    # With AVX-512 XLA prefers not to gather, takes that for a feature that the processor lacks, and
    # logs an error for each program that it finds (openxla/xla issue 44565), all the same running
    # it. Programs of other kinds of processors lie elsewhere. JAX sets 1 for itself and children.
    if "avx512f" in told and os.environ.get(_LOGGED, "1") == "1":
        os.environ[_LOGGED] = "3"
    _mend(folder)


def _mend(folder: Path) -> None:
    """Delete what JAX cannot read, which it would compile anew each time and never replace.

    A full disk cuts a program off, or a death in the midst of writing. JAX warns and goes on; the
    warning names the program, and nobody else needs to hear of it.
    """
    warnings.filterwarnings("always", _UNREADABLE)
    show = warnings.showwarning

    def hear(message: Warning | str, *args: Any, **more: Any) -> None:
        found = re.match(_UNREADABLE, str(message))
        if found is None:
            show(message, *args, **more)
            return
        for path in folder.glob(f"{glob.escape(found[1])}-*"):
            with suppress(OSError):
                path.unlink()

    warnings.showwarning = hear


def _ours(folder: Path) -> bool:
    """Whether a folder belongs to this user, who alone may write to it."""
    found = folder.stat()
    return not hasattr(os, "getuid") or (
        found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _told_of_processor() -> str:
    """Return what the system tells of this processor, its features above all."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    except OSError:
        return platform.processor()


def _kind(told: str) -> str:
    """Name a kind of processor: a program made for one may stop on another."""
    kind = "\n".join([sys.platform, platform.machine(), told])
    return hashlib.sha256(kind.encode()).hexdigest()[:16]


def _forget(folder: Path, names: list[str]) -> None:
    """Delete the older half; what another process deletes meanwhile is gone as well."""

    def age(name: str) -> float:
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            return 0.0

    for name in sorted(names, key=age)[: len(names) - MOST // 2]:
        with suppress(OSError):
            (folder / name).unlink()
