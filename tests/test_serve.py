"""The service: equal to `predict`, strict with what it is sent, and ended cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import signal
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import requests
from command import command, environment, invoke, refused, settings, table

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from pullback import report
from pullback.errors import ConfigError
from pullback.model import Model, load_model, predict
from pullback.serve import Limits, Listener, application, body, predictor
from pullback.serve.metrics import Metrics
from pullback.serve.rows import read
from pullback.train import measure

JSON = {"content-type": "application/json"}
WHOLE = {"classes", "predictions", "probabilities"}
SMALL = Limits(max_bytes=4000, max_rows=40, timeout=0.3, max_waiting=3)


def trained(folder: Path, *words: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda runs, path: path)
        invoke("train", *words, "--out", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Rows of two numbers, two classes."""
    return trained(tmp_path_factory.mktemp("flat"), *settings())


@pytest.fixture(scope="module")
def table_run(tmp_path_factory) -> Path:
    """Rows of the columns a, b (numbers) and kind (u, v, w)."""
    folder = tmp_path_factory.mktemp("table")
    source = {"data__source": "file", "data__path": str(table(folder / "t.csv"))}
    words = settings(**source, data__target="y", data__standardize=True)
    return trained(folder, *(word for word in drop(words, "data.n")))


def drop(words: list[str], key: str) -> list[str]:
    at = next(i for i, word in enumerate(words) if word.startswith(f"{key}="))
    return words[: at - 1] + words[at + 1 :]


@pytest.fixture(scope="module")
def model(run) -> Model:
    return load_model(run)


@pytest.fixture(scope="module")
def table_model(table_run) -> Model:
    return load_model(table_run)


class App:
    """An application, driven without a socket."""

    def __init__(self, model: Model, limits: Limits = SMALL, **options):
        self.app = application(model, "tiny", limits, **options)

    async def __aenter__(self):
        """Start it, and wait until it is ready."""
        self._messages: asyncio.Queue = asyncio.Queue()
        self._started = asyncio.Event()
        await self._messages.put({"type": "lifespan.startup"})
        self._life = asyncio.create_task(
            self.app({"type": "lifespan"}, self._messages.get, self._told)
        )
        await self._started.wait()
        async with asyncio.timeout(60):
            while (await self.ask("GET", "/health"))[0] != 200:
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_):
        await self._messages.put({"type": "lifespan.shutdown"})
        await self._life

    async def _told(self, message):
        assert not message["type"].endswith("failed"), message
        self._started.set()

    async def ask(self, method, path, chunks=(b"",), headers=(), pause=0.0, gone=False):
        """Send a body in chunks; return the status, the headers and the body of the answer."""
        left, sent = list(chunks), []
        self.read = 0

        async def receive():
            await asyncio.sleep(pause)
            if not left:
                if gone:
                    return {"type": "http.disconnect"}
                await asyncio.Event().wait()
            self.read += 1
            chunk = left.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(left) or gone}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in dict(headers).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
        }
        await self.app(scope, receive, send)
        start, *rest = sent
        answer = b"".join(message["body"] for message in rest)
        told = {k.decode(): v.decode() for k, v in start["headers"]}
        return start["status"], told, answer

    async def predict(self, rows, headers=()):
        """Ask for predictions of rows, or send text as it is."""
        text = rows if isinstance(rows, bytes) else json.dumps({"rows": rows}).encode()
        headers = JSON | {"content-length": str(len(text))} | dict(headers)
        status, told, answer = await self.ask("POST", "/predict", [text], headers)
        return status, told, json.loads(answer)

    async def counts(self):
        """The metrics, by name."""
        _, _, text = await self.ask("GET", "/metrics")
        lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def ask(model: Model, *bodies, limits: Limits = SMALL):
    """The answers to some bodies, one after another."""

    async def main():
        async with App(model, limits) as app:
            return [(await app.predict(body))[::2] for body in bodies]

    return asyncio.run(main())


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


