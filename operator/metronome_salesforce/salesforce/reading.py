"""What the org holds: SOQL made from the mappings, and its answers as canonical rows.

Queries are ordered by Id, so that one whose cursor Salesforce has dropped goes on behind the last
row that was read, and yields no row twice.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from simple_salesforce.format import quote_soql_value

from metronome_salesforce.canon import Date, Lookup, MasterDetail, canon, content_hash
from metronome_salesforce.linking import Refusal, account_id
from metronome_salesforce.mapping import (
    ACCOUNT,
    CUSTOMER_ID,
    LINK_PENDING,
    LINK_SOURCE,
    LINKED_ACCOUNT_ID,
    ORPHANED_CUSTOMER,
    RELINKING,
    SYNC_HASH,
    Field,
    ObjectMapping,
)
from metronome_salesforce.objects import (
    ACCOUNT_SUMMARY,
    CUSTOMER,
    INVOICE,
    OBJECTS,
    SYNC_RUN,
    USAGE,
)
from metronome_salesforce.ports import Horizon, PastRun
from metronome_salesforce.rows import ActualRow, Value
from metronome_salesforce.salesforce.failures import RefusedError
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.scope import Scope

_BY_SOBJECT = {mapping.sobject: mapping for mapping in OBJECTS}
_DRAFT = "Draft"

# Of the 100,000 characters that Salesforce takes (SOQL limits). What is longer than a URL may be
# goes in a body: see `Session.query`.
_LONGEST_SOQL = 60_000
_MOST_IDS = 1_000

_ID_LENGTH = 15


def reference_path(field: Field) -> str | None:
    """Where SOQL finds the external id that a reference field stands for; None for record ids."""
    kind = field.value_kind
    if not isinstance(kind, Lookup | MasterDetail) or kind.target not in _BY_SOBJECT:
        return None
    return f"{relationship(field.api)}.{_BY_SOBJECT[kind.target].key.api}"


def relationship(api: str) -> str:
    """`Invoice__r` for `Invoice__c`."""
    return f"{api.removesuffix('__c')}__r"


@dataclass(frozen=True, slots=True)
class Select:
    """The paths that a query for one object selects, and how its records become rows."""

    mapping: ObjectMapping
    paths: tuple[str, ...]
    content: Mapping[str, str] | None

    @property
    def soql(self) -> str:
        """The query without conditions."""
        return f"SELECT {', '.join(self.paths)} FROM {self.mapping.sobject}"  # noqa: S608 -- SOQL of our own names

    def row(self, record: Mapping[str, Any], *, user_id: str | None) -> ActualRow:
        """The canonical row of one record of the answer; `user_id` is the integration user."""
        mapping, invoice = self.mapping, self.mapping.invoice_path
        key = str(at(record, mapping.key.api))
        customer_id = _text(at(record, customer_path(mapping))) if has_customer(mapping) else None
        return ActualRow(
            object=mapping.name,
            key=key,
            id=str(record["Id"]),
            hash=_text(record.get(SYNC_HASH)),
            customer_id=customer_id,
            owner=_text(at(record, f"{invoice}{INVOICE.key.api}")) if invoice else customer_id,
            account=_text(record.get(ACCOUNT)),
            orphaned_customer=_text(at(record, _ORPHANED_PATH)) if mapping.placed else None,
            linked=_text(record.get(LINKED_ACCOUNT_ID)),
            link_source=_text(record.get(LINK_SOURCE)),
            relinking=record.get(RELINKING) is True,
            edited=_is_other(record.get("LastModifiedById"), user_id),
            draft=invoice is not None and at(record, f"{invoice}Status__c") == _DRAFT,
            content=None if self.content is None else _content(mapping, record, self.content),
        )


_ORPHANED_PATH = f"{relationship(ORPHANED_CUSTOMER)}.{CUSTOMER.key.api}"


def has_customer(mapping: ObjectMapping) -> bool:
    """Whether the rows of an object belong to a customer."""
    return mapping is CUSTOMER or mapping.placed or bool(mapping.invoice_path)


def customer_path(mapping: ObjectMapping) -> str:
    """Where SOQL finds the Metronome customer id of a row."""
    return f"{mapping.invoice_path or ''}{CUSTOMER_ID}"


def select_for(mapping: ObjectMapping, *, content: bool) -> Select:
    """What a comparison needs of the rows of `mapping`; with `content`, every compared field."""
    paths = ["Id", mapping.key.api, SYNC_HASH, "LastModifiedById"]
    if has_customer(mapping):
        paths.append(customer_path(mapping))
    if mapping is CUSTOMER:
        paths += [ACCOUNT, LINKED_ACCOUNT_ID, LINK_SOURCE, RELINKING]
    if mapping.placed:
        paths += [ACCOUNT, _ORPHANED_PATH]
    if mapping.invoice_path is not None:
        paths.append(f"{mapping.invoice_path}Status__c")
    if mapping.invoice_path:
        paths.append(f"{mapping.invoice_path}{INVOICE.key.api}")
    wanted = None
    if content:
        wanted = {field.api: reference_path(field) or field.api for field in mapping.content}
        paths += wanted.values()
    return Select(mapping, tuple(dict.fromkeys(paths)), wanted)


def pages(
    session: Session, select: str, conditions: Sequence[str | None] = ()
) -> Iterator[list[dict[str, Any]]]:
    """The records of a query that selects Id, a page at a time; pages may be short, never empty.

    Starts again once, behind the last record, when Salesforce has dropped the cursor.
    """
    last: str | None = None
    restarted = False
    link: str | None = None
    while True:
        try:
            if link is None:
                behind = None if last is None else f"Id > {literal(last)}"
                where = " AND ".join(part for part in (*conditions, behind) if part)
                soql = f"{select}{' WHERE ' if where else ''}{where} ORDER BY Id"
                answer = session.query(soql)
            else:
                answer = session.next_page(link)
        except RefusedError as refused:
            if refused.code != "INVALID_QUERY_LOCATOR" or restarted:
                raise
            restarted, link = True, None
            continue
        records = answer["records"]
        if records:
            last = str(records[-1]["Id"])
            yield records
        if answer["done"]:
            return
        link = str(answer["nextRecordsUrl"])


def read(session: Session, mapping: ObjectMapping, scope: Scope) -> Iterator[list[ActualRow]]:
    """The rows of `mapping` in `scope`, a page at a time."""
    select = select_for(mapping, content=scope.content)
    conditions = [scope.condition(mapping)]
    if scope.edited:
        conditions.append(f"LastModifiedById != {literal(session.user_id or '')}")
    for records in pages(session, select.soql, conditions):
        yield [select.row(record, user_id=session.user_id) for record in records]


def read_of_customers(
    session: Session,
    mapping: ObjectMapping,
    customer_ids: Collection[str],
    *,
    content: bool = False,
) -> Iterator[list[ActualRow]]:
    """Every row of these customers; raises ValueError for an object whose rows have none."""
    if not has_customer(mapping):
        raise ValueError(f"{mapping.name} rows belong to no customer")
    select = select_for(mapping, content=content)
    path = customer_path(mapping)
    for condition in in_chunks(path, customer_ids):
        for records in pages(session, select.soql, [condition]):
            yield [select.row(record, user_id=session.user_id) for record in records]


def read_unplaced(session: Session, mapping: ObjectMapping) -> Iterator[list[ActualRow]]:
    """The rows whose both lookups are empty: their Orphaned Customer or Account was deleted."""
    select = select_for(mapping, content=False)
    condition = f"{ACCOUNT} = null AND {ORPHANED_CUSTOMER} = null"
    for records in pages(session, select.soql, [condition]):
        yield [select.row(record, user_id=session.user_id) for record in records]


def members(session: Session, account_ids: Collection[str]) -> Iterator[list[ActualRow]]:
    """The records, with content, of the customers that hang on these Accounts."""
    select = select_for(CUSTOMER, content=True)
    for condition in in_chunks(ACCOUNT, account_ids):
        for records in pages(session, select.soql, [condition]):
            yield [select.row(record, user_id=session.user_id) for record in records]


def pending_links(session: Session) -> list[str]:
    """The customers whose record names another Account than the one that has been applied."""
    select = f"SELECT Id, {CUSTOMER_ID} FROM {CUSTOMER.sobject}"  # noqa: S608 -- SOQL of our own names
    return [
        str(record[CUSTOMER_ID])
        for records in pages(session, select, [f"{LINK_PENDING} = true"])
        for record in records
    ]


def accounts(
    session: Session, ids: Collection[str], *, linked: bool = True
) -> Iterator[list[ActualRow]]:
    """Those of `ids` that exist; with `linked`, first every Account with a Metronome customer.

    Texts that are no Account ids are passed over: the org would refuse the whole query.
    """
    mapping = ACCOUNT_SUMMARY
    content = {field.api: field.api for field in mapping.content}
    soql = f"SELECT Id, {', '.join(content)} FROM {mapping.sobject}"  # noqa: S608 -- SOQL of our own names
    conditions = [f"{CUSTOMER_ID} != null"] if linked else []
    conditions += in_chunks("Id", account_ids(ids))
    for condition in conditions:
        for records in pages(session, soql, [condition]):
            yield [_account(mapping, record, content) for record in records]


def account_ids(texts: Collection[str]) -> list[str]:
    """The Account ids of 18 characters among the texts, sorted, each once."""
    found = {account_id(text) for text in texts}
    return sorted(one for one in found if not isinstance(one, Refusal))


def horizon(session: Session, lookback: date) -> Horizon:
    """The drafts that began before `lookback`, and the first day with usage."""
    select = f"SELECT Id, {CUSTOMER_ID}, Start__c FROM {INVOICE.sobject}"  # noqa: S608 -- SOQL of our own names
    conditions = [f"Status__c = {literal(_DRAFT)}", f"Start__c < {lookback.isoformat()}"]
    return Horizon(
        old_drafts=[
            (str(record[CUSTOMER_ID]), date.fromisoformat(record["Start__c"]))
            for records in pages(session, select, conditions)
            for record in records
        ],
        oldest_usage=_first_usage_day(session),
    )


def past_runs(session: Session, sync: str) -> list[PastRun]:
    """The records of the runs of one MetronomeSync, newest first."""
    fields = f"Id, {SYNC_RUN.key.api}, Trigger__c, Outcome__c, Started_At__c, Is_Latest__c"
    select = f"SELECT {fields} FROM {SYNC_RUN.sobject}"  # noqa: S608 -- SOQL of our own names
    found = [
        record
        for records in pages(session, select, [f"Sync__c = {literal(sync)}"])
        for record in records
    ]
    found.sort(key=lambda record: (str(record["Started_At__c"] or ""), record["Id"]), reverse=True)
    return [
        PastRun(
            str(record["Id"]),
            str(record[SYNC_RUN.key.api]),
            trigger=str(record["Trigger__c"] or ""),
            outcome=str(record["Outcome__c"] or ""),
            latest=record["Is_Latest__c"] is True,
        )
        for record in found
    ]


def literal(text: str) -> str:
    """A SOQL string literal; every character that could end it is escaped."""
    return str(quote_soql_value(text))


def in_chunks(path: str, values: Collection[str], *, quoted: bool = False) -> Iterator[str]:
    """Conditions `path IN (…)` that cover `values`, each short enough for one query.

    None for no values: `IN ()` is malformed. `quoted` values are SOQL literals already.
    """
    overhead = len(f"{path} IN ()")
    chunk: list[str] = []
    size = overhead
    for value in values:
        item = value if quoted else literal(value)
        length = len(item) + 1
        if chunk and (size + length > _LONGEST_SOQL or len(chunk) == _MOST_IDS):
            yield f"{path} IN ({','.join(chunk)})"
            chunk, size = [], overhead
        chunk.append(item)
        size += length
    if chunk:
        yield f"{path} IN ({','.join(chunk)})"


def at(record: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as `Invoice__r.Status__c`; None where a parent is missing."""
    value: Any = record
    for name in path.split("."):
        if value is None:
            return None
        value = value[name]
    return value


