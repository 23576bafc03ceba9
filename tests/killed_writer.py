"""Kill a writer at every line that it executes, and look at what it left.

Run as a script in a process of its own, which forks one writer per line: a fork is cheap, and the
tests' process may hold threads that do not survive one. Prints, as JSON, how often the old and how
often the new content was found for each scene; anything else ends it with an error.

    python killed_writer.py FOLDER
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from pullback import checkpoint, files, sealed
from pullback.runs import RunFolder

TRACED = {module.__file__ for module in (checkpoint, files, sealed, shutil)}


def arrays(value):
    return {"w": np.full((5, 3), value, np.float32), "key": np.array([value, 7], np.uint32)}


def write_step(folder, step, value):
    checkpoint.save(folder, arrays(value), {"step": step, "value": value})


def read_step(folder):
    loaded = checkpoint.load_latest(folder)
    assert loaded is not None, "no checkpoint is left"
    path = checkpoint.latest(folder)
    assert path is not None
    assert checkpoint.load(path)[1] == loaded[1]
    return loaded


def write_model(folder, value):
    with RunFolder(folder).lock() as run:
        run.save_model(arrays(value), {"value": value})


def read_model(folder):
    return RunFolder(folder).load_model()


# name: the old writer, the new writer, the reader, and what a later writer leaves in the folder
SCENES = {
    "next step": (
        lambda folder: write_step(folder, 1, 1),
        lambda folder: write_step(folder, 2, 2),
        read_step,
        {"step-000000002"},
    ),
    "same step": (
        lambda folder: write_step(folder, 2, 1),
        lambda folder: write_step(folder, 2, 2),
        read_step,
        {"step-000000002"},
    ),
    "model": (
        lambda folder: write_model(folder, 1),
        lambda folder: write_model(folder, 2),
        read_model,
        {"model", "run.lock"},
    ),
}


def kill_at_line(number):
    """Kill this process just before the line of that number in the traced modules."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            lines += 1
            if lines > number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def kill_at_byte(number):
    """Kill this process in the middle of the first file that grows beyond a size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))


def survives(kill, number, write, folder):
    """Write in a child that is killed; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        kill(number)
        write(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, f"the writer failed: {status}"
    return status == 0


def play(folder, kill, stride, old, new, read, left):
    found = Counter()
    number, done = 0, False
    while not done:
        folder.mkdir()
        old(folder)
        done = survives(kill, number, new, folder)
        loaded, told = read(folder)
        for name, array in arrays(told["value"]).items():
            assert loaded[name].tobytes() == array.tobytes(), name
        found["new" if told["value"] == 2 else "old"] += 1
        assert not done or told["value"] == 2, "a writer that ended left the old content"
        new(folder)
        assert read(folder)[1]["value"] == 2
        assert {path.name for path in folder.iterdir()} == left, "litter"
        shutil.rmtree(folder)
        number += stride
    return found


def main():
    # A killed process loses nothing that the system has taken: without the wait, this is fast.
    os.fsync = lambda _: None
    folder = Path(sys.argv[1]) / "scene"
    found = {}
    for name, scene in SCENES.items():
        found[name] = play(folder, kill_at_line, 1, *scene)
        found[name + ", torn"] = play(folder, kill_at_byte, 16, *scene)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
