"""The store: objects of every kind, and the rules under which they are written.

Stored objects are never changed in place: each write replaces the whole object, so that watches,
pages and readers in other threads can keep what they were given.
"""

import copy
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metronome_salesforce.sandbox.kubernetes import (
    builtins,
    decoding,
    definitions,
    exceptions,
    metadata,
    patches,
    schema,
)
from metronome_salesforce.sandbox.kubernetes.decoding import Options
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json
from metronome_salesforce.sandbox.kubernetes.history import Change, EventType, History
from metronome_salesforce.sandbox.kubernetes.kinds import Resource, same
from metronome_salesforce.sandbox.kubernetes.selectors import Predicate

_NAMESPACES = ("", "namespaces")
_CRDS = (definitions.GROUP, "customresourcedefinitions")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What DeleteOptions demand of the object."""

    uid: str | None = None
    resource_version: str | None = None


class Store:
    """All state of the server, behind one lock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.lock = threading.RLock()
        self.history = History()
        self._now = now
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Json]] = {}
        for resource in builtins.resources(now):
            self._register(resource)
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(self.find("", "v1", "namespaces"), None, {"metadata": {"name": name}})

    # Resource types

    def _register(self, resource: Resource) -> None:
        self._resources[resource.group, resource.version, resource.plural] = resource
        self._objects.setdefault(resource.storage, {})

    def resources(self) -> list[Resource]:
        """Every served version of every type."""
        with self.lock:
            return list(self._resources.values())

    def find(self, group: str, version: str, plural: str) -> Resource:
        """One served version; raises ApiError 404."""
        found = self._resources.get((group, version, plural))
        if found is None:
            raise exceptions.no_such_path()
        return found

    def find_plural(self, plural: str) -> Resource:
        """By plural, or `plural.group` where two groups share it; raises KeyError."""
        with self.lock:
            for resource in self._resources.values():
                if plural in (resource.plural, f"{resource.plural}.{resource.group}"):
                    return resource
        raise KeyError(plural)

    # Reading

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """The stored object, as this version shows it; raises ApiError 404."""
        with self.lock:
            return self.shown(resource, self._stored(resource, namespace, name))

    def selected(
        self, resource: Resource, namespace: str | None, matches: Predicate | None = None
    ) -> list[Json]:
        """The matching objects, ordered by namespace and name."""
        with self.lock:
            kept = self._objects[resource.storage]
            return [
                self.shown(resource, kept[key])
                for key in sorted(kept)
                if (namespace is None or key[0] == namespace)
                and (matches is None or matches(kept[key]))
            ]

    def shown(self, resource: Resource, item: Json) -> Json:
        """A stored object in the words of one version."""
        if resource.stored_as is not None:
            return builtins.to_new_event(item)
        if item.get("apiVersion") != resource.api_version:
            return {**item, "apiVersion": resource.api_version}
        return item

    def _stored(self, resource: Resource, namespace: str | None, name: str) -> Json:
        found = self._objects[resource.storage].get((namespace or "", name))
        if found is None:
            raise exceptions.not_found(resource.group, resource.plural, name)
        return found

    # Writing

    def create(
        self,
        resource: Resource,
        namespace: str | None,
        document: Json,
        options: Options | None = None,
    ) -> Json:
        """Store a new object. Raises ApiError 400, 403, 404, 409 or 422."""
        options = options or Options()
        with self.lock:
            item = self._decoded(resource, namespace, document, options)
            meta = item["metadata"]
            self._require_namespace(resource, namespace, meta.get("name", ""))
            if not meta.get("name") and meta.get("generateName"):
                meta["name"] = metadata.generated(meta["generateName"])
            if meta.pop("resourceVersion", None):
                raise exceptions.ApiError(
                    500,
                    "",
                    "resourceVersion should not be set on objects to be created",
                )
            metadata.keep_server_fields(meta, {})
            meta["creationTimestamp"] = metadata.timestamp(self._now())
            meta["uid"] = str(uuid.uuid4())
            if resource.counts_generation:
                meta["generation"] = 1
            if resource.custom and resource.has_status:
                item.pop("status", None)
            self._admit(resource, item, None)
            key = (namespace or "", meta["name"])
            if key in self._objects[resource.storage]:
                raise exceptions.already_exists(resource.group, resource.plural, meta["name"])
            return self._commit(resource, item, None, options)

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        document: Json,
        options: Options | None = None,
        *,
        subresource: str = "",
    ) -> Json:
        """Replace an object (PUT). Raises ApiError 400, 404, 409 or 422."""
        options = options or Options()
        with self.lock:
            old = self._stored(resource, namespace, name)
            item = self._decoded(resource, namespace, document, options)
            if not item["metadata"].get("resourceVersion") and not resource.unconditional_update:
                error = FieldError(
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    "must be specified for an update",
                    0,
                )
                raise exceptions.invalid(resource.group, resource.plural, name, [error])
            return self._replace(resource, old, item, options, subresource)

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        content_type: str,
        patch: Any,
        options: Options | None = None,
        *,
        subresource: str = "",
    ) -> tuple[Json, bool]:
        """Patch an object, or create it by server-side apply; the flag says whether it is new."""
        options = options or Options()
        if content_type == patches.STRATEGIC and resource.custom:
            allowed = (patches.JSON, patches.MERGE, patches.APPLY)
            raise exceptions.unsupported_media("", allowed)
        with self.lock:
            present = (namespace or "", name) in self._objects[resource.storage]
            if content_type == patches.APPLY and not present and not subresource:
                named = patches.apply(content_type, {"metadata": {"name": name}}, patch)
                return self.create(resource, namespace, named, options), True
            old = self._stored(resource, namespace, name)
            shown = self.shown(resource, old)
            patched = patches.apply(content_type, shown, patch)
            try:
                item = decoding.decoded(resource, namespace, patched, options)
            except exceptions.DecodingError as error:
                text = exceptions.shown(patched)
                wrong = FieldError("FieldValueInvalid", "patch", error.message, text)
                raise exceptions.invalid("", "", "", [wrong]) from error
            return self._replace(resource, old, item, options, subresource), False

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        options: Options | None = None,
        preconditions: Preconditions | None = None,
    ) -> tuple[Json, bool]:
        """Delete an object, or mark it if it has finalizers; the flag says whether it is gone.

        Raises ApiError 404, or 409 for an unmet precondition.
        """
        options = options or Options()
        wanted = preconditions or Preconditions()
        with self.lock:
            old = self._stored(resource, namespace, name)
            meta = old["metadata"]
            for label, demanded, actual, happened in (
                ("UID", wanted.uid, meta["uid"], "deleted and then recreated"),
                ("ResourceVersion", wanted.resource_version, meta["resourceVersion"], "modified"),
            ):
                if demanded and demanded != actual:
                    why = (
                        f"the {label} in the precondition ({demanded}) does not match the {label} "
                        f"in record ({actual}). The object might have been {happened}"
                    )
                    raise exceptions.conflict(resource.group, resource.kind, name, why)
            if resource.storage == _NAMESPACES and name in builtins.PERMANENT_NAMESPACES:
                raise exceptions.forbidden(
                    resource.group, resource.plural, name, "this namespace may not be deleted"
                )
            if not meta.get("finalizers") and not self._holds_others(resource, old):
                return self._remove(resource, old, options), True
            if "deletionTimestamp" in meta:
                return self.shown(resource, old), False
            marked = copy.deepcopy(old)
            marked["metadata"]["deletionTimestamp"] = metadata.timestamp(self._now())
            marked["metadata"]["deletionGracePeriodSeconds"] = 0
            if "generation" in meta:
                marked["metadata"]["generation"] = meta["generation"] + 1
            if resource.storage == _NAMESPACES:
                marked["status"] = {"phase": "Terminating"}
            shown = self._commit(resource, marked, old, options)
            if not options.dry_run:
                self._delete_held(resource, marked)
            return shown, (namespace or "", name) not in self._objects[resource.storage]

    def _decoded(
        self, resource: Resource, namespace: str | None, document: Any, options: Options
    ) -> Json:
        try:
            return decoding.decoded(resource, namespace, document, options)
        except exceptions.DecodingError as error:
            raise exceptions.DecodingError(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: {error.message}"
            ) from error

    def _require_namespace(self, resource: Resource, namespace: str | None, name: str) -> None:
        if not resource.namespaced:
            return
        found = self._objects[_NAMESPACES].get(("", namespace or ""))
        if found is None:
            raise exceptions.not_found("", "namespaces", namespace or "")
        if "deletionTimestamp" in found["metadata"]:
            why = (
                f"unable to create new content in namespace {namespace} because it is being "
                "terminated"
            )
            raise exceptions.forbidden(resource.group, resource.plural, name, why)

    def _replace(
        self, resource: Resource, old: Json, item: Json, options: Options, subresource: str
    ) -> Json:
        name = old["metadata"]["name"]
        meta = item["metadata"]
        if meta.setdefault("name", name) != name:
            raise exceptions.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL "
                f"({name})"
            )
        self._check_versions(resource, old["metadata"], meta)
        if subresource == "status":
            item = {**copy.deepcopy(old), "status": item.get("status")}
            if item["status"] is None:
                del item["status"]
        else:
            metadata.keep_server_fields(meta, old["metadata"])
            if resource.has_status:
                item.pop("status", None)
                if "status" in old:
                    item["status"] = copy.deepcopy(old["status"])
        self._check_finalizers(resource, old["metadata"], item["metadata"])
        self._admit(resource, item, old)
        item["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if same(item, old):
            return self.shown(resource, old)
        if resource.counts_generation and self._spec(resource, item) != self._spec(resource, old):
            item["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        going = "deletionTimestamp" in item["metadata"]
        going = going and not item["metadata"].get("finalizers")
        if going and not self._holds_others(resource, item):
            return self._remove(resource, item, options, before=old)
        return self._commit(resource, item, old, options)

    def _check_versions(self, resource: Resource, old: Json, meta: Json) -> None:
        wanted = meta.get("resourceVersion")
        if wanted and wanted != old["resourceVersion"]:
            raise exceptions.conflict(resource.group, resource.plural, old["name"])
        uid = meta.get("uid")
        if uid and uid != old["uid"]:
            error = FieldError("FieldValueInvalid", "metadata.uid", "field is immutable", uid)
            raise exceptions.invalid(resource.group, resource.kind, old["name"], [error])

    def _check_finalizers(self, resource: Resource, old: Json, meta: Json) -> None:
        if "deletionTimestamp" not in old:
            return
        added = [item for item in meta.get("finalizers", []) if item not in old["finalizers"]]
        if added:
            listed = ", ".join(f'"{item}"' for item in added)
            detail = (
                "no new finalizers can be added if the object is being deleted, found new "
                f"finalizers []string{{{listed}}}"
            )
            error = FieldError("FieldValueForbidden", "metadata.finalizers", detail)
            raise exceptions.invalid(resource.group, resource.kind, old["name"], [error])

    def _spec(self, resource: Resource, item: Json) -> Json:
        skipped = {"metadata", "status"} if resource.has_status else {"metadata"}
        return {key: value for key, value in item.items() if key not in skipped}

    def _admit(self, resource: Resource, item: Json, old: Json | None) -> None:
        """Check the whole object; raises ApiError 422."""
        meta = item["metadata"]
        errors = metadata.errors_of(meta, label_name=resource.storage == _NAMESPACES)
        if resource.prepare is not None:
            errors += resource.prepare(item, old)
        if resource.schema is not None:
            errors = schema.errors_root(resource.schema, item, old, errors)
        if errors:
            name = meta.get("name", "")
            raise exceptions.invalid(resource.group, resource.kind, name, errors)

    # Committing

    def _commit(self, resource: Resource, item: Json, old: Json | None, options: Options) -> Json:
        meta = item["metadata"]
        if options.dry_run:
            if old is None:
                meta.pop("resourceVersion", None)
            return self.shown(resource, item)
        version = self.history.next_version()
        item["metadata"] = {**meta, "resourceVersion": str(version)}
        self._objects[resource.storage][meta.get("namespace", ""), meta["name"]] = item
        kind: EventType = "ADDED" if old is None else "MODIFIED"
        self.history.add(Change(version, kind, resource.storage, item, old))
        self._after(resource, item, old)
        return self.shown(resource, item)

    def _remove(
        self, resource: Resource, item: Json, options: Options, before: Json | None = None
    ) -> Json:
        if options.dry_run:
            return self.shown(resource, item)
        meta = item["metadata"]
        version = self.history.next_version()
        last = {**item, "metadata": {**meta, "resourceVersion": str(version)}}
        del self._objects[resource.storage][meta.get("namespace", ""), meta["name"]]
        old = before or item
        self.history.add(Change(version, "DELETED", resource.storage, last, old))
        if resource.storage == _CRDS:
            self._unregister(last)
        self._finish_holders(resource, last)
        return self.shown(resource, last)

    # Definitions and namespaces hold other objects, and go after them

    def _after(self, resource: Resource, item: Json, old: Json | None) -> None:
        if resource.storage != _CRDS:
            return
        if old is not None:
            self._unregister(old, keep_objects=True)
        for served in definitions.resources(item):
            self._register(served)

    def _unregister(self, definition: Json, *, keep_objects: bool = False) -> None:
        spec = definition["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        for version in spec["versions"]:
            self._resources.pop((group, version["name"], plural), None)
        if not keep_objects:
            self._objects.pop((group, plural), None)

    def _held(self, resource: Resource, item: Json) -> list[tuple[tuple[str, str], Json]]:
        if resource.storage == _CRDS:
            storage = (item["spec"]["group"], item["spec"]["names"]["plural"])
            return [(storage, held) for held in self._objects.get(storage, {}).values()]
        if resource.storage == _NAMESPACES:
            name = item["metadata"]["name"]
            return [
                (storage, held)
                for storage, objects in self._objects.items()
                for key, held in objects.items()
                if key[0] == name
            ]
        return []

    def _holds_others(self, resource: Resource, item: Json) -> bool:
        return bool(self._held(resource, item))

    def _delete_held(self, resource: Resource, item: Json) -> None:
        for storage, held in self._held(resource, item):
            owner = self._any_version(storage)
            meta = held["metadata"]
            if (meta.get("namespace", ""), meta["name"]) in self._objects[storage]:
                self.delete(owner, meta.get("namespace"), meta["name"])

    def _any_version(self, storage: tuple[str, str]) -> Resource:
        for resource in self._resources.values():
            if resource.storage == storage and resource.stored_as is None:
                return resource
        raise KeyError(storage)

    def _finish_holders(self, resource: Resource, item: Json) -> None:
        """Remove the terminating namespace or definition whose last object has gone."""
        namespace = item["metadata"].get("namespace", "")
        holders = [(_NAMESPACES, namespace), (_CRDS, ".".join(resource.storage[::-1]))]
        for storage, name in holders:
            holder = self._objects[storage].get(("", name))
            if holder is None or "deletionTimestamp" not in holder["metadata"]:
                continue
            kind = self._any_version(storage)
            if not holder["metadata"].get("finalizers") and not self._holds_others(kind, holder):
                self._remove(kind, holder, Options())