def same(answer: dict, wanted: dict) -> None:
    assert answer.keys() == wanted.keys()
    assert answer["classes"] == wanted["classes"]
    assert answer["predictions"] == wanted["predictions"]
    np.testing.assert_allclose(
        answer["probabilities"], wanted["probabilities"], rtol=1e-5, atol=1e-7
    )


def test_arrays_get_what_predict_says(run, model, tmp_path):
    x = drawn(40)
    np.save(tmp_path / "x.npy", x)
    wanted = predict(run, tmp_path / "x.npy").json()
    bodies = [x.tolist(), x[:1].tolist(), x[:17].tolist()]
    for (status, answer), n in zip(ask(model, *bodies), (40, 1, 17), strict=True):
        assert status == 200
        parts = {key: wanted[key][:n] for key in ("predictions", "probabilities")}
        same(answer, wanted | parts)


def test_tables_get_what_predict_says(table_run, table_model, tmp_path):
    source = table(tmp_path / "new.csv", rows=12)
    wanted = predict(table_run, source).json()
    names, *lines = (line.split(",") for line in source.read_text().split())
    # The target may stay, unread, as in a file.
    rows = [dict(zip(names, line, strict=True)) for line in lines]
    rows = [row | {"a": float(row["a"]), "b": float(row["b"])} for row in rows]
    turned = [dict(reversed(row.items())) for row in rows]
    for status, answer in ask(table_model, rows, turned):
        assert status == 200
        same(answer, wanted)


def test_pictures_are_nested_as_their_shape_says(model):
    """Of a shape with several axes, each row is nested so."""
    shape = (2, 1, 3)
    pictures = dataclasses.replace(model.preparation, shape=shape)
    x = np.arange(12.0).reshape(2, *shape)
    got = read({"rows": x.tolist()}, pictures, 10)
    assert isinstance(got, np.ndarray)
    assert got.tolist() == x.tolist()
    for spoil, says in (
        (lambda rows: rows[1].pop(), "row 1 has 1 entries, a list of 2 lists is wanted"),
        (
            lambda rows: rows[1][0][0].append(1),
            "row 1, column (0, 0) has 4 entries, a list of 3 numbers is wanted",
        ),
        (
            lambda rows: rows[0][1][0].__setitem__(2, True),
            "true is not a number, in row 0, column (1, 0, 2)",
        ),
    ):
        rows = x.tolist()
        spoil(rows)
        with pytest.raises(ValueError, match="row") as error:
            read({"rows": rows}, pictures, 10)
        assert str(error.value) == says


