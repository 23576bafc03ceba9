"""Models that somebody wrote to do harm: each is refused in a sentence, and nothing is done.

Each has the right seal: whoever can change a model can seal it again. All are loaded in one child,
which tells how each ended, how long it took and how much memory was used.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from command import environment, refused

from pullback import config, files, jsontext, runs, sealed, tensors, tree
from pullback.data import Preparation
from pullback.data.standardize import Standardizer
from pullback.errors import CheckpointError
from pullback.model import load_model
from pullback.runs import RunFolder

EXPERIMENT = """
loss = "softmax-cross-entropy"
[network]
layers = [{name = "affine", width = 3}, {name = "batch-norm"}, {name = "affine", width = 2}]
"""
HIDDEN = 'loss = "softmax-cross-entropy"\n[network]\nhidden = HIDDEN'
LAYERS = 'loss = "softmax-cross-entropy"\n[network]\nlayers = LAYERS'
PREPARATION = Preparation(
    (4,), standardizer=Standardizer(np.zeros(4), np.ones(4)), classes=("no", "yes")
).to_json()
DESCRIPTION = {
    "format": 1,
    "experiment": EXPERIMENT,
    "outputs": 2,
    "preparation": PREPARATION,
}


def weights():
    """The arrays of the model that all others are made from."""
    net = config.parse(config.decode(EXPERIMENT, "a test"), "a test").network.build(2)
    params, state = net.init(jax.random.key(0), jax.numpy.ones((1, 4)))
    return {
        name: np.asarray(leaf)
        for name, leaf in tree.named({"params": params, "state": state}).items()
    }


WEIGHTS = weights()
WEIGHT = "params/affine1/weight"


class Bomb:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return (Path("executed").touch, ())


def zip_bomb():
    """A thousandth of what it says to hold."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("params.npy", bytes(1 << 28))
    return held.getvalue()


