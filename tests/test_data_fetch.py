"""Fetching, against a web server of our own: whole or absent, mirror after mirror."""

import gzip
import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pullback.data import fetch, listing, registry, verify
from pullback.data.store import Directory, data_directory, locate
from pullback.errors import ConfigError, DataError, OutputError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        del format, args


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder; give the folder and its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}/"
        http.shutdown()
        thread.join()


@pytest.fixture
def published(server, monkeypatch):
    """Publish a small data set under MNIST's name on two mirrors, of which the first is dead."""
    folder, address = server
    mnist = registry.MNIST

    def publish(file):
        packed = gzip.compress(file.name.encode())
        (folder / f"{file.name}.gz").write_bytes(packed)
        return replace(file, archive=hashlib.sha256(packed).hexdigest(), content=None)

    small = replace(
        mnist,
        train_images=publish(mnist.train_images),
        train_labels=publish(mnist.train_labels),
        test_images=publish(mnist.test_images),
        test_labels=publish(mnist.test_labels),
        mirrors=(f"{address}absent/", address),
    )
    monkeypatch.setattr(registry, "MNIST", small)
    return small


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetches_from_the_mirror_that_works(published, tmp_path):
    directory = Directory(tmp_path / "new" / "data", "--data-dir")
    folder = fetch("mnist", directory)
    assert folder == tmp_path / "new" / "data" / "mnist"
    assert names(folder) == sorted(f"{file.name}.gz" for file in published.files)
    assert set(verify("mnist", directory).values()) == {"ok"}


def test_the_cache_is_filled_when_the_data_are_wanted(published, tmp_path, monkeypatch):
    monkeypatch.delenv("PULLBACK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = locate(published, data_directory())
    assert folder == tmp_path / "cache" / "pullback" / "mnist"
    assert len(names(folder)) == 4


def test_only_what_is_missing_or_wrong_is_fetched(published, server, tmp_path):
    directory = Directory(tmp_path / "data")
    folder = fetch("mnist", directory)
    for file in published.files[:3]:
        (server[0] / f"{file.name}.gz").unlink()
    (folder / f"{published.test_labels.name}.gz").write_bytes(b"spoilt")
    assert fetch("mnist", directory) == folder
    assert set(verify("mnist", directory).values()) == {"ok"}


def test_a_wrong_sum_leaves_nothing_behind(published, server, tmp_path):
    (server[0] / f"{published.test_images.name}.gz").write_bytes(b"not what was published")
    with pytest.raises(DataError) as caught:
        fetch("mnist", Directory(tmp_path / "data"))
    assert "wrong checksum" in str(caught.value)
    assert "--data-dir" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path / "data" / "mnist") == sorted(
        f"{file.name}.gz" for file in (published.train_images, published.train_labels)
    )


def test_no_network_is_one_sentence_with_advice(published, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "MNIST", replace(published, mirrors=("http://127.0.0.1:9/",)))
    with pytest.raises(DataError, match=r"ConnectionError.*--data-dir DIR or PULLBACK_DATA=DIR"):
        fetch("mnist", Directory(tmp_path / "data"))
    assert names(tmp_path / "data" / "mnist") == []


def test_a_folder_that_cannot_be_made(published, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot make"):
        fetch("mnist", Directory(tmp_path / "file"))


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'mnist'"):
        fetch("mnits", Directory(tmp_path))


def test_the_directory_is_the_option_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PULLBACK_DATA", str(tmp_path / "variable"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_directory(tmp_path / "option") == Directory(tmp_path / "option", "--data-dir")
    assert data_directory() == Directory(tmp_path / "variable", "PULLBACK_DATA")
    monkeypatch.delenv("PULLBACK_DATA")
    assert data_directory() == Directory(tmp_path / "cache" / "pullback", None)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_directory().path == tmp_path / ".cache" / "pullback"


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"--data-dir names .*absent, which is not a directory"):
        locate(registry.MNIST, data_directory(tmp_path / "absent"))


def test_listing_says_where_files_lie(published, tmp_path):
    before = {row["name"]: row for row in listing(tmp_path / "data")}
    assert before["digits"]["folder"] is None
    assert "pullback data fetch mnist" in str(before["mnist"]["about"])
    folder = fetch("mnist", Directory(tmp_path / "data"))
    after = {row["name"]: row for row in listing(tmp_path / "data")}
    assert after["mnist"]["folder"] == str(folder)
    assert after["fashion-mnist"]["folder"] is None
