"""The types of the built-in kinds' fields, as far as they are served here.

The real server decodes built-in kinds into Go structs: a value of the wrong type is a bad request
(400), an unknown field is dropped, or refused under strict validation. Written as schemas, so that
the same code checks them. Source: Kubernetes API reference.
"""

from typing import Any

from metronome_salesforce.sandbox.kubernetes.exceptions import Json

_ANY: Json = {"x-kubernetes-preserve-unknown-fields": True}
_TEXT: Json = {"type": "string", "nullable": True}
_COUNT: Json = {"type": "integer", "nullable": True}
_NUMBER: Json = {"type": "number", "nullable": True}
_FLAG: Json = {"type": "boolean", "nullable": True}
_OPEN: Json = {"type": "object", "nullable": True, **_ANY}


def _struct(**fields: Json) -> Json:
    return {"type": "object", "nullable": True, "properties": fields}


def _list(items: Json) -> Json:
    return {"type": "array", "nullable": True, "items": items}


def _map(values: Json) -> Json:
    return {"type": "object", "nullable": True, "additionalProperties": values}


def _schema_node() -> Json:
    """JSONSchemaProps, which contains itself."""
    node: Json = {"type": "object", "nullable": True}
    many, named = _list(node), _map(node)
    either: Json = {"nullable": True}  # a boolean or a schema: of any type, but with these fields
    rule = _struct(
        rule=_TEXT, message=_TEXT, messageExpression=_TEXT, reason=_TEXT, fieldPath=_TEXT,
        optionalOldSelf=_FLAG,
    )  # fmt: skip
    texts = ("description", "type", "format", "title", "pattern", "x-kubernetes-list-type",
             "x-kubernetes-map-type")  # fmt: skip
    counts = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
    flags = ("nullable", "exclusiveMaximum", "exclusiveMinimum", "uniqueItems",
             "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
             "x-kubernetes-embedded-resource")  # fmt: skip
    fields: dict[str, Any] = {
        **dict.fromkeys(texts, _TEXT),
        **dict.fromkeys(counts, _COUNT),
        **dict.fromkeys(("minimum", "maximum", "multipleOf"), _NUMBER),
        **dict.fromkeys(flags, _FLAG),
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), many),
        "not": node,
        "items": node,
        "properties": named,
        "additionalProperties": either,
        **dict.fromkeys(("default", "example", "externalDocs"), _ANY),
        "required": _list(_TEXT),
        "enum": _list(_ANY),
        "x-kubernetes-list-map-keys": _list(_TEXT),
        "x-kubernetes-validations": _list(rule),
    }
    node["properties"] = either["properties"] = fields
    return node


_NAMES = _struct(
    plural=_TEXT, singular=_TEXT, kind=_TEXT, listKind=_TEXT, shortNames=_list(_TEXT),
    categories=_list(_TEXT),
)  # fmt: skip
_COLUMN = _struct(
    name=_TEXT, type=_TEXT, format=_TEXT, description=_TEXT, priority=_COUNT, jsonPath=_TEXT
)
_VERSION = _struct(
    name=_TEXT, served=_FLAG, storage=_FLAG, deprecated=_FLAG, deprecationWarning=_TEXT,
    schema=_struct(openAPIV3Schema=_schema_node()),
    subresources=_struct(status=_OPEN, scale=_OPEN),
    additionalPrinterColumns=_list(_COLUMN),
    selectableFields=_list(_struct(jsonPath=_TEXT)),
)  # fmt: skip
DEFINITION = _struct(
    spec=_struct(
        group=_TEXT, names=_NAMES, scope=_TEXT, versions=_list(_VERSION), conversion=_OPEN,
        preserveUnknownFields=_FLAG,
    ),
    status=_OPEN,
)  # fmt: skip
SECRET = _struct(data=_map(_TEXT), stringData=_map(_TEXT), type=_TEXT, immutable=_FLAG)
CONFIG_MAP = _struct(data=_map(_TEXT), binaryData=_map(_TEXT), immutable=_FLAG)
NAMESPACE = _struct(
    spec=_struct(finalizers=_list(_TEXT)),
    status=_struct(phase=_TEXT, conditions=_list(_OPEN)),
)
LEASE = _struct(
    spec=_struct(
        holderIdentity=_TEXT, leaseDurationSeconds=_COUNT, acquireTime=_TEXT, renewTime=_TEXT,
        leaseTransitions=_COUNT, strategy=_TEXT, preferredHolder=_TEXT,
    )
)  # fmt: skip
_REFERENCE = _struct(
    kind=_TEXT, namespace=_TEXT, name=_TEXT, uid=_TEXT, apiVersion=_TEXT, resourceVersion=_TEXT,
    fieldPath=_TEXT,
)  # fmt: skip
EVENT = _struct(
    involvedObject=_REFERENCE, related=_REFERENCE, reason=_TEXT, message=_TEXT, type=_TEXT,
    action=_TEXT, count=_COUNT, eventTime=_TEXT, firstTimestamp=_TEXT, lastTimestamp=_TEXT,
    reportingComponent=_TEXT, reportingInstance=_TEXT,
    source=_struct(component=_TEXT, host=_TEXT),
    series=_struct(count=_COUNT, lastObservedTime=_TEXT),
)  # fmt: skip
SERVICE_ACCOUNT = _struct(
    secrets=_list(_OPEN), imagePullSecrets=_list(_OPEN), automountServiceAccountToken=_FLAG
)
