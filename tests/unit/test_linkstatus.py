"""The status of a CustomerLink, as each thing that happens to it leaves it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from metronome_salesforce import linkstatus
from metronome_salesforce.conditions import Moment, changes_nothing, merged
from metronome_salesforce.linking import LinkReason, LinkVerdict
from metronome_salesforce.linkstatus import SUSPENDED, Hindrance

AT = datetime(2026, 3, 10, 6, tzinfo=UTC)
FIRST, SECOND = "001Hs0000000001IAA", "001Hs0000000002IAA"
CUSTOMER = "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
DOWN = Hindrance("SalesforceUnavailable", "Salesforce answered 503.")


def verdict(reason: LinkReason = LinkReason.LINKED, **changes: Any) -> LinkVerdict:
    given: dict[str, Any] = {
        "message": "A sentence.",
        "customer_id": CUSTOMER,
        "customer_name": "Acme",
        "account_id": FIRST,
        "account_name": "Acme Corporation",
        **changes,
    }
    return LinkVerdict("link", reason, **given)


def judged(
    status: dict[str, Any], given: LinkVerdict, place: Any = None, generation: int = 1
) -> dict[str, Any]:
    moment = Moment(AT, generation)
    return merged(status, linkstatus.judged(status, moment, given, place))


def conditions_of(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_linked() -> None:
    status = judged({}, verdict(moved={"Usage": 7}), (FIRST, "CustomerLink"))
    assert conditions_of(status) == {"Ready": ("True", "Linked"), "Stalled": ("False", "Linked")}
    assert status["linkedAt"] == "2026-03-10T06:00:00Z"
    assert status["reparented"] == {"Usage": 7}
    assert (status["accountId"], status["customerName"]) == (FIRST, "Acme")
    again = linkstatus.judged(status, Moment(AT.replace(day=11), 1), verdict(), None)
    assert changes_nothing(status, again)


def test_another_account_counts_anew() -> None:
    status = judged({}, verdict(moved={"Usage": 7, "Invoice": 1}))
    status = judged(status, verdict(account_id=SECOND, moved={"Usage": 9}), generation=2)
    assert status["accountId"] == SECOND
    assert status["reparented"] == {"Usage": 9}


def test_rows_that_follow_later_are_added() -> None:
    status = judged({}, verdict(LinkReason.ROWS_REJECTED, moved={"Usage": 7}))
    assert conditions_of(status)["Ready"] == ("False", "RowsRejected")
    assert conditions_of(status)["Stalled"][0] == "False"
    assert "linkedAt" not in status
    assert linkstatus.may_have_moved(status)
    status = judged(status, verdict(moved={"Usage": 1, "Invoice": 2}))
    assert status["reparented"] == {"Usage": 8, "Invoice": 2}
    assert "linkedAt" in status


def test_an_account_that_is_not_there_keeps_the_former_place() -> None:
    status = judged({}, verdict())
    lost = verdict(LinkReason.ACCOUNT_NOT_FOUND, account_id=None, account_name=None)
    kept = judged(status, lost, (FIRST, "CustomerLink"), generation=2)
    assert conditions_of(kept)["Stalled"] == ("True", "AccountNotFound")
    assert kept["accountId"] == FIRST
    gone = judged(status, lost, (None, None), generation=2)
    assert not {"accountId", "accountName", "linkedAt", "reparented"} & gone.keys()
    assert not linkstatus.may_have_moved(gone)


def test_a_loser_is_in_conflict_until_it_wins() -> None:
    lost = verdict(LinkReason.CONFLICT, account_id=None)
    status = judged({}, lost, (SECOND, "CustomerLink"))
    assert conditions_of(status)["Conflict"] == ("True", "Conflict")
    assert linkstatus.summary({"metadata": {"generation": 1}, "status": status}) == "conflict"
    assert not linkstatus.may_have_moved(status), "the rows are there by the winner"
    assert "Conflict" not in conditions_of(judged(status, verdict()))


def test_a_contradiction_stays_until_a_cycle_sees_it_no_longer() -> None:
    """Only cycles ask Metronome for everybody."""
    moment = Moment(AT, 1)
    status = judged({}, verdict())
    said = verdict(contradiction="Metronome names another.", account_name=None)
    status = merged(status, linkstatus.contradicted(status, moment, said))
    assert status["accountName"] == "Acme Corporation", "a cycle does not read all names"
    assert conditions_of(judged(status, verdict()))["Conflict"] == ("True", "Contradicted")
    assert "Conflict" not in conditions_of(judged(status, verdict(), generation=2))
    calm = merged(status, linkstatus.contradicted(status, moment, verdict()))
    assert "Conflict" not in conditions_of(calm)


@pytest.mark.parametrize("deleting", [False, True])
def test_a_hindrance_is_told(deleting: bool) -> None:
    status = judged({}, verdict())
    patch = linkstatus.hindered(status, Moment(AT, 2), SUSPENDED, deleting=deleting)
    after = merged(status, patch)
    assert conditions_of(after)["Ready"] == ("False", "SyncSuspended")
    assert after["accountId"] == FIRST
    assert ("finalizer waits" in after["conditions"][0]["message"]) is deleting


def test_a_run_that_was_cut_short_may_have_moved_rows() -> None:
    assert linkstatus.may_have_moved({})
    failed = merged({}, linkstatus.hindered({}, Moment(AT, 1), DOWN))
    assert linkstatus.may_have_moved(failed)
    assert not linkstatus.was_judged(failed)
    wrong = judged({}, verdict(LinkReason.CUSTOMER_NOT_FOUND, customer_id=None, account_id=None))
    assert not linkstatus.may_have_moved(wrong)
    assert linkstatus.was_judged(wrong)


def test_events_tell_changes_only() -> None:
    status = judged({}, verdict())
    assert [one.reason for one in linkstatus.events({}, status)] == ["Linked"]
    assert linkstatus.events(status, judged(status, verdict())) == []
    moved = judged(status, verdict(account_id=SECOND), generation=2)
    assert [one.reason for one in linkstatus.events(status, moved)] == ["Linked"]
    failed = merged(status, linkstatus.hindered(status, Moment(AT, 2), DOWN))
    (told,) = linkstatus.events(status, failed)
    assert (told.kind, told.reason) == ("Warning", "SalesforceUnavailable")
    waiting = linkstatus.hindered({}, Moment(AT, 1), linkstatus.BEFORE_FIRST_CYCLE)
    assert linkstatus.events({}, merged({}, waiting)) == []
    said = linkstatus.contradicted(status, Moment(AT, 1), verdict(contradiction="Another."))
    (conflict,) = linkstatus.events(status, merged(status, said))
    assert (conflict.kind, conflict.reason, conflict.message) == ("Warning", "Conflict", "Another.")
    assert linkstatus.events(merged(status, said), merged(status, said)) == []


def test_what_a_cycle_says_is_compared() -> None:
    body = {"metadata": {"generation": 1}, "status": judged({}, verdict())}
    assert linkstatus.agrees(body, verdict())
    assert not linkstatus.agrees(body, verdict(account_id=SECOND))
    lost = verdict(LinkReason.ACCOUNT_NOT_FOUND, account_id=None)
    assert not linkstatus.agrees(body, lost)
    body["status"] = judged({}, lost, (None, None))
    assert linkstatus.agrees(body, lost)
    assert not linkstatus.agrees(body, verdict())
