"""The rules of `metadata`: names, labels, annotations, and which fields only the server sets.

Source: Kubernetes documentation, "Object Names and IDs" and "Labels and Selectors", and the
sentences of k8s.io/apimachinery/pkg/util/validation.
"""

import re
import secrets
from datetime import UTC, datetime
from typing import Any

from metronome_salesforce.sandbox.kubernetes.exceptions import (
    DecodingError,
    FieldError,
    Json,
)

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"

LABEL_SENTENCE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    f"for validation is '{_LABEL}')"
)
SUBDOMAIN_SENTENCE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    f"for validation is '{_SUBDOMAIN}')"
)
_QUALIFIED_SENTENCE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    f"validation is '{_QUALIFIED}')"
)
_VALUE_SENTENCE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    f"or '12345', regex used for validation is '{_VALUE}')"
)

_ANNOTATION_BYTES = 256 * 1024
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_KNOWN = {
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "labels",
    "annotations", "ownerReferences", "finalizers", "managedFields", "selfLink",
}  # fmt: skip
_DROPPED = {"managedFields", "selfLink"}
_BY_SERVER = (
    "uid",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as `metav1.Time` is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_label(text: str) -> bool:
    """Whether `text` is an RFC 1123 label."""
    return len(text) <= 63 and re.fullmatch(_LABEL, text) is not None


def is_subdomain(text: str) -> bool:
    """Whether `text` is an RFC 1123 subdomain."""
    return len(text) <= 253 and re.fullmatch(_SUBDOMAIN, text) is not None


def generated(prefix: str) -> str:
    """A name from `generateName`: the prefix, cut to fit, and five letters."""
    suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
    return prefix[:58] + suffix


def normalized(given: Any, unknown: list[str]) -> Json:
    """`metadata` as the server decodes it: typed, without what it does not know.

    Names of unknown fields are appended to `unknown`. Raises ApiError 400 for a wrong type.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise DecodingError("json: cannot unmarshal metadata into Go value of type v1.ObjectMeta")
    result: Json = {}
    for key, value in given.items():
        if key not in _KNOWN:
            unknown.append(f"metadata.{key}")
            continue
        if key in _DROPPED or value is None or value in ("", [], {}):
            continue
        result[key] = value
    for key in ("labels", "annotations"):
        _require_strings(result, key)
    for key in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if key in result and not isinstance(result[key], str):
            raise _wrong_type(result[key], key, "string")
    finalizers = result.get("finalizers", [])
    if not isinstance(finalizers, list) or not all(isinstance(item, str) for item in finalizers):
        raise _wrong_type(finalizers, "finalizers", "string")
    return result


def _require_strings(meta: Json, key: str) -> None:
    pairs = meta.get(key, {})
    if not isinstance(pairs, dict):
        raise _wrong_type(pairs, key, "map[string]string")
    for name, value in pairs.items():
        if value is None:
            pairs[name] = ""
        elif not isinstance(value, str):
            raise _wrong_type(value, key, "string")


def _wrong_type(value: Any, key: str, wanted: str) -> Exception:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return DecodingError(
        f"json: cannot unmarshal {names.get(type(value), 'object')} into Go struct field "
        f"ObjectMeta.metadata.{key} of type {wanted}"
    )


def keep_server_fields(meta: Json, old: Json) -> None:
    """Put back what a client may not change."""
    for key in _BY_SERVER:
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)
    if "generateName" in old:
        meta.setdefault("generateName", old["generateName"])


def errors_of(meta: Json, *, label_name: bool) -> list[FieldError]:
    """The refused fields; `label_name` for kinds whose name must be a single label."""
    errors: list[FieldError] = []
    name = meta.get("name", "")
    if not name:
        errors.append(
            FieldError("FieldValueRequired", "metadata.name", "name or generateName is required")
        )
    elif label_name and not is_label(name):
        errors.append(FieldError("FieldValueInvalid", "metadata.name", LABEL_SENTENCE, name))
    elif not is_subdomain(name):
        detail = SUBDOMAIN_SENTENCE if len(name) <= 253 else "must be no more than 253 characters"
        errors.append(FieldError("FieldValueInvalid", "metadata.name", detail, name))
    for key, value in meta.get("labels", {}).items():
        errors += _key_errors(key, "metadata.labels")
        if len(value) > 63 or re.fullmatch(_VALUE, value) is None:
            detail = _VALUE_SENTENCE if len(value) <= 63 else "must be no more than 63 characters"
            errors.append(FieldError("FieldValueInvalid", "metadata.labels", detail, value))
    annotations = meta.get("annotations", {})
    for key in annotations:
        errors += _key_errors(key.lower(), "metadata.annotations")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATION_BYTES:
        detail = f"may not be more than {_ANNOTATION_BYTES} bytes"
        errors.append(FieldError("FieldValueTooLong", "metadata.annotations", detail))
    for index, finalizer in enumerate(meta.get("finalizers", [])):
        errors += _key_errors(finalizer, f"metadata.finalizers[{index}]")
    return errors


def _key_errors(key: str, path: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    if (slash and not is_subdomain(prefix)) or "/" in prefix:
        return [FieldError("FieldValueInvalid", path, f"prefix part {SUBDOMAIN_SENTENCE}", key)]
    if len(name) > 63:
        return [
            FieldError(
                "FieldValueInvalid", path, "name part must be no more than 63 characters", key
            )
        ]
    if re.fullmatch(_QUALIFIED, name) is None:
        return [FieldError("FieldValueInvalid", path, _QUALIFIED_SENTENCE, key)]
    return []