def test_numbers_that_are_no_class_and_overflow(tmp_path):
    """Regression, in float64; a prediction that is not finite is told as everywhere."""
    changes = {"precision": "float64", "data__source": "file", "data__target_path": None}
    x = drawn(40).astype(np.float64)
    np.savez(tmp_path / "t.npz", x=x, y=x.sum(axis=1))
    changes = {
        "precision": "float64",
        "data__source": "file",
        "data__path": str(tmp_path / "t.npz"),
    }
    words = drop(settings(loss="squared-error", network__hidden=[], **changes), "data.n")
    run = trained(tmp_path, *words)
    np.save(tmp_path / "x.npy", x)
    ((status, answer), (_, far)) = ask(load_model(run), x.tolist(), [[1.7e308, 1.7e308]])
    assert status == 200
    wanted = predict(run, tmp_path / "x.npy").json()
    np.testing.assert_allclose(answer["predictions"], wanted["predictions"], rtol=1e-12)
    assert set(far) == {"predictions"}
    assert far["predictions"][0][0] in ({"float": "inf"}, {"float": "-inf"}, {"float": "nan"})


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        (b"", 400, "the body is no JSON: Expecting value, at line 1, column 1"),
        (b'{"rows": [[1, 2]', 400, "the body is no JSON: Expecting ',' delimiter"),
        (b'{"rows": [[1, 2]]} x', 400, "the body is no JSON: Extra data"),
        (b"\xff\xfe{", 400, "byte 0 of the body is not UTF-8"),
        ('{"rows": [[1, 2]]}'.encode("utf-16"), 400, "byte 0 of the body is not UTF-8"),
        (b'{"rows": [[NaN, 2]]}', 400, "the body is no JSON: NaN is no number"),
        (b'{"rows": [[1, -Infinity]]}', 400, "the body is no JSON: -Infinity is no number"),
        (b'{"rows": [[1, 2]], "rows": []}', 400, "an object has the member 'rows' twice"),
        (b"[" * 200_000, 400, "the body is nested too deeply"),
        (b'{"rows": ' * 200_000, 400, "the body is nested too deeply"),
        (b'{"rows": [[1' + b"0" * 5000 + b", 2]]}", 400, "the body is no JSON: Exceeds the limit"),
        (b"[[1, 2]]", 422, 'the body is a list, an object {"rows": [...]} is wanted'),
        (b"null", 422, 'the body is null, an object {"rows": [...]} is wanted'),
        (b"{}", 422, "the body lacks the member 'rows'"),
        (b'{"rows": [[1, 2]], "x": 1}', 422, "the body has the unknown member 'x'"),
        (b'{"rows": {"float": "nan"}}', 422, "'rows' is an object, a list is wanted"),
        (b'{"rows": "12"}', 422, "'rows' is '12', a list is wanted"),
        (b'{"rows": []}', 422, "'rows' is empty, at least one row is wanted"),
        (b'{"rows": [[1, 2], 3]}', 422, "row 1 is 3, a list of 2 numbers is wanted"),
        (b'{"rows": [[1, 2], [1]]}', 422, "row 1 has 1 entries, a list of 2 numbers is wanted"),
        (b'{"rows": [[1, 2, 3]]}', 422, "row 0 has 3 entries, a list of 2 numbers is wanted"),
        (b'{"rows": [{"a": 1}]}', 422, "row 0 is an object, a list of 2 numbers is wanted"),
        (b'{"rows": [[1, "2"]]}', 422, "'2' is not a number, in row 0, column 1"),
        (b'{"rows": [[1, true]]}', 422, "true is not a number, in row 0, column 1"),
        (b'{"rows": [[null, 1]]}', 422, "null is not a number, in row 0, column 0"),
        (b'{"rows": [[[1], 1]]}', 422, "a list is not a number, in row 0, column 0"),
        (b'{"rows": [[1, 2], [1e999, 0]]}', 422, "the number is too large, in row 1, column 0"),
        (
            b'{"rows": [[1, 1' + b"0" * 400 + b"]]}",
            422,
            "the number is too large, in row 0, column 1",
        ),
        (
            b'{"rows": [[0, 1e300]]}',
            422,
            "row 0 of the inputs is not finite in float32, in column 1",
        ),
        (b'{"rows": [[1, "' + b"x" * 3000 + b'"]]}', 422, f"'{'x' * 59}… is not a number"),
    ],
)
def test_a_wrong_body_is_refused_with_one_sentence(one_app, text, status, says):
    got, answer = one_app(text)
    assert (got, set(answer)) == (status, {"error"}), answer
    assert says in answer["error"], answer
    assert len(answer["error"]) < 300
    assert "\n" not in answer["error"]


@pytest.fixture(scope="module")
def one_app(model):
    yield from staying(model)


@pytest.fixture(scope="module")
def table_app(table_model):
    yield from staying(table_model)


