"""Processes on Ray, one for each worker: called without waiting for ever, and started again."""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from ... import __version__
from ...errors import ConfigError, PeerError, PullbackError
from ..algorithm import Seat
from ..worker import Job, Message, Reply, Worker

What = Literal["dead", "overdue"]


def ray() -> Any:
    """Return the module Ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "the engine 'cluster' runs on Ray, which is not installed",
            next="pip install 'pullback[cluster]', or take the engine 'simulate'",
        ) from error


class ForgottenError(PeerError):
    """A process was started again, and has not been given its beginning yet."""


class Member:
    """What runs in the process of a worker: the worker, and nothing else."""

    def __init__(self, threads: int | None, compiled: str | None):
        """Say how many threads JAX may take, before it starts any, and where it keeps programs."""
        if threads == 1:
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
        if compiled is not None:
            jax.config.update("jax_compilation_cache_dir", compiled)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        self.worker: Worker | None = None

    def begin(
        self, job: Job, number: int, seat: Seat, data: Any, rows: np.ndarray, start: Any = None
    ) -> dict[str, Any]:
        """Load the data, and begin anew; return where this is."""
        jax.config.update("jax_enable_x64", job.double)
        # Who has no part needs an example still, for its shapes.
        part: Any = data
        if callable(data):
            part = data(rows if len(rows) else np.zeros(1, int))
        self.worker = Worker(job, number, seat, part, len(rows), start)
        return {"host": socket.gethostname(), "pid": os.getpid(), "version": __version__}

    def start(self, t: int, works: bool, sends: Sequence[bool], model: Any = None):
        """See `Worker.start`; its messages follow the reply, each by itself."""
        return _flat(*self._there().start(t, works, sends, model))

    def hear(self, t: int, turn: int, heard: Sequence[int], undelivered: Sequence[int], *messages):
        """See `Worker.hear`; the messages are in the order of those heard, and of those sent."""
        inbox = dict(zip(heard, messages, strict=True))
        return _flat(*self._there().hear(t, turn, inbox, undelivered))

    def model(self) -> np.ndarray:
        """See `Worker.model`."""
        return self._there().model()

    def look(self, whole: bool, moved: bool) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Return its model, or all its slots but those of local work; and how mixing moved it."""
        worker = self._there()
        arrays = worker.save() if whole else {"model": np.asarray(worker.vector())}
        found = {name: each for name, each in arrays.items() if not name.startswith("local/")}
        return found, [np.asarray(each) for each in worker.moved] if moved else []

    def save(self) -> dict[str, np.ndarray]:
        """See `Worker.save`."""
        return self._there().save()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See `Worker.restore`."""
        self._there().restore(arrays)

    def _there(self) -> Worker:
        if self.worker is None:
            raise ForgottenError("a worker was called before it began", next="call begin first")
        return self.worker


class Crew:
    """So many processes, and what is known of them.

    A process that ends is started again by Ray, as often as it ends, and has then forgotten all: it
    is given its beginning again, and is back when it has answered. One that does not answer in time
    is left alone until it has answered.

    The processes share what they compile: in the folder of JAX_COMPILATION_CACHE_DIR, which the
    command sets; without it, where Ray is started here, in one that `close` removes.

    Attributes:
        up: who is, (n,).

    Args:
        n: how many.
        address: of a Ray cluster that runs, such as "10.0.0.1:6379", or "auto"; None starts Ray on
            this machine, or takes the one that this process is part of already.
        threads: 1 keeps JAX to one thread in each; None lets it take as many as there are cores.

    Raises:
        ConfigError: Ray is not installed.
        PeerError: there is no Ray at this address.
    """

    def __init__(self, n: int, *, address: str | None = None, threads: Literal[1] | None = 1):
        """Start Ray, or join it, and the processes."""
        self._ray = ray()
        self.up = np.zeros(n, bool)
        self._started = not self._ray.is_initialized()
        # What one has compiled serves the others, and above all the one that takes its place.
        self._compiled: tempfile.TemporaryDirectory | None = None
        alone = self._started and address is None
        if alone and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            self._compiled = tempfile.TemporaryDirectory(prefix="pullback-compiled-")
        if self._started:
            self._join(address)
        kind = self._ray.remote(Member).options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        compiled = None if self._compiled is None else self._compiled.name
        self._members = [kind.remote(threads, compiled) for _ in range(n)]
        # What those that are not up have still to answer, and which of them begin anew with it.
        self._waiting: dict[int, Any] = {}
        self._anew: set[int] = set()
        self._beginnings: list[tuple] = []

    def begin(self, beginnings: Sequence[tuple], seconds: float) -> list[dict[str, Any]]:
        """Give the first their beginnings, the arguments of `Member.begin`; tell where each is.

        Raises:
            ConfigError: there are more beginnings than processes.
            PeerError: one did not start in time, or has another version of this package.
        """
        self._beginnings, n = list(beginnings), len(beginnings)
        if n > len(self._members):
            raise ConfigError(f"there are {n} workers for {len(self._members)} processes")
        self.up, self._waiting = np.zeros(n, bool), {}
        for i in range(n):
            self._begin(i)
        places: dict[int, Any] = {}
        end = time.monotonic() + seconds
        while len(places) < n:
            left = end - time.monotonic()
            if left <= 0:
                silent = next(i for i in range(n) if i not in places)
                raise PeerError(
                    f"worker {silent} did not start within {seconds:g} s",
                    next="see whether its machine has memory left, or wait longer",
                )
            places |= self.back(min(left, 1.0))
        for i, place in places.items():
            if place["version"] != __version__:
                raise PeerError(
                    f"worker {i} runs pullback {place['version']}, here is {__version__}",
                    where=f"the machine {place['host']}",
                    next="install the same version on every machine",
                )
        return [places[i] for i in range(n)]

    def call(self, i: int, method: str, *args: Any, returns: int = 1) -> Any:
        """Call one without waiting; return the reference of what it returns, or as many of them."""
        return getattr(self._members[i], method).options(num_returns=returns).remote(*args)

    def put(self, value: Any) -> Any:
        """Store a value where all can read it; return its reference."""
        return self._ray.put(value)

    def gather(
        self, references: Mapping[int, Any], seconds: float
    ) -> tuple[dict[int, Any], dict[int, What]]:
        """Wait for the answers of some, at most so long; return them, and who gave none and why.

        Whoever gave none is no longer up, until it is back.

        Raises:
            PullbackError: one of them raised it.
        """
        answers, lost = {}, {}
        end = time.monotonic() + seconds
        if references:
            self._ray.wait(list(references.values()), num_returns=len(references), timeout=seconds)
        for i, reference in references.items():
            try:
                left = max(end - time.monotonic(), 0)
                answers[i] = self._ray.get(reference, timeout=left)
            except self._ray.exceptions.GetTimeoutError:
                lost[i], self._waiting[i] = "overdue", reference
            except self._ray.exceptions.RayActorError:
                lost[i] = "dead"
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ForgottenError):
                    lost[i] = "dead"
                elif isinstance(error.cause, self._ray.exceptions.RayError):
                    lost[i], self._waiting[i] = "overdue", None
                else:
                    raise _own(error) from None
            except self._ray.exceptions.RayError:
                # What it was sent is lost on the way: it answers no more in this round.
                lost[i], self._waiting[i] = "overdue", None
            if i in lost:
                self.up[i] = False
            if lost.get(i) == "dead":
                self._begin(i)
        return answers, lost

    def back(self, seconds: float = 0.0) -> dict[int, Any]:
        """Return who is up again, with its place if it has begun anew, else None.

        Wait so long for one of them.

        Raises:
            PullbackError: one of them raised it.
        """
        found = {i: None for i, reference in self._waiting.items() if reference is None}
        waiting = {i: each for i, each in self._waiting.items() if each is not None}
        if waiting and not found:
            self._ray.wait(list(waiting.values()), num_returns=1, timeout=seconds)
        for i, reference in waiting.items():
            try:
                answer = self._ray.get(reference, timeout=0)
                found[i] = answer if i in self._anew else None
            except self._ray.exceptions.GetTimeoutError:
                continue
            except self._ray.exceptions.RayActorError:
                time.sleep(min(seconds, 0.05))
                self._begin(i)
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ForgottenError):
                    self._begin(i)
                elif isinstance(error.cause, self._ray.exceptions.RayError):
                    found[i] = None
                else:
                    raise _own(error) from None
            except self._ray.exceptions.RayError:
                found[i] = None
        for i in found:
            del self._waiting[i]
            self._anew.discard(i)
            self.up[i] = True
        return found

    def close(self) -> None:
        """End the processes, and Ray if it was started here."""
        for member in self._members:
            self._ray.kill(member)
        self._members = []
        if self._started:
            self._ray.shutdown()
        if self._compiled is not None:
            self._compiled.cleanup()
            self._compiled = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, i: int) -> None:
        self._waiting[i] = self.call(i, "begin", *self._beginnings[i])
        self._anew.add(i)

    def _join(self, address: str | None) -> None:
        try:
            with warnings.catch_warnings():
                # The child runs Ray at once, and never what JAX warns of.
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                self._ray.init(
                    address="local" if address is None else address,
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
        except Exception as error:  # Ray raises bare ones, too
            self._ray.shutdown()
            told = (str(error) or type(error).__name__).splitlines()[0]
            if address is None:
                raise PeerError(
                    f"Ray does not start: {told}",
                    next="see whether this machine has memory and processors left",
                ) from error
            raise PeerError(
                f"Ray is not reached: {told}",
                where=f"the address {address}",
                next="start it there with 'ray start --head', give HOST:PORT, and set "
                "RAY_AUTH_MODE=token here if that has a token",
            ) from error


def _flat(reply: Reply, message: Message) -> tuple[Any, ...]:
    """What Ray returns as so many references."""
    return (reply, *message) if isinstance(message, tuple) else (reply, message)


def _own(error: Any) -> Exception:
    """The error that a worker raised, if it is one of ours; else as Ray tells it."""
    cause = error.cause
    return cause if isinstance(cause, PullbackError) else error
