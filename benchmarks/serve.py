"""The service under load: right answers, in what time, with wrong bodies in between.

    python -m benchmarks.serve RUN [--seconds 120] [--clients 4] [--json serve.json]

A service of RUN is started as its user would start it; this process sends requests of 1 to 1,000
rows, each client one after another on a connection that stays. One in five is spoiled: no JSON, a
row too short, text for a number, a body that is too long, another type, another route. Every answer
is compared with what was predicted in advance, in this process, without the service: probabilities
to 1e-5, and the label wherever the two best are further apart than that; of a spoiled request, the
status and the form of the refusal. At the end the service must end by itself with 0.

Printed are how many requests there were of each kind, how many answers were wrong, whether the
service crashed, and the latencies as their clients saw them. Rows are drawn at random: numbers
from a normal distribution, categories uniformly.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests

from pullback.data.table import Table
from pullback.model import Model, Predictions, load_model

SIZES = (1, 1, 1, 1, 8, 8, 32, 32, 100, 100, 300, 1000)
SPOILED = 0.2
POOL = 4000
NEAR = 1e-5
JSON = {"content-type": "application/json"}


def drawn(model: Model, n: int) -> tuple[list[Any], Predictions]:
    """Rows as they are sent, and what the model says of them."""
    source = np.random.default_rng(0)
    preparation = model.preparation
    if preparation.encoder is None:
        x = source.normal(size=(n, *preparation.shape)).astype(np.float32)
        return x.tolist(), model.predict(model.prepare(x))
    columns = {
        each.name: source.normal(size=n)
        if each.categories is None
        else source.choice(np.array(each.categories, object), n)
        for each in preparation.encoder.columns
    }
    cells = (column.tolist() for column in columns.values())
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
    table = Table("drawn", columns, np.arange(n), checksum="none: drawn at random")
    return rows, model.predict(model.prepare(table))


def spoiled(rows: list[Any], choose: random.Random, most: int) -> tuple[dict[str, Any], int]:
    """A request that must be refused: what is sent, and with which status."""
    text = json.dumps({"rows": rows})
    short = [*rows[:-1], {} if isinstance(rows[-1], dict) else rows[-1][:-1]]
    word = {name: "x" * 5000 for name in rows[0]} if isinstance(rows[0], dict) else ["x"] * 9
    return choose.choice(
        [
            ({"data": text[: len(text) // 2].encode(), "headers": JSON}, 400),
            ({"data": b'{"rows": [[NaN]]}', "headers": JSON}, 400),
            ({"data": b"[" * 100_000, "headers": JSON}, 400),
            ({"data": choose.randbytes(500), "headers": JSON}, 400),
            ({"json": {"rows": short}}, 422),
            ({"json": {"rows": [*rows, word]}}, 422),
            ({"json": {"rows": []}}, 422),
            ({"json": {"rows": rows, "file": "/etc/passwd"}}, 422),
            # Without a length, in chunks; twice the limit is read before it is refused.
            ({"data": (b" " * 65536 for _ in range(most // 65536 + 2)), "headers": JSON}, 413),
            ({"data": text.encode(), "headers": {"content-type": "text/plain"}}, 415),
        ]
    )


@dataclass
class Client:
    """One who asks, one request after another, until the time is over.

    Attributes:
        seconds: by how many rows were asked for; 0 for a spoiled request.
        statuses: how often each was answered.
        wrong: answers that were not what they should be, in words.
    """

    url: str
    number: int
    most: int
    rows: list[Any]
    wanted: Predictions
    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    wrong: list[str] = field(default_factory=list)

    def work(self, until: float) -> None:
        """Ask."""
        choose = random.Random(self.number)
        with requests.Session() as session:
            while time.monotonic() < until:
                n = choose.choice(SIZES)
                begin = choose.randrange(len(self.rows) - n)
                part = slice(begin, begin + n)
                try:
                    if choose.random() < SPOILED:
                        sent, status = spoiled(self.rows[part][:8], choose, self.most)
                        self._refused(session, sent, status)
                    else:
                        self._answered(session, part)
                except requests.RequestException as error:
                    self.wrong.append(f"no answer: {error}")

    def _ask(self, session: requests.Session, n: int, sent: dict[str, Any]) -> requests.Response:
        began = time.perf_counter()
        answer = session.post(f"{self.url}/predict", timeout=60, **sent)
        self.seconds[n].append(time.perf_counter() - began)
        self.statuses[answer.status_code] += 1
        return answer

    def _refused(self, session: requests.Session, sent: dict[str, Any], status: int) -> None:
        answer = self._ask(session, 0, sent)
        if answer.status_code != status or set(answer.json()) != {"error"}:
            self.wrong.append(f"wanted {status}, got {answer.status_code}: {answer.text[:200]}")

    def _answered(self, session: requests.Session, part: slice) -> None:
        n = part.stop - part.start
        text = json.dumps({"rows": self.rows[part]}).encode()
        answer = self._ask(session, n, {"data": text, "headers": JSON})
        if answer.status_code != 200 or not right(answer.json(), self.wanted, part):
            self.wrong.append(f"{n} rows, {answer.status_code}: {answer.text[:200]}")


def right(answer: dict[str, Any], wanted: Predictions, part: slice) -> bool:
    """Whether an answer is what was predicted in advance."""
    values = wanted.values[part]
    name = "probabilities" if wanted.probabilities else "scores"
    told = np.array(answer["predictions" if wanted.classes is None else name])
    if told.shape != values.shape or not np.allclose(told, values, rtol=NEAR, atol=NEAR):
        return False
    if wanted.classes is None:
        return True
    least, best = np.sort(values, axis=1)[:, -2:].T
    clear = best - least > 2 * NEAR * (1 + np.abs(best))
    labels = np.array(wanted.classes, object)[values.argmax(axis=1)]
    return answer["classes"] == list(wanted.classes) and bool(
        (np.array(answer["predictions"], object) == labels)[clear].all()
    )


def loaded(run: Path, seconds: float, clients: int) -> dict[str, Any]:
    """Start a service, load it, end it, and tell how it went."""
    rows, wanted = drawn(load_model(run), POOL)
    words = [sys.executable, "-m", "pullback.cli", "serve", str(run), "--port", "0", "--json"]
    service = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        line = service.stdout.readline()
        if not line:
            sys.exit(service.communicate()[1])
        url = json.loads(line)["url"]
        while (health := requests.get(f"{url}/health", timeout=60)).status_code == 503:
            time.sleep(0.1)
        most = health.json()["max_bytes"]
        began = time.monotonic()
        each = [Client(url, i, most, rows, wanted) for i in range(clients)]
        threads = [threading.Thread(target=one.work, args=(began + seconds,)) for one in each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        crashed = service.poll() is not None
        service.send_signal(signal.SIGTERM)
        _, said = service.communicate(timeout=60)
    finally:
        service.kill()
        service.communicate()
    return told(each, took) | {
        "crashes": int(crashed or service.returncode != 0 or "Traceback" in said),
        "stderr": said,
    }


def told(clients: list[Client], took: float) -> dict[str, Any]:
    """All that the clients saw, together."""
    seconds, statuses = defaultdict(list), defaultdict(int)
    for one in clients:
        for n, values in one.seconds.items():
            seconds[n] += values
        for status, count in one.statuses.items():
            statuses[status] += count
    wrong = [what for one in clients for what in one.wrong]
    requests = sum(map(len, seconds.values()))
    return {
        "seconds": took,
        "requests": requests,
        "requests_per_second": requests / took,
        "rows_per_second": sum(n * len(values) for n, values in seconds.items()) / took,
        "statuses": dict(sorted(statuses.items())),
        "wrong": len(wrong),
        "wrong_answers": wrong[:10],
        "latency": {n: latency(values) for n, values in sorted(seconds.items())},
        "all": latency([s for values in seconds.values() for s in values]),
    }


def latency(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    p50, p95, p99 = 1e3 * np.percentile(values, [50, 95, 99])
    return {"count": len(values), "p50": p50, "p95": p95, "p99": p99, "max": 1e3 * max(values)}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write all that was measured here")
    given = parser.parse_args(argv)
    found = loaded(given.run, given.seconds, given.clients)
    statuses = ", ".join(f"{count} × {status}" for status, count in found["statuses"].items())
    print(f"{found['requests']} requests in {found['seconds']:.1f} s: {statuses}")
    print(f"wrong answers: {found['wrong']}; crashes: {found['crashes']}")
    print(
        f"{found['requests_per_second']:.0f} requests/s, {found['rows_per_second']:.0f} rows/s, "
        f"{given.clients} clients"
    )
    print(
        "\n| rows | requests | p50 ms | p95 ms | p99 ms | greatest ms |\n|---|---|---|---|---|---|"
    )
    lines = [(n or "refused", row) for n, row in found["latency"].items()]
    for name, row in [*lines, ("all", found["all"])]:
        times = " | ".join(f"{row[key]:.1f}" for key in ("p50", "p95", "p99", "max"))
        print(f"| {name} | {row['count']} | {times} |")
    for what in found["wrong_answers"]:
        print(what, file=sys.stderr)
    if found["crashes"]:
        print(found["stderr"], file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return int(bool(found["wrong"] or found["crashes"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