def staying(model: Model):
    """Asks one application in a loop that stays, so that each body needs no start."""
    with asyncio.Runner() as runner:
        app = App(model, Limits())
        runner.run(app.__aenter__())
        yield lambda text: runner.run(app.predict(text))[::2]
        runner.run(app.__aexit__())


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1, 2, "u"], "row 1 is a list, an object of columns is wanted"),
        ({"a": 1, "kind": "u"}, "row 1 lacks the column 'b'"),
        ({"a": 1, "b": 2, "kind": "u", "c": 3}, "row 1 has the unknown column 'c'"),
        ({"a": "1", "b": 2, "kind": "u"}, "'1' is not a number, in row 1, column 'a'"),
        ({"a": 1, "b": None, "kind": "u"}, "null is not a number, in row 1, column 'b'"),
        ({"a": 1, "b": False, "kind": "u"}, "false is not a number, in row 1, column 'b'"),
        ({"a": 10**400, "b": 2, "kind": "u"}, "the number is too large, in row 1, column 'a'"),
        ({"a": 1, "b": 2, "kind": 3}, "3 is not text, in row 1, column 'kind'"),
        ({"a": 1, "b": 2, "kind": None}, "null is not text, in row 1, column 'kind'"),
        (
            {"a": 1, "b": 2, "kind": "NA"},
            "a value is missing ('NA'), in the request, row 1, column 'kind'; "
            "fill it in or remove the row",
        ),
        (
            {"a": 1, "b": 2, "kind": "z"},
            "'z' is not among the categories of the training rows ('u', 'v', 'w'), "
            "in the request, row 1, column 'kind'; "
            "merge it with another category or remove the row",
        ),
        (
            {"a": 1, "b": 2, "kind": "\ud800" * 99},
            f"'{chr(92)}ud800{chr(92)}ud800",
        ),
        (
            {"a": 1e300, "b": 2, "kind": "u"},
            "row 1 of the inputs is not finite in float32, in column 'a'; mend or remove it",
        ),
    ],
)
def test_a_wrong_row_of_a_table_is_refused_with_one_sentence(table_app, row, says):
    right = {"a": 1, "b": 2.5, "kind": " u "}
    status, answer = table_app([right, row])
    assert status == 422, answer
    assert answer["error"] == says or len(says) < 20, answer
    assert says in answer["error"]
    assert len(answer["error"]) < 300


def test_bodies_spoiled_at_random_never_meet_a_defect(table_app):
    """Bytes are removed or swapped for tokens of JSON; all is told or answered."""
    random = np.random.default_rng(0)
    right = json.dumps({"rows": [{"a": 1, "b": 2.5, "kind": "u"}] * 2}).encode()
    tokens = [b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"1e999", b"-", b"\\u", b"\xff"]
    seen = set()
    for _ in range(300):
        text = bytearray(right)
        for _ in range(random.integers(1, 4)):
            at, length = random.integers(len(text)), random.integers(0, 9)
            text[at : at + length] = tokens[random.integers(len(tokens))] * random.integers(0, 3)
        status, answer = table_app(bytes(text))
        assert set(answer) == ({"error"} if status != 200 else WHOLE), (text, answer)
        seen.add(status)
    assert seen == {200, 400, 422}
    assert gc.isenabled(), "reading JSON switches it off for a while"


def test_rows_have_a_limit(model):
    (status, answer), (fits, _) = ask(model, [[1, 2]] * 41, [[1, 2]] * 40)
    assert (status, answer) == (413, {"error": "the body has 41 rows, at most 40 are taken"})
    assert fits == 200


def test_what_a_body_is_must_be_told(model):
    cases = [
        ({}, 415, "of type application/json, got ''"),
        ({"content-type": "text/plain"}, 415, "got 'text/plain'"),
        ({"content-type": "application/json; charset=latin-1"}, 415, "JSON in UTF-8"),
        (JSON | {"content-encoding": "gzip"}, 415, "not compressed, got 'gzip'"),
        (JSON | {"content-length": "-5"}, 400, "content-length is a number"),
        (JSON | {"content-length": "9" * 400}, 413, "longer than 4000 bytes"),
        ({"content-type": 'Application/JSON; charset="UTF-8"'}, 200, None),
    ]

    async def main():
        async with App(model) as app:
            for headers, status, says in cases:
                got, told, answer = await app.ask(
                    "POST", "/predict", [b'{"rows": [[1, 2]]}'], headers
                )
                assert got == status, (headers, answer)
                assert says is None or says in json.loads(answer)["error"], answer
                # What is not read to its end must not be taken for the next request.
                assert ("connection" in told) == (status in (400, 413)), (headers, told)
            # A body that nobody wants is read too, if it comes.
            sent = JSON | {"content-length": "18"}
            got, told, _ = await app.ask("POST", "/nowhere", [b'{"rows": [[1, 2]]}'], sent)
            assert (got, app.read, "connection" in told) == (404, 1, False)
            got, told, _ = await app.ask("POST", "/nowhere", [b"{", b"}"], sent, pause=0.2)
            assert (got, told["connection"]) == (404, "close")

    asyncio.run(main())


