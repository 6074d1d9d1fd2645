"""Deleting, restoring and merging rows.

Deletes are soft: the row stays with IsDeleted, its master-detail children go with it, lookups to
it are cleared, and a restricting lookup refuses it (SOAP API, delete(), undelete(), merge()).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections import Counter
from collections.abc import Iterator

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError
from metronome_salesforce.sandbox.salesforce.incoming import Result
from metronome_salesforce.sandbox.salesforce.schema import ChildRelationship, SObject
from metronome_salesforce.sandbox.salesforce.writing import touch_rollups

_CHUNK = 500
# References that the platform keeps when the row they point to goes.
_KEPT = frozenset({"CreatedById", "LastModifiedById", "OwnerId", "MasterRecordId"})


def delete_rows(
    state: OrgState, user: User, records: list[str], *, all_or_none: bool = False
) -> list[Result]:
    """Delete rows of any object by id, each on its own unless `all_or_none`."""
    results: list[Result] = []
    counts: Counter[tuple[str, str]] = Counter()
    storage = state.storage
    outer = storage.connection.in_transaction
    storage.run("SAVEPOINT removal" if outer else "BEGIN")
    trees: dict[str, list[tuple[str, str, str | None]]] = {}
    for record in records:
        storage.run("SAVEPOINT one")
        tree: list[tuple[str, str, str | None]] = []
        mine: Counter[tuple[str, str]] = Counter()
        try:
            full = _delete(state, user, record, tree, mine)
        except RowRefusedError as refusal:
            storage.run("ROLLBACK TO one")
            results.append(Result(errors=[refusal.error], status=refusal.status))
        else:
            results.append(Result(full))
            trees[full] = tree
            counts.update(mine)
        storage.run("RELEASE one")
    if all_or_none and any(each.errors for each in results):
        storage.run("ROLLBACK TO removal" if outer else "ROLLBACK")
        state.access_cache.clear()
        if outer:
            storage.run("RELEASE removal")
        rolled_back = RowRefusedError(
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using "
            "AllOrNone header",
        ).error
        return [each if each.errors else Result(errors=[rolled_back]) for each in results]
    storage.run("RELEASE removal" if outer else "COMMIT")
    state.deletions.update(trees)
    state.statistics.rows.update(counts)
    return results


def _delete(
    state: OrgState,
    user: User,
    record: str,
    tree: list[tuple[str, str, str | None]],
    counts: Counter[tuple[str, str]],
) -> str:
    found = state.find_object(record)
    access = state.access(found[0].name, user) if found else None
    if found is None or access is None:
        raise RowRefusedError("MALFORMED_ID", f"malformed id {record}", [])
    sobject, full = found
    if not (access.grant.delete and sobject.deletable):
        raise RowRefusedError(
            "INSUFFICIENT_ACCESS_OR_READONLY",
            "insufficient access rights on object id",
            [],
            status=403,
        )
    row = state.storage.one(f'SELECT "IsDeleted" FROM "{sobject.name}" WHERE "Id" = ?', (full,))
    if row is None:
        raise RowRefusedError(
            "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [], status=404
        )
    if row[0]:
        raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted", [], status=404)
    if state.row_fault is not None:
        values = state.storage.fetch(sobject.name, full, [each.name for each in sobject.stored])
        error = state.row_fault(sobject.name, "delete", values or {})
        if error is not None:
            raise RowRefusedError(error.code, error.message, error.fields)
    _remove(state, user, sobject, [full], tree, counts, top=True)
    if sobject.name == "PermissionSetAssignment":
        state.access_cache.clear()
    return full


def _remove(
    state: OrgState,
    user: User,
    sobject: SObject,
    records: list[str],
    tree: list[tuple[str, str, str | None]],
    counts: Counter[tuple[str, str]],
    *,
    top: bool,
) -> None:
    for each in state.schema.children(sobject.name):
        if each.field.name not in _KEPT:
            _detach(state, user, each, records, tree, counts)
    moment = state.stamp()
    for master in sobject.masters:
        parents: set[str] = set()
        for chunk in _chunks(records):
            marks = ",".join("?" * len(chunk))
            parents.update(
                row[0]
                for row in state.storage.all(
                    f'SELECT DISTINCT "{master.name}" FROM "{sobject.name}" '
                    f'WHERE "Id" IN ({marks})',
                    chunk,
                )
            )
        touch_rollups(state, master.reference_to or "", parents)
    for chunk in _chunks(records):
        marks = ",".join("?" * len(chunk))
        state.storage.run(
            f'UPDATE "{sobject.name}" SET "IsDeleted" = 1, "SystemModstamp" = ?, '
            f'"LastModifiedDate" = ?, "LastModifiedById" = ? WHERE "Id" IN ({marks})',
            (moment, moment, user.id, *chunk),
        )
    tree.extend((sobject.name, record, None) for record in records)
    counts[sobject.name, "delete" if top else "cascade"] += len(records)


def _detach(
    state: OrgState,
    user: User,
    relation: ChildRelationship,
    parents: list[str],
    tree: list[tuple[str, str, str | None]],
    counts: Counter[tuple[str, str]],
) -> None:
    """Deal with the rows that point to rows about to go."""
    child, column = relation.child, relation.field.name
    rows: list[tuple[str, str]] = []
    for chunk in _chunks(parents):
        marks = ",".join("?" * len(chunk))
        rows.extend(
            state.storage.all(
                f'SELECT "Id", "{column}" FROM "{child.name}" '
                f'WHERE "{column}" IN ({marks}) AND "IsDeleted" = 0',
                chunk,
            )
        )
    if not rows:
        return
    constraint = relation.field.delete_constraint
    if constraint == "Restrict":
        raise RowRefusedError(
            "DELETE_FAILED",
            f"Your attempt to delete {parents[0]} could not be completed because it is associated "
            f"with the following {child.plural.lower()}.: {', '.join(row[0] for row in rows[:10])}",
            [],
        )
    if constraint == "Cascade":
        _remove(state, user, child, [row[0] for row in rows], tree, counts, top=False)
        return
    moment = state.stamp()
    for record, parent in rows:
        state.storage.run(
            f'UPDATE "{child.name}" SET "{column}" = NULL, "SystemModstamp" = ? WHERE "Id" = ?',
            (moment, record),
        )
        tree.append((f"{child.name}.{column}", record, parent))
    counts[child.name, "cascade"] += len(rows)


def undelete_row(state: OrgState, record: str) -> None:
    """Take a row and what went with it out of the recycle bin; cleared lookups come back."""
    found = state.find_object(record)
    if found is None or found[1] not in state.deletions:
        raise RowRefusedError("UNDELETE_FAILED", "entity is not in the recycle bin", [])
    moment = state.stamp()
    with state.storage.transaction():
        for where, row, parent in state.deletions[found[1]]:
            table, _, column = where.partition(".")
            if column:
                state.storage.run(
                    f'UPDATE "{table}" SET "{column}" = ?, "SystemModstamp" = ? '
                    f'WHERE "Id" = ? AND "{column}" IS NULL',
                    (parent, moment, row),
                )
            else:
                _check_unique(state, table, row)
                state.storage.update(table, row, {"IsDeleted": 0, "SystemModstamp": moment})
    del state.deletions[found[1]]
    state.statistics.rows[found[0].name, "update"] += 1


def _check_unique(state: OrgState, table: str, record: str) -> None:
    sobject = state.schema.get(table)
    for each in sobject.stored if sobject else ():
        if not each.unique:
            continue
        other = state.storage.one(
            f'SELECT o."Id" FROM "{table}" o JOIN "{table}" d ON o."{each.name}" = d."{each.name}" '
            'WHERE d."Id" = ? AND o."Id" <> d."Id" AND o."IsDeleted" = 0',
            (record,),
        )
        if other:
            raise RowRefusedError(
                "DUPLICATE_VALUE",
                f"duplicate value found: {each.name} duplicates value on record with id: "
                f"{other[0]}",
                [],
            )


def merge_rows(state: OrgState, user: User, sobject: SObject, master: str, loser: str) -> None:
    """Merge one row into another: children move to the master, the loser is deleted."""
    moment = state.stamp()
    with state.storage.transaction():
        for record in (master, loser):
            row = state.storage.one(
                f'SELECT "IsDeleted" FROM "{sobject.name}" WHERE "Id" = ?', (record,)
            )
            if row is None or row[0]:
                raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted", [], status=404)
        for each in state.schema.children(sobject.name):
            if each.field.name in _KEPT:
                continue
            moved = state.storage.run(
                f'UPDATE "{each.child.name}" SET "{each.field.name}" = ?, "LastModifiedDate" = ?, '
                f'"LastModifiedById" = ?, "SystemModstamp" = ? WHERE "{each.field.name}" = ? '
                'AND "IsDeleted" = 0',
                (master, moment, user.id, moment, loser),
            )
            if moved:
                state.statistics.rows[each.child.name, "update"] += moved
        state.storage.update(
            sobject.name,
            loser,
            {
                "IsDeleted": 1, "MasterRecordId": master, "SystemModstamp": moment,
                "LastModifiedDate": moment, "LastModifiedById": user.id,
            },
        )  # fmt: skip
        state.storage.update(
            sobject.name,
            master,
            {"SystemModstamp": moment, "LastModifiedDate": moment, "LastModifiedById": user.id},
        )
    state.statistics.rows[sobject.name, "delete"] += 1
    state.statistics.rows[sobject.name, "update"] += 1


def _chunks(records: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(records), _CHUNK):
        yield records[start : start + _CHUNK]


def purge_rows(state: OrgState, records: list[str]) -> None:
    """Take deleted rows, and what went with them, out of the recycle bin for good."""
    with state.storage.transaction():
        for record in records:
            for where, row, _ in state.deletions.pop(record, []):
                if "." not in where:  # cleared lookups belong to rows that stay
                    state.storage.run(f'DELETE FROM "{where}" WHERE "Id" = ?', (row,))
