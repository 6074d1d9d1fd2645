"""A metadata deploy: the only way by which anything custom enters the org.

Everything is worked out on a copy of the schema; it replaces the old one only if the package is
accepted, so `rollbackOnError` and `checkOnly` cost nothing. A deploy deletes nothing but what its
destructiveChanges files name, grants field access to nobody but through the permission sets inside
it, and a package deployed again reports `changed: false` (Metadata API, deploy()).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import PermissionSet, User
from metronome_salesforce.sandbox.salesforce.components import StoredComponent, id_prefix
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.custom_metadata import store_record
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployMessage, DeployResult
from metronome_salesforce.sandbox.salesforce.deploying_objects import deploy_fields, deploy_object
from metronome_salesforce.sandbox.salesforce.destroying import Destruction
from metronome_salesforce.sandbox.salesforce.drafts import Checker, Component, Draft
from metronome_salesforce.sandbox.salesforce.metadata_kinds import CHECKERS
from metronome_salesforce.sandbox.salesforce.object_metadata import MetadataError
from metronome_salesforce.sandbox.salesforce.packages import (
    CUSTOM_ENDINGS,
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
from metronome_salesforce.sandbox.salesforce.structure import structure_problems


class Deployment:
    """One run of `deploy`, from zip to result, or the installation of a managed package."""

    def __init__(
        self, state: OrgState, user: User, result: DeployResult, namespace: str = ""
    ) -> None:
        self._state = state
        self._user = user
        self._result = result
        self._destruction = Destruction(state)
        self._draft = Draft(
            state, state.schema, removed=self._destruction.removed, namespace=namespace
        )

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
        components: dict[str, list[Component]] = defaultdict(list)
        # The right to deploy is not yet one to what is deployed (Metadata API Edit Access).
        may_customize = self._state.may(self._user, "CustomizeApplication")
        for each in self._components(package):
            if may_customize:
                components[each.kind].append(each)
            else:
                self._refuse(each, "insufficient access rights on object id")
        components["CustomObject"] = [
            each for each in components["CustomObject"] if self._passes(each, deploy_object)
        ]
        deploy_fields(components.pop("CustomField", []), self._draft, self._accept, self._refuse)
        for kind in sorted(components.keys() - CHECKERS.keys()):
            for each in components[kind]:
                self._accept(each)
        for kind, check in CHECKERS.items():
            for each in components[kind]:
                if self._passes(each, check):
                    self._accept(each)
        self._destroy(package, DESTRUCTIVE_FILES[2])
        self._finish()

    def _destroy(self, package: Package, *files: str) -> None:
        for file in files:
            members = package.destructive.get(file)
            if members:
                draft = self._draft
                draft.schema, messages = self._destruction.run(draft.schema, members, file)
                self._result.messages.extend(messages)

    # --- what is in the package ---------------------------------------------------------

    def _components(self, package: Package) -> Iterator[Component]:
        found: set[tuple[str, str]] = set()
        for path, content in sorted(package.files.items()):
            for each, problems in _in_file(path, content):
                found.add((each.type, each.name))
                listed = _listed(package, each)
                for problem in problems if listed or _holds_listed(package, each) else ():
                    self._refuse(each, problem)
                if listed and not problems and (each.custom or each.type != "CustomObject"):
                    yield each
        for kind, names in package.members.items():
            for name in names:
                if name != "*" and not self._present(found, kind, name):
                    self._result.messages.append(
                        DeployMessage(
                            kind, name, "package.xml", success=False,
                            problem=f"An object '{name}' of type {kind} was named in package.xml, "
                            "but was not found in zipped directory",
                        )
                    )  # fmt: skip

    def _present(self, found: set[tuple[str, str]], kind: str, name: str) -> bool:
        plain = name.rstrip("/")
        if kind == "CustomObject" and not plain.endswith(CUSTOM_ENDINGS):
            return self._draft.schema.get(plain) is not None
        bundle = kind == "LightningComponentBundle"
        return (kind, plain) in found or (
            bundle and any(one == kind and each.startswith(f"{plain}/") for one, each in found)
        )

    # --- bookkeeping --------------------------------------------------------------------

    def _passes(self, component: Component, check: Checker) -> bool:
        try:
            check(component, self._draft)
        except MetadataError as error:
            self._refuse(component, str(error))
            return False
        return True

    def _accept(self, component: Component) -> None:
        key = (component.type, component.name)
        old = self._state.components.get(key)
        canonical = _canonical(component)
        unchanged = old is not None and old.content == canonical
        self._draft.documents[key] = (
            old if old and unchanged else self._stored(component, canonical, old)
        )
        self._result.messages.append(
            DeployMessage(
                component.kind, component.name, component.file,
                changed=not unchanged, created=old is None,
            )
        )  # fmt: skip

    def _stored(
        self, component: Component, content: bytes, old: StoredComponent | None
    ) -> StoredComponent:
        moment, by = self._state.stamp(), (self._user.id, self._user.name)
        if old is not None:
            return replace(old, content=content, modified=moment, modified_by=by)
        sets = self._draft.permission_sets if component.type == "PermissionSet" else {}
        own = sets.get(component.name.lower())
        record = own.id if own else self._state.ids.next(id_prefix(component.kind))
        return StoredComponent(content, component.file, record, moment, by, moment, by)

    def _refuse(self, component: Component, problem: str) -> None:
        self._result.messages.append(
            DeployMessage(
                component.kind, component.name, component.file, success=False, problem=problem,
                problem_type="Error",
            )
        )  # fmt: skip

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
            for key, each in self._draft.schema.objects.items():
                before = state.schema.objects.get(key)
                if before is not each:
                    state.storage.migrate(before, each)
            for permission_set in self._draft.permission_sets.values():
                self._store_set(permission_set)
            state.schema = self._draft.schema
            for record in self._draft.records:
                store_record(state, record)
        state.permission_sets.update(self._draft.permission_sets)
        state.components.update(self._draft.documents)
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


def _in_file(path: str, content: bytes) -> Iterator[tuple[Component, list[str]]]:
    """The components of a file, each with what is wrong with the file's structure."""
    folder, _, rest = path.partition("/")
    known = FOLDERS.get(folder)
    if known is None or not rest:
        return
    kind, suffix = known
    beside = rest.endswith("-meta.xml")
    if beside:
        suffix = "-meta.xml"
    if not rest.endswith(suffix):
        return
    whole = Component(kind, rest.removesuffix(suffix), path, None, content)
    if not suffix or (beside and whole.kind == kind):
        yield whole, []
        return
    try:
        element = parse_xml(content)
    except PackageError as error:
        yield whole, [str(error)]
        return
    whole = replace(whole, element=element)
    problems = structure_problems(whole.kind, element)
    stated = text_of(element, "fullName")
    if stated and stated != whole.name:
        problems.append(f"The full name {stated} does not match the name of the file: {whole.name}")
    yield whole, problems
    if kind == "CustomObject" and not problems:
        for inner, tag in INSIDE_OBJECT.items():
            for part in children(element, tag):
                name = f"{whole.name}.{text_of(part, 'fullName')}"
                yield Component(inner, name, path, part, ET.tostring(part)), []


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
    # The Salesforce CLI lists a folder of reports as `Name/`.
    names = [each.rstrip("/") for each in package.members.get(component.type, [])]
    bundle = component.type == "LightningComponentBundle"
    if (component.name.partition("/")[0] if bundle else component.name) in names:
        return True
    if "*" in names and component.type not in INSIDE_OBJECT:
        # The wildcard stands for custom objects only.
        return component.custom or component.type != "CustomObject"
    if component.type in INSIDE_OBJECT:
        owner = component.name.partition(".")[0]
        objects = package.members.get("CustomObject", [])
        return owner in objects or ("*" in objects and owner.endswith(CUSTOM_ENDINGS))
    return False


def _holds_listed(package: Package, component: Component) -> bool:
    """Whether a part of the object is named, though the object itself may not be."""
    return component.type == "CustomObject" and any(
        name.startswith(f"{component.name}.")
        for kind in INSIDE_OBJECT
        for name in package.members.get(kind, [])
    )