def test_a_body_has_a_limit_whatever_its_headers_say(model):
    chunk = b" " * 1000

    async def main():
        async with App(model) as app:
            for told, read in (
                # Of no length there is no body; a server that sends one anyway is not read on.
                ({}, 5),
                ({"content-length": "10"}, 14),
                ({"transfer-encoding": "chunked"}, 14),
                ({"content-length": "100000"}, 0),
            ):
                status, headers, answer = await app.ask(
                    "POST", "/predict", [chunk] * 100, JSON | told
                )
                assert status == 413
                assert json.loads(answer) == {"error": "the body is longer than 4000 bytes"}
                assert app.read == read, "twice the limit is thrown away, and what shows it"
                assert ("connection" in headers) == bool(told)
            # Read to its end, the connection stays.
            for told in ({"transfer-encoding": "chunked"}, {"content-length": "6000"}):
                status, headers, _ = await app.ask("POST", "/predict", [chunk] * 6, JSON | told)
                assert (status, app.read) == (413, 6)
                assert "connection" not in headers
            # Who asks first sends nothing.
            asks = JSON | {"content-length": "4001", "expect": "100-continue"}
            status, headers, _ = await app.ask("POST", "/predict", [chunk] * 5, asks)
            assert (status, app.read) == (413, 0)
            assert headers["connection"] == "close"
            text = json.dumps({"rows": [[1, 2]]}).encode()
            pieces = [text[i : i + 1] for i in range(len(text))]
            status, _, _ = await app.ask("POST", "/predict", pieces, JSON)
            assert status == 200
            counts = await app.counts()
            assert counts['pullback_refused_bodies_total{status="413"}'] == 7

    asyncio.run(main())


def test_a_slow_body_and_one_that_ends_early(model):
    async def main():
        async with App(model) as app:
            begun = [b'{"rows"', *[b" "] * 100]
            status, headers, answer = await app.ask(
                "POST", "/predict", begun, JSON | {"content-length": "500"}, pause=0.02
            )
            assert status == 408
            assert json.loads(answer) == {"error": "the body did not arrive within 0.3 s"}
            assert headers["connection"] == "close"
            status, _, answer = await app.ask("POST", "/predict", [b"{"], JSON, gone=True)
            assert status == 400
            assert json.loads(answer) == {"error": "the body ended early"}
            assert (await app.predict([[1, 2]]))[0] == 200

    asyncio.run(main())


def test_bodies_are_held_within_a_limit_and_let_go(model, monkeypatch):
    monkeypatch.setattr(body, "BODIES_HELD", 2)
    slow = [b" " * 3000, b'{"rows": [[1, 2]]}']

    async def main():
        async with App(model) as app:
            for _ in range(2):  # the second time shows that the first let go
                send = [app.ask("POST", "/predict", slow, JSON, pause=0.05) for _ in range(4)]
                answers = await asyncio.gather(*send)
                assert sorted(status for status, _, _ in answers) == [200, 200, 503, 503]
                sent_away = [answer for answer in answers if answer[0] == 503]
                for _, told, text in sent_away:
                    assert told["retry-after"] == "1"
                    says = {"error": "too many bodies are being read; ask again"}
                    assert json.loads(text) == says

    asyncio.run(main())


