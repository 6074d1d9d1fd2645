"""Saving rows: insert, update and upsert in batches, with the platform's rules for each row.

Each deserialised record is checked and written on its own; a refused row leaves the others alone
unless the request is all-or-none (REST API, sObject Collections).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections import Counter
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import (
    RowError,
    RowRefusedError,
)
from metronome_salesforce.sandbox.salesforce.formula_terms import Scope
from metronome_salesforce.sandbox.salesforce.formulas import compile_formula
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.incoming import Incoming, ParentReference, Result
from metronome_salesforce.sandbox.salesforce.schema import (
    NUMBER_TYPES,
    REFERENCE_TYPES,
    Field,
    SObject,
)
from metronome_salesforce.sandbox.salesforce.storage import auto_number
from metronome_salesforce.sandbox.salesforce.values import check

_ROLLED_BACK = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone "
    "header",
)


class Batch:
    """One saving request: rows go in one transaction, counters move when it is committed."""

    def __init__(self, state: OrgState, user: User, *, all_or_none: bool = False) -> None:
        self._state = state
        self._user = user
        self._all_or_none = all_or_none
        self._counts: Counter[tuple[str, str]] = Counter()
        self._existing: dict[tuple[str, str], str | None] = {}
        self._touched: dict[str, set[str]] = {}
        self._stamp = state.stamp()

    def insert(self, rows: list[Incoming]) -> list[Result]:
        """Create the rows."""
        return self._run([("insert", each, None) for each in rows])

    def update(self, rows: list[Incoming]) -> list[Result]:
        """Change the rows named by their ids."""
        return self._run([("update", each, None) for each in rows])

    def upsert(
        self, rows: list[Incoming], key: Field, *, update_only: bool = False
    ) -> list[Result]:
        """Create or change the rows by the key field; the same key twice fails both."""
        seen = Counter(_folded(key, each) for each in rows)
        mode = "update_only" if update_only else "upsert"
        steps: list[tuple[str, Incoming, Field | None]] = []
        for each in rows:
            folded = _folded(key, each)
            twice = folded is not None and seen[folded] > 1
            steps.append(("twice" if twice else mode, each, key))
        return self._run(steps)

    def _run(self, steps: list[tuple[str, Incoming, Field | None]]) -> list[Result]:
        results: list[Result] = []
        storage = self._state.storage
        outer = storage.connection.in_transaction
        storage.run("SAVEPOINT batch" if outer else "BEGIN")
        try:
            for mode, incoming, key in steps:
                results.append(self._one(mode, incoming, key))
            failed = self._all_or_none and any(each.errors for each in results)
            if not failed:
                self._touch_masters()
        except BaseException:
            self._roll_back(outer=outer)
            raise
        if failed:
            self._roll_back(outer=outer)
            return [each if each.errors else Result(errors=[_ROLLED_BACK]) for each in results]
        storage.run("RELEASE batch" if outer else "COMMIT")
        self._state.statistics.rows.update(self._counts)
        return results

    def _roll_back(self, *, outer: bool) -> None:
        self._state.access_cache.clear()
        if outer:
            self._state.storage.run("ROLLBACK TO batch")
            self._state.storage.run("RELEASE batch")
        else:
            self._state.storage.run("ROLLBACK")

    def _one(self, mode: str, incoming: Incoming, key: Field | None) -> Result:
        try:
            if mode == "insert":
                return Result(self._insert(incoming))
            if mode == "update":
                return Result(self._update(incoming, incoming.id))
            assert key is not None  # noqa: S101 -- upserts always carry their key
            return self._upsert(mode, incoming, key)
        except RowRefusedError as refusal:
            return Result(errors=[refusal.error], status=refusal.status)

    def _upsert(self, mode: str, incoming: Incoming, key: Field) -> Result:
        name = key.name
        if name == "Id":
            if incoming.id is None:
                return Result(self._insert(incoming), created=True)
            return Result(self._update(incoming, incoming.id), created=False)
        value = incoming.values.get(name)
        if value is None:
            raise RowRefusedError("MISSING_ARGUMENT", f"{name} not specified", [])
        if mode == "twice":
            raise RowRefusedError(
                "DUPLICATE_VALUE", f"Duplicate external id specified: {_plain(value)}", [name]
            )
        if incoming.id is not None:
            raise RowRefusedError(
                "INVALID_FIELD", "The Id field should not be specified in the sobject data.", []
            )
        table = incoming.access.sobject.name
        found = self._state.storage.all(
            f'SELECT "Id" FROM "{table}" WHERE "{name}" = ? AND "IsDeleted" = 0 LIMIT 10', (value,)
        )
        if len(found) > 1:
            ids = [row[0] for row in found]
            raise RowRefusedError(
                "DUPLICATE_EXTERNAL_ID",
                f"{name}: more than one record found for external id field: [{', '.join(ids)}]",
                [name],
                status=300,
            )
        if found:
            return Result(self._update(incoming, found[0][0], key=key), created=False)
        if mode == "update_only":
            raise RowRefusedError(
                "NOT_FOUND", "The requested resource does not exist", [], status=404
            )
        return Result(self._insert(incoming), created=True)

    # --- one row ------------------------------------------------------------------------

    def _insert(self, incoming: Incoming) -> str:
        state, access = self._state, incoming.access
        sobject = access.sobject
        if not (access.grant.create and sobject.createable):
            raise _no_access()
        if incoming.id is not None:
            raise RowRefusedError(
                "INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ["Id"]
            )
        values = self._prepare(incoming, creating=True)
        for name in access.stored:
            if name not in values:
                self._fill(sobject, sobject.fields[name.lower()], values)
        _refuse_missing([name for name in access.required if values.get(name) is None])
        if state.storage_full:
            raise RowRefusedError("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded", [])
        self._unique(access, values, None)
        record = state.ids.next(sobject.prefix)
        user = self._user.id
        values |= {
            "Id": record, "IsDeleted": 0, "CreatedDate": self._stamp, "CreatedById": user,
            "LastModifiedDate": self._stamp, "LastModifiedById": user,
            "SystemModstamp": self._stamp,
        }  # fmt: skip
        named = sobject.name_field
        if sobject.custom and named is not None and values.get(named.name) is None:
            values[named.name] = record  # an unnamed custom record is named by its id
        if "ownerid" in sobject.fields and not values.get("OwnerId"):
            values["OwnerId"] = user
        self._fault(sobject, "insert", values)
        self._rules(sobject, record, None, values)
        self._counts[sobject.name, "insert"] += 1
        self._note_masters(sobject, values)
        if sobject.name == "PermissionSetAssignment":
            state.access_cache.clear()
        return record

    def _update(self, incoming: Incoming, identity: str | None, *, key: Field | None = None) -> str:
        state, access = self._state, incoming.access
        sobject = access.sobject
        if not (access.grant.edit and sobject.updateable):
            raise _no_access()
        if identity is None:
            raise RowRefusedError("MISSING_ARGUMENT", "Id not specified in an update call", [])
        record = normalise(identity)
        if record is None or record[:3] != sobject.prefix:
            raise RowRefusedError(
                "MALFORMED_ID", f"{sobject.label} ID: id value of incorrect type: {identity}",
                ["Id"],
            )  # fmt: skip
        if key is not None:
            incoming.values.pop(key.name)
        values = self._prepare(incoming, creating=False)
        before = state.storage.fetch(sobject.name, record, access.stored)
        if before is None:
            raise RowRefusedError(
                "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [], status=404
            )
        if before["IsDeleted"]:
            raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted", [], status=404)
        _refuse_missing(
            [name for name in access.required if name in values and values[name] is None]
        )
        self._unique(access, values, record)
        values |= {
            "LastModifiedDate": self._stamp,
            "LastModifiedById": self._user.id,
            "SystemModstamp": self._stamp,
        }
        merged = {**before, **values}
        self._fault(sobject, "update", merged)
        self._rules(sobject, record, values, merged)
        self._counts[sobject.name, "update"] += 1
        self._note_masters(sobject, before)
        self._note_masters(sobject, merged)
        return record

    def _prepare(self, incoming: Incoming, *, creating: bool) -> dict[str, Any]:
        """Check the values one by one and find the parents."""
        access = incoming.access
        refused = [
            name
            for name in incoming.values
            if not access.writable(access.fields[name.lower()], creating=creating)
        ]
        refused += [
            each.field.name
            for each in incoming.parents
            if not access.writable(each.field, creating=creating)
        ]
        if refused:
            raise RowRefusedError(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {', '.join(refused)}. Please check the security "
                "settings of this field and verify that it is read/write for your profile or "
                "permission set.",
                refused,
            )
        values: dict[str, Any] = {}
        for name, value in incoming.values.items():
            known = access.fields[name.lower()]
            checked = values[name] = check(known, value)
            if checked is not None and known.type in REFERENCE_TYPES:
                self._exists(known, checked)
        for parent in incoming.parents:
            values[parent.field.name] = self._find(parent)
        return values

    def _fill(self, sobject: SObject, each: Field, values: dict[str, Any]) -> None:
        """The value of a field that an insert does not name."""
        if each.type == "Checkbox":
            values[each.name] = 1 if each.default is True else 0
        elif each.type == "AutoNumber":
            counter = self._state.counters
            counter[sobject.name, each.name] += 1
            values[each.name] = auto_number(each, counter[sobject.name, each.name])
        elif each.picklist:
            default = next((one.value for one in each.picklist if one.default), None)
            if default is not None:
                values[each.name] = default
        elif isinstance(each.default, str):
            values[each.name] = self._default(sobject, each, each.default)

    def _default(self, sobject: SObject, each: Field, formula: str) -> Any:
        scope = Scope(self._state.schema, sobject, "t0", self._state.moment())
        row = self._state.storage.one(f"SELECT {compile_formula(formula, scope).sql}")
        value = row[0] if row else None
        return float(value) if each.type in NUMBER_TYPES and value is not None else value

    def _exists(self, known: Field, record: str) -> None:
        target = self._state.schema.get(known.reference_to or "")
        if target is None or record[:3] != target.prefix:
            raise RowRefusedError(
                "MALFORMED_ID", f"{known.label}: id value of incorrect type: {record}", [known.name]
            )
        key = (target.name, record)
        if key not in self._existing:
            row = self._state.storage.one(
                f'SELECT 1 FROM "{target.name}" WHERE "Id" = ? AND "IsDeleted" = 0', (record,)
            )
            self._existing[key] = record if row else None
        if self._existing[key] is None:
            raise RowRefusedError(
                "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [known.name]
            )
        if self._state.access(target.name, self._user) is None:
            raise RowRefusedError(
                "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
                f"insufficient access rights on cross-reference id: {record}",
                [],
            )

    def _find(self, parent: ParentReference) -> str:
        table, column = parent.target.name, parent.key.name
        key = (f"{table}.{column}", str(parent.value))
        if key not in self._existing:
            rows = self._state.storage.all(
                f'SELECT "Id" FROM "{table}" WHERE "{column}" = ? AND "IsDeleted" = 0 LIMIT 2',
                (parent.value,),
            )
            if len(rows) > 1:
                raise RowRefusedError(
                    "DUPLICATE_EXTERNAL_ID",
                    f"{column}: more than one record found for external id field: "
                    f"[{', '.join(row[0] for row in rows)}]",
                    [parent.field.name],
                )
            self._existing[key] = rows[0][0] if rows else None
        found = self._existing[key]
        if found is None:
            raise RowRefusedError(
                "INVALID_FIELD",
                f"Foreign key external ID: {_plain(parent.value)} not found for field {column} "
                f"in entity {table}",
                [],
            )
        return found

    def _unique(self, access: Access, values: dict[str, Any], record: str | None) -> None:
        table = access.sobject.name
        if table == "PermissionSetAssignment":
            self._unique_assignment(values)
        for name in access.unique:
            value = values.get(name)
            if value is None:
                continue
            row = self._state.storage.one(
                f'SELECT "Id" FROM "{table}" WHERE "{name}" = ? AND "IsDeleted" = 0 '
                'AND "Id" IS NOT ?',
                (value, record),
            )
            if row:
                raise RowRefusedError(
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {name} duplicates value on record with id: {row[0]}",
                    [],
                )

    def _unique_assignment(self, values: dict[str, Any]) -> None:
        row = self._state.storage.one(
            'SELECT "Id" FROM "PermissionSetAssignment" WHERE "AssigneeId" = ? '
            'AND "PermissionSetId" = ? AND "IsDeleted" = 0',
            (values.get("AssigneeId"), values.get("PermissionSetId")),
        )
        if row:
            raise RowRefusedError(
                "DUPLICATE_VALUE",
                "duplicate value found: PermissionSetId duplicates value on record with id: "
                f"{row[0]}",
                [],
            )

    def _fault(self, sobject: SObject, operation: str, values: dict[str, Any]) -> None:
        if self._state.row_fault is None:
            return
        error = self._state.row_fault(sobject.name, operation, values)
        if error is not None:
            raise RowRefusedError(error.code, error.message, error.fields)

    def _rules(
        self,
        sobject: SObject,
        record: str,
        changes: dict[str, Any] | None,
        merged: dict[str, Any],
    ) -> None:
        """Write the row, then evaluate the validation rules on it; take it back if one is true."""
        storage = self._state.storage
        guarded = bool(sobject.validation_rules)
        for each in self._state.predicates.get(sobject.name.lower(), []):
            if each.test(merged):
                raise RowRefusedError(
                    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                    each.message,
                    [each.field] if each.field else [],
                )
        if guarded:
            storage.run("SAVEPOINT rule")
        if changes is None:
            storage.insert(sobject.name, merged)
        else:
            storage.update(sobject.name, record, changes)
        if not guarded:
            return
        scope = Scope(self._state.schema, sobject, "t0", self._state.moment())
        for rule in sobject.validation_rules:
            sql = compile_formula(rule.formula, scope).sql
            row = storage.one(f'SELECT {sql} FROM "{sobject.name}" t0 WHERE t0."Id" = ?', (record,))
            if rule.active and row and row[0]:
                storage.run("ROLLBACK TO rule")
                storage.run("RELEASE rule")
                raise RowRefusedError(
                    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                    rule.message,
                    [rule.field] if rule.field else [],
                )
        storage.run("RELEASE rule")

    # --- masters ------------------------------------------------------------------------

    def _note_masters(self, sobject: SObject, values: dict[str, Any]) -> None:
        for each in sobject.masters:
            parent = values.get(each.name)
            if parent:
                self._touched.setdefault(each.reference_to or "", set()).add(parent)

    def _touch_masters(self) -> None:
        """A roll-up recalculated moves its row's SystemModstamp, not its LastModifiedDate."""
        for name, records in self._touched.items():
            touch_rollups(self._state, name, records)


def touch_rollups(state: OrgState, name: str, records: set[str]) -> None:
    """Stamp rows whose roll-ups may have changed, if the object has any."""
    sobject = state.schema.get(name)
    if sobject is None or not any(each.summary for each in sobject.fields.values()):
        return
    moment = state.stamp()
    for record in records:
        state.storage.run(
            f'UPDATE "{sobject.name}" SET "SystemModstamp" = ? WHERE "Id" = ?', (moment, record)
        )


def _folded(key: Field, incoming: Incoming) -> str | None:
    if key.name == "Id":
        return normalise(incoming.id) if incoming.id else None
    value = incoming.values.get(key.name)
    if value is None:
        return None
    text = str(value)
    return text if key.case_sensitive else text.casefold()


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _no_access() -> RowRefusedError:
    return RowRefusedError(
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "insufficient access rights on object id",
        [],
        status=403,
    )


def _refuse_missing(missing: list[str]) -> None:
    if missing:
        raise RowRefusedError(
            "REQUIRED_FIELD_MISSING",
            f"Required fields are missing: [{', '.join(missing)}]",
            missing,
        )
