"""CustomerLinks as the link rules see them."""

from typing import Any

import pytest

from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.linkrequests import request_of
from metronome_salesforce.spec import parse_link

CUSTOMER = "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001"
OTHER = "0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0002"


def asked(spec: dict[str, Any], status: Any = None, **metadata: Any) -> LinkRequest:
    """The request of a CustomerLink with these parts."""
    document = {
        "apiVersion": "metronome-salesforce.dev/v1alpha1",
        "kind": "CustomerLink",
        "metadata": {"name": "acme", **metadata},
        "spec": {"syncRef": {"name": "production"}, **spec},
        "status": status or {},
    }
    return request_of(parse_link(document))


def test_by_ids() -> None:
    request = asked({"customer": {"id": CUSTOMER}, "account": {"id": "001Hs00000AbCdE"}})

    assert request == LinkRequest("acme", "", CUSTOMER, None, "001Hs00000AbCdE", None)


def test_an_id_in_capitals_is_metronome_s_all_the_same() -> None:
    spec = {"customer": {"id": CUSTOMER.upper()}, "account": {"id": "001Hs00000AbCdE"}}

    assert asked(spec).customer_id == CUSTOMER


@pytest.mark.parametrize(
    ("status", "id_"),
    [(None, None), ({"customerId": OTHER}, OTHER), ({"customerId": None}, None)],
)
def test_by_alias_and_external_id(status: Any, id_: str | None) -> None:
    """Who an alias stood for when it was resolved is remembered."""
    external = {"externalId": {"field": "ERP__c", "value": "4711"}}
    request = asked({"customer": {"ingestAlias": "acme-eu"}, "account": external}, status)

    assert request == LinkRequest("acme", "", id_, "acme-eu", None, ("ERP__c", "4711"))


def test_the_spec_s_id_comes_before_the_status_s() -> None:
    spec = {"customer": {"id": CUSTOMER}, "account": {"id": "001Hs00000AbCdE"}}

    assert asked(spec, {"customerId": OTHER}).customer_id == CUSTOMER


@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("2026-03-10T06:00:00Z", "2026-03-10T06:00:00Z"),
        ("2026-03-10T06:00:00+02:00", "2026-03-10T04:00:00Z"),
    ],
)
def test_times_of_creation_sort_as_text(time: str, told: str) -> None:
    spec = {"customer": {"id": CUSTOMER}, "account": {"id": "001Hs00000AbCdE"}}

    assert asked(spec, creationTimestamp=time).created == told