def test_the_queue_has_an_end(model, monkeypatch):
    held = threading.Event()
    whole = predictor.Predictor.__call__

    def slow(self, x):
        held.wait(10)
        return whole(self, x)

    monkeypatch.setattr(predictor.Predictor, "__call__", slow)

    async def main():
        async with App(model) as app:
            asked = [asyncio.create_task(app.predict([[1, 2]])) for _ in range(5)]
            done, waiting = await asyncio.wait(asked, timeout=0.2)
            assert [task.result()[0] for task in done] == [503, 503]
            told = "3 requests wait already, and no more may; ask again"
            assert all(task.result()[2] == {"error": told} for task in done)
            assert all(task.result()[1]["retry-after"] == "1" for task in done)
            assert (await app.counts())["pullback_requests_waiting"] == 3
            assert (await app.counts())["pullback_requests_in_flight"] == 4
            held.set()
            await asyncio.wait(waiting)
            assert [task.result()[0] for task in waiting] == [200] * 3
            assert (await app.predict([[1, 2]]))[0] == 200

    asyncio.run(main())


def test_other_routes_and_methods_are_refused_in_the_same_form(model):
    async def main():
        async with App(model) as app:
            for method, path, status, says in (
                ("GET", "/", 404, "there is no such route"),
                ("GET", "/predict/", 404, "there is no such route"),
                ("POST", "/../../etc/passwd", 404, "there is no such route"),
                ("GET", "/predict", 405, "GET does not go with /predict; POST does"),
                ("DELETE", "/health", 405, "DELETE does not go with /health; GET, HEAD does"),
                ("OPTIONS", "/predict", 405, "OPTIONS does not go with /predict"),
            ):
                got, headers, answer = await app.ask(method, path)
                assert got == status
                assert says in json.loads(answer)["error"].replace("HEAD, GET", "GET, HEAD")
                assert headers["content-type"] == "application/json"
                assert ("allow" in headers) == (status == 405)

    asyncio.run(main())


def test_a_defect_of_ours_is_told_in_the_same_form(model, monkeypatch):
    def broken(self, x):
        raise ZeroDivisionError("ours")

    async def main():
        async with App(model) as app:
            monkeypatch.setattr(predictor.Predictor, "__call__", broken)
            with pytest.raises(ZeroDivisionError):  # handed on, so that the log has it
                await app.predict([[1, 2]])
            monkeypatch.undo()
            assert (await app.predict([[1, 2]]))[0] == 200
            counts = await app.counts()
            assert counts['pullback_requests_total{route="/predict",status="500"}'] == 1

    asyncio.run(main())


def test_health_tells_what_is_wanted(model, table_model):
    async def health(model):
        async with App(model) as app:
            return json.loads((await app.ask("GET", "/health"))[2])

    told = asyncio.run(health(model))
    assert (told["status"], told["run"]) == ("ready", "tiny")
    assert told["classes"] == ["0", "1"]
    assert told["inputs"] == {"shape": [2]}
    columns = asyncio.run(health(table_model))["inputs"]["columns"]
    assert columns[0] == {"name": "a", "categories": None}
    assert columns[2] == {"name": "kind", "categories": ["u", "v", "w"]}


