"""CustomResourceDefinitions: what is refused in them, and the resource types that they add.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions". The
structural rules, unknown keywords, CEL compilation and defaults are checked as the server does;
the estimated cost of CEL rules, conversion webhooks and the scale subresource are not modelled.
"""

from datetime import datetime
from typing import Any

from metronome_salesforce.sandbox.kubernetes import jsonpath, schema, structural
from metronome_salesforce.sandbox.kubernetes.exceptions import FieldError, Json
from metronome_salesforce.sandbox.kubernetes.kinds import AGE, Column, Resource
from metronome_salesforce.sandbox.kubernetes.metadata import (
    LABEL_SENTENCE,
    SUBDOMAIN_SENTENCE,
    is_label,
    is_subdomain,
    timestamp,
)

GROUP = "apiextensions.k8s.io"
_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")


def prepare(item: Json, old: Json | None, now: datetime) -> list[FieldError]:
    """Fill in the defaults and the status of a definition and return what is wrong with it."""
    spec = item.get("spec")
    if not isinstance(spec, dict):
        return [FieldError("FieldValueRequired", "spec")]
    errors = _names_errors(item, spec)
    versions = spec.get("versions")
    if not isinstance(versions, list) or not versions:
        return [*errors, FieldError("FieldValueRequired", "spec.versions")]
    if sum(1 for version in versions if version.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(FieldError("FieldValueInvalid", "spec.versions", detail, _brief(versions)))
    listed = [version.get("name") for version in versions]
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        if listed.index(version.get("name")) != index:
            detail = "must contain unique version names"
            errors.append(FieldError("FieldValueInvalid", path, detail, version.get("name")))
        errors += _version_errors(version, path, single=len(versions) == 1)
    if old is not None:
        errors += [
            FieldError("FieldValueInvalid", f"spec.{key}", "field is immutable", spec.get(key))
            for key in ("group", "scope")
            if spec.get(key) != old["spec"].get(key)
        ]
    if not errors:
        spec.setdefault("conversion", {"strategy": "None"})
        _set_status(item, now)
    return errors


def _brief(versions: list[Any]) -> list[Json]:
    return [
        {key: version.get(key) for key in ("name", "served", "storage")} for version in versions
    ]


def _names_errors(item: Json, spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    names = spec.get("names") or {}
    group: Any = spec.get("group")
    plural: Any = names.get("plural")
    kind: Any = names.get("kind")
    for path, text in (
        ("spec.group", group),
        ("spec.names.plural", plural),
        ("spec.names.kind", kind),
    ):
        if not isinstance(text, str) or not text:
            errors.append(FieldError("FieldValueRequired", path))
    if errors:
        return errors
    if not is_subdomain(group) or "." not in group:
        detail = SUBDOMAIN_SENTENCE if "." in group else "should be a domain with at least one dot"
        errors.append(FieldError("FieldValueInvalid", "spec.group", detail, group))
    wanted = f"{plural}.{group}"
    if item["metadata"].get("name") != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        errors.append(
            FieldError("FieldValueInvalid", "metadata.name", detail, item["metadata"].get("name"))
        )
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        detail = 'supported values: "Cluster", "Namespaced"'
        errors.append(FieldError("FieldValueNotSupported", "spec.scope", detail, spec.get("scope")))
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    labels = [("plural", plural), ("singular", names["singular"]), ("kind", kind.lower())]
    labels += [(f"shortNames[{i}]", name) for i, name in enumerate(names.get("shortNames", []))]
    labels += [(f"categories[{i}]", name) for i, name in enumerate(names.get("categories", []))]
    errors += [
        FieldError("FieldValueInvalid", f"spec.names.{key}", LABEL_SENTENCE, text)
        for key, text in labels
        if not is_label(text)
    ]
    return errors


def _version_errors(version: Json, path: str, *, single: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    name = version.get("name", "")
    if not is_label(name):
        errors.append(FieldError("FieldValueInvalid", f"{path}.name", LABEL_SENTENCE, name))
    errors += [
        FieldError("FieldValueRequired", f"{path}.{key}")
        for key in ("served", "storage")
        if not isinstance(version.get(key), bool)
    ]
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    where = "spec.validation" if single else f"{path}.schema"
    if not isinstance(root, dict):
        errors.append(FieldError("FieldValueRequired", f"{path}.schema.openAPIV3Schema"))
    else:
        errors += structural.errors(root, f"{where}.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        at = "spec" if single else path
        errors += _column_errors(column, f"{at}.additionalPrinterColumns[{index}]")
    return errors


def _column_errors(column: Json, path: str) -> list[FieldError]:
    errors = [
        FieldError("FieldValueRequired", f"{path}.{key}")
        for key in ("name", "type", "jsonPath")
        if not column.get(key)
    ]
    if errors:
        return errors
    if column["type"] not in _COLUMN_TYPES:
        detail = "must be one of boolean,date,integer,number,string"
        errors.append(FieldError("FieldValueInvalid", f"{path}.type", detail, column["type"]))
    try:
        jsonpath.compiled(column["jsonPath"])
    except ValueError as error:
        errors.append(
            FieldError("FieldValueInvalid", f"{path}.JSONPath", str(error), column["jsonPath"])
        )
    return errors


def _set_status(item: Json, now: datetime) -> None:
    spec = item["spec"]
    before = item.get("status") or {}
    stored = [version["name"] for version in spec["versions"] if version["storage"]]
    kept = [name for name in before.get("storedVersions", []) if name not in stored]
    item["status"] = {
        "conditions": before.get("conditions")
        or [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition(
                "Established", "InitialNamesAccepted", "the initial names have been accepted", now
            ),
        ],
        "acceptedNames": spec["names"],
        "storedVersions": kept + stored,
    }


def _condition(kind: str, reason: str, message: str, now: datetime) -> Json:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": timestamp(now),
    }


def resources(item: Json) -> list[Resource]:
    """One Resource for each served version of a checked definition."""
    spec = item["spec"]
    names = spec["names"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            singular=names["singular"],
            short_names=tuple(names.get("shortNames", ())),
            categories=tuple(names.get("categories", ())),
            has_status="status" in (version.get("subresources") or {}),
            custom=True,
            columns=_columns(version),
            schema=schema.prepared(version["schema"]["openAPIV3Schema"]),
            counts_generation=True,
            unconditional_update=False,
            selectable_fields=tuple(
                field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()
            ),
        )
        for version in spec["versions"]
        if version["served"]
    ]


def _columns(version: Json) -> tuple[Column, ...]:
    given = version.get("additionalPrinterColumns")
    if not given:
        return (AGE,)
    return tuple(
        Column(
            name=column["name"],
            path=column["jsonPath"],
            type=column["type"],
            format=column.get("format", ""),
            priority=column.get("priority", 0),
            description=column.get("description", ""),
        )
        for column in given
    )
