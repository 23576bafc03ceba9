"""What users and machines do wrong: one sentence, the documented code, nothing looks finished."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import (
    assert_same_run,
    child,
    command,
    environment,
    invoke,
    refused,
    result_of,
    sentence,
    settings,
    table,
)
from safetensors.numpy import load_file

from pullback import files, report


@pytest.fixture(autouse=True)
def _no_report(request, monkeypatch):
    """Skip the drawing, except where a test asks for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(report, "write_report", lambda runs, path: path)


@pytest.fixture
def drawn():
    """Let reports be drawn."""


@pytest.fixture
def out(tmp_path) -> Path:
    """Where a run would be."""
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nepcohs = 3", "unknown key 'train.epcohs', in {file}; did you mean 'epochs'?"),
        ("[trian]\nepochs = 3", "unknown key 'trian', in {file}; did you mean 'train'?"),
        ('[train]\nepochs = "3"', "train.epochs: should be a valid integer, got '3', in {file}"),
        ("[train]\nepochs = true", "train.epochs: should be a valid integer, got True, in {file}"),
        ('[network]\nbias = "no"', "network.bias: should be a valid boolean, got 'no', in {file}"),
        ("[network]\nhidden = 64", "network.hidden: should be a list, got 64, in {file}"),
        ("[rule]\nlearning_rate = -1", "learning_rate must be a positive number, got -1"),
        ("[rule]\nlearning_rate = nan", "learning_rate must be a positive number, got nan"),
        (
            '[network]\nlayers = ["tanh", "relo"]',
            "unknown name 'relo' for network.layers[1], in {file}; did you mean 'relu'?",
        ),
        (
            '[network]\nhidden = [3]\nlayers = ["relu"]',
            "network: give either layers or hidden, not both, in {file}",
        ),
        (
            "[network]\nactivation = {negative_slope = 0.1}",
            "network.activation has no name, in {file}; set network.activation.name",
        ),
        ("[data]\nnoise = 0.1", "noise does not belong to data from 'digits', in {file}"),
        ("[train", "the experiment file is not TOML"),
    ],
)
def test_a_wrong_experiment_file(tmp_path, out, text, says):
    file = tmp_path / "f.toml"
    file.write_text(text)
    assert says.format(file=file) in refused("train", file, "--out", out, code=2)
    assert says.format(file=file) in refused("check", file, code=2)
    assert not out.exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("nonsense", "a setting has the form key=value, got 'nonsense'"),
        ("train.epochs=", "'' is not a TOML value, in the setting 'train.epochs'"),
        ("train.epochs.x=3", "'epochs' is not a table, in the setting 'train.epochs.x=3'"),
        ("name='../up'", "name: should match pattern"),
        ("network.layers=[{name='affine', width=3}]", "the network gives (3,) for each example"),
    ],
)
def test_a_wrong_setting(out, setting, says):
    words = [] if "layers" in setting else settings()
    assert says in refused("train", *words, "-s", setting, "--out", out, code=2)
    assert not out.exists()


def test_usage_errors_are_told_by_click(out):
    for words in (("train", "--bad"), ("nope",), ("train", "--progress", "loud"), ("evaluate",)):
        shown = invoke(*words, code=2)
        assert shown.stdout == ""
        assert "Error: " in shown.stderr


def test_files_that_are_not_there(tmp_path, out):
    gone = tmp_path / "gone"
    assert "there is no experiment file" in refused("train", f"{gone}.toml", code=2)
    data = ("-s", "data.source=file", "-s", f"data.path={gone}.csv", "-s", "data.target=y")
    assert "No such file" in refused("train", *data, "--out", out, code=3)
    mnist = ("-s", "data.source=mnist", "--data-dir", gone, "--out", out)
    assert f"--data-dir names {gone}, which is not a directory" in refused("train", *mnist, code=3)
    for verb in ("resume", "evaluate", "report"):
        assert f"{gone} is no run" in refused(verb, gone, code=5)
    assert "is no run" in refused("predict", gone, f"{gone}.csv", code=5)
    assert not out.exists()


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"b7": "x"}, "'x' is not a number, in {file}, row 7, column 'b'"),
        ({"b7": ""}, "a value is missing (''), in {file}, row 7, column 'b'"),
        ({"a9": "nan"}, "a value is missing ('nan'), in {file}, row 9, column 'a'"),
        ({"a9": "1e999"}, "inf is not finite, in {file}, row 9, column 'a'"),
        ({"kind3": "NA"}, "a value is missing ('NA'), in {file}, row 3, column 'kind'"),
        ({"y4": ""}, "a value is missing (''), in {file}, row 4, column 'y'"),
        ({"a5": "1,2"}, "the row has 5 cells, the header 4, in {file}, row 5"),
    ],
)
def test_a_bad_cell(tmp_path, out, cells, says):
    file = table(tmp_path / "t.csv", **cells)
    words = ("-s", "data.source=file", "-s", f"data.path={file}", "-s", "data.target=y")
    assert says.format(file=file) in refused("train", *words, "--out", out, code=3)
    assert not out.exists()


