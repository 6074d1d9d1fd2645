"""What a CustomerLink asks for, as the link rules want it: from a cluster or from a file alike."""

from datetime import UTC, datetime

from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.spec import CustomerLink


def request_of(link: CustomerLink) -> LinkRequest:
    """The request of one CustomerLink; its name is that of the resource.

    The customer's id comes from the spec or, for an ingest alias that was resolved before, from
    `status.customerId`. A resource from a file has no time of creation, and counts as older than
    any that has one.
    """
    customer, account = link.spec.customer, link.spec.account
    known = link.status.get("customerId")
    # Metronome writes its ids in small letters, which people and their tools do not always keep.
    given = None if customer.id is None else customer.id.lower()
    return LinkRequest(
        name=link.metadata.name,
        created=_rfc3339(link.metadata.creation_timestamp),
        customer_id=given or (known if isinstance(known, str) and known else None),
        ingest_alias=customer.ingest_alias,
        account_id=account.id,
        external_id=(
            (account.external_id.field, account.external_id.value) if account.external_id else None
        ),
    )


def _rfc3339(moment: datetime | None) -> str:
    if moment is None:
        return ""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")
