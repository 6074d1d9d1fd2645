"""Which CustomerLinks are due, and when a batch of them starts; by a clock of the tests' own."""

from typing import Any

import pytest

from metronome_salesforce.linkqueue import (
    FINALIZER,
    LinkSet,
    Look,
    Turn,
    entry_of,
    requests_of,
    start_at,
    take_batch,
    take_looks,
)

CUSTOMER = "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
READY = {"type": "Ready", "status": "True", "reason": "Linked", "message": "."}


def link(name: str = "acme", version: int = 1, **changes: Any) -> dict[str, Any]:
    """A CustomerLink; `ready` is the generation that its status speaks of."""
    ready = changes.pop("ready", None)
    spec = changes.pop("spec", {})
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "generation": 1,
        "resourceVersion": str(version),
        **changes,
    }
    body: dict[str, Any] = {
        "apiVersion": "metronome-salesforce.dev/v1alpha1",
        "kind": "CustomerLink",
        "metadata": metadata,
        "spec": {
            "syncRef": {"name": "acme"},
            "customer": {"id": CUSTOMER},
            "account": {"id": "001Hs00000AbCdE"},
            **spec,
        },
    }
    if ready is not None:
        body["status"] = {"observedGeneration": ready, "conditions": [READY]}
    return body


@pytest.fixture(name="links")
def _links() -> LinkSet:
    return LinkSet(("default", "acme"), lambda: None)


def test_one_link_starts_after_a_short_pause(links: LinkSet) -> None:
    assert start_at(links, []) is None
    assert links.offer(link(), 100.0)
    assert start_at(links, []) == pytest.approx(100.2)
    assert [one.name for one in take_batch(links, 100.2)] == ["acme"]


def test_what_comes_within_the_pause_goes_along(links: LinkSet) -> None:
    for number in range(5):
        links.offer(link(f"link-{number}"), 100.0 + number / 10)
    assert start_at(links, []) == pytest.approx(100.6)
    assert len(take_batch(links, 100.6)) == 5


def test_among_many_the_pause_is_longer(links: LinkSet) -> None:
    """A folder that is applied is worked off in few batches, although kubectl has its pauses."""
    for number in range(20):
        links.offer(link(f"link-{number}"), 100.0 + number / 4)
    assert start_at(links, []) == pytest.approx(105.75)


def test_a_flood_does_not_wait_for_its_end(links: LinkSet) -> None:
    for number in range(200):
        links.offer(link(f"link-{number}"), 100.0 + number / 10)
    assert start_at(links, []) == pytest.approx(120.0)


def test_a_thousand_do_not_wait_and_are_enough(links: LinkSet) -> None:
    for number in range(1200):
        links.offer(link(f"link-{number}"), 100.0 + number / 10_000)
    start = start_at(links, [])
    assert start is not None
    assert start <= 100.2
    batch = take_batch(links, 100.2)
    assert len(batch) == 1000
    assert batch[0].name == "link-0", "those that have waited longest"
    for entry in batch:
        entry.turn.done()
    assert start_at(links, []) is not None, "the others come next"


def test_our_own_writes_are_no_news(links: LinkSet) -> None:
    """A finalizer and a status make new versions of what asks for nothing more."""
    links.offer(link(), 100.0)
    take_batch(links, 101.0)[0].turn.done()
    assert not links.offer(link(version=2, finalizers=[FINALIZER]), 102.0)
    assert not links.offer(link(version=3, ready=1), 102.0)
    assert not links.offer(link(version=3, generation=2), 102.0), "an old version"
    assert start_at(links, []) is None


def test_a_ready_link_is_left_alone_until_it_changes(links: LinkSet) -> None:
    links.offer(link(ready=1), 100.0)
    assert start_at(links, []) is None
    assert links.offer(link(version=2, generation=2, ready=1), 200.0)
    assert start_at(links, []) == pytest.approx(200.2)


def test_a_deleted_link_is_due_if_it_is_held(links: LinkSet) -> None:
    gone = {"deletionTimestamp": "2026-03-10T06:00:00Z"}
    links.offer(link("held", finalizers=[FINALIZER], ready=1), 100.0)
    links.offer(link("free", ready=1), 100.0)
    links.offer(link("held", 2, finalizers=[FINALIZER], ready=1, **gone), 200.0)
    links.offer(link("free", 2, finalizers=["others"], ready=1, **gone), 200.0)
    assert [one.name for one in take_batch(links, 201.0)] == ["held"]
    assert requests_of(links) == []


def test_links_that_vanish_are_remembered_unless_we_let_them_go(links: LinkSet) -> None:
    links.offer(link("by-hand", ready=1), 100.0)
    links.offer(link("by-us", ready=1), 100.0)
    links.released(links.entries["by-us"], 101.0)
    links.remove("uid-by-hand", 101.0)
    assert not links.remove("uid-by-us", 101.0)
    assert [one.name for one in links.gone] == ["by-hand"]
    assert links.gone[0].customer == CUSTOMER