def test_an_unknown_target_and_a_loss_that_does_not_fit(tmp_path, out):
    file = table(tmp_path / "t.csv")
    words = ("train", "-s", "data.source=file", "-s", f"data.path={file}", "--out", out)
    unknown = refused(*words, "-s", "data.target=kin", code=3)
    assert unknown.startswith("target names the column 'kin', which is not there")
    assert unknown.endswith("did you mean 'kind'?")
    for loss in ("softmax-cross-entropy", "sigmoid-cross-entropy"):
        numbers = refused(*words, "-s", "data.target=a", "-s", f"loss={loss}", code=2)
        assert "CrossEntropy wants classes or probabilities" in numbers
        assert f"in loss = '{loss}'" in numbers
    assert not out.exists()


def test_a_value_that_is_not_finite(tmp_path, out):
    x = np.ones((20, 3))
    x[5, 1] = np.nan
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(20) % 2)
    words = ("train", "-s", "data.source=file", "-s", f"data.path={tmp_path / 'x.npz'}")
    assert "x[5, 1] is nan" in refused(*words, "--out", out, code=3)
    assert not out.exists()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def imitation(tmp_path) -> Path:
    """A folder of files that look like MNIST, with few pictures."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part, n in (("train", 60), ("t10k", 20)):
        pictures = random.integers(0, 256, (n, 5, 5), np.uint8)
        for kind, array in (("images-idx3", pictures), ("labels-idx1", np.arange(n) % 10)):
            content = gzip.compress(idx(array.astype(np.uint8)), mtime=0)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    return folder


def swap(folder):
    images, labels = (folder / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    held = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(held)


def rewritten(name, change):
    def spoil(folder):
        path = folder / name
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return spoil


def cut(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])


TRAIN, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut, "cannot read an IDX file"),
        (
            rewritten(TRAIN, lambda content: content[:-7]),
            "wants 1500 bytes, the file has only 1493",
        ),
        (rewritten(TRAIN, lambda content: content + b"x"), "the file has more"),
        (swap, "are the files swapped?"),
        (rewritten(TRAIN, lambda content: b"\1\2\3\4" + content[4:]), "the magic number is 01 02"),
        (
            rewritten(TRAIN, lambda content: content[:4] + b"\xff" * 12 + content[16:]),
            "more than the file can hold",
        ),
        (rewritten(LABELS, lambda content: content[:-1] + b"\x63"), "label 99"),
        (lambda folder: (folder / LABELS).unlink(), "mnist lacks its file"),
    ],
    ids=["cut archive", "truncated", "too long", "swapped", "magic", "absurd", "label", "missing"],
)
def test_broken_idx_files(imitation, out, spoil, says):
    words = ["train", *settings(data__source="mnist", data__n=None), "--out", out]
    del words[words.index("data.n=null") - 1 : words.index("data.n=null") + 1]
    words += ["--data-dir", imitation.parent, "-s", "train.epochs=1"]
    spoil(imitation)
    assert says in refused(*words, code=3)
    assert not out.exists()


def test_unbroken_idx_files_train(imitation, out):
    words = ("-s", "data.source=mnist", "-s", "network.hidden=[]", "-s", "check.enabled=false")
    words += ("-s", "train.epochs=1", "--data-dir", imitation.parent, "--out", out)
    invoke("train", *words)
    assert set(result_of(out)["final"]) >= {"train", "validation", "test"}


def places_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    yield file / "run"
    yield file
    yield Path("/proc/pullback-run")


def test_a_place_that_cannot_be_written(tmp_path):
    for place in places_that_cannot_be_written(tmp_path):
        assert f"cannot write {place}" in refused("train", *settings(), "--out", place, code=7)
    assert (tmp_path / "file").read_text() == ""
    assert "cannot write" in refused("init", tmp_path / "file/f.toml", code=7)


def test_a_read_only_disk(out, monkeypatch):
    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(out))

    monkeypatch.setattr(os, "mkdir", read_only)
    said = refused("train", *settings(), "--out", out, code=7)
    assert "Read-only file system; that disk is read-only: write elsewhere" in said


def test_an_existing_run_is_left_alone_without_force(out):
    words = ("train", *settings(train__epochs=1), "--out", out)
    invoke(*words)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said = refused(*words, code=7)
    assert said.startswith(f"{out} already holds a finished run")
    assert said.endswith("or replace it with --force")
    assert all(path.read_bytes() == content for path, content in before.items())
    (out / "metrics.jsonl").write_text("")
    invoke(*words, "--force")
    assert (out / "metrics.jsonl").stat().st_size > 0


def test_a_foreign_folder_is_left_alone_even_with_force(out):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "nothing there was touched" in refused(
        "train", *settings(), "--out", out, "--force", code=7
    )
    assert (out / "thesis.tex").read_text() == "years of work"


DIVERGES = settings(
    network__activation="relu", loss="squared-error", rule__learning_rate=1e9, train__epochs=30
)


def test_divergence(out, drawn):
    result = invoke("train", *DIVERGES, "--out", out, code=4)
    said = sentence(result.stderr)
    assert "became " in said
    assert "affine" in said or "relu" in said or "the loss" in said
    assert "at epoch 1, step " in said
    assert "SGD(learning_rate=1000000000.0)" in said
    assert said.endswith("the last finite weights are kept")
    told = result_of(out)
    assert (told["status"], told["message"]) == ("diverged", said)
    assert "diverged: 0 epochs" in result.stdout
    arrays = load_file(out / "model/model.safetensors")
    assert arrays
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert "Diverged" in (out / "report.html").read_text()
    assert refused("resume", out, code=4) == said
    invoke("evaluate", out)


def test_a_loss_that_overflows_with_the_last_step_is_no_success(out):
    # The weights stay finite, and no step is left that would meet the loss.
    words = settings(
        network__hidden=[], loss="squared-error", rule__learning_rate=1e25, train__batch_size=1000
    )
    said = refused("train", *words, "-s", "train.epochs=1", "--out", out, code=4)
    assert "the loss over the train part is inf after step 1" in said
    assert result_of(out)["status"] == "diverged"
    arrays = load_file(out / "model/model.safetensors")
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("number", [1, 4, 9, 14])
def test_a_disk_that_fills_up_leaves_a_run_that_goes_on(tmp_path, out, monkeypatch, number):
    invoke("train", *settings(), "--out", tmp_path / "unbroken")
    written, write = [], files.write_synced

    def full(path, data):
        written.append(path)
        if len(written) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    for module in (files, sys.modules["pullback.sealed"]):
        monkeypatch.setattr(module, "write_synced", full)
    said = refused("train", *settings(), "--out", out, code=7)
    assert "No space left on device; free some space on that disk" in said
    assert not (out / "result.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(report, "write_report", lambda runs, path: path)
    if (out / "meta.json").exists():
        invoke("resume", out)
    else:
        assert "is no run" in refused("resume", out, code=5)
        invoke("train", *settings(), "--out", out, "--force")
    assert_same_run(out, tmp_path / "unbroken")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB, or skip."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk: mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_fills_up(tmp_path, small_disk):
    words = settings(train__epochs=80)
    said = refused("train", *words, "--out", small_disk / "run", code=7)
    assert "No space left on device; free some space on that disk" in said
    assert not (small_disk / "run/result.json").exists()
    larger = ["mount", "-o", "remount,size=4m", str(small_disk)]
    subprocess.run(larger, check=True)
    invoke("resume", small_disk / "run")
    invoke("train", *words, "--out", tmp_path / "unbroken")
    assert_same_run(small_disk / "run", tmp_path / "unbroken")


def test_broken_checkpoints(tmp_path, out):
    words = settings(checkpoint__steps=2, checkpoint__keep=3)
    invoke("train", *words, "--out", tmp_path / "unbroken")
    invoke("train", *words, "--out", out)
    (out / "result.json").unlink()
    newest = max((out / "checkpoints").iterdir())
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-3] ^= 1
    tensors.write_bytes(content)
    said = refused("resume", out, code=5)
    assert f"{newest} is broken" in said
    assert "`pullback resume --accept-older` goes on from there" in said
    assert not (out / "result.json").exists()
    invoke("resume", out, "--accept-older")
    result = result_of(out)
    assert result["final"] == result_of(tmp_path / "unbroken")["final"]
    model = "model/model.safetensors"
    assert (out / model).read_bytes() == (tmp_path / "unbroken" / model).read_bytes()


def test_a_broken_model(out):
    invoke("train", *settings(train__epochs=1), "--out", out)
    (out / "model/model.safetensors").write_bytes(b"")
    assert f"{out / 'model'} is broken" in refused("evaluate", out, code=5)
    assert "is broken" in refused("predict", out, "x.npy", code=5)


def test_a_run_is_not_resumed_with_other_data_or_another_network(tmp_path, out):
    file = table(tmp_path / "t.csv")
    words = ("-s", "data.source=file", "-s", f"data.path={file}", "-s", "data.target=y")
    invoke("train", *words, "-s", "check.enabled=false", "-s", "train.epochs=1", "--out", out)
    (out / "result.json").unlink()
    table(file, a2="0.5")
    assert "their checksum differs" in refused("resume", out, code=5)
    assert "their checksum differs" in refused("evaluate", out, code=5)
    table(file)
    resolved = (out / "config.toml").read_text()
    (out / "config.toml").write_text(resolved.replace("64,", "65,"))
    assert "use the configuration that it was saved with" in refused("resume", out, code=5)
    (out / "config.toml").write_text(resolved)
    invoke("resume", out)


def test_inputs_that_the_model_does_not_read(tmp_path, out):
    file = table(tmp_path / "t.csv")
    words = ("-s", "data.source=file", "-s", f"data.path={file}", "-s", "data.target=y")
    invoke("train", *words, "-s", "check.enabled=false", "-s", "train.epochs=1", "--out", out)

    def says(text, name="new.csv"):
        (tmp_path / name).write_text(text)
        return refused("predict", out, tmp_path / name, code=3)

    assert "lacks column 'kind'" in says("a,b\n1,2\n")
    assert "'x' is not a number" in says("a,b,kind\n1,2,u\n1,x,u\n")
    assert "'z'" in says("a,b,kind\n1,2,z\n")
    assert "a header and no rows" in says("a,b,kind\n")
    assert "of no known kind" in says("", "new.txt")
    np.save(tmp_path / "new.npy", np.ones((2, 3)))
    assert "a table (CSV, Parquet) is wanted" in refused(
        "predict", out, tmp_path / "new.npy", code=3
    )
    (tmp_path / "new.csv").write_text("a,b,kind\n1,2,u\n")
    words = ("predict", out, tmp_path / "new.csv", "--out", tmp_path / "t.csv" / "found.csv")
    assert "cannot write" in refused(*words, code=7)


def test_a_full_stdout_is_told_and_a_reader_that_left_is_not():
    with open("/dev/full", "w") as full:
        shown = subprocess.run(
            command("schema"), env=environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert shown.returncode == 7
    assert sentence(shown.stderr).startswith("cannot write the result to stdout: No space left")
    writer = subprocess.Popen(
        command("schema"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    assert (writer.stderr.read(), writer.wait()) == (b"", 0)
    writer.stderr.close()


def test_training_outlives_whoever_watched_it(out):
    with open("/dev/full", "w") as full:
        words = command("train", *settings(), "--out", out, "--progress", "plain")
        shown = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, stderr=full)
    assert shown.returncode == 0
    assert result_of(out)["status"] == "done"


def test_a_child_says_the_same_in_one_line(out):
    shown = child("train", "-s", "train.epcohs=3", "--out", out)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr == (
        "pullback: unknown key 'train.epcohs', in the settings; did you mean 'epochs'?\n"
    )
