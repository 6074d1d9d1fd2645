"""The Metadata API by SOAP: deploy, retrieve, list and describe, as the usual clients call them.

Elements come in the order of the WSDL, which is alphabetical, because strict clients insist on it.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.components import (
    StoredComponent,
    describe_types,
    file_properties,
    known_types,
)
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, SoapFaultError
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.org_resources import (
    DEPLOY_POLLS,
    require_metadata_access,
)
from metronome_salesforce.sandbox.salesforce.packages import children, local_name, read_members
from metronome_salesforce.sandbox.salesforce.retrieving import retrieve
from metronome_salesforce.sandbox.salesforce.soap import METADATA, envelope, find, parse, text

_MOST_QUERIES = 3


def metadata(org: SalesforceOrg, body: bytes, version: str, base: str, *, fast: bool) -> Reply:
    """`POST /services/Soap/m/X`: one operation; raises SoapFaultError."""
    root = parse(body)
    try:
        user = org.sessions.user_of(text(root, "sessionId"))
        call = Call(org, user, "POST", [], {}, version, base, fast=fast)
        require_metadata_access(call)
    except SalesforceError as error:
        raise SoapFaultError(error.code, error.message) from error
    soap_body = find(root, "Body")
    operation = next(iter(soap_body), None) if soap_body is not None else None
    if operation is None:
        raise SoapFaultError("UNKNOWN_EXCEPTION", "The request has no operation")
    name = local_name(operation)
    answer = _OPERATIONS.get(name)
    if answer is None:
        raise SoapFaultError("UNKNOWN_EXCEPTION", f"{name}() is not available")
    results = answer(call, operation)
    content = "".join(f"<result>{_xml(each)}</result>" for each in results)
    return envelope(f"<{name}Response>{content}</{name}Response>", METADATA)


def _xml(body: dict[str, Any]) -> str:
    """JSON as elements in WSDL order: lists repeat their name, None is left out."""
    parts = []
    for name, value in sorted(body.items()):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                parts.append(f"<{name}>{_xml(each)}</{name}>")
            elif each is not None:
                shown = str(each).lower() if isinstance(each, bool) else str(each)
                shown = shown.replace(".000+0000", ".000Z") if name.endswith("Date") else shown
                parts.append(f"<{name}>{escape(shown)}</{name}>")
    return "".join(parts)


# --- deploy ---------------------------------------------------------------------------------


def _deploy(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    try:
        content = base64.b64decode(text(operation, "ZipFile"), validate=False)
    except binascii.Error as error:
        raise SoapFaultError("INVALID_ZIP_FILE", "the zip is not base64") from error
    result = call.org.deploy(
        content,
        username=call.user.username,
        check_only=text(operation, "checkOnly").lower() == "true",
        rollback_on_error=text(operation, "rollbackOnError").lower() != "false",
        polls=1 if call.fast else DEPLOY_POLLS,
    )
    return [{"done": False, "id": result.id, "state": "Queued"}]


def _deploy_status(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    record = text(operation, "asyncProcessId")
    result = call.org.deploys.get(record)
    if result is None:
        raise _unknown(record)
    details = "true" in text(operation, "includeDetails").lower()
    return [result.body(details=details)]


def _cancel(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    """The id stands in an element `String`, or in one called as the client likes."""
    record = "".join(operation.itertext()).strip()
    result = call.org.deploys.get(record)
    if result is None:
        raise _unknown(record)
    if not result.cancel((call.user.id, call.user.name)):
        raise SoapFaultError("INVALID_ID_FIELD", "Deployment already completed")
    return [{"done": True, "id": result.id}]


def _unknown(record: str) -> SoapFaultError:
    return SoapFaultError("INVALID_CROSS_REFERENCE_KEY", f"invalid id {record}")


# --- retrieve -------------------------------------------------------------------------------


def _retrieve(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    package = find(operation, "unpackaged")
    if package is None:
        raise SoapFaultError("INVALID_OPERATION", "Only unpackaged components are available")
    version = text(package, "version") or text(operation, "apiVersion")
    single = text(operation, "singlePackage").lower() == "true"
    found = retrieve(call.org.state, call.user, read_members(package), version, single=single)
    found.polls_left = 0 if call.fast else DEPLOY_POLLS
    call.org.retrievals[found.id] = found
    return [{"done": False, "id": found.id, "state": "Queued"}]


def _retrieve_status(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    record = text(operation, "asyncProcessId")
    found = call.org.retrievals.get(record)
    if found is None:
        raise _unknown(record)
    if not found.look():
        return [{"done": False, "id": record, "status": "InProgress", "success": False}]
    include = text(operation, "includeZip").lower() != "false"
    body = found.body(include_zip=include, encoded=base64.b64encode(found.content).decode())
    if include:
        del call.org.retrievals[record]
    return [body]


# --- list and describe ----------------------------------------------------------------------


def _describe(call: Call, _: ET.Element) -> list[dict[str, Any]]:
    del call
    return [
        {
            "metadataObjects": describe_types(),
            "organizationNamespace": "",
            "partialSaveAllowed": True,
            "testRequired": False,
        }
    ]


def _list(call: Call, operation: ET.Element) -> list[dict[str, Any]]:
    queries = children(operation, "queries")
    if len(queries) > _MOST_QUERIES:
        raise SoapFaultError(
            "LIMIT_EXCEEDED", f"At most {_MOST_QUERIES} queries are allowed in one call"
        )
    return [each for query in queries for each in _listed(call, query)]


def _listed(call: Call, query: ET.Element) -> list[dict[str, Any]]:
    kind, folder = text(query, "type"), text(query, "folder")
    if kind not in known_types():
        raise SoapFaultError("INVALID_TYPE", f"Unknown type:{kind}")
    state = call.org.state
    filed = kind in {"Report", "Dashboard"}
    rows = [
        file_properties(kind, name, stored)
        for (each, name), stored in sorted(state.components.items())
        if each == kind.removesuffix("Folder")
        and ("/" in name) == filed
        and (not filed or name.rpartition("/")[0] == folder)
    ]
    if kind == "CustomObject":
        moment, nobody = state.stamp(), ("", "")
        rows += [
            file_properties(
                kind,
                each.name,
                StoredComponent(
                    b"", f"objects/{each.name}.object", "", moment, nobody, moment, nobody
                ),
            )
            for each in state.schema.objects.values()
            if not each.custom
        ]
    return rows


_OPERATIONS: dict[str, Callable[[Call, ET.Element], list[dict[str, Any]]]] = {
    "cancelDeploy": _cancel,
    "checkDeployStatus": _deploy_status,
    "checkRetrieveStatus": _retrieve_status,
    "deploy": _deploy,
    "describeMetadata": _describe,
    "listMetadata": _list,
    "retrieve": _retrieve,
}
