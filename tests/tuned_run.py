"""A process that tunes a small experiment, and tells each round: to be killed, or to have company.

python tuned_run.py FOLDER [PAUSE]
"""

import itertools
import sys
import time
from pathlib import Path

from pullback import config
from pullback.tune.search import search

EXPERIMENT = {
    "name": "tuned",
    "data": {"source": "circles", "n": 60},
    "network": {"hidden": [4]},
    "rule": {"name": "momentum", "learning_rate": 0.1},
    "train": {"epochs": 2},
    "check": {"enabled": False},
    "tune": {
        "method": "random",
        "trials": 8,
        "together": 2,
        "space": {
            "rule.learning_rate": {"low": 0.01, "high": 1.0, "scale": "log"},
            "rule.momentum": {"low": 0.5, "high": 0.99, "scale": "log-one-minus"},
        },
    },
}


def main() -> None:
    folder, pause = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0

    asked = itertools.count()

    def asked_while_training() -> bool:
        print("training", flush=True)
        if next(asked):  # when trials are under way
            time.sleep(pause)
        return False

    search(config.parse(EXPERIMENT, "test"), folder, interrupted=asked_while_training)


if __name__ == "__main__":
    main()