def test_until_it_is_ready_it_says_so(model, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(predictor.Predictor, "warm", lambda self, size: go.wait(10))
    told = []

    async def main():
        app = App(model, ready=lambda: told.append("ready"))
        start = asyncio.create_task(app.__aenter__())
        await asyncio.sleep(0.1)
        status, _, answer = await app.ask("GET", "/health")
        assert (status, json.loads(answer)["status"]) == (503, "starting")
        status, headers, answer = await app.predict([[1, 2]])
        assert (status, headers["retry-after"]) == (503, "1")
        assert answer == {"error": "the model is being made ready; ask again"}
        assert not told
        go.set()
        await start
        assert told == ["ready"]
        assert (await app.predict([[1, 2]]))[0] == 200
        await app.__aexit__()

    asyncio.run(main())


def test_few_programs_are_compiled_and_all_of_them_before_it_is_ready(model):
    assert predictor.Predictor(model, 1).sizes == [16]
    assert predictor.Predictor(model, 100).sizes == [16, 32, 64, 128]
    assert predictor.Predictor(model, 10**6).sizes[-2:] == [1024, measure.BLOCK]
    limits = Limits(max_rows=5000)

    async def main():
        async with App(model, limits) as app:
            before = measure._predicted._cache_size()  # pyright: ignore
            for n in (1, 2, 15, 16, 17, 31, 33, 100, 513, 1024, 1025, 2001, 5000):
                status, _, answer = await app.predict(drawn(n).tolist())
                assert (status, len(answer["predictions"])) == (200, n)
            assert measure._predicted._cache_size() == before  # pyright: ignore

    asyncio.run(main())


def test_metrics_count(model):
    async def main():
        async with App(model) as app:
            for rows in ([[1, 2]] * 3, [[1, 2]] * 4, [[1]]):
                await app.predict(rows)
            await app.ask("GET", "/secret-7")
            return (await app.counts()), (await app.ask("GET", "/metrics"))

    counts, (_, headers, text) = asyncio.run(main())
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert counts['pullback_requests_total{route="/predict",status="200"}'] == 2
    assert counts['pullback_requests_total{route="/predict",status="422"}'] == 1
    assert counts['pullback_requests_total{route="other",status="404"}'] == 1
    assert counts["pullback_rows_predicted_total"] == 7
    assert counts['pullback_refused_bodies_total{status="422"}'] == 1
    assert counts["pullback_requests_in_flight"] == 1
    name = "pullback_request_seconds"
    assert counts[f'{name}_count{{route="/predict"}}'] == 3
    assert counts[f'{name}_bucket{{route="/predict",le="+Inf"}}'] == 3
    below = [value for key, value in counts.items() if key.startswith(f'{name}_bucket{{route="/p')]
    assert below == sorted(below)
    assert counts[f'{name}_sum{{route="/predict"}}'] > 0
    assert b"secret" not in text


def test_latencies_fall_into_their_buckets():
    metrics = Metrics()
    for seconds in (0.001, 0.003, 99.0):
        metrics.answered("/predict", 200, seconds)
    text = metrics.text(0)
    for bound, count in (("0.001", 1), ("0.0025", 1), ("0.005", 2), ("10.0", 2), ("+Inf", 3)):
        assert f'_bucket{{route="/predict",le="{bound}"}} {count}\n' in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_rows": -1},
        {"max_waiting": 0},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
    ],
)
def test_limits_allow_something(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
        Limits(**wrong)


# A process of its own, on a socket.


@contextlib.contextmanager
def served(run: Path, *words: object, end: signal.Signals = signal.SIGTERM):
    """The command in a process, ready; it must end with 0 and nothing but its own words."""
    process = subprocess.Popen(
        command("serve", run, "--port", 0, "--json", *words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        said = process.stderr.readline()
        if said != "ready\n":
            process.kill()  # else what else it says would be waited for
        assert said == "ready\n", said + process.stderr.read()
        yield url
        process.send_signal(end)
        _, rest = process.communicate(timeout=30)
        assert rest.endswith("ended\n"), rest
        assert "Traceback" not in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def told(url: str, text: bytes) -> bytes:
    """All that is answered until the other side closes."""
    parts = []
    with connect(url) as connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(text)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_process_answers_many_at_once_and_ends(run, model):
    x = drawn(600)
    wanted = model.predict(model.prepare(x)).json()
    wrong = []

    def work(url: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        with requests.Session() as session:
            for _ in range(15):
                n = int(random.integers(1, 60))
                begin = int(random.integers(0, 600 - n))
                rows = slice(begin, begin + n)
                answer = session.post(f"{url}/predict", json={"rows": x[rows].tolist()}, timeout=30)
                told = answer.json()
                if told["predictions"] != wanted["predictions"][rows] or not np.allclose(
                    told["probabilities"], wanted["probabilities"][rows], rtol=1e-5, atol=1e-7
                ):
                    wrong.append(told)
                bad = session.post(f"{url}/predict", data=b"{", headers=JSON, timeout=30)
                if bad.status_code != 400:
                    wrong.append(bad.text)

    with served(run) as url:
        threads = [threading.Thread(target=work, args=(url, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        text = requests.get(f"{url}/metrics", timeout=30).text
        assert 'route="/predict",status="200"} 120' in text
        assert 'route="/predict",status="400"} 120' in text
    assert not wrong


def test_a_process_and_clients_that_misbehave(run):
    limits = ("--timeout", 1, "--max-bytes", 5000)
    with contextlib.ExitStack() as held, served(run, *limits, end=signal.SIGINT) as url:
        # Chunked, without a length, and longer than is allowed.
        chunks = (b" " * 1000 for _ in range(8))
        answer = requests.post(f"{url}/predict", data=chunks, headers=JSON, timeout=30)
        assert answer.status_code == 413

        # A head, then a body, that trickle in; one that is no HTTP; and a length that is shorter
        # than the body, whose rest is then no request.
        start = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        assert told(url, start) == b""
        assert b" 408 " in told(url, start + b"content-length: 100\r\n\r\n{")
        none = told(url, b"what is this\r\n\r\n")
        assert none.startswith(b"HTTP/1.1 400 ")
        assert none.endswith(b'{"error":"the request is no HTTP/1.1"}')
        broken = told(url, start + b"transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n")
        assert broken.count(b"HTTP/1.1 ") == broken.count(b"HTTP/1.1 400 ") == 1
        lied = told(url, start + b'content-length: 5\r\n\r\n{"rows": [[1, 2]]}\r\n\r\n')
        assert lied.count(b"HTTP/1.1 400 ") == 2

        # One that leaves in mid-body.
        with connect(url) as gone:
            gone.sendall(start + b"content-length: 100\r\n\r\n{")
        good = requests.post(f"{url}/predict", json={"rows": [[1, 2]]}, timeout=30)
        assert good.status_code == 200

        # The end does not wait for ever for a body, nor for one who keeps a connection open.
        held.enter_context(connect(url))
        held.enter_context(connect(url)).sendall(start + b"content-length: 100\r\n\r\n{")


def test_answers_are_not_held_back():
    """Of a socket whose protocol it does not know, asyncio leaves Nagle's algorithm on."""
    with Listener("127.0.0.1", 0) as listener:
        assert listener.socket.proto == socket.IPPROTO_TCP
        assert listener.url == f"http://127.0.0.1:{listener.port}"
        assert listener.local


def test_what_cannot_be_served_is_told_in_one_sentence(run, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says = refused("serve", run, "--port", port, code=2)
        assert says == (
            f"cannot listen on 127.0.0.1, port {port}: Address already in use; "
            "give another --host or --port (0 takes a free one)"
        )
    assert "cannot listen on no.such.host.invalid" in refused(
        "serve", run, "--host", "no.such.host.invalid", code=2
    )
    assert "is no run" in refused("serve", tmp_path, "--port", 0, code=5)
    assert "max_rows must be at least 1" in refused("serve", run, "--max-rows", 0, code=2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    says = refused("serve", run, code=2)
    assert says == "serving wants Starlette and uvicorn; pip install 'pullback[serve]'"


def test_a_model_that_cannot_be_made_ready_ends_the_service_and_who_can_reach_it_is_told(
    run, monkeypatch
):
    def broken(self, size):
        raise ConfigError("no memory for it")

    monkeypatch.setattr(predictor.Predictor, "warm", broken)
    shown = invoke("serve", run, "--port", 0, code=2)
    assert shown.stderr == "pullback: no memory for it\n", "on loopback nothing is warned of"
    shown = invoke("serve", run, "--host", "0.0.0.0", "--port", 0, "--json", code=2)
    url = json.loads(shown.stdout)["url"]
    warned, _ = shown.stderr.splitlines()
    assert warned == f"{url} is open to all who reach it: there is no authentication"
