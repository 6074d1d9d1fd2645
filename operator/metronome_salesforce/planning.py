"""The plan: what should be, what is, and the difference, known whole before the first write.

It is a private temporary SQLite database: memory stays flat whatever the size, a dry run is the
same plan printed, and the file vanishes with the process, so no billing data is left behind.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from metronome_salesforce.canon import Number, content_hash
from metronome_salesforce.linking import LinkState
from metronome_salesforce.mapping import (
    ACCOUNT,
    CUSTOMER_ID,
    LINK_SOURCE,
    LINKED_ACCOUNT_ID,
    ORPHANED_CUSTOMER,
    RELINKING,
    SYNC_HASH,
    ObjectMapping,
    Role,
)
from metronome_salesforce.objects import ACCOUNT_SUMMARY, CUSTOMER
from metronome_salesforce.ports import Batch
from metronome_salesforce.report import REJECTED_SHOWN, Counts, Rejected
from metronome_salesforce.rows import ActualRow, Operation, RowResult, Value, Write

_SCHEMA = """
CREATE TABLE desired (
    object TEXT, key TEXT, customer TEXT, owner TEXT, hash TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (object, key)) WITHOUT ROWID;
CREATE TABLE actual (
    object TEXT, key TEXT, id TEXT NOT NULL, hash TEXT, customer TEXT, owner TEXT,
    account TEXT, orphaned_customer TEXT, linked TEXT, source TEXT, relinking INTEGER NOT NULL,
    edited INTEGER NOT NULL, draft INTEGER NOT NULL, in_scope INTEGER NOT NULL, content TEXT,
    PRIMARY KEY (object, key)) WITHOUT ROWID;
CREATE TABLE place (
    customer TEXT PRIMARY KEY, account TEXT, source TEXT) WITHOUT ROWID;
CREATE TABLE covered (object TEXT, owner TEXT, PRIMARY KEY (object, owner)) WITHOUT ROWID;
CREATE TABLE unwanted (object TEXT, key TEXT, PRIMARY KEY (object, key)) WITHOUT ROWID;
CREATE TABLE provisional (object TEXT, key TEXT, PRIMARY KEY (object, key)) WITHOUT ROWID;
CREATE TABLE change (
    object TEXT, key TEXT, operation TEXT NOT NULL, id TEXT, customer TEXT, sort TEXT,
    content INTEGER NOT NULL, place INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', code TEXT, message TEXT, fields TEXT,
    PRIMARY KEY (object, key)) WITHOUT ROWID;
"""

# The lookups of a placed row as they are and as they should be differ.
_MISPLACED = """(a.account IS NOT p.account OR a.orphaned_customer IS NOT
    CASE WHEN p.account IS NULL THEN p.customer END)"""
# The same for a customer's own record, which shows its link, and whether a move broke off.
_RELINKED = """(a.account IS NOT p.account OR a.source IS NOT p.source
    OR a.linked IS NOT p.account OR a.relinking)"""


Place = tuple[str | None, str | None]
"""Where a customer belongs: the Account's id (None: nowhere, an orphan), and who decided."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of one row, before and after, in canonical values."""

    object: str
    key: str
    operation: Operation
    field: str
    old: Value
    new: Value


