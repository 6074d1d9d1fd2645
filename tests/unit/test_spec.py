"""The models beyond what the CRDs can check, and how problems are worded (see test_crds.py)."""

import copy
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.fieldtypes import parse_duration
from metronome_salesforce.spec import (
    FieldProblem,
    MetronomeSync,
    parse_link,
    parse_sync,
    problems,
)

Json = dict[str, Any]


def sync_document(**spec: Any) -> Json:
    return {
        "apiVersion": "metronome-salesforce.dev/v1alpha1",
        "kind": "MetronomeSync",
        "metadata": {"name": "production"},
        "spec": {
            "metronome": {"apiKeySecretRef": {"name": "metronome"}},
            "salesforce": {
                "instanceUrl": "https://acme.my.salesforce.com",
                "credentialsSecretRef": {"name": "salesforce"},
            },
            **spec,
        },
    }


def refusal(document: Json) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_sync(document)
    assert caught.value.reason == "InvalidSpec"
    return caught.value.message


def test_resource_of_the_api_is_taken() -> None:
    """With all the metadata that is of no use here, and with a status."""
    document = sync_document()
    document["metadata"] |= {
        "namespace": "billing",
        "uid": "u",
        "generation": 3,
        "resourceVersion": "77",
        "creationTimestamp": "2026-02-03T06:00:00Z",
        "annotations": {"a": "b"},
        "managedFields": [{"manager": "kubectl"}],
        "finalizers": ["x"],
    }
    document["status"] = {"lastRun": {"anything": 1}}

    sync = parse_sync(document)

    assert sync.metadata.namespace == "billing"
    assert sync.metadata.generation == 3
    assert sync.metadata.creation_timestamp == datetime(2026, 2, 3, 6, tzinfo=UTC)
    assert sync.metadata.annotations == {"a": "b"}
    assert sync.metadata.labels == {}
    assert sync.status == {"lastRun": {"anything": 1}}


def test_read_only_views_are_taken() -> None:
    """The framework hands out mappings that are not dicts."""
    document = sync_document()
    document["metadata"] = MappingProxyType(document["metadata"])
    document["spec"]["metronome"] = MappingProxyType(document["spec"]["metronome"])

    assert parse_sync(MappingProxyType(document)).metadata.name == "production"


def test_models_are_values() -> None:
    sync = parse_sync(sync_document())

    assert sync == parse_sync(copy.deepcopy(sync_document()))
    with pytest.raises(ValidationError, match="frozen"):
        sync.spec.suspend = True  # type: ignore[misc]


def test_python_names_are_not_field_names() -> None:
    assert refusal(sync_document(window_size="Day")) == (
        "spec.window_size: is not a field that exists here."
    )


def test_slash_at_the_end_of_addresses_goes() -> None:
    document = sync_document()
    document["spec"]["salesforce"]["instanceUrl"] += "/"
    document["spec"]["metronome"]["baseUrl"] = "https://api.metronome.com/"

    spec = parse_sync(document).spec

    assert spec.salesforce.instance_url == "https://acme.my.salesforce.com"
    assert spec.metronome.base_url == "https://api.metronome.com"


@pytest.mark.parametrize("zone", ["Mars/Base", "America", "Europe/Berlin/Mitte", "Local"])
def test_zone_must_exist(zone: str) -> None:
    assert "spec.timeZone: is not a known time zone" in refusal(sync_document(timeZone=zone))


@pytest.mark.parametrize("schedule", ["0 6 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 FEB *"])
def test_schedule_must_come_some_day(schedule: str) -> None:
    assert refusal(sync_document(schedule=schedule)) == (
        "spec.schedule: never comes: no such day is in the months that it names."
    )


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ("0 18-6 * * *", "hour"),
        ("0 0 31-30 2 *", "day-of-month"),
        ("0 6 * * FRI-SUN", "day-of-week"),
    ],
)
def test_a_range_that_ends_before_it_begins_is_named(schedule: str, field: str) -> None:
    assert f"spec.schedule: has a {field} range that ends before it begins" in refusal(
        sync_document(schedule=schedule)
    )


