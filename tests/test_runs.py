import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from pullback import checkpoint, files
from pullback.errors import CheckpointError, OutputError
from pullback.record import Record
from pullback.runs import RunFolder

ARRAYS = {"affine1/weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


def fill(run):
    """Write all that a run consists of."""
    files.write_text(run.config, "seed = 1\n")
    run.write_meta(seed=1, device="cpu", data="ab12", argv=["pullback", "train"])
    for path in (run.metrics, run.timing):
        with Record(path) as record:
            record.add("epoch", epoch=1)
    checkpoint.save(run.checkpoints, ARRAYS, {"step": 1})
    run.save_model(ARRAYS, {"layers": ["affine1"]})
    run.figures.mkdir()
    files.write_text(run.figures / "loss.svg", "<svg/>")
    files.write_text(run.report, "<html></html>")
    run.write_result({"status": "done"})


@pytest.fixture
def path(tmp_path):
    """A finished run."""
    with RunFolder.create(tmp_path / "runs" / "digits") as run:
        fill(run)
    return run.path


def listing(path):
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def test_the_folder_holds_what_the_design_says(path):
    assert set(os.listdir(path)) == {
        "config.toml",
        "meta.json",
        "metrics.jsonl",
        "timing.jsonl",
        "checkpoints",
        "model",
        "figures",
        "report.html",
        "result.json",
        "run.lock",
    }
    assert sorted(os.listdir(path / "model")) == [
        "manifest.json",
        "model.json",
        "model.safetensors",
    ]


def test_a_run_is_finished_when_it_has_a_result(tmp_path):
    with RunFolder.create(tmp_path / "run") as run:
        assert not run.finished
        run.write_result({"status": "diverged", "best": float("inf")})
        assert run.finished
        assert files.read_json(run.result) == {"status": "diverged", "best": float("inf")}


def test_meta_tells_versions_seed_device_data_and_command(path):
    meta = json.loads((path / "meta.json").read_text())
    assert meta["versions"].keys() == {"python", "pullback", "numpy", "jax", "jaxlib"}
    assert meta["versions"]["numpy"] == np.__version__
    assert all(meta["versions"].values())
    assert (meta["seed"], meta["device"], meta["data"]) == (1, "cpu", "ab12")
    assert meta["argv"] == ["pullback", "train"]
    assert meta["platform"]


# Open and create


def test_open_finds_a_run(path):
    assert RunFolder.open(path).finished


@pytest.mark.parametrize("missing", ["config.toml", "meta.json", None])
def test_open_refuses_what_is_no_run(path, missing):
    if missing is None:
        shutil.rmtree(path)
    else:
        (path / missing).unlink()
    with pytest.raises(CheckpointError, match="is no run") as caught:
        RunFolder.open(path)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("finished", [True, False])
def test_create_never_overwrites_silently(path, finished):
    if not finished:
        (path / "result.json").unlink()
    before = listing(path)
    state = "a finished run" if finished else "an unfinished run"
    with pytest.raises(OutputError, match=f"already holds {state}.*resume.*--force") as caught:
        RunFolder.create(path)
    assert caught.value.exit_code == 7
    assert listing(path) == before


def test_force_replaces_a_run_and_all_its_leftovers(path):
    for name in (".tmp-0123456789ab", "checkpoints/.tmp-0123456789ab", "figures/.tmp-0123456789ab"):
        (path / name).mkdir()
        (path / name / "half").touch()
    shutil.copytree(path / "model", path / ".old-model")
    shutil.copytree(
        path / "checkpoints" / "step-000000001", path / "checkpoints" / ".old-step-000000002"
    )
    with RunFolder.create(path, force=True) as run:
        assert listing(path) == ["run.lock"]
        fill(run)


@pytest.mark.parametrize(
    "foreign",
    [
        "notes.txt",
        "thesis/",
        "config.toml.bak",
        ".tmp-notes",
        ".git/config",
        "figures/photo.jpg",
        "figures/deep/er.svg",
        "figures/config.toml",
        "checkpoints/a.npz",
        "checkpoints/step-000000001/notes.txt",
        "model/notes.txt",
    ],
)
def test_force_never_deletes_a_foreign_file(path, foreign):
    place = path / foreign
    if foreign.endswith("/"):
        place.mkdir()
    else:
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
    before = listing(path)
    with pytest.raises(OutputError, match="is not the folder of a run: it holds"):
        RunFolder.create(path, force=True)
    assert listing(path) == before


@pytest.mark.parametrize("name", ["figures", "checkpoints", "model", "report.html"])
def test_force_never_follows_a_link(path, tmp_path, name):
    elsewhere = (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(elsewhere)
    with pytest.raises(OutputError, match=f"it holds {name}"):
        RunFolder.create(path, force=True)
    assert elsewhere.exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_only_looks_like_a_run_is_left_alone(tmp_path, force):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").touch()
    (tmp_path / "config.toml").touch()
    with pytest.raises(OutputError, match=r"it holds config\.toml"):
        RunFolder.create(tmp_path, force)
    assert listing(tmp_path) == ["config.toml", "figures", "figures/a.png"]


def test_an_empty_folder_and_one_of_a_run_killed_at_once_are_free(tmp_path):
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty").unlock()
    RunFolder.create(tmp_path / "empty").unlock()


def test_a_force_that_is_cut_short_leaves_no_run(path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "fault")

    monkeypatch.setattr("pullback.runs.discard", fail)
    with pytest.raises(OutputError, match="fault"):
        RunFolder.create(path, force=True)
    monkeypatch.undo()
    assert not RunFolder(path).finished
    with pytest.raises(CheckpointError, match="is no run"):
        RunFolder.open(path)
    RunFolder.create(path, force=True).unlock()


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match="cannot write"):
            RunFolder.create(place)

    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(OutputError, match="that disk is read-only"):
        RunFolder.create(tmp_path / "run")


# The lock


def test_two_writers_do_not_share_a_run(path):
    with RunFolder.open(path).lock():
        for attempt in (RunFolder.open(path).lock, lambda: RunFolder.create(path, force=True)):
            with pytest.raises(OutputError, match=rf"\(process {os.getpid()}\)"):
                attempt()
        assert RunFolder.open(path).finished  # reading needs no lock, and nothing was deleted
    RunFolder.open(path).lock().unlock()


def test_a_run_made_between_the_look_and_the_lock_is_not_overwritten(tmp_path, monkeypatch):
    lock = RunFolder.lock

    def lock_late(run):
        files.write_text(run.config, "another's")
        return lock(run)

    monkeypatch.setattr(RunFolder, "lock", lock_late)
    with pytest.raises(OutputError, match="already holds an unfinished run"):
        RunFolder.create(tmp_path / "run")
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").config.read_text() == "another's"
    RunFolder(tmp_path / "run").lock().unlock()  # the refused one holds nothing


def test_a_killed_process_leaves_no_lock(path):
    code = """if True:
        import pathlib, sys, time
        from pullback.runs import RunFolder
        with RunFolder.open(pathlib.Path(sys.argv[1])).lock():
            print("locked", flush=True)
            time.sleep(60)
    """
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"locked\n"
        with pytest.raises(OutputError, match=f"process {child.pid}"):
            RunFolder.open(path).lock()
        child.send_signal(signal.SIGKILL)
        child.wait()
    RunFolder.open(path).lock().unlock()


def test_the_lock_clears_what_a_killed_writer_left(path):
    (path / ".tmp-0123456789ab").mkdir()
    shutil.copytree(path / "model", path / ".old-model")
    RunFolder.open(path).lock().unlock()
    assert not list(path.glob(".*"))


# The model


def test_the_model_comes_back(path):
    arrays, description = RunFolder.open(path).load_model()
    assert arrays.keys() == ARRAYS.keys()
    assert all((arrays[name] == ARRAYS[name]).all() for name in arrays)
    assert description == {"layers": ["affine1"]}


def test_a_model_is_replaced_or_kept(path, monkeypatch):
    run = RunFolder.open(path)
    rename = os.rename

    def fail_to_come(old, new):
        if os.path.basename(new) == "model":
            raise OSError(errno.EIO, "fault")
        rename(old, new)

    monkeypatch.setattr(os, "rename", fail_to_come)
    with pytest.raises(OutputError, match="fault"):
        run.save_model({}, {"layers": []})
    monkeypatch.undo()
    assert run.load_model()[1] == {"layers": ["affine1"]}
    with run.lock():
        assert run.load_model()[1] == {"layers": ["affine1"]}
    run.save_model({}, {"layers": []})
    assert run.load_model() == ({}, {"layers": []})
    assert not list(path.glob(".*"))


def test_a_missing_or_broken_model_is_told(path):
    run = RunFolder.open(path)
    file = run.model / "model.json"
    file.write_text(file.read_text().replace("affine1", "affine2"))
    with pytest.raises(CheckpointError, match="is broken"):
        run.load_model()
    shutil.rmtree(run.model)
    with pytest.raises(CheckpointError, match=r"no model yet; run `pullback resume"):
        run.load_model()


def test_a_checkpoint_is_no_model(path):
    run = RunFolder.open(path)
    shutil.rmtree(run.model)
    shutil.copytree(run.checkpoints / "step-000000001", run.model)
    with pytest.raises(CheckpointError, match="is broken"):
        run.load_model()
