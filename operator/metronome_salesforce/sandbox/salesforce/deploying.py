"""A metadata deploy: the only way by which anything custom enters the org.

Everything is worked out on a copy of the schema; it replaces the old one only if the package is
accepted, so `rollbackOnError` and `checkOnly` cost nothing. A deploy deletes nothing but what its
destructiveChanges files name, grants field access to nobody but through the permission sets inside
it, and a package deployed again reports `changed: false` (Metadata API, deploy()).
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import PermissionSet, User
from metronome_salesforce.sandbox.salesforce.components import StoredComponent, id_prefix
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployMessage, DeployResult
from metronome_salesforce.sandbox.salesforce.destroying import Destruction
from metronome_salesforce.sandbox.salesforce.formula_terms import FormulaError, Scope
from metronome_salesforce.sandbox.salesforce.formulas import compile_formula
from metronome_salesforce.sandbox.salesforce.ids import custom_prefix
from metronome_salesforce.sandbox.salesforce.object_metadata import (
    MetadataError,
    check_references,
    read_field,
    read_object,
    read_rule,
)
from metronome_salesforce.sandbox.salesforce.packages import (
    DESTRUCTIVE_FILES,
    FOLDERS,
    INSIDE_OBJECT,
    Package,
    PackageError,
    children,
    local_name,
    parse_xml,
    read_package,
    text_of,
)
from metronome_salesforce.sandbox.salesforce.permission_metadata import read_permission_set
from metronome_salesforce.sandbox.salesforce.schema import Field, Schema, SObject
from metronome_salesforce.sandbox.salesforce.structure import structure_problems


@dataclass(frozen=True, slots=True)
class Component:
    """One thing to deploy: its metadata type, full name, file, and XML."""

    type: str
    name: str
    file: str
    element: ET.Element | None
    content: bytes


class Deployment:
    """One run of `deploy`, from zip to result."""

    def __init__(self, state: OrgState, user: User, result: DeployResult) -> None:
        self._state = state
        self._user = user
        self._result = result
        self._schema: Schema = state.schema
        self._documents: dict[tuple[str, str], StoredComponent] = {}
        self._destruction = Destruction(state)
        self._sets: dict[str, PermissionSet] = {}
        self._prefixes = sum(each.custom for each in state.schema.objects.values())

    def run(self, content: bytes) -> None:
        """Deploy the zip; problems end in the result, never as exceptions."""
        result = self._result
        try:
            package = read_package(content)
        except PackageError as error:
            result.messages.append(
                DeployMessage("", "package.xml", "package.xml", success=False, problem=str(error))
            )
            result.status, result.error = "Failed", str(error)
            return
        result.messages.append(DeployMessage("", "package.xml", "package.xml", changed=True))
        self._destroy(package, *DESTRUCTIVE_FILES[:2])
        components = list(self._components(package))
        self._objects([each for each in components if each.type == "CustomObject"])
        self._fields([each for each in components if each.type == "CustomField"])
        for each in components:
            if each.type == "PermissionSet":
                self._try(each, self._permission_set)
            elif each.type == "ValidationRule":
                self._try(each, self._validation_rule)
            elif each.type == "CustomTab":
                self._try(each, self._tab)
            elif each.type not in {"CustomObject", "CustomField"}:
                self._try(each, lambda _: None)
        self._destroy(package, DESTRUCTIVE_FILES[2])
        self._finish()

    def _destroy(self, package: Package, *files: str) -> None:
        for file in files:
            members = package.destructive.get(file)
            if members:
                self._schema, messages = self._destruction.run(self._schema, members, file)
                self._result.messages.extend(messages)

    # --- what is in the package ---------------------------------------------------------

    def _components(self, package: Package) -> Iterator[Component]:
        found: set[tuple[str, str]] = set()
        for path, content in sorted(package.files.items()):
            for each in self._in_file(package, path, content):
                found.add((each.type, each.name))
                if _listed(package, each):
                    yield each
        for kind, names in package.members.items():
            for name in names:
                if name != "*" and not _present(found, kind, name):
                    self._result.messages.append(
                        DeployMessage(
                            kind, name, "package.xml", success=False,
                            problem=f"An object '{name}' of type {kind} was named in package.xml, "
                            "but was not found in zipped directory",
                        )
                    )  # fmt: skip

    def _in_file(self, package: Package, path: str, content: bytes) -> Iterator[Component]:
        folder, _, rest = path.partition("/")
        known = FOLDERS.get(folder)
        if known is None or not rest:
            return
        kind, suffix = known
        if rest.endswith("-meta.xml"):
            rest, suffix = rest.removesuffix("-meta.xml"), ""
        if not rest.endswith(suffix):
            return
        name = rest.removesuffix(suffix) if suffix else rest
        try:
            element = parse_xml(content) if suffix else None
        except PackageError as error:
            self._refuse(Component(kind, name, path, None, content), str(error))
            return
        whole = Component(kind, name, path, element, content)
        if element is not None:
            problems = structure_problems(kind, element)
            for problem in problems:
                self._refuse(whole, problem)
            if problems:
                return
        custom = name.endswith("__c")
        if kind != "CustomObject" or custom:
            yield whole
        if kind == "CustomObject" and element is not None:
            for inner, tag in INSIDE_OBJECT.items():
                for part in children(element, tag):
                    part_name = f"{name}.{text_of(part, 'fullName')}"
                    yield Component(inner, part_name, path, part, ET.tostring(part))
        del package

    # --- one kind after the other -------------------------------------------------------

    def _objects(self, components: list[Component]) -> None:
        for each in components:
            self._try(each, self._object)

    def _object(self, component: Component) -> None:
        existing = self._schema.get(component.name)
        prefix = existing.prefix if existing else custom_prefix(self._prefixes)
        element = component.element
        assert element is not None  # noqa: S101 -- object files are always parsed
        made = read_object(element, component.name, prefix, existing)
        if existing is None:
            self._prefixes += 1
        else:
            before, after = existing.name_field, made.name_field
            if before and after and before.type != after.type and self._rows(made):
                raise MetadataError("Cannot change the type of the name field: records exist")
        self._schema = self._schema.with_objects([made])

    def _fields(self, components: list[Component]) -> None:
        read: list[tuple[Component, Field]] = []
        for each in components:
            try:
                read.append((each, self._field(each, {one.name.lower() for one, _ in read})))
            except MetadataError as error:
                self._refuse(each, str(error))
        for each, made in read:
            owner = each.name.partition(".")[0]
            sobject = self._schema.get(owner)
            assert sobject is not None  # noqa: S101 -- read just above
            scope = Scope(self._schema, sobject, "t0", self._state.moment())
            try:
                check_references(made, sobject, self._schema, scope)
            except MetadataError as error:
                self._refuse(each, str(error))
                self._drop(sobject, made)
            else:
                self._accept(each)

    def _field(self, component: Component, taken: set[str]) -> Field:
        """Read one field into the new schema; its references are looked at afterwards."""
        owner, _, name = component.name.partition(".")
        sobject = self._schema.get(owner)
        if sobject is None or component.element is None:
            raise MetadataError(
                f"Entity Enumeration Or ID: bad value for restricted picklist field: {owner}"
            )
        made = read_field(component.element, owner)
        if component.name.lower() in taken:
            raise MetadataError(f"Field {name} is defined more than once")
        self._check_change(sobject, made)
        self._schema = self._schema.with_objects([sobject.with_fields([made])])
        return made

    def _drop(self, sobject: SObject, made: Field) -> None:
        before = self._state.schema.get(sobject.name)
        old = before.field(made.name) if before else None
        kept = {key: value for key, value in sobject.fields.items() if key != made.name.lower()}
        if old is not None:
            kept[made.name.lower()] = old
        self._schema = self._schema.with_objects([replace(sobject, fields=kept)])

    def _check_change(self, sobject: SObject, made: Field) -> None:
        """What may not change, or be added, once there are rows."""
        old = sobject.field(made.name)
        stored = self._state.schema.get(sobject.name)
        rows = self._rows(stored) if stored else 0
        if old is None:
            if made.type == "MasterDetail" and rows:
                raise MetadataError(
                    "Cannot create a new master-detail relationship field on a custom object "
                    "that contains records"
                )
            return
        if old.type != made.type or old.calculated != made.calculated:
            if rows or old.calculated != made.calculated:
                raise MetadataError(
                    f"Cannot change the field type of {made.name} from {old.type} to {made.type}"
                )
            return
        if rows and old.is_text and 0 < made.length < old.length and not made.calculated:
            longest = self._scalar(f'SELECT max(length("{made.name}")) FROM "{sobject.name}"')
            if longest and longest > made.length:
                raise MetadataError(f"Cannot decrease length of {made.name}: data would be lost")
        if rows and made.unique and not old.unique:
            twice = self._scalar(
                f'SELECT count(*) FROM (SELECT 1 FROM "{sobject.name}" WHERE "IsDeleted" = 0 '
                f'AND "{made.name}" IS NOT NULL GROUP BY "{made.name}" HAVING count(*) > 1)'
            )
            if twice:
                raise MetadataError(f"Cannot make {made.name} unique: duplicate values exist")

    def _permission_set(self, component: Component) -> None:
        old = self._state.permission_sets.get(component.name.lower())
        record = old.id if old else self._state.ids.next("0PS")
        assert component.element is not None  # noqa: S101 -- parsed above
        self._sets[component.name.lower()] = read_permission_set(
            component.element, component.name, record, self._schema
        )

    def _validation_rule(self, component: Component) -> None:
        owner = component.name.partition(".")[0]
        sobject = self._schema.get(owner)
        if sobject is None or component.element is None:
            raise MetadataError(f"Entity {owner} not found")
        rule = read_rule(component.element)
        scope = Scope(self._schema, sobject, "t0", self._state.moment())
        try:
            kind = compile_formula(rule.formula, scope).type
        except FormulaError as error:
            raise MetadataError(str(error)) from error
        if kind not in {"boolean", "null"}:
            raise MetadataError("Error: Formula result must be a true or false value")
        others = [each for each in sobject.validation_rules if each.name != rule.name]
        self._schema = self._schema.with_objects(
            [replace(sobject, validation_rules=(*others, rule))]
        )

    def _tab(self, component: Component) -> None:
        element = component.element
        if element is None or text_of(element, "customObject").lower() != "true":
            return
        if self._schema.get(component.name) is None:
            raise MetadataError(f"Could not find entity {component.name} for custom tab")
        if text_of(element, "label"):
            raise MetadataError("Duplicate external id specified for CustomTab")

    # --- bookkeeping --------------------------------------------------------------------

    def _try(self, component: Component, action: Any) -> None:
        try:
            action(component)
        except MetadataError as error:
            self._refuse(component, str(error))
        else:
            self._accept(component)

    def _accept(self, component: Component) -> None:
        key = (component.type, component.name)
        old = self._state.components.get(key)
        canonical = _canonical(component)
        unchanged = old is not None and old.content == canonical
        self._documents[key] = old if old and unchanged else self._stored(component, canonical, old)
        self._result.messages.append(
            DeployMessage(
                component.type, component.name, component.file,
                changed=not unchanged, created=old is None,
            )
        )  # fmt: skip

    def _stored(
        self, component: Component, content: bytes, old: StoredComponent | None
    ) -> StoredComponent:
        moment, by = self._state.stamp(), (self._user.id, self._user.name)
        if old is not None:
            return replace(old, content=content, modified=moment, modified_by=by)
        own = self._sets.get(component.name.lower()) if component.type == "PermissionSet" else None
        record = own.id if own else self._state.ids.next(id_prefix(component.type))
        return StoredComponent(content, component.file, record, moment, by, moment, by)

    def _refuse(self, component: Component, problem: str) -> None:
        self._result.messages.append(
            DeployMessage(
                component.type, component.name, component.file, success=False, problem=problem,
                problem_type="Error",
            )
        )  # fmt: skip

    def _rows(self, sobject: SObject) -> int:
        if self._state.schema.get(sobject.name) is None:
            return 0
        return self._scalar(f'SELECT count(*) FROM "{sobject.name}"') or 0

    def _scalar(self, sql: str) -> int | None:
        row = self._state.storage.one(sql)
        return row[0] if row else None

    def _finish(self) -> None:
        result = self._result
        failed = bool(result.failures)
        if failed and (result.rollback_on_error or result.check_only):
            result.status = "Failed"
            return
        result.status = "SucceededPartial" if failed else "Succeeded"
        if result.check_only:
            return
        state = self._state
        with state.storage.transaction():
            self._destruction.apply()
            for key, each in self._schema.objects.items():
                before = state.schema.objects.get(key)
                if before is not each:
                    state.storage.migrate(before, each)
            for permission_set in self._sets.values():
                self._store_set(permission_set)
        state.schema = self._schema
        state.permission_sets.update(self._sets)
        state.components.update(self._documents)
        state.access_cache.clear()

    def _store_set(self, permission_set: PermissionSet) -> None:
        values = {"Name": permission_set.name, "Label": permission_set.label}
        if permission_set.name.lower() in self._state.permission_sets:
            self._state.storage.update("PermissionSet", permission_set.id, values)
        else:
            self._state.insert_raw(
                "PermissionSet",
                permission_set.id,
                {**values, "IsCustom": 1, "IsOwnedByProfile": 0},
                self._user.id,
            )


def _canonical(component: Component) -> bytes:
    """The content by which two versions are compared; an object's without what has its own name."""
    element = component.element
    if element is None:
        return component.content
    if component.type != "CustomObject":
        return ET.canonicalize(component.content.decode(), strip_text=True).encode()
    inner = set(INSIDE_OBJECT.values())
    own = ET.Element(element.tag)
    own.extend(sorted((one for one in element if local_name(one) not in inner), key=local_name))
    return ET.canonicalize(ET.tostring(own, "unicode"), strip_text=True).encode()


def _listed(package: Package, component: Component) -> bool:
    """Whether package.xml names the component, or the object that holds it."""
    names = package.members.get(component.type, [])
    if component.name in names or "*" in names:
        return True
    if component.type in INSIDE_OBJECT:
        owner = component.name.partition(".")[0]
        objects = package.members.get("CustomObject", [])
        return owner in objects or ("*" in objects and owner.endswith("__c"))
    return False


def _present(found: set[tuple[str, str]], kind: str, name: str) -> bool:
    plain = name.rstrip("/")
    if kind == "CustomObject" and not name.endswith("__c"):
        return True
    return (kind, name) in found or any(each[1] == plain for each in found)