def test_every_problem_is_named() -> None:
    message = refusal(
        sync_document(windowSize="Week", historyLimit=0, objects=["Customer", "Cats"], x=1)
    )

    assert message == (
        "spec.windowSize: must be one of Day, Hour, None; "
        "spec.objects[1]: must be one of Customer, Plan, CustomerPlan, Invoice, InvoiceLineItem,"
        " InvoiceSubLineItem, InvoiceAdjustment, CreditGrant, Usage; "
        "spec.historyLimit: must be 1 or more; "
        "spec.x: is not a field that exists here."
    )


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"suspend": 1}, "spec.suspend: must be true or false."),
        ({"schedule": 5}, "spec.schedule: must be text (a number goes in quotes)."),
        ({"schedule": ""}, "spec.schedule: must not be empty."),
        ({"timeZone": "E" * 65}, "spec.timeZone: must have at most 64 characters."),
        ({"historyLimit": "5"}, "spec.historyLimit: must be a whole number."),
        ({"historyLimit": True}, "spec.historyLimit: must be a whole number."),
        ({"historyLimit": 51}, "spec.historyLimit: must be 50 or less."),
        ({"objects": {}}, "spec.objects: must be a list."),
        ({"objects": []}, "spec.objects: must have at least 1 entry."),
        ({"prune": []}, "spec.prune: must be an object with fields."),
        ({"metronome": None}, "spec.metronome: is required."),
        ({"invoices": {"statuses": ["Void"] * 4}}, "statuses: must have at most 3 entries."),
        ({"fullResyncEvery": 7}, "spec.fullResyncEvery: must be a duration"),
        ({"invoices": {"since": 20240101}}, "spec.invoices.since: must be text"),
    ],
)
def test_problems_are_sentences(value: Json, sentence: str) -> None:
    assert sentence in refusal(sync_document(**value))


def test_what_is_no_resource_at_all_is_a_problem_without_a_field() -> None:
    with pytest.raises(ValidationError) as caught:
        MetronomeSync.model_validate([])

    assert problems(caught.value) == [FieldProblem((), "must be an object with fields")]


def test_values_are_never_repeated() -> None:
    """A key that was pasted into the wrong field must not reach a log."""
    secret = "HUNTER/2 hünter"
    document = sync_document(
        schedule=secret,
        timeZone=secret,
        windowSize=secret,
        suspend=secret,
        historyLimit=secret,
        objects=[secret],
        fullResyncEvery=secret,
        invoices={"since": secret, "statuses": [secret]},
        startingDeadline=secret,
        prune=secret,
    )
    document["spec"]["metronome"] = {
        "apiKeySecretRef": {"name": secret, "key": secret},
        "baseUrl": secret,
        "salesforceIdField": secret,
    }
    document["spec"]["salesforce"] = {
        "instanceUrl": f"https://{secret}.lightning.force.com",
        "apiVersion": secret,
        "credentialsSecretRef": secret,
    }

    assert "HUNTER" not in refusal(document)
    with pytest.raises(ValidationError) as caught:
        MetronomeSync.model_validate(document)
    assert "HUNTER" not in str(caught.value)
    assert len({problem.field for problem in problems(caught.value)}) == 18


def test_field_is_written_as_the_api_server_writes_it() -> None:
    assert FieldProblem(("spec", "objects", 2), "m").field == "spec.objects[2]"
    assert str(FieldProblem((), "must be an object")) == "must be an object"


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("34d", timedelta(days=34)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("0d5m", timedelta(minutes=5)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "5", "d", "-1d", "1.5h", "1h 5m", "5m1h", "1d1d", "0s", "\u0661d"]
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 99999), st.integers(1, 999999))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    """However long, a date minus a duration is still a date."""
    duration = parse_duration(f"{days}d{hours}h{minutes}m{seconds}s")

    assert duration.total_seconds() == ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert datetime(2026, 1, 1, tzinfo=UTC) - duration


LINK: Json = {
    "apiVersion": "metronome-salesforce.dev/v1alpha1",
    "kind": "CustomerLink",
    "metadata": {"name": "acme"},
    "spec": {
        "syncRef": {"name": "production"},
        "customer": {"ingestAlias": "acme"},
        "account": {"id": "001A0000006Vm9rIAC"},
    },
}


def test_link_is_taken() -> None:
    link = parse_link(LINK)

    assert link.spec.sync_ref.name == "production"
    assert link.spec.customer.id is None
    assert link.spec.account.id == "001A0000006Vm9rIAC"
    assert link.spec.deletion_policy == "Orphan"


@given(st.integers(0, 17), st.sampled_from("AZaz09"))
def test_any_slip_in_the_case_of_an_account_id_is_found(place: int, character: str) -> None:
    """One wrong letter of the other case, or a wrong last part, breaks the checksum."""
    right = "001A0000006Vm9rIAC"
    letter = right[place].swapcase() if place < 15 else character
    wrong = right[:place] + letter + right[place + 1 :]
    document = copy.deepcopy(LINK)
    document["spec"]["account"]["id"] = wrong
    if wrong == right:
        assert parse_link(document).spec.account.id == right
        return

    with pytest.raises(ConfigError, match=r"^spec\.account\.id: "):
        parse_link(document)
