"""What all tests share: strictness, and genuine data where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Most of the time goes into compiling, and files, processes and commands compile the same programs.
# They share them in a folder of this run alone, which must be named before JAX is there.
CACHE = "JAX_COMPILATION_CACHE_DIR"
OURS = CACHE not in os.environ
if OURS:
    os.environ[CACHE] = tempfile.mkdtemp(prefix="pullback-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # See `pullback.programs`, which leaves who names a folder alone.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402, there is no public way to set a flag of XLA by file

collect_ignore = ["mutation.py"]  # a command, which wants the extra `mutation`

# Broadcasting and promotion are written out in this package; anything implicit is an error here.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# Compiled as users' programs are: what holds every map, loss, penalty and rule against its oracles,
# and what compares one process with another. Elsewhere half of the time would go into optimising
# programs of a few examples.
AS_USERS = {
    "test_catalogue",
    "test_check",
    "test_compilations",
    "test_maps",
    "test_optim",
    "test_resume",
    "test_tables",
    "test_train",
}

# What compiles small programs soonest: no optimisation, and neither the code generator that needs
# most time. XLA reads the variable once, at its start, so it must have done so before it is set.
QUICK = {"xla_cpu_use_fusion_emitters": False}
_as_users = compiler.get_compile_options
jax.devices()


def _quickly(*args, env_options_overrides=None, **kwargs):
    """The options with which JAX compiles, and those of `QUICK`."""
    overrides: dict = QUICK | (env_options_overrides or {})
    return _as_users(*args, env_options_overrides=overrides, **kwargs)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the studies of minutes too")
    parser.addoption("--optimised", action="store_true", help="compile all as users' programs are")


def pytest_unconfigure():
    """Delete the programs at the end, in the process that made their folder."""
    if OURS:
        shutil.rmtree(os.environ[CACHE], ignore_errors=True)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="a study of minutes: run with --long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="module", autouse=True)
def programs(request):
    """Choose how a file's programs are compiled, and forget them at its end: they fill the memory.

    What a test starts as a process of its own is compiled in the same way.
    """
    as_users = request.config.getoption("--optimised") or request.node.path.stem in AS_USERS
    with pytest.MonkeyPatch.context() as patch:
        if not as_users:
            flags = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
            patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {flags}")
            patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
            patch.setattr(compiler, "get_compile_options", _quickly)
        jax.config.update("jax_disable_most_optimizations", not as_users)
        yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def mnist_directory() -> Path:
    """A folder that holds genuine MNIST, or skip."""
    given = os.environ.get("PULLBACK_DATA")
    places = [Path(given)] if given else []
    places.append(Path(__file__).parents[2] / "shared" / "data")
    for place in places:
        for folder in (place, place / "mnist"):
            if list(folder.glob("train-images-idx3-ubyte*")):
                return place
    pytest.skip("genuine MNIST is not here: set PULLBACK_DATA to a folder that holds its IDX files")