def header(text, body=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_array(name, array):
    return tensors.encode(WEIGHTS | {name: array})


def spoiled(name, value):
    array = WEIGHTS[name].copy()
    array.flat[0] = value
    return with_array(name, array)


def sparse(told, size=100):
    plain = {name: array for name, array in WEIGHTS.items() if name != WEIGHT}
    packed = np.full(size, 255, np.uint8)
    return safetensors.numpy.save(plain | {WEIGHT: packed}, {"sparse": json.dumps(told)})


TENSORS = {
    "a pickle": pickle.dumps(Bomb()),
    "a pickle of arrays": pickle.dumps(WEIGHTS),
    "a zip bomb": zip_bomb(),
    "nothing": b"",
    "a huge header": (1 << 62).to_bytes(8, "little") + b"{}",
    "a header as large as allowed": header(b"{}" + b" " * ((1 << 24) - 2)),
    "a deep header": header(b"[" * 100_000),
    "a header of one array without its bytes": header(
        {WEIGHT: {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ),
    "the half of it": tensors.encode(WEIGHTS)[:-20],
    "nan": spoiled(WEIGHT, np.nan),
    "infinity": spoiled("params/affine2/bias", np.inf),
    "minus infinity in the state": spoiled("state/batchnorm1/mean", -np.inf),
    "another shape": with_array(WEIGHT, np.zeros((4, 4), np.float32)),
    "a transposed shape": with_array(WEIGHT, WEIGHTS[WEIGHT].T),
    "doubles": with_array(WEIGHT, WEIGHTS[WEIGHT].astype(np.float64)),
    "whole numbers": with_array(WEIGHT, WEIGHTS[WEIGHT].astype(np.int32)),
    "halves": with_array(WEIGHT, WEIGHTS[WEIGHT].astype(ml_dtypes.bfloat16)),
    "an array less": tensors.encode({k: v for k, v in WEIGHTS.items() if k != WEIGHT}),
    "an array more": with_array("params/affine3/weight", np.zeros((2, 2), np.float32)),
    "a name that climbs": with_array("../../../executed", np.zeros(2, np.float32)),
    "no array": tensors.encode({}),
    "zeros that are too many": sparse({WEIGHT: ["F32", [10**15]]}),
    "zeros of a computer's end": sparse({WEIGHT: ["F64", [1 << 60, 1 << 60]]}),
    "bits that tell of more": sparse({WEIGHT: ["F32", [4, 3]]}),
}

DESCRIPTIONS = {
    "no JSON": b"{",
    "deep JSON": b"[" * 100_000,
    "a deep member": b'{"format":' + b'{"a":' * 100_000,
    "NaN": b'{"format": NaN}',
    "a number": b"7",
    "a list": b"[]",
    "null": b"null",
    "a number of a million digits": b'{"format": 1' + b"0" * 1_000_000 + b"}",
    "no text": b"\xff\xfe",
}

CHANGES = {
    "no format": {"format": None},
    "a later format": {"format": 2},
    "a format of text": {"format": "1"},
    "an experiment of numbers": {"experiment": 7},
    "an experiment of nothing": {"experiment": ""},
    "an experiment that is no TOML": {"experiment": "a = "},
    "deep TOML": {"experiment": "a = " + "[" * 100_000},
    "deep tables": {"experiment": "a = " + "{a = " * 100_000},
    "deep keys": {"experiment": "a" + ".a" * 100_000 + " = 1"},
    "a whole number of 10,000 digits": {"experiment": "seed = 1" + "0" * 10_000},
    "megabytes of experiment": {"experiment": "# " + "a" * (1 << 22) + EXPERIMENT},
    "an unknown map": {"experiment": LAYERS.replace("LAYERS", '["os.system"]')},
    "an unknown loss": {"experiment": EXPERIMENT.replace("softmax-", "exec-")},
    "no loss": {"experiment": EXPERIMENT.replace('loss = "softmax-cross-entropy"', "")},
    "an unknown key": {"experiment": EXPERIMENT + "[code]\nrun = 1"},
    "another precision": {"experiment": 'precision = "float16"\n' + EXPERIMENT},
    "doubles for singles": {"experiment": 'precision = "float64"\n' + EXPERIMENT},
    "a width of 10^12": {"experiment": HIDDEN.replace("HIDDEN", "[1000000000000]")},
    "a width of 10^30": {"experiment": HIDDEN.replace("HIDDEN", f"[{10**30}]")},
    "a width below zero": {"experiment": HIDDEN.replace("HIDDEN", "[-1]")},
    "two wide layers": {"experiment": HIDDEN.replace("HIDDEN", f"[{10**12}, {10**12}]")},
    "many layers": {"experiment": HIDDEN.replace("HIDDEN", str([1] * 300_000))},
    "many activations": {"experiment": LAYERS.replace("LAYERS", json.dumps(["relu"] * 90_000))},
    "a billion towers": {
        "experiment": LAYERS.replace(
            "LAYERS", '[{name = "towers", count = 1000000000, layers = ["relu"]}]'
        )
    },
    "towers of towers of towers": {
        "experiment": LAYERS.replace(
            "LAYERS",
            '[{name = "towers", count = 9999, layers = [{name = "towers", count = 9999, '
            'layers = [{name = "towers", count = 9999, layers = ["relu"]}]}]}]',
        )
    },
    "skips in skips": {
        "experiment": LAYERS.replace(
            "LAYERS", '[{name = "skip", layers = ' * 5000 + '["relu"]' + "}]" * 5000
        )
    },
    "a hundred skips in skips": {
        "experiment": LAYERS.replace(
            "LAYERS", '[{name = "skip", layers = ' * 100 + '["relu"]' + "}]" * 100
        )
    },
    "a window of 10^12 entries": {
        "experiment": LAYERS.replace(
            "LAYERS",
            '[{name = "reshape", shape = [2, 2, 1]}, '
            '{name = "max-pool", size = 1000000, padding = 999999}]',
        )
    },
    "a kernel of 10^20 entries": {
        "experiment": LAYERS.replace(
            "LAYERS",
            '[{name = "reshape", shape = [2, 2, 1]}, '
            '{name = "conv", width = 1, size = 10000000000, padding = "same"}]',
        )
    },
    "images of 10^60 pixels": {
        "experiment": LAYERS.replace(
            "LAYERS",
            '[{name = "reshape", shape = [2, 2, 1]}, '
            f'{{name = "average-pool", size = 2, padding = 1, stride = {10**30}}}]',
        )
    },
    "padding of 10^18": {
        "experiment": LAYERS.replace(
            "LAYERS",
            '[{name = "reshape", shape = [2, 2, 1]}, '
            '{name = "conv", width = 1, size = 1, padding = 1000000000000000000}]',
        )
    },
    "10^12 pieces": {
        "experiment": LAYERS.replace("LAYERS", '[{name = "maxout", pieces = 1000000000000}]')
    },
    "another output": {"experiment": EXPERIMENT, "outputs": 3},
    "outputs below one": {"outputs": 0},
    "outputs below zero": {"outputs": -1},
    "outputs of truth": {"outputs": True},
    "outputs of text": {"outputs": "2"},
    "half an output": {"outputs": 2.5},
    "no outputs": {"outputs": None},
    "10^12 outputs": {"outputs": 10**12, "experiment": HIDDEN.replace("HIDDEN", "[3]")},
    "no preparation": {"preparation": None},
    "a list for a preparation": {"preparation": []},
    "a preparation of nothing": {"preparation": {}},
}


def prepared(**changes):
    return {"preparation": PREPARATION | changes}


CHANGES |= {
    "no inputs": prepared(shape=[]),
    "an input of no entries": prepared(shape=[0]),
    "inputs below zero": prepared(shape=[-4]),
    "10^12 inputs": prepared(shape=[10**12], standardizer=None),
    "10^30 inputs": prepared(shape=[10**30], standardizer=None),
    "inputs of text": prepared(shape="4"),
    "inputs of texts": prepared(shape=["4"]),
    "inputs of fractions": prepared(shape=[4.0]),
    "another number of inputs": prepared(shape=[5]),
    "fewer classes": prepared(classes=["one"]),
    "more classes": prepared(classes=["one", "two", "three"]),
    "a class twice": prepared(classes=["one", "one"]),
    "classes of numbers": prepared(classes=[1, 2]),
    "classes of text": prepared(classes="ab"),
    "columns of numbers": prepared(unused=[1]),
    "a mean of another shape": prepared(standardizer={"mean": [0.0], "deviation": [1.0] * 4}),
    "a mean of text": prepared(standardizer={"mean": ["a"] * 4, "deviation": [1.0] * 4}),
    "a mean that is not finite": prepared(
        standardizer={"mean": [{"float": "nan"}] * 4, "deviation": [1.0] * 4}
    ),
    "a ragged mean": prepared(standardizer={"mean": [[0.0], 0, 0, 0], "deviation": [1.0] * 4}),
    "a deviation of zero": prepared(standardizer={"mean": [0.0] * 4, "deviation": [0.0] * 4}),
    "no deviation": prepared(standardizer={"mean": [0.0] * 4}),
    "an encoder of numbers": prepared(encoder=7),
    "an encoder of other features": prepared(encoder=[{"name": "a", "categories": None}]),
    "a category twice": prepared(
        encoder=[{"name": "a", "categories": ["u", "u", "v", "w"]}],
    ),
    "categories of numbers": prepared(encoder=[{"name": "a", "categories": [1, 2, 3, 4]}]),
    "categories of text": prepared(encoder=[{"name": "a", "categories": "abcd"}]),
    "a column twice": prepared(encoder=[{"name": "a", "categories": None}] * 4),
    "a column without a name": prepared(encoder=[{"categories": None}] * 4),
    "a column named by a number": prepared(
        encoder=[{"name": i, "categories": None} for i in range(4)]
    ),
}

CHANGES |= {
    "a network of a billion workers and one edge": {
        "experiment": EXPERIMENT
        + '[peers]\ntopology = {name = "edge-list", edges = [[0, 1000000000]]}'
    },
    "many deep keys": {"experiment": "".join(f"{'a.' * 64}k{i} = 1\n" for i in range(10_000))},
    "a deep key behind a text of several lines": {
        "experiment": 'a = {b = """\n""", ' + "c." * 50_000 + 'c = "1"}'
    },
    "keys that look like ends of lines": {"experiment": "'\u2028'." * 50_000 + "b = 1"},
    "keys in quotes, deep": {"experiment": '"\\"a".' * 100_000 + "b = 1"},
}
CHANGES |= {
    f"10^12 weights drawn by {name}": {
        "experiment": LAYERS.replace(
            "LAYERS",
            f'[{{name = "affine", width = 1000000000000, initializer = "{name}"}}, '
            '{name = "affine", width = 2}]',
        )
    }
    for name in config.INITIALIZERS
}


def whole(**changes):
    """The files of a model, sealed rightly."""
    contents = {
        "model.safetensors": tensors.encode(WEIGHTS),
        "model.json": (jsontext.encode(DESCRIPTION, indent=2) + "\n").encode(),
    }
    return contents | changes


def make(path, contents):
    """A run that holds this model."""
    with RunFolder.create(path) as run:
        files.write_text(run.config, "")
        run.write_meta(seed=0, device="cpu", data="", argv=[])
        sealed.write(run.model, "model", contents)
    return path


def changed(change):
    told = {**DESCRIPTION, **change}
    told = {key: value for key, value in told.items() if value is not None}
    # json and not jsontext, which would refuse a dictionary that stands for a float.
    return json.dumps(told).encode()


CORPUS = {f"tensors: {name}": {"model.safetensors": data} for name, data in TENSORS.items()}
CORPUS |= {f"description: {name}": {"model.json": data} for name, data in DESCRIPTIONS.items()}
CORPUS |= {f"{name}": {"model.json": changed(change)} for name, change in CHANGES.items()}

# It loads one model after another, with no more memory than a few of them would take.
CHILD = """
import json, resource, sys, time
from pathlib import Path
from pullback.errors import PullbackError
from pullback.model import load_model

load_model(Path("good"))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (1 << 31)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for line in sys.stdin:
    name, path = json.loads(line)
    before, began, end = used(), time.monotonic(), "loaded"
    try:
        load_model(Path(path))
    except PullbackError as error:
        end = f"{type(error).__name__}: {error}"
    except BaseException as error:
        end = f"DEFECT {type(error).__name__}: {str(error)[:300]}"
    print(json.dumps([name, end, used() - before, time.monotonic() - began]), flush=True)
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """How the loading of each ended: a sentence, the megabytes that it took, the seconds."""
    folder = tmp_path_factory.mktemp("evil")
    make(folder / "good", whole())
    lines = []
    for number, (name, contents) in enumerate(CORPUS.items()):
        make(folder / str(number), whole(**contents))
        lines.append(json.dumps([name, str(number)]) + "\n")
    shown = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="".join(lines),
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert not (folder / "executed").exists()
    assert shown.returncode == 0, shown.stderr
    return {name: rest for name, *rest in map(json.loads, shown.stdout.splitlines())}


def test_the_model_that_all_are_made_from_loads(tmp_path):
    model = load_model(make(tmp_path / "run", whole()))
    assert model.preparation.classes == ("no", "yes")


def test_the_pickle_would_do_what_the_others_must_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(TENSORS["a pickle"])
    assert Path("executed").exists()


@pytest.mark.parametrize("name", CORPUS)
def test_an_evil_model_is_refused(ends, name):
    end, megabytes, _ = ends[name]
    assert end.startswith(("CheckpointError: ", "ConfigError: ", "ShapeError: ")), end
    assert "\n" not in end
    assert len(end) < 1000
    assert megabytes < 256


def test_a_file_that_is_larger_than_the_memory_is_not_read(tmp_path):
    path = make(tmp_path / "run", whole())
    size = 16 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    os.truncate(path / "model" / "model.safetensors", size)  # zeros that take no place on the disk
    manifest = path / "model" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["files"]["model.safetensors"]["bytes"] = size
    manifest.write_text(jsontext.encode(told, indent=2) + "\n")
    with pytest.raises(CheckpointError, match="too many for this machine's memory"):
        load_model(path)


def test_a_description_of_hundreds_of_megabytes_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_DESCRIPTION_BYTES", 1000)
    path = make(tmp_path / "run", whole(**{"model.json": b"[" * 1001}))
    with pytest.raises(CheckpointError, match="1,001 bytes, 1,000 at most"):
        load_model(path)


@pytest.mark.parametrize("verb", [["predict", "x.npy"], ["evaluate"], ["export", "--to", "numpy"]])
def test_a_verb_ends_with_one_sentence(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((2, 4)))
    name, *rest = verb
    path = make(tmp_path / "pickled", whole(**{"model.safetensors": TENSORS["a pickle"]}))
    assert "a header of" in refused(name, path, *rest, code=5)
    path = make(tmp_path / "named", whole(**{"model.json": changed(CHANGES["an unknown map"])}))
    assert "unknown name 'os.system'" in refused(name, path, *rest, code=2)
    assert not Path("executed").exists()