def test_another_link_of_the_name_is_another_one(links: LinkSet) -> None:
    links.offer(link(ready=1), 100.0)
    links.offer(link(version=9, uid="uid-2"), 200.0)
    assert [one.uid for one in links.gone] == ["uid-acme"]
    assert [one.uid for one in take_batch(links, 201.0)] == ["uid-2"]


def test_what_fails_waits_longer_each_time() -> None:
    turn, waits = Turn(), []
    for _ in range(12):
        turn.later(0.0)
        waits.append(turn.due)
    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == 900.0

    turn.later(0.0, passing=True)
    assert turn.due == 120.0
    turn.later(0.0, passing=True, wish=3000.0)
    assert turn.due == 3000.0

    turn.now(50.0)
    turn.later(60.0)
    assert turn.due == 62.0, "news start anew"


def test_what_is_retried_does_not_wait_for_a_pause(links: LinkSet) -> None:
    links.offer(link("failing"), 100.0)
    links.entries["failing"].turn.later(100.0)
    links.offer(link("fresh"), 101.9)
    assert start_at(links, []) == pytest.approx(102.0)
    other = Turn()
    other.again(99.0)
    assert start_at(links, [other]) == 99.0


def test_an_invalid_spec_asks_for_nothing(links: LinkSet) -> None:
    links.offer(link(spec={"account": {}}), 100.0)
    (entry,) = take_batch(links, 101.0)
    assert entry.problem is not None
    assert "spec.account" in entry.problem.message
    assert requests_of(links) == []


def test_an_alias_is_known_by_what_it_was_resolved_to() -> None:
    body = link(spec={"customer": {"ingestAlias": "acme-eu"}})
    assert entry_of(body).customer is None
    body["status"] = {"customerId": CUSTOMER}
    assert entry_of(body).customer == CUSTOMER


def test_a_deleted_link_that_we_do_not_hold_is_not_due(links: LinkSet) -> None:
    """It goes on to exist for somebody else's finalizer, and there is nothing for us to do."""
    others: dict[str, Any] = {"finalizers": ["example.com/other"]}
    links.offer(link(**others), 100.0)
    links.offer(link(version=2, deletionTimestamp="2026-03-10T06:00:00Z", **others), 101.0)
    assert start_at(links, []) is None
    assert take_batch(links, 200.0) == []


def test_what_has_ended_does_not_come_back(links: LinkSet) -> None:
    """A list that was asked for before tells of it, or a watch that is late."""
    links.offer(link(finalizers=[FINALIZER]), 100.0)
    links.remove("uid-acme", 101.0)
    assert not links.offer(link(finalizers=[FINALIZER]), 102.0)
    assert not links.offer(link(version=9, finalizers=[FINALIZER]), 103.0)
    assert links.entries == {}
    assert links.offer(link(version=12, uid="uid-2"), 104.0), "another one of its name"


def test_what_we_let_go_of_does_not_come_back(links: LinkSet) -> None:
    gone: dict[str, Any] = {"deletionTimestamp": "2026-03-10T06:00:00Z", "finalizers": [FINALIZER]}
    links.offer(link(**gone), 100.0)
    entry = links.entries["acme"]
    links.offer(link(version=2, **{**gone, "finalizers": []}), 101.0)  # the answer to our write
    links.released(entry, 101.0)
    assert links.entries == {}
    assert links.gone == []
    assert not links.offer(link(version=2, **gone), 102.0)
    assert start_at(links, []) is None


def test_what_we_let_go_of_while_the_watch_told_its_end_is_no_surprise(links: LinkSet) -> None:
    gone: dict[str, Any] = {"deletionTimestamp": "2026-03-10T06:00:00Z", "finalizers": [FINALIZER]}
    links.offer(link(**gone), 100.0)
    entry = links.entries["acme"]
    links.remove("uid-acme", 101.0)
    links.released(entry, 101.1)
    assert links.gone == []


def test_no_more_than_a_thousand_customers_are_looked_at_at_once() -> None:
    looks = {f"customer-{number}": Look() for number in range(1200)}
    for number, look in enumerate(looks.values()):
        look.turn.again(100.0 - number / 100)
    looks["customer-7"].turn.later(100.0)
    taken = take_looks(looks, 100.0)
    assert len(taken) == 1000
    assert "customer-1199" in taken, "those that have waited longest"
    assert "customer-0" not in taken
    for id_, look in taken.items():
        assert looks[id_] is look
        look.turn.done()
    assert len(take_looks(looks, 100.0)) == 199, "the others come next"
