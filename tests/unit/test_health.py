"""Alive, ready, or a zombie: by a clock of our own, and over HTTP."""

import asyncio
import threading
import urllib.error
import urllib.request

import pytest

from metronome_salesforce.health import Health, HealthServer, WatchLag, is_newer


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("9", "9", False),
        ("1", None, True),
        ("abc", "abd", True),
        ("abc", "abc", False),
    ],
)
def test_versions_compare_as_numbers(version: str, than: str | None, expected: bool) -> None:
    assert is_newer(version, than) is expected


def test_a_watch_that_keeps_up_does_not_lag() -> None:
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.listed({"a": "5"}, 0.0)
    assert lag.seconds(500.0) == 0.0


def test_a_version_that_the_watch_never_brings_is_lag_since_it_was_listed() -> None:
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.listed({"a": "6"}, 10.0)
    lag.listed({"a": "7"}, 70.0)
    assert lag.seconds(140.0) == 130.0


def test_a_watch_that_is_late_and_busy_does_not_lag() -> None:
    """Each list shows something newer than the watch, which yet delivers what was missed before."""
    lag = WatchLag()
    for n in range(10):
        lag.listed({"a": str(n + 1)}, n * 60.0)
        lag.delivered("a", str(n + 1))
        assert lag.seconds(n * 60.0 + 59) == 0.0


def test_an_object_that_the_watch_does_not_know_is_lag() -> None:
    lag = WatchLag()
    lag.listed({"new": "3"}, 0.0)
    assert lag.seconds(50.0) == 50.0
    lag.delivered("new", "4")
    assert lag.seconds(60.0) == 0.0


def test_a_deletion_that_the_watch_does_not_tell_is_lag() -> None:
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.delivered("b", "6")
    lag.listed({"b": "6"}, 0.0)
    lag.listed({"b": "6"}, 60.0)
    assert lag.seconds(90.0) == 90.0
    lag.deleted("a")
    lag.listed({"b": "6"}, 94.0)
    assert lag.seconds(95.0) == 0.0


def test_a_watch_that_goes_on_will_not_tell_of_what_vanished_before() -> None:
    """The server had forgotten what the watch missed (HTTP 410), and it has begun anew."""
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.delivered("b", "6")
    lag.listed({"b": "6"}, 0.0)
    lag.delivered("b", "7")
    for now in (60.0, 120.0, 180.0):
        lag.listed({"b": "7"}, now)
        assert lag.seconds(now + 59.0) == 0.0


def test_a_watch_that_began_anew_before_the_list_is_excused() -> None:
    """It brings again what it has brought before, and nothing of what is gone."""
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.delivered("b", "6")
    lag.delivered("b", "6")
    for now in (0.0, 60.0, 120.0):
        lag.listed({"b": "6"}, now)
        assert lag.seconds(now + 59.0) == 0.0


def test_a_watch_with_nothing_left_to_bring_is_excused() -> None:
    lag = WatchLag()
    lag.delivered("a", "5")
    lag.listed({}, 0.0)
    assert lag.seconds(300.0) == 0.0
    lag.listed({"b": "9"}, 300.0)
    assert lag.seconds(330.0) == 30.0, "it ought to have brought this"


def test_a_list_that_is_older_than_what_the_watch_brought_does_no_harm() -> None:
    """It was asked for before the one came and the other went, and answered afterwards."""
    lag = WatchLag()
    lag.delivered("old", "3")
    lag.delivered("gone", "4")
    lag.delivered("new", "5")
    lag.deleted("gone")
    lag.listed({"old": "3", "gone": "4"}, 0.0)
    lag.delivered("old", "6")
    assert lag.seconds(50.0) == 0.0
    lag.listed({"old": "6", "new": "5"}, 60.0)
    assert lag.seconds(110.0) == 0.0


def test_what_is_forgiven_once_is_no_excuse_for_what_vanishes_next() -> None:
    lag = WatchLag()
    for uid in ("a", "b", "c"):
        lag.delivered(uid, "5")
    lag.listed({"b": "5", "c": "5"}, 0.0)
    lag.delivered("c", "6")
    lag.listed({"c": "6"}, 60.0)
    assert lag.seconds(90.0) == 30.0


def test_a_dead_watch_is_reported_after_a_while() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.looked()
    health.listed({"a": "1"})
    clock.time += 119
    health.looked()
    assert health.trouble() is None
    clock.time += 2
    assert "watch" in str(health.trouble())
    health.lag.delivered("a", "1")
    assert health.trouble() is None


def test_lists_that_are_no_longer_even_tried_are_reported() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.looked()
    clock.time += 301
    assert "listed" in str(health.trouble())


def test_an_api_server_that_is_down_is_no_trouble_of_ours() -> None:
    clock = Clock()
    health = Health(clock=clock)
    for _ in range(100):
        clock.time += 30
        health.looked()
        assert health.trouble() is None
    assert health.not_ready() is not None, "nothing was ever listed"


def test_how_far_behind_the_cluster_it_is_can_be_asked_for() -> None:
    clock = Clock()
    health = Health(clock=clock)
    clock.time += 7
    assert health.list_age() == 7
    health.lag.delivered("a", "1")
    health.listed({"a": "2"})
    health.links_listed({})
    clock.time += 5
    assert health.list_age() == 5
    assert health.watch_lags() == {"metronomesyncs": 5, "customerlinks": 0}
    health.looked()  # asked for, and not answered
    assert health.list_age() == 5


async def test_an_event_loop_that_stands_is_reported() -> None:
    clock = Clock()
    health = Health(clock=clock)
    beating = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    assert health.trouble() is None
    clock.time += 31
    assert "event loop" in str(health.trouble())
    beating.cancel()


def get(server: HealthServer, path: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_the_probes_and_metrics_are_served() -> None:
    clock = Clock()
    health = Health(clock=clock)
    with HealthServer(health, lambda: (b"m 1\n", "text/plain; version=1.0"), "127.0.0.1", 0) as it:
        assert get(it, "/healthz")[0] == 200
        assert get(it, "/readyz")[0] == 503
        health.listed({})
        assert get(it, "/readyz")[0] == 200
        assert get(it, "/metrics") == (200, "text/plain; version=1.0", "m 1\n")
        health.listed({"a": "1"})
        clock.time += 500
        code, _, sentence = get(it, "/healthz")
        assert (code, sentence) == (503, "The watch has been behind the list for 500 seconds.\n")
        health.stopping()
        assert (get(it, "/healthz")[0], get(it, "/readyz")[0]) == (200, 503)


def test_a_port_that_is_taken_is_an_error() -> None:
    health = Health()
    with HealthServer(health, lambda: (b"", ""), "127.0.0.1", 0) as first, pytest.raises(OSError):
        HealthServer(health, lambda: (b"", ""), "127.0.0.1", first.port)
    assert not [thread for thread in threading.enumerate() if thread.name == "health"]
