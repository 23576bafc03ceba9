import errno
import itertools
import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pullback import checkpoint, jsontext, sealed, tensors
from pullback.errors import CheckpointError, ConfigError, OutputError

NUMBERS = "bool u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8".split()
SHAPES = hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3)
ARRAYS = st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
SMALL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "key": np.array([1, 2], np.uint32)}


def save(folder, step, value=0.0, **options):
    return checkpoint.save(folder, {**SMALL, "value": np.array(value)}, {"step": step}, **options)


def value_of(loaded):
    return loaded[0]["value"].item()


def same_bits(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


# What goes in comes out


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.floats(), st.integers(0, 10**12))
@settings(deadline=None, max_examples=50)
def test_arrays_and_progress_come_back_bit_for_bit(tmp_path_factory, arrays, best, step):
    path = checkpoint.save(
        tmp_path_factory.mktemp("checkpoints"), arrays, {"step": step, "best": best}
    )
    again, progress = checkpoint.load(path)
    assert again.keys() == arrays.keys()
    assert all(same_bits(again[name], arrays[name]) for name in arrays)
    assert progress["step"] == step
    assert repr(progress["best"]) == repr(best)


def test_special_arrays_come_back_bit_for_bit(tmp_path):
    every_bfloat16 = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    nans = np.array([0x7FC00001, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32)
    arrays = {
        "bfloat16": every_bfloat16,
        "nans": nans,
        "scalar": np.array(-0.0),
        "empty": np.zeros((0, 3), np.float32),
        "transposed": np.arange(6).reshape(2, 3).T,
        "strided": np.arange(10)[::-3],
        "broadcast": np.broadcast_to(np.float32(1), (2, 2)),
    }
    again, _ = checkpoint.load(checkpoint.save(tmp_path, arrays, {"step": 0}))
    assert all(same_bits(again[name], arrays[name]) for name in arrays)


def test_equal_arrays_give_equal_files(tmp_path):
    a = save(tmp_path / "a", 1)
    b = checkpoint.save(tmp_path / "b", dict(reversed(checkpoint.load(a)[0].items())), {"step": 1})
    assert all((a / name).read_bytes() == (b / name).read_bytes() for name in os.listdir(a))


def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path):
    for value in (np.array([None]), np.array(["a"]), np.zeros(2, complex), np.zeros(2, ">f4")):
        with pytest.raises(CheckpointError, match="tensor 'w' has dtype"):
            checkpoint.save(tmp_path, {"w": value}, {"step": 1})
    with pytest.raises(CheckpointError, match="__metadata__"):
        checkpoint.save(tmp_path, {"__metadata__": np.zeros(2)}, {"step": 1})
    for progress in ({}, {"step": -1}, {"step": 1.0}, {"step": True}):
        with pytest.raises(CheckpointError, match="wants its step"):
            checkpoint.save(tmp_path, SMALL, progress)
    with pytest.raises(ConfigError, match="keep must be"):
        save(tmp_path, 1, keep=0)
    assert os.listdir(tmp_path) == []


def test_checkpoints_need_neither_jax_nor_pickle():
    code = "import sys, pullback.checkpoint; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    for module in (checkpoint, sealed, tensors, jsontext):
        assert "pickle" not in Path(str(module.__file__)).read_text()


