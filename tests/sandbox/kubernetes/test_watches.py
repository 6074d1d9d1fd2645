"""Watches over the wire: what is streamed, from which version on, and how it ends."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import httpx
import pytest

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox, Match
from tests.sandbox.kubernetes.conftest import WIDGETS_PATH, widget

MERGE = {"Content-Type": "application/merge-patch+json"}
ALL = "/apis/example.com/v1/widgets"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


class Watch:
    """A watch read in a thread; `next()` gives its events, None once the stream has ended."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self._events: Queue[dict[str, Any] | None] = Queue()
        self._thread = threading.Thread(target=self._read, args=(response,), daemon=True)
        self._thread.start()

    def _read(self, response: httpx.Response) -> None:
        try:
            for line in response.iter_lines():
                self._events.put(json.loads(line))
        except httpx.HTTPError:
            pass
        finally:
            self._events.put(None)

    def next(self, seconds: float = 5.0) -> dict[str, Any] | None:
        return self._events.get(timeout=seconds)

    def pair(self) -> tuple[str, str]:
        """The type of the next event and its object's name."""
        event = self.next()

        assert event is not None
        return event["type"], event["object"]["metadata"]["name"]

    def rest(self) -> list[dict[str, Any]]:
        return list(iter(self.next, None))

    def silent(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self._events.empty()


@contextmanager
def watching(
    http: httpx.Client, path: str = ALL, headers: dict[str, str] | None = None, **query: Any
) -> Iterator[Watch]:
    params = {"watch": "true", **query}
    with http.stream("GET", path, params=params, headers=headers) as response:
        yield Watch(response)


def version(http: httpx.Client) -> str:
    text: str = http.get(ALL).json()["metadata"]["resourceVersion"]
    return text


def test_a_watch_tells_each_change_after_its_version(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    sandbox.create("widgets", widget("before"))
    with watching(http, resourceVersion=version(http)) as watch:
        created = sandbox.create("widgets", widget())
        http.patch(f"{WIDGETS_PATH}/one", json={"spec": {"size": 2}}, headers=MERGE)
        http.delete(f"{WIDGETS_PATH}/one")

        assert watch.next() == {"type": "ADDED", "object": created}
        assert watch.pair() == ("MODIFIED", "one")
        last = watch.next()
        assert last is not None
        assert last["type"] == "DELETED"
        assert last["object"]["spec"]["size"] == 2
        assert int(last["object"]["metadata"]["resourceVersion"]) == int(version(http))


def test_a_watch_from_a_past_version_catches_up(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    start = version(http)
    sandbox.create("widgets", widget("one"))
    sandbox.create("widgets", widget("two"))

    with watching(http, resourceVersion=start) as watch:
        assert [watch.pair(), watch.pair()] == [("ADDED", "one"), ("ADDED", "two")]


def test_a_watch_without_a_version_starts_with_what_is_there(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    sandbox.create("widgets", widget("one"))
    with watching(http) as watch:
        assert watch.pair() == ("ADDED", "one")


def test_initial_events_end_with_a_marked_bookmark(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    sandbox.create("widgets", widget("one"))
    with watching(
        http,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    ) as watch:
        assert watch.pair() == ("ADDED", "one")
        mark = watch.next()
        assert mark is not None
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"] == {
            "resourceVersion": version(http),
            "annotations": {"k8s.io/initial-events-end": "true"},
        }


def test_bookmarks_come_while_nothing_happens(
    http: httpx.Client, sandbox: KubernetesSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sped up: they come every few seconds."""
    monkeypatch.setattr("metronome_salesforce.sandbox.kubernetes.watches.BOOKMARK_SECONDS", 0.2)
    start = version(http)
    with watching(http, resourceVersion=start, allowWatchBookmarks="true") as watch:
        sandbox.create("configmaps", {"metadata": {"name": "unseen"}})
        mark = watch.next()
        assert mark is not None
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["kind"] == "Widget"
        assert int(mark["object"]["metadata"]["resourceVersion"]) > int(start)


def test_a_watch_ends_after_its_time(http: httpx.Client) -> None:
    started = time.monotonic()
    with watching(http, timeoutSeconds="1") as watch:
        assert watch.rest() == []
    assert 0.9 < time.monotonic() - started < 3


def test_a_watch_from_a_forgotten_version_is_told_so(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    start = version(http)
    sandbox.compact()

    with watching(http, resourceVersion=start) as watch:
        assert watch.status == 200
        (event,) = watch.rest()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


def test_an_object_enters_and_leaves_a_selection(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    sandbox.create("widgets", widget())
    with watching(http, resourceVersion=version(http), labelSelector="on") as watch:
        path = f"{WIDGETS_PATH}/one"
        for patch in ({"labels": {"on": "1"}}, {"labels": {"on": "2"}}, {"labels": None}):
            http.patch(path, json={"metadata": patch}, headers=MERGE)
        kinds = [watch.pair()[0] for _ in range(3)]
        assert kinds == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_of_a_namespace_sees_no_other(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    path = "/apis/example.com/v1/namespaces/kube-system/widgets"
    with watching(http, path, resourceVersion=version(http)) as watch:
        sandbox.create("widgets", widget("elsewhere"))
        sandbox.create("widgets", widget("here"), namespace="kube-system")
        assert watch.pair() == ("ADDED", "here")


def test_a_watch_can_send_tables(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    with watching(http, resourceVersion=version(http), headers=TABLE) as watch:
        sandbox.create("widgets", widget())
        event = watch.next()
        assert event is not None
        assert event["object"]["kind"] == "Table"
        assert [row["cells"][0] for row in event["object"]["rows"]] == ["one"]


def test_a_watch_ends_with_its_definition(http: httpx.Client) -> None:
    with watching(http) as watch:
        http.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
        assert watch.next() is None


def test_stopping_the_server_ends_its_watches(sandbox: KubernetesSandbox) -> None:
    served = sandbox.serve()
    with httpx.Client(base_url=served.url) as client, watching(client) as watch:
        started = time.monotonic()
        served.stop()
        assert watch.next() is None
        assert time.monotonic() - started < 2
    assert sandbox.open_watches() == 0


# Faults


def test_a_frozen_watch_is_silent_and_later_catches_up(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    with watching(http, resourceVersion=version(http)) as watch:
        sandbox.faults.freeze_watches("widgets")
        sandbox.create("widgets", widget())
        assert watch.silent(0.4)
        assert sandbox.open_watches("widgets") == 1
        sandbox.faults.thaw_watches()
        assert watch.pair() == ("ADDED", "one")


def test_watches_can_be_closed(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    with watching(http) as watch:
        sandbox.faults.close_watches()
        assert watch.next() is None


def test_the_next_watch_can_be_told_that_it_is_too_late(
    http: httpx.Client, sandbox: KubernetesSandbox
) -> None:
    sandbox.faults.add(Match(verb="watch"), status=410, times=1)
    with watching(http) as watch:
        (event,) = watch.rest()
        assert event["object"]["code"] == 410
    sandbox.create("widgets", widget())
    with watching(http) as watch:
        assert watch.pair() == ("ADDED", "one")


def test_faults_hit_the_calls_they_match(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    fault = sandbox.faults.add(Match("list", "widgets"), status=503, times=2, retry_after=7)

    first = http.get(ALL)
    assert (first.status_code, first.headers["Retry-After"]) == (503, "7")
    assert http.get("/api/v1/secrets").status_code == 200
    assert [http.get(ALL).status_code, http.get(ALL).status_code] == [503, 200]
    assert fault.hits == 2
    forbidden = sandbox.faults.add(status=403)
    assert http.get("/apis").status_code == 403
    sandbox.faults.remove(forbidden)
    assert http.get("/apis").status_code == 200


def test_a_dropped_answer_may_hide_a_write(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    sandbox.faults.add(Match("create", "widgets"), drop=True, after=True, times=1)
    sandbox.faults.add(Match("get", "widgets"), delay=0.3, times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        http.post(WIDGETS_PATH, json=widget())
    started = time.monotonic()
    assert http.get(f"{WIDGETS_PATH}/one").status_code == 200
    assert time.monotonic() - started > 0.3


def test_every_call_is_logged(http: httpx.Client, sandbox: KubernetesSandbox) -> None:
    http.post(WIDGETS_PATH, json=widget(size=3))
    http.get(f"{WIDGETS_PATH}/two")
    http.patch(f"{WIDGETS_PATH}/one/status", json={}, headers=MERGE)

    assert sandbox.requests.counts() == {
        ("create", "widgets", 201): 1,
        ("get", "widgets", 404): 1,
        ("patch", "widgets", 200): 1,
    }
    (call,) = sandbox.requests.calls(Match(subresource="status"))
    assert (call.namespace, call.name, call.status) == ("default", "one", 200)
    sandbox.requests.clear()
    assert sandbox.requests.calls() == []
