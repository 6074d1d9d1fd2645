"""Destructive changes of a deploy: the components that its destructiveChanges files name.

What other components need stays, and the deploy fails; what is not there is only a warning
(Metadata API, Deleting Components from an Organization).
"""

from dataclasses import replace

from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.custom_metadata import delete_record
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployMessage
from metronome_salesforce.sandbox.salesforce.field_references import check_references
from metronome_salesforce.sandbox.salesforce.formula_terms import FormulaError, Scope
from metronome_salesforce.sandbox.salesforce.formulas import compile_formula
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import INSIDE_OBJECT
from metronome_salesforce.sandbox.salesforce.schema import Schema, SObject


class Destruction:
    """The removals of one deploy: a schema that shrinks, and what must go from the storage."""

    def __init__(self, state: OrgState) -> None:
        self._state = state
        self.removed: list[tuple[str, str]] = []
        self.columns: list[tuple[str, str]] = []
        self.tables: list[str] = []

    def run(
        self, schema: Schema, members: dict[str, list[str]], file: str
    ) -> tuple[Schema, list[DeployMessage]]:
        """The schema without the named components, and a message for each of them."""
        messages: list[DeployMessage] = []
        whole = schema
        marks = len(self.removed), len(self.columns), len(self.tables)
        before = set(_broken(self._state, schema))
        for kind, names in members.items():
            for name in names:
                after = self._without(schema, kind, name)
                if after is None:
                    messages.append(_message(kind, name, file, missing=True))
                    continue
                schema = after
                messages.append(_message(kind, name, file))
        broken = [each for each in _broken(self._state, schema) if each not in before]
        assigned = [
            name for kind, name in self.removed if kind == "PermissionSet" and self._assigned(name)
        ]
        if broken or assigned:
            schema = whole
            del self.removed[marks[0] :], self.columns[marks[1] :], self.tables[marks[2] :]
            used = ", ".join([*broken, *(f"assignments of {each}" for each in assigned)])
            messages = [
                replace(
                    each, success=False, deleted=False, changed=False, problem_type="Error",
                    problem=f"This component is referenced elsewhere in Salesforce: {used}",
                )
                for each in messages
                if each.deleted
            ]  # fmt: skip
        return schema, messages

    def _without(self, schema: Schema, kind: str, name: str) -> Schema | None:
        """The schema after the removal, or None if there is no such component."""
        if kind == "CustomField":
            return self._without_field(schema, name)
        if (kind, name) not in self._state.components:
            return None
        self.removed.append((kind, name))
        if kind == "CustomObject":
            self.tables.append(name)
            self.removed += [
                each
                for each in self._state.components
                if each[0] in INSIDE_OBJECT and each[1].startswith(f"{name}.")
            ]
            return schema.without(name)
        if kind == "ValidationRule":
            owner = schema.get(name.partition(".")[0])
            if owner is not None:
                kept = [
                    each for each in owner.validation_rules if each.name != name.partition(".")[2]
                ]
                return schema.with_objects([replace(owner, validation_rules=tuple(kept))])
        return schema

    def _without_field(self, schema: Schema, name: str) -> Schema | None:
        owner_name, _, field_name = name.partition(".")
        owner = schema.get(owner_name)
        known = owner.field(field_name) if owner else None
        if owner is None or known is None or not known.custom:
            return None
        if not known.calculated:
            self.columns.append((owner.name, known.name))
        self.removed.append(("CustomField", f"{owner.name}.{known.name}"))
        kept = {key: value for key, value in owner.fields.items() if key != known.name.lower()}
        return schema.with_objects([replace(owner, fields=kept)])

    def _assigned(self, name: str) -> bool:
        found = self._state.permission_sets.get(name.lower())
        return found is not None and bool(
            self._state.storage.one(
                'SELECT 1 FROM "PermissionSetAssignment" WHERE "PermissionSetId" = ? '
                'AND "IsDeleted" = 0',
                (found.id,),
            )
        )

    def apply(self) -> None:
        """Take the columns, tables, permission sets and documents out of the org."""
        state = self._state
        for table, column in self.columns:
            if table not in self.tables:
                state.storage.drop_column(table, column)
        for table in self.tables:
            state.storage.drop_table(table)
        for kind, name in self.removed:
            state.components.pop((kind, name), None)
            if kind == "CustomMetadata":
                delete_record(state, name)
            if kind == "PermissionSet":
                gone = state.permission_sets.pop(name.lower(), None)
                if gone is not None:
                    state.storage.run('DELETE FROM "PermissionSet" WHERE "Id" = ?', (gone.id,))
        self._forget_grants()

    def _forget_grants(self) -> None:
        """A component that comes back later is granted to nobody."""
        names = {name.lower() for _, name in self.removed}
        for key, each in self._state.permission_sets.items():
            self._state.permission_sets[key] = replace(
                each,
                objects={name: one for name, one in each.objects.items() if name not in names},
                fields={
                    name: one
                    for name, one in each.fields.items()
                    if name not in names and name.partition(".")[0] not in names
                },
            )


def _message(kind: str, name: str, file: str, *, missing: bool = False) -> DeployMessage:
    if missing:
        return DeployMessage(
            kind, name, file, problem=f"No {kind} named: {name} found", problem_type="Warning"
        )
    return DeployMessage(kind, name, file, changed=True, deleted=True)


def _broken(state: OrgState, schema: Schema) -> list[str]:
    """What no longer finds the fields and objects that it names."""
    found: list[str] = []
    for sobject in schema.objects.values():
        scope = Scope(schema, sobject, "t0", state.moment())
        for each in sobject.fields.values():
            if each.custom:
                try:
                    check_references(each, sobject, schema, scope)
                except MetadataError:
                    found.append(f"{sobject.name}.{each.name}")
        found += _broken_rules(sobject, scope)
    return found


def _broken_rules(sobject: SObject, scope: Scope) -> list[str]:
    found = []
    for rule in sobject.validation_rules:
        try:
            compile_formula(rule.formula, scope)
        except FormulaError:
            found.append(f"{sobject.name}.{rule.name}")
    return found