# Which ones are kept


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 1_000_000_000, 2_000_000_000):
        save(tmp_path, step, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step-1000000000", "step-2000000000"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-2000000000"


def test_a_run_that_goes_on_from_an_older_one_drops_the_future_that_it_left(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, keep=3)
    save(tmp_path, 2, value=7.0, keep=3)
    assert sorted(os.listdir(tmp_path)) == ["step-000000001", "step-000000002"]
    assert value_of(checkpoint.load_latest(tmp_path)) == 7


def test_leftovers_of_a_killed_writer_go_with_the_next_save(tmp_path):
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-000000001", tmp_path / ".tmp-0123456789ab")
    (tmp_path / ".tmp-file").touch()
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000000001"
    save(tmp_path, 2)
    assert os.listdir(tmp_path) == ["step-000000002"]


def test_one_set_aside_stands_for_the_missing_one(tmp_path):
    path = save(tmp_path, 1, value=1.0)
    path.rename(tmp_path / ".old-step-000000001")
    assert checkpoint.latest(tmp_path) == tmp_path / ".old-step-000000001"
    assert value_of(checkpoint.load_latest(tmp_path)) == 1
    save(tmp_path, 1, value=2.0)
    assert value_of(checkpoint.load_latest(tmp_path)) == 2
    assert os.listdir(tmp_path) == ["step-000000001"]


def with_one_set_aside(folder):
    """Return a folder as a writer leaves it that is killed before its last deletion."""
    path = folder / "a"
    sealed.write(path, "kind", {"file": b"old"})
    shutil.copytree(path, folder / ".old-a")
    sealed.write(folder / "new", "kind", {"file": b"new"})
    shutil.rmtree(path)
    (folder / "new").rename(path)
    return path


def test_one_set_aside_does_not_hinder_the_next_writer(tmp_path):
    path = with_one_set_aside(tmp_path)
    sealed.write(path, "kind", {"file": b"newer"})
    assert sealed.read(path, "kind", ["file"]) == {"file": b"newer"}
    assert os.listdir(tmp_path) == ["a"]


def test_a_removal_cut_short_does_not_bring_back_one_set_aside(tmp_path, monkeypatch):
    path = with_one_set_aside(tmp_path)
    places = []

    def discard_one(place):
        shutil.rmtree(place)
        places.append(sealed.find(path))

    monkeypatch.setattr(sealed, "discard", discard_one)
    sealed.remove(path)
    assert places == [path, None]


# Broken ones


def test_there_may_be_none(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert checkpoint.latest(folder) is None
        assert checkpoint.load_latest(folder) is None


def test_a_broken_newest_is_told_and_an_older_one_taken_only_when_accepted(tmp_path):
    save(tmp_path, 1, value=1.0, keep=3)
    save(tmp_path, 2, value=2.0, keep=3)
    broken = save(tmp_path, 3, keep=3)
    os.truncate(broken / "tensors.safetensors", 100)
    with pytest.raises(CheckpointError, match=r"step-000000003.*; step-000000002 is whole"):
        checkpoint.load_latest(tmp_path)
    assert value_of(checkpoint.load_latest(tmp_path, accept_older=True)) == 2
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000000002"


@pytest.mark.parametrize("accept_older", [False, True])
def test_if_all_are_broken_it_is_an_error_not_a_fresh_start(tmp_path, accept_older):
    for step in (1, 2):
        os.remove(save(tmp_path, step, keep=2) / "manifest.json")
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"step-000000002.*manifest\.json is missing"):
        checkpoint.load_latest(tmp_path, accept_older)


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_no_changed_bit_passes(tmp_path):
    path = save(tmp_path, 1)
    tried = 0
    for file in path.iterdir():
        whole = file.read_bytes()
        flips = (
            whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            for at in range(len(whole))
            for bit in range(8)
        )
        cuts = (whole[:size] for size in range(len(whole)))
        longer = (whole + bytes([byte]) for byte in (0, 10, 32, 255))
        for changed in (*flips, *cuts, *longer):
            file.write_bytes(changed)
            with pytest.raises(CheckpointError):
                checkpoint.load(path)
            tried += 1
        file.write_bytes(whole)
    checkpoint.load(path)
    assert tried > 5000


def test_files_of_another_checkpoint_are_refused(tmp_path):
    path, other = save(tmp_path / "a", 1), save(tmp_path / "b", 2, value=1.0)
    for name in os.listdir(path):
        whole = (path / name).read_bytes()
        (path / name).write_bytes((other / name).read_bytes())
        refused(path, "is broken")
        (path / name).write_bytes(whole)
    renamed = other.rename(tmp_path / "b" / "step-000000009")
    refused(renamed, "holds step 2")


def test_missing_extra_and_special_files_are_refused(tmp_path):
    path = save(tmp_path, 1)
    (path / "data.pkl").write_bytes(pickle.dumps(print))
    refused(path, r"'data\.pkl' does not belong there")
    (path / "data.pkl").unlink()
    for name in sorted(os.listdir(path)):
        moved = (path / name).rename(tmp_path / "moved")
        refused(path, f"{name} is missing")
        (path / name).symlink_to(moved)
        refused(path, f"{name} is no plain file")
        (path / name).unlink()
        os.mkfifo(path / name)
        refused(path, f"{name} is no plain file")
        (path / name).unlink()
        moved.rename(path / name)
    checkpoint.load(path)
    (tmp_path / "link").symlink_to(path)
    refused(tmp_path / "link", "is no folder")
    refused(tmp_path / "none", "is no folder")
    refused(path / "manifest.json", "is no folder")


def forge(path, change):
    """Change a manifest's content, and write it as its writer would."""
    file = path / "manifest.json"
    told = json.loads(file.read_text())
    change(told)
    file.write_text(jsontext.encode(told, indent=2) + "\n")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda told: told.update(format=2), "format 2, this version of Pullback reads up to 1"),
        (lambda told: told.update(format=True), "is broken"),
        (lambda told: told.update(format=0), "is broken"),
        (lambda told: told.update(kind="model"), "a 'checkpoint' was wanted"),
        (lambda told: told.update(more=1), "is broken"),
        (lambda told: told["files"].update({"../../secret": {"bytes": 0}}), "is broken"),
        (lambda told: told["files"]["progress.json"].update(bytes=10**30), "its manifest says"),
        (lambda told: told["files"]["progress.json"].update(bytes=math.inf), "its manifest says"),
        (lambda told: told["files"]["progress.json"].update(bytes=None), "its manifest says"),
        (lambda told: told["files"].pop("progress.json"), "its manifest cannot be read"),
        (lambda told: told.update(files=[]), "its manifest cannot be read"),
        (lambda told: told.pop("format"), "its manifest cannot be read"),
        (lambda told: told.update(more="x" * 100_000), "its manifest is larger than"),
    ],
)
def test_a_forged_manifest_is_refused(tmp_path, change, match):
    path = save(tmp_path, 1)
    forge(path, change)
    refused(path, match)


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", "", "{", "[" * 60_000, '{"a":1}' + " " * 60_000]
)
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(text)
    refused(path, "its manifest cannot be read")


def header(text, body=b""):
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    return len(data).to_bytes(8, "little") + data + body


def one(dtype, shape, start, stop):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}}