class Plan:
    """Desired and actual rows of one cycle, their difference, and what became of it."""

    def __init__(self) -> None:
        # The empty name is SQLite's private on-disk database. The cycle runs its blocking calls in
        # worker threads, one at a time, hence the check for a single thread is off.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._relinked: dict[str, Place] = {}
        self._unmarked: set[str] = set()

    def close(self) -> None:
        """Drop the plan and its file."""
        self._db.close()

    # -- what is and what should be -----------------------------------------------------------

    def add_actual(
        self, rows: Iterable[ActualRow], *, in_scope: bool = True, again: bool = False
    ) -> None:
        """Remember rows of the org; rows out of scope can be moved but not deleted.

        Of two with one key the first counts or, with `again`, the later: it was read with content.
        """
        self._insert(
            f"""INSERT OR {"REPLACE" if again else "IGNORE"} INTO actual
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",  # noqa: S608 -- one of two words
            (
                (
                    *(row.object, row.key, row.id, row.hash, row.customer_id, row.owner),
                    *(row.account, row.orphaned_customer, row.linked, row.link_source),
                    *(row.relinking, _edited(row), row.draft, in_scope),
                    None if row.content is None else _dump(row.content),
                )
                for row in rows
            ),
        )

    def add_desired(self, batch: Batch) -> None:
        """Remember rows of Metronome; of two with one key the later counts."""
        self._insert(
            "INSERT OR REPLACE INTO desired VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    *(row.object, row.key, row.customer_id, row.owner),
                    *(content_hash(row.content), _dump(row.content)),
                )
                for row in batch.rows
            ),
        )
        self._insert("INSERT OR IGNORE INTO covered VALUES (?, ?)", batch.covered)
        self._insert("INSERT OR IGNORE INTO unwanted VALUES (?, ?)", batch.unwanted)
        self._insert("INSERT OR IGNORE INTO provisional VALUES (?, ?)", batch.provisional)

    def place(self, places: Iterable[tuple[str, str | None, str | None]]) -> None:
        """Set the (customer, account, link source) that the link rules decided."""
        self._insert("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", places)

    def relinked(self, places: Mapping[str, Place]) -> None:
        """Somebody else moves these customers now: what is still to be written follows them.

        Their records are left to who moves them.
        """
        self._relinked.update(places)

    def half_moved(self) -> set[str]:
        """The customers a move of whose rows has begun and not come to its end."""
        rows = self._db.execute("SELECT key FROM actual WHERE object = 'Customer' AND relinking")
        return {key for (key,) in rows}

    def link_states(self) -> dict[str, LinkState]:
        """The links of all Orphaned Customer records in the org, by customer id."""
        rows = self._db.execute(
            "SELECT key, account, linked, source FROM actual WHERE object = 'Customer'"
        )
        return {key: LinkState(account, linked, source) for key, account, linked, source in rows}

    def account_keys(self) -> list[str]:
        """The ids of the Accounts that were observed."""
        rows = self._db.execute("SELECT key FROM actual WHERE object = 'Account' ORDER BY key")
        return [key for (key,) in rows]

    # -- the difference -----------------------------------------------------------------------

    def compare(self, mappings: Sequence[ObjectMapping], *, heal_edits: bool, prune: bool) -> None:
        """Fill the plan's changes; calling it again starts anew."""
        self._db.execute("DELETE FROM change")
        self._unwant_other_windows()
        for mapping in mappings:
            if prune and mapping.prunable:
                self._plan_deletes(mapping)
            self._plan_creates(mapping)
            self._plan_updates(mapping, heal_edits=heal_edits)
            if mapping.placed or mapping is CUSTOMER:
                self._plan_moves(mapping)

    def _unwant_other_windows(self) -> None:
        """Usage of another window size goes, where there is some of the size that is wanted now.

        Both together would count it twice. Archived customers too, whose rows are history
        otherwise. A key ends in its window, and its length tells which size that is.
        """
        self._db.execute(
            """INSERT OR IGNORE INTO unwanted
            SELECT a.object, a.key FROM actual a WHERE a.object = 'Usage' AND a.in_scope
            AND length(a.key) <> (
                SELECT length(d.key) FROM desired d WHERE d.object = 'Usage'
                AND d.key > a.customer || ':' AND d.key < a.customer || ';' LIMIT 1)"""
        )

    def _plan_deletes(self, mapping: ObjectMapping) -> None:
        # An invoice that is finalized is history, whatever a list says; a vanished draft never
        # happened. What belongs to a vanished invoice goes with it.
        self._db.execute(
            """INSERT INTO change (object, key, operation, id, customer, sort, content, place)
            SELECT a.object, a.key, 'delete', a.id, a.customer, a.owner, 0, 0 FROM actual a
            WHERE a.object = :object AND a.in_scope
            AND NOT EXISTS (
                SELECT 1 FROM desired d WHERE d.object = a.object AND d.key = a.key)
            AND (
                EXISTS (SELECT 1 FROM unwanted u WHERE u.object = a.object AND u.key = a.key)
                OR ((:object <> 'Invoice' OR a.draft) AND EXISTS (
                    SELECT 1 FROM covered c WHERE c.object = a.object AND c.owner = a.owner))
                OR EXISTS (
                    SELECT 1 FROM change gone WHERE gone.object = 'Invoice'
                    AND gone.operation = 'delete' AND gone.key = a.owner))""",
            {"object": mapping.name},
        )

    def _plan_creates(self, mapping: ObjectMapping) -> None:
        if mapping is ACCOUNT_SUMMARY:
            return  # Accounts belong to the org; only their summary fields are ours
        self._db.execute(
            """INSERT INTO change (object, key, operation, customer, sort, content, place)
            SELECT d.object, d.key, 'create', d.customer, d.owner, 1, ? FROM desired d
            WHERE d.object = ? AND NOT EXISTS (
                SELECT 1 FROM actual a WHERE a.object = d.object AND a.key = d.key)""",
            (mapping.placed or mapping is CUSTOMER, mapping.name),
        )

    def _plan_updates(self, mapping: ObjectMapping, *, heal_edits: bool) -> None:
        placement = "0"
        if mapping.placed:
            placement = f"(p.customer IS NOT NULL AND {_MISPLACED})"
        elif mapping is CUSTOMER:
            placement = f"(p.customer IS NOT NULL AND {_RELINKED})"
        self._db.execute(
            f"""INSERT INTO change (object, key, operation, id, customer, sort, content, place)
            SELECT object, key, 'update', id, customer, owner, stale, misplaced FROM (
                SELECT d.object, d.key, a.id, d.customer, d.owner, {placement} AS misplaced,
                (d.hash IS NOT a.hash OR (:heal AND a.edited))
                AND NOT EXISTS (
                    SELECT 1 FROM provisional v WHERE v.object = d.object AND v.key = d.key
                ) AS stale
                FROM desired d JOIN actual a ON a.object = d.object AND a.key = d.key
                LEFT JOIN place p ON p.customer = d.customer
                WHERE d.object = :object)
            WHERE stale OR misplaced""",  # noqa: S608 -- constants of this module
            {"object": mapping.name, "heal": heal_edits},
        )

    def _plan_moves(self, mapping: ObjectMapping) -> None:
        """Rows that this cycle did not read in Metronome follow their customer all the same."""
        differs = _MISPLACED if mapping.placed else _RELINKED
        owner = "a.customer" if mapping.placed else "a.key"
        self._db.execute(
            f"""INSERT INTO change (object, key, operation, id, customer, sort, content, place)
            SELECT a.object, a.key, 'update', a.id, p.customer, p.account, 0, 1
            FROM actual a JOIN place p ON p.customer = {owner}
            WHERE a.object = ? AND {differs}
            AND NOT EXISTS (SELECT 1 FROM desired d WHERE d.object = a.object AND d.key = a.key)
            AND NOT EXISTS (SELECT 1 FROM change c WHERE c.object = a.object AND c.key = a.key)""",  # noqa: S608 -- constants of this module
            (mapping.name,),
        )

    def doomed(self, mapping: ObjectMapping) -> list[tuple[str, str]]:
        """The (key, customer) of the rows of one object to be deleted because nobody saw them."""
        rows = self._db.execute(
            """SELECT c.key, COALESCE(c.customer, '') FROM change c
            WHERE c.object = ? AND c.operation = 'delete' AND NOT EXISTS (
                SELECT 1 FROM unwanted u WHERE u.object = c.object AND u.key = c.key)
            ORDER BY c.key""",
            (mapping.name,),
        )
        return [(key, customer) for key, customer in rows]

    def spare(self, mapping: ObjectMapping, keys: Iterable[str]) -> None:
        """Take deletes back; what belongs to a spared invoice is spared with it."""
        keys = list(keys)
        self._insert(
            "DELETE FROM change WHERE object = ? AND key = ? AND operation = 'delete'",
            ((mapping.name, key) for key in keys),
        )
        if mapping.name == "Invoice":
            self._insert(
                "DELETE FROM change WHERE sort = ? AND operation = 'delete'",
                ((key,) for key in keys),
            )

    def counts(self) -> dict[str, dict[Operation, int]]:
        """How many rows of each object are to be created, updated and deleted."""
        result: dict[str, dict[Operation, int]] = {}
        for name, operation, count in self._db.execute(
            "SELECT object, operation, COUNT(*) FROM change GROUP BY object, operation"
        ):
            result.setdefault(name, {})[Operation(operation)] = count
        return result

    def in_scope(self) -> dict[str, int]:
        """How many rows of each object the org holds in the scope of this cycle."""
        return dict(
            self._db.execute("SELECT object, COUNT(*) FROM actual WHERE in_scope GROUP BY object")
        )

    def unchanged(self) -> dict[str, int]:
        """How many rows of each object are as they should be."""
        return dict(
            self._db.execute(
                """SELECT d.object, COUNT(*) FROM desired d
                JOIN actual a ON a.object = d.object AND a.key = d.key
                WHERE NOT EXISTS (
                    SELECT 1 FROM change c WHERE c.object = d.object AND c.key = d.key)
                GROUP BY d.object"""
            )
        )

    # -- writing it ---------------------------------------------------------------------------

    def upserts(self, mapping: ObjectMapping, size: int) -> Iterator[list[Write]]:
        """The creates and updates of one object in chunks, children of one parent together."""
        cursor = self._db.execute(
            """SELECT c.key, c.operation, c.content, c.place, a.id, d.hash, d.content,
            p.customer, p.account, p.source
            FROM change c
            LEFT JOIN desired d ON d.object = c.object AND d.key = c.key
            LEFT JOIN actual a ON a.object = c.object AND a.key = c.key
            LEFT JOIN place p ON p.customer = c.customer
            WHERE c.object = ? AND c.operation <> 'delete'
            AND NOT (c.object = 'Customer' AND c.operation = 'update' AND NOT c.content)
            ORDER BY c.sort, c.key""",
            (mapping.name,),
        )
        while rows := cursor.fetchmany(size):
            yield [self._upsert(mapping, *row) for row in rows]

    def _upsert(
        self,
        mapping: ObjectMapping,
        key: str,
        operation: str,
        with_content: int,
        with_place: int,
        id_: str | None,
        hash_: str | None,
        content: str | None,
        customer: str | None,
        account: str | None,
        source: str | None,
    ) -> Write:
        fields: dict[str, Value] = {}
        if with_content and content is not None:
            fields.update(_load(mapping, content))
            if mapping is not ACCOUNT_SUMMARY:
                fields[SYNC_HASH] = hash_
        if with_place and customer is not None:
            account, source = self._relinked.get(customer, (account, source))
            if mapping is CUSTOMER:
                # A record that exists shows its new link once all rows have moved.
                if operation == Operation.CREATE:
                    fields |= _link(account, source)
            elif mapping.placed:
                fields |= {
                    ACCOUNT: account,
                    ORPHANED_CUSTOMER: customer if account is None else None,
                }
        return Write(mapping.name, Operation(operation), key, fields, id_)

    def deletes(self, mapping: ObjectMapping, size: int) -> Iterator[list[Write]]:
        """The deletes of one object in chunks."""
        cursor = self._db.execute(
            """SELECT key, id FROM change WHERE object = ? AND operation = 'delete'
            ORDER BY sort, key""",
            (mapping.name,),
        )
        while rows := cursor.fetchmany(size):
            yield [Write(mapping.name, Operation.DELETE, key, {}, id_) for key, id_ in rows]

    def marks(self, size: int) -> Iterator[list[Write]]:
        """The records of customers whose rows are about to move: should it break off, they tell.

        Without that mark, rows that have moved would stay behind when the link is taken back.
        """
        cursor = self._db.execute(
            """SELECT l.key, l.id FROM change l
            JOIN actual a ON a.object = l.object AND a.key = l.key
            WHERE l.object = 'Customer' AND l.operation = 'update' AND l.place AND NOT a.relinking
            AND l.key IN (
                SELECT c.customer FROM change c
                WHERE c.place AND c.operation = 'update' AND c.object <> 'Customer')
            ORDER BY l.key"""
        )
        while rows := cursor.fetchmany(size):
            yield [
                Write("Customer", Operation.UPDATE, key, {RELINKING: True}, id_)
                for key, id_ in rows
                if key not in self._relinked
            ]

    def record_marks(self, results: Iterable[RowResult]) -> None:
        """Rows of customers whose record could not be marked stay where they are.

        They would be left behind, should the rest of the move fail and the link be taken back.
        """
        refused = [one for one in results if one.error is not None]
        self.record_links(refused)
        self._unmarked.update(one.write.key for one in refused)
        keys = [(one.write.key,) for one in refused]
        self._insert(
            """INSERT OR REPLACE INTO place SELECT key, linked, source FROM actual
            WHERE object = 'Customer' AND key = ?""",
            keys,
        )
        self._insert(
            """DELETE FROM change WHERE customer = ? AND operation = 'update' AND place
            AND NOT content AND object <> 'Customer'""",
            keys,
        )

    def links(self, size: int, *, without: Collection[str] = ()) -> Iterator[list[Write]]:
        """The records of customers all of whose rows have moved: they show the new link now.

        A customer with a row that was refused is left out: its link stays as it was, and the next
        cycle moves what is left. So are those `without`.
        """
        cursor = self._db.execute(
            """SELECT l.key, l.id, p.account, p.source FROM change l
            JOIN place p ON p.customer = l.key
            WHERE l.object = 'Customer' AND l.operation = 'update' AND l.place
            AND l.key NOT IN (
                SELECT c.customer FROM change c WHERE c.customer IS NOT NULL
                AND c.place AND c.state <> 'done' AND c.object <> 'Customer')
            ORDER BY l.key"""
        )
        while rows := cursor.fetchmany(size):
            yield [
                Write("Customer", Operation.UPDATE, key, _link(account, source), id_)
                for key, id_, account, source in rows
                if key not in self._relinked and key not in self._unmarked and key not in without
            ]

    def contested_account_ids(self, size: int) -> Iterator[list[Write]]:
        """Accounts that must give their (unique) customer id up before another can have it."""
        cursor = self._db.execute(
            """SELECT a.key, a.id FROM actual a JOIN desired d
            ON d.object = a.object AND d.key = a.key
            WHERE a.object = 'Account'
            AND json_extract(a.content, :id) IS NOT json_extract(d.content, :id)
            AND EXISTS (
                SELECT 1 FROM desired taker WHERE taker.object = 'Account'
                AND json_extract(taker.content, :id) = json_extract(a.content, :id))
            ORDER BY a.key""",
            {"id": f"$.{CUSTOMER_ID}"},
        )
        while rows := cursor.fetchmany(size):
            yield [
                Write("Account", Operation.UPDATE, key, {CUSTOMER_ID: None}, id_)
                for key, id_ in rows
            ]

    def record_links(self, results: Iterable[RowResult]) -> None:
        """Remember what became of the records' links; a row that was refused before stays so."""
        self._insert(
            """UPDATE change SET state = CASE
                WHEN ?1 IS NOT NULL THEN 'rejected' WHEN state = 'pending' THEN 'done'
                ELSE state END,
            code = COALESCE(?1, code), message = COALESCE(?2, message),
            fields = COALESCE(?3, fields) WHERE object = 'Customer' AND key = ?4""",
            (
                (None, None, None, result.write.key)
                if result.error is None
                else (
                    *(result.error.code, result.error.message),
                    *(json.dumps(result.error.fields), result.write.key),
                )
                for result in results
            ),
        )

    def record(self, results: Iterable[RowResult]) -> None:
        """Remember what became of writes, planned or following from planned ones."""
        self._insert(
            """INSERT INTO change
            (object, key, operation, id, content, place, state, code, message, fields)
            VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, ?)
            ON CONFLICT (object, key) DO UPDATE SET state = excluded.state, code = excluded.code,
            message = excluded.message, fields = excluded.fields""",
            (
                (
                    *(result.write.object, result.write.key, result.write.operation),
                    result.write.id,
                    "done" if result.error is None else "rejected",
                    *(
                        (None, None, None)
                        if result.error is None
                        else (
                            result.error.code,
                            result.error.message,
                            json.dumps(result.error.fields),
                        )
                    ),
                )
                for result in results
            ),
        )

    # -- telling it ---------------------------------------------------------------------------

    def outcome(self, *, planned: bool) -> dict[str, Counts]:
        """Counts by object: of what was planned, or of what was done."""
        result = {name: Counts(unchanged=count) for name, count in self.unchanged().items()}
        for name, operation, state, count in self._db.execute(
            "SELECT object, operation, state, COUNT(*) FROM change GROUP BY 1, 2, 3"
        ):
            counts = result.setdefault(name, Counts())
            if state == "rejected":
                counts.rejected += count
            elif planned or state == "done":
                match Operation(operation):
                    case Operation.CREATE:
                        counts.created += count
                    case Operation.UPDATE:
                        counts.updated += count
                    case Operation.DELETE:
                        counts.deleted += count
        return result

    def rejected(self) -> list[Rejected]:
        """The first rows that Salesforce refused, parents before children."""
        return [
            Rejected(name, key, operation, code, message, tuple(json.loads(fields)))
            for name, key, operation, code, message, fields in self._db.execute(
                """SELECT object, key, operation, code, message, fields FROM change
                WHERE state = 'rejected' ORDER BY object, key LIMIT ?""",
                (REJECTED_SHOWN,),
            )
        ]

    def rejected_since(self) -> dict[str, str]:
        """The oldest day (UTC) with a refused row, of "invoices" (or parts of them) and of "usage".

        Rows of other objects have no day: every cycle looks at all of them.
        """
        days = self._db.execute(
            """SELECT 'invoices', MIN(substr(COALESCE(
                json_extract(d.content, '$.Issued_At__c'), json_extract(d.content, '$.End__c')
            ), 1, 10))
            FROM change c JOIN desired d ON d.object = 'Invoice'
            AND d.key = CASE c.object WHEN 'Invoice' THEN c.key ELSE c.sort END
            WHERE c.state = 'rejected' AND c.object LIKE 'Invoice%'
            UNION ALL
            SELECT 'usage', MIN(substr(json_extract(d.content, '$.Start__c'), 1, 10))
            FROM change c JOIN desired d ON d.object = c.object AND d.key = c.key
            WHERE c.state = 'rejected' AND c.object = 'Usage'"""
        )
        return {what: day for what, day in days if day is not None}

    def moved(self) -> dict[str, dict[str, int]]:
        """How many rows went to another Account or record, by customer and object."""
        result: dict[str, dict[str, int]] = {}
        for customer, name, count in self._db.execute(
            """SELECT customer, object, COUNT(*) FROM change
            WHERE place AND operation = 'update' AND state = 'done' AND object <> 'Customer'
            GROUP BY customer, object"""
        ):
            result.setdefault(customer, {})[name] = count
        return result

    def stuck(self) -> dict[str, str]:
        """The customers with a row that could not be moved, and why the first one could not."""
        return {
            customer: f"{code}, {message}."
            for customer, code, message in self._db.execute(
                """SELECT customer, code, MIN(message) FROM change
                WHERE place AND state = 'rejected' GROUP BY customer"""
            )
        }

    def rejected_operations(self) -> dict[str, dict[str, int]]:
        """How many rows were refused, by object and operation."""
        result: dict[str, dict[str, int]] = {}
        for name, operation, count in self._db.execute(
            """SELECT object, operation, COUNT(*) FROM change WHERE state = 'rejected'
            GROUP BY object, operation"""
        ):
            result.setdefault(name, {})[operation] = count
        return result

    def rejected_codes(self) -> dict[str, int]:
        """How many rows were refused, by Salesforce's status code."""
        return dict(
            self._db.execute(
                "SELECT code, COUNT(*) FROM change WHERE state = 'rejected' GROUP BY code"
            )
        )

    def details(self, mappings: Sequence[ObjectMapping]) -> Iterator[FieldChange]:
        """What changes, field by field; old values need actual rows read with their content."""
        for mapping in mappings:
            cursor = self._db.execute(
                """SELECT c.key, c.operation, c.content, c.place, d.content, a.content,
                a.account, a.orphaned_customer, a.source, p.customer, p.account, p.source
                FROM change c
                LEFT JOIN desired d ON d.object = c.object AND d.key = c.key
                LEFT JOIN actual a ON a.object = c.object AND a.key = c.key
                LEFT JOIN place p ON p.customer = c.customer
                WHERE c.object = ? ORDER BY c.key""",
                (mapping.name,),
            )
            for key, operation, with_content, with_place, new, old, *places in cursor:
                before: dict[str, Value] = {} if old is None else _load(mapping, old)
                after: dict[str, Value] = dict(before)
                if operation == Operation.DELETE:
                    after = {}
                elif with_content and new is not None:
                    after = _load(mapping, new)
                if with_place and places[3] is not None:
                    _add_places(mapping, before, after, places)
                for field in mapping.fields:
                    if field.api in before or field.api in after:
                        was, is_ = before.get(field.api), after.get(field.api)
                        if was != is_:
                            yield FieldChange(
                                mapping.name, key, Operation(operation), field.api, was, is_
                            )

    def _insert(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")


def _link(account: str | None, source: str | None) -> dict[str, Value]:
    return {
        ACCOUNT: account,
        LINK_SOURCE: source,
        LINKED_ACCOUNT_ID: account,
        RELINKING: False,
    }


def _add_places(
    mapping: ObjectMapping,
    before: dict[str, Value],
    after: dict[str, Value],
    places: Sequence[str | None],
) -> None:
    old_account, old_orphan, old_source, customer, account, source = places
    before[ACCOUNT], after[ACCOUNT] = old_account, account
    if mapping is CUSTOMER:
        before[LINK_SOURCE], after[LINK_SOURCE] = old_source, source
    else:
        before[ORPHANED_CUSTOMER] = old_orphan
        after[ORPHANED_CUSTOMER] = customer if account is None else None


def _edited(row: ActualRow) -> bool:
    """Whether the row is not what its fingerprint says or, without its content, may not be."""
    return row.edited if row.content is None else row.hash != content_hash(row.content)


def _dump(content: Mapping[str, Value]) -> str:
    return json.dumps(
        {
            name: format(value, "f") if isinstance(value, Decimal) else value
            for name, value in content.items()
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _load(mapping: ObjectMapping, text: str) -> dict[str, Value]:
    values: dict[str, Value] = json.loads(text)
    for field in mapping.fields:
        if field.role is Role.CONTENT and isinstance(field.kind, Number):
            value = values.get(field.api)
            if isinstance(value, str):
                values[field.api] = Decimal(value)
    return values