def _content(
    mapping: ObjectMapping, record: Mapping[str, Any], paths: Mapping[str, str]
) -> dict[str, Value]:
    content: dict[str, Value] = {}
    for field in mapping.content:
        try:
            content[field.api] = canon(field.value_kind, at(record, paths[field.api]))
        except ValueError:
            # A field that somebody gave another type: it differs, and the write will tell why.
            content[field.api] = None
    return content


def _account(
    mapping: ObjectMapping, record: Mapping[str, Any], paths: Mapping[str, str]
) -> ActualRow:
    content = _content(mapping, record, paths)
    account_id = str(record["Id"])
    return ActualRow(
        object=mapping.name,
        key=account_id,
        id=account_id,
        hash=content_hash(content),
        content=content,
    )


def _first_usage_day(session: Session) -> date | None:
    soql = (
        f"SELECT Start__c FROM {USAGE.sobject} WHERE Start__c != null"  # noqa: S608 -- SOQL of our own names
        " ORDER BY Start__c LIMIT 1"
    )
    records = session.query(soql)["records"]
    day = canon(Date(), records[0]["Start__c"]) if records else None
    return None if day is None else date.fromisoformat(str(day))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _is_other(modified_by: object, user_id: str | None) -> bool:
    if user_id is None or not isinstance(modified_by, str):
        return False
    return modified_by[:_ID_LENGTH] != user_id[:_ID_LENGTH]