EVIL_TENSORS = {
    "empty": b"",
    "pickle": pickle.dumps(print),
    "huge header": (1 << 63).to_bytes(8, "little") + b"{}",
    "header larger than the limit": header(b"{}" + b" " * (1 << 24)),
    "deep header": header(b"[" * 100_000),
    "no JSON": header(b"\xff\xfe"),
    "holes": header({}, b"1234"),
    "beyond the end": header(one("F32", [2], 0, 8), b"1234"),
    "shape of another size": header(one("F32", [3], 0, 8), b"12345678"),
    "overflowing shape": header(one("U8", [1 << 62, 1 << 62, 0], 0, 0)),
    "negative shape": header(one("U8", [-1], 0, 1), b"1"),
    "unknown type": header(one("F128", [1], 0, 16), bytes(16)),
    "type that is not ours": header(one("F8_E5M2", [1], 0, 1), b"1"),
    "no offsets": header({"w": {"dtype": "F32", "shape": [1]}}),
}


@pytest.mark.parametrize("name", EVIL_TENSORS)
def test_evil_tensors_with_right_sums_are_refused(tmp_path, name):
    contents = {"tensors.safetensors": EVIL_TENSORS[name], "progress.json": b'{"step":1}'}
    sealed.write(tmp_path / "evil", "checkpoint", contents)
    refused(tmp_path / "evil", "tensors")


