"""What people look through before they link: all customers, and Accounts by what they are called.

Reads only, and never all Accounts of an org: names are searched by how they begin, which Salesforce
has an index for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote_plus

from metronome_salesforce.canon import Number, canon
from metronome_salesforce.mapping import ACCOUNT, CUSTOMER_ID, LINK_PENDING, LINK_SOURCE
from metronome_salesforce.objects import CUSTOMER
from metronome_salesforce.salesforce.access import check_access
from metronome_salesforce.salesforce.reading import at, in_chunks, literal, pages, relationship
from metronome_salesforce.salesforce.session import Session

_ROOM = 7_000
_MOST_CUSTOMERS = 25  # of one search
_MOST_ACCOUNTS = 10_000  # found by one search: more than five pages tell nothing of a name

_FULL_NAME, _ALIASES, _ARCHIVED = "Full_Name__c", "Ingest_Aliases__c", "Archived__c"
_SPEND, _UNIT = "Current_Spend__c", "Currency__c"
_ACCOUNT_NAME = f"{relationship(ACCOUNT)}.Name"
_PATHS = (
    *("Id", "Name", _FULL_NAME, CUSTOMER_ID, _ALIASES, ACCOUNT, _ACCOUNT_NAME),
    *(LINK_SOURCE, LINK_PENDING, _ARCHIVED, _SPEND, _UNIT),
)


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """One Orphaned Customer record as people see it; `id` is Metronome's.

    `source` is who decided, as `linking.LinkSource` spells it. `pending`: a person changed the
    Account, and the rows have not followed yet. `account_name` is None where there is no Account
    and where the integration user may not see it. `spend` is in `unit`.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    account_id: str | None = None
    account_name: str | None = None
    source: str | None = None
    pending: bool = False
    archived: bool = False
    spend: Decimal | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Namesakes:
    """The Accounts that a search for some customers found: names by id.

    `complete` is False when there were too many to read, so that the right one may be missing.
    """

    customers: Sequence[str]
    accounts: Mapping[str, str]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """A customer to look for: the name as it is written, and LIKE patterns of how it may begin."""

    id: str
    name: str
    patterns: Sequence[str]


def check(session: Session) -> None:
    """Sign in, and see that the records can be read; raises as `access.check_access`."""
    check_access(session, [CUSTOMER])


def customers(session: Session) -> Iterator[list[CustomerRecord]]:
    """All Orphaned Customer records, linked or not, a page at a time."""
    select = f"SELECT {', '.join(_PATHS)} FROM {CUSTOMER.sobject}"  # noqa: S608 -- SOQL of our own names
    for records in pages(session, select):
        yield [_customer(record) for record in records]


def _customer(record: Mapping[str, Any]) -> CustomerRecord:
    account = record[ACCOUNT]
    spend = canon(Number(18, 2), record[_SPEND])
    return CustomerRecord(
        id=str(record[CUSTOMER_ID]),
        name=str(record[_FULL_NAME] or record["Name"]),
        aliases=tuple((record[_ALIASES] or "").splitlines()),
        account_id=None if account is None else str(account),
        account_name=at(record, _ACCOUNT_NAME),
        source=record[LINK_SOURCE],
        pending=bool(record[LINK_PENDING]),
        archived=bool(record[_ARCHIVED]),
        spend=spend if isinstance(spend, Decimal) else None,
        unit=record[_UNIT],
    )


def namesakes(session: Session, wanted: Collection[Wanted]) -> Iterator[Namesakes]:
    """Search for Accounts whose names are, or begin like, those of customers.

    One query for some 25 customers. Where a search finds more Accounts than are worth reading, its
    customers are searched for one by one; who still has too many gets those that were read, the
    Accounts of exactly that name among them.
    """
    batch: list[Wanted] = []
    for one in wanted:
        if batch and (len(batch) == _MOST_CUSTOMERS or _size([*batch, one]) > _ROOM):
            yield from _search(session, batch)
            batch = []
        batch.append(one)
    if batch:
        yield from _search(session, batch)


def _search(session: Session, batch: Sequence[Wanted]) -> Iterator[Namesakes]:
    answer = _ask(session, _condition(batch))
    complete = int(answer["totalSize"]) <= _MOST_ACCOUNTS
    if not complete and len(batch) > 1:
        half = len(batch) // 2
        yield from _search(session, batch[:half])
        yield from _search(session, batch[half:])
        return
    found = _read(session, answer)
    if not complete:
        for condition in in_chunks("Name", [batch[0].name]):
            found |= _read(session, _ask(session, condition))
    yield Namesakes([one.id for one in batch], found, complete)


def _condition(batch: Sequence[Wanted]) -> str:
    names = ",".join(literal(one.name) for one in batch)
    likes = [f"Name LIKE {literal(pattern)}" for one in batch for pattern in one.patterns]
    return " OR ".join([f"Name IN ({names})", *dict.fromkeys(likes)])


def _size(batch: Sequence[Wanted]) -> int:
    return len(quote_plus(_condition(batch)))


def _ask(session: Session, condition: str) -> Any:
    soql = f"SELECT Id, Name FROM Account WHERE {condition} ORDER BY Id"  # noqa: S608 -- SOQL of our own names
    return session.query(soql)


def _read(session: Session, answer: Any) -> dict[str, str]:
    """The names of Accounts by id, not many more than are worth reading."""
    found: dict[str, str] = {}
    while True:
        found.update((str(one["Id"]), str(one["Name"])) for one in answer["records"])
        if answer["done"] or len(found) >= _MOST_ACCOUNTS:
            return found
        answer = session.next_page(str(answer["nextRecordsUrl"]))
