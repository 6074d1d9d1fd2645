"""What `links` shows: all customers, where each hangs, who decided it, and Accounts for orphans."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from tabulate import tabulate

from metronome_salesforce.filelinks import one_line
from metronome_salesforce.linking import LinkSource
from metronome_salesforce.linkrequests import request_of
from metronome_salesforce.namesakes import (
    Candidates,
    Suggestion,
    beyond_doubt,
    search_patterns,
    suggestions,
)
from metronome_salesforce.salesforce import browsing
from metronome_salesforce.salesforce.browsing import CustomerRecord, Namesakes, Wanted
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.spec import CustomerLink

_SHOWN = 3
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class CustomerLine:
    """One customer; `link` names the CustomerLink that decides, or that is to be applied.

    `suggestions` are for orphans that nobody links yet, the best ones first; `sure` is the best if
    it is beyond doubt. `compared` is False if there were too many Accounts to compare all of them.
    """

    record: CustomerRecord
    link: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    sure: Suggestion | None = None
    compared: bool = True

    @property
    def is_orphan(self) -> bool:
        """Whether no Account is set."""
        return self.record.account_id is None

    @property
    def is_open(self) -> bool:
        """Whether a suggestion is of use: an orphan of today whom nothing links."""
        record = self.record
        return self.is_orphan and self.link is None and not (record.archived or record.pending)


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All customers of an org by name; `not_synced` names CustomerLinks for none of them."""

    lines: Sequence[CustomerLine]
    not_synced: Sequence[str] = ()
    calls: int = field(default=0, compare=False)


def link_table(session: Session, links: Sequence[CustomerLink], min_score: int) -> LinkTable:
    """Read the org and find suggestions from `min_score` (0 to 100) up.

    `links` are those of the MetronomeSync. Raises ConfigError and RetriableError.
    """
    browsing.check(session)
    records = sorted(
        chain.from_iterable(browsing.customers(session)),
        key=lambda one: (one.name.casefold(), one.id),
    )
    of_customer, not_synced = _by_customer(links, records)
    lines = {one.id: CustomerLine(one, of_customer.get(one.id)) for one in records}
    wanted = [
        Wanted(id_, line.record.name, search_patterns(line.record.name))
        for id_, line in lines.items()
        if line.is_open
    ]
    for found in browsing.namesakes(session, wanted):
        candidates = Candidates.of(found.accounts)
        for id_ in found.customers:
            lines[id_] = _suggested(lines[id_], candidates, found, min_score)
    return LinkTable(list(lines.values()), not_synced, sum(session.calls.values()))


def _by_customer(
    links: Iterable[CustomerLink], records: Sequence[CustomerRecord]
) -> tuple[dict[str, str], list[str]]:
    """The CustomerLink that counts for each customer, and those whose customer is not there."""
    known = {one.id for one in records}
    holders: dict[str, str] = {}
    # An alias may go on to a new customer once the old one is archived.
    for one in sorted(records, key=lambda one: not one.archived):
        holders.update(dict.fromkeys(one.aliases, one.id))
    counted: dict[str, str] = {}
    not_synced: list[str] = []
    for link in sorted(links, key=lambda one: (not _is_ready(one), request_of(one).age)):
        request = request_of(link)
        id_ = request.customer_id or holders.get(request.ingest_alias or "")
        if id_ in known and id_ is not None:
            counted.setdefault(id_, request.name)
        else:
            not_synced.append(request.name)
    return counted, sorted(not_synced)


def _is_ready(link: CustomerLink) -> bool:
    return any(
        (one.get("type"), one.get("status")) == ("Ready", "True")
        for one in link.status.get("conditions") or ()
    )


def _suggested(
    line: CustomerLine, candidates: Candidates, found: Namesakes, min_score: int
) -> CustomerLine:
    alike = suggestions(line.record.name, candidates)
    return CustomerLine(
        line.record,
        line.link,
        tuple(one for one in alike[:_SHOWN] if one.score >= min_score),
        # Among those that were not read there may be another one of that name.
        beyond_doubt(alike, min_score) if found.complete else None,
        found.complete,
    )


# -- as text and JSON ----------------------------------------------------------------------------


def table_text(table: LinkTable, *, orphans: bool) -> Iterator[str]:
    """The table for a terminal, in lines; with `orphans` only those."""
    rows = [
        (
            _named(line.record.name) + (" (archived)" if line.record.archived else ""),
            *(
                line.record.id,
                _place(line),
                _decider(line),
                _spend(line.record),
                _suggested_to(line),
            ),
        )
        for line in _shown(table, orphans=orphans)
    ]
    if rows:
        headers = ("customer", "id", "Account", "decided by", "current spend", "suggestions")
        yield tabulate(rows, headers=headers, disable_numparse=True)
        yield ""
    orphaned = sum(line.is_orphan for line in table.lines)
    suggested = sum(bool(line.suggestions) for line in table.lines)
    yield (
        f"customers: {len(table.lines)}, of which {len(table.lines) - orphaned} linked and"
        f" {orphaned} orphaned; suggestions for {suggested}"
    )
    if table.not_synced:
        named = ", ".join(table.not_synced)
        yield f"CustomerLinks for customers that are not in Salesforce: {named}"
    yield f"API requests: salesforce {table.calls}"


def table_json(table: LinkTable, *, orphans: bool) -> dict[str, Any]:
    """The same for scripts; amounts are strings, as exact as they are."""
    return {
        "customers": [
            {
                "id": line.record.id,
                "name": line.record.name,
                "account": None
                if line.is_orphan
                else {"id": line.record.account_id, "name": line.record.account_name},
                "decidedBy": line.record.source,
                "customerLink": line.link,
                "pending": line.record.pending,
                "archived": line.record.archived,
                "currentSpend": None
                if line.record.spend is None
                else format(line.record.spend, ".2f"),
                "unit": line.record.unit,
                "suggestions": [asdict(one) for one in line.suggestions],
                "allCompared": line.compared,
            }
            for line in _shown(table, orphans=orphans)
        ],
        "notSynced": list(table.not_synced),
        "apiRequests": {"salesforce": table.calls},
    }


def _shown(table: LinkTable, *, orphans: bool) -> list[CustomerLine]:
    return [line for line in table.lines if line.is_orphan or not orphans]


def _place(line: CustomerLine) -> str:
    if line.is_orphan:
        return "orphaned"
    name, id_ = line.record.account_name, line.record.account_id
    return f"{_named(name)} ({id_})" if name else str(id_)


def _named(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _decider(line: CustomerLine) -> str:
    record = line.record
    if record.pending:
        return "a person in Salesforce (not applied yet)"
    link = f"CustomerLink {line.link}"
    if record.source == LinkSource.CUSTOMER_LINK and line.link is not None:
        return link
    if record.source is None and line.link is not None:
        return f"{link} (not applied)"
    return record.source or ""


def _spend(record: CustomerRecord) -> str:
    if record.spend is None:
        return ""
    return f"{record.spend:,.2f} {one_line(record.unit or '')}".rstrip()


def _suggested_to(line: CustomerLine) -> str:
    cells = [
        f"{one.score} {_named(one.account_name)} ({one.account_id})" for one in line.suggestions
    ]
    if not line.compared:
        cells.append("(there are too many Accounts that begin so to compare them all)")
    return "\n".join(cells)


def as_json(document: dict[str, Any]) -> str:
    """The document as it is printed."""
    return json.dumps(document, indent=2, ensure_ascii=False)