@pytest.mark.parametrize("text", [b"[]", b"7", b'{"epoch":1}', b"NaN", b"[" * 100_000, b"\xff"])
def test_evil_progress_with_a_right_sum_is_refused(tmp_path, text):
    contents = {"tensors.safetensors": tensors.encode(SMALL), "progress.json": text}
    sealed.write(tmp_path / "evil", "checkpoint", contents)
    refused(tmp_path / "evil", "no progress with a step")


def test_random_tensors_bytes_never_end_in_another_error():
    draw = random.Random(0)
    whole = bytearray(tensors.encode(SMALL))
    for _ in range(2000):
        changed = whole.copy()
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            tensors.decode(bytes(changed), where="here")
        except CheckpointError:
            continue


# A writer that fails


def test_everything_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    save(tmp_path, 1)
    synced, renames = set(), []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def note_rename(old, new):
        if Path(new).name == "step-000000002":
            assert {path.stat().st_ino for path in (old, *old.iterdir())} <= synced
            assert len(list(old.iterdir())) == 3
            synced.clear()
        else:  # the older one goes, after the name of the new one is on the disk
            assert tmp_path.stat().st_ino in synced
        renames.append(Path(new).name[:5])
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    save(tmp_path, 2)
    assert renames == ["step-", ".tmp-"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("step", [1, 2])
def test_a_writer_that_fails_anywhere_leaves_the_old_or_the_new(
    tmp_path, monkeypatch, number, step
):
    folder = tmp_path / "checkpoints"
    told = 0
    for which in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        save(folder, 1, value=1.0)
        calls = itertools.count(1)
        failed: OutputError | None = None
        with monkeypatch.context() as patch:
            for name in ("mkdir", "fsync", "rename", "open"):
                patch.setattr(os, name, failing(getattr(os, name), calls, which, number))
            patch.setattr("builtins.open", failing(open, calls, which, number))
            try:
                save(folder, step, value=2.0)
            except OutputError as error:
                failed = error
        value = value_of(checkpoint.load_latest(folder))
        if failed:
            told += 1
            assert failed.exit_code == 7
            assert value in (1, 2)
            assert value == 2 or not list(folder.glob(".tmp-*"))
        else:
            assert value == 2
        save(folder, step, value=3.0)
        assert os.listdir(folder) == [f"step-{step:09d}"]
        if next(calls) <= which:  # that call never came
            break
    assert told > 15


def failing(function, calls, which, number):
    """Make a function fail at one of the calls that are counted together."""

    def call(*args, **options):
        if next(calls) == which:
            raise OSError(number, os.strerror(number))
        return function(*args, **options)

    return call


def test_a_real_limit_on_files_is_told_and_the_old_one_stays(tmp_path):
    save(tmp_path, 1, value=1.0)
    code = """if True:
        import pathlib, resource, sys
        import numpy as np
        from pullback import checkpoint
        from pullback.errors import OutputError
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            checkpoint.save(pathlib.Path(sys.argv[1]), {"w": np.zeros(100_000)}, {"step": 2})
        except OutputError as error:
            print(error)
            sys.exit(error.exit_code)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert "raise the limit on the size of files" in done.stdout
    assert os.listdir(tmp_path) == ["step-000000001"]
    assert value_of(checkpoint.load_latest(tmp_path)) == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot write"):
            save(folder, 1)


def test_a_writer_killed_at_any_line_leaves_the_old_or_the_new(tmp_path):
    script = Path(__file__).with_name("killed_writer.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for scene in ("next step", "same step", "model"):
        assert found[scene]["old"] > 40, scene
        assert found[scene]["new"] > 20, scene
        assert found[scene + ", torn"]["old"] > 10, scene
