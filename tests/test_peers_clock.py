"""Simulated seconds, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.peers.clock import Clock

# (1,2)-3-4-(5,6), counted from 0
TWO_STAR = [
    (np.array([0, 1, 4, 5]), np.array([2, 2, 3, 3]), 100),
    (np.array([2, 3]), np.array([3, 2]), 100),
    (np.array([2, 2, 3, 3]), np.array([0, 1, 4, 5]), 100),
]
STEPS = np.array([5, 10, 0, 0, 10, 10])


def test_a_star():
    """The hub takes in 3 messages at 100 bytes a second, and sends 3 at 50."""
    star = [
        (np.array([1, 2, 3]), np.array([0, 0, 0]), 100),
        (np.array([0, 0, 0]), np.array([1, 2, 3]), 100),
    ]
    clock = Clock(0.1, upload=50.0, download=100.0, latency=0.25)
    time = clock.round_time(np.array([0, 10, 20, 30]), star)
    assert time.work.tolist() == pytest.approx([0, 1, 2, 3])
    assert time.phases.tolist() == pytest.approx([3.25, 6.25])
    assert time.seconds == pytest.approx(3 + 3.25 + 6.25)
    # a leaf sends for 2 seconds and takes in for 1
    assert time.idle.tolist() == pytest.approx([12.5 - 9, 12.5 - 4, 12.5 - 5, 12.5 - 6])


def test_a_two_star():
    """Its busiest worker moves 2 messages in a phase of its star, and 1 between the hubs."""
    time = Clock(1.0, upload=100.0, download=50.0, latency=0.5).round_time(STEPS, TWO_STAR)
    assert time.phases.tolist() == pytest.approx([4.5, 2.5, 2.5])
    assert time.seconds == pytest.approx(10 + 9.5)
    assert time.idle.tolist() == pytest.approx([19.5 - 8, 19.5 - 13, 11.5, 11.5, 6.5, 6.5])


def test_each_worker_may_have_machines_and_links_of_its_own():
    clock = Clock(
        (1.0, 1.0, 1.0, 1.0, 2.0, 1.0),
        upload=(100.0, 10.0, 100.0, 100.0, 100.0, 100.0),
        download=(100.0, 100.0, 1000.0, 400.0, 100.0, 50.0),
        latency=0.0,
    )
    time = clock.round_time(STEPS, TWO_STAR)
    assert time.work.max() == 20
    # worker 1 sends slowly; the hubs exchange at what each sends; worker 5 takes in slowly
    assert time.phases.tolist() == pytest.approx([10, 1, 2])


def test_messages_may_differ_in_size():
    sizes = np.array([100, 300])
    phase = (np.array([1, 2]), np.array([0, 0]), sizes)
    time = Clock(0.0, upload=100.0, download=1000.0, latency=0.0).round_time(np.zeros(3), [phase])
    assert time.seconds == pytest.approx(3)


def test_the_slow_hold_up_all():
    slow = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0])
    time = Clock(1.0, latency=0.0).round_time(STEPS, [], slow=slow)
    assert time.seconds == 30
    assert time.idle.tolist() == [25, 20, 30, 30, 0, 20]


def test_a_lost_message_costs_its_sender_only():
    phase = (np.array([1, 2]), np.array([0, 0]), 100)
    clock = Clock(0.0, upload=100.0, download=50.0, latency=0.5)
    seconds = [
        clock.round_time(np.zeros(3), [phase], up=[np.array(up)]).seconds
        for up in ([True, True], [True, False], [False, False])
    ]
    assert seconds == pytest.approx([4.5, 2.5, 1.5])


def test_who_is_down_neither_works_nor_sends_nor_waits():
    alive = np.array([True, True, False])
    phase = (np.array([1, 2, 0]), np.array([0, 0, 2]), 100)
    clock = Clock(1.0, upload=100.0, download=(50.0, 50.0, 1.0), latency=0.5)
    time = clock.round_time(np.array([1, 2, 9]), [phase], alive=alive)
    # one message of 100 bytes to worker 0; what is sent to worker 2 is sent in vain
    assert time.seconds == pytest.approx(2 + 2 + 0.5)
    assert time.idle.tolist() == pytest.approx([1.5, 1.5, 0])


def test_a_phase_without_messages_takes_no_time():
    none = np.array([], int)
    itself = np.array([0, 1])
    clock = Clock(1.0, latency=5.0)
    time = clock.round_time(np.array([1, 2]), [(none, none, 100), (itself, itself, 100)])
    assert time.seconds == 2
    assert time.phases.tolist() == [0, 0]
    alone = [(np.array([1]), np.array([0]), 100)]
    dead = clock.round_time(np.array([1, 2]), alone, alive=np.array([True, False]))
    assert dead.seconds == 1


def test_links_may_cost_nothing():
    clock = Clock(0.0, upload=np.inf, download=np.inf, latency=0.125)
    assert clock.round_time(np.zeros(6), TWO_STAR).seconds == pytest.approx(0.375)


def test_the_defaults():
    """A 2NN of 796,840 bytes to a hub of five: 5 · 796,840 / 12.5e6 s each way."""
    star = [
        (np.arange(1, 6), np.zeros(5, int), 796_840),
        (np.zeros(5, int), np.arange(1, 6), 796_840),
    ]
    time = Clock().round_time(np.full(6, 100), star)
    assert time.seconds == pytest.approx(0.1 + 2 * (0.318736 + 0.01))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Clock(-1.0), "Clock's step_seconds must be at least 0, got -1.0"),
        (lambda: Clock((1.0, np.nan)), "Clock's step_seconds must be at least 0, got nan"),
        (lambda: Clock(upload=0.0), "Clock's upload must be positive, got 0.0"),
        (lambda: Clock(download=(1.0, -2.0)), "Clock's download must be positive, got -2.0"),
        (lambda: Clock(latency=np.inf), "Clock's latency must be at least 0, got inf"),
        (
            lambda: Clock(upload=(1.0, 2.0)).check(3),
            "Clock's upload has 2 numbers for 3 workers; give one number for all, or one for each",
        ),
        (
            lambda: Clock((1.0, 2.0)).round_time(np.zeros(3), []),
            "Clock's step_seconds has 2 numbers for 3 workers; "
            "give one number for all, or one for each",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence(make, sentence):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == sentence
