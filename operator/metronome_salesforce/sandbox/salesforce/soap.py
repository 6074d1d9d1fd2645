"""SOAP: login of the partner API, deploy and its status of the Metadata API.

Only what the CLI, jsforce and simple-salesforce send; unprefixed result elements, as those
clients look for them by name.
"""

import base64
import binascii
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployResult
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, SoapFaultError
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.org_resources import (
    DEPLOY_POLLS,
    require_metadata_access,
)
from metronome_salesforce.sandbox.salesforce.packages import local_name

XML_TYPE = "text/xml;charset=UTF-8"
_NO_LOGIN_FROM = 65.0
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="{sf}" xmlns="{space}" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{content}'
    "</soapenv:Body></soapenv:Envelope>"
)
_PARTNER = "urn:partner.soap.sforce.com"
_METADATA = "http://soap.sforce.com/2006/04/metadata"
_FAULTS = "urn:fault.partner.soap.sforce.com"


def _envelope(content: str, space: str, status: int = 200) -> Reply:
    return Reply(
        status,
        _ENVELOPE.format(sf=_FAULTS, space=space, content=content),
        content_type=XML_TYPE,
    )


def fault(error: SoapFaultError) -> Reply:
    """A SOAP fault."""
    message = escape(f"{error.code}: {error.message}")
    return _envelope(
        f"<soapenv:Fault><faultcode>sf:{error.code}</faultcode><faultstring>{message}"
        f"</faultstring><detail><sf:{_fault_name(error.code)}><sf:exceptionCode>{error.code}"
        f"</sf:exceptionCode><sf:exceptionMessage>{escape(error.message)}</sf:exceptionMessage>"
        f"</sf:{_fault_name(error.code)}></detail></soapenv:Fault>",
        _PARTNER,
        500,
    )


def _fault_name(code: str) -> str:
    return "LoginFault" if code == "INVALID_LOGIN" else "UnexpectedErrorFault"


def _parse(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 -- a sandbox on loopback parses its client's request
    except ET.ParseError as error:
        raise SoapFaultError("UNKNOWN_EXCEPTION", "The request is not well-formed") from error


def _find(element: ET.Element, name: str) -> ET.Element | None:
    return next((each for each in element.iter() if local_name(each) == name), None)


def _text(element: ET.Element, name: str) -> str:
    found = _find(element, name)
    return "" if found is None else "".join(found.itertext()).strip()


def login(org: SalesforceOrg, body: bytes, version: str, base: str) -> Reply:
    """`POST /services/Soap/u/X`: username and password with token, below v65 only."""
    root = _parse(body)
    if _find(root, "login") is None:
        raise SoapFaultError("UNKNOWN_EXCEPTION", "Only login() is available")
    try:
        number = float(version)
    except ValueError as error:
        raise SoapFaultError("UNSUPPORTED_API_VERSION", "Invalid Api version") from error
    if number >= _NO_LOGIN_FROM:
        raise SoapFaultError(
            "UNSUPPORTED_API_VERSION",
            f"login() is not available in API version {version}: use OAuth",
        )
    token, user = org.sessions.soap_login(_text(root, "username"), _text(root, "password"))
    return _envelope(_login_result(org, user, token, version, base), _PARTNER)


def _login_result(org: SalesforceOrg, user: User, token: str, version: str, base: str) -> str:
    organization = org.state.organization_id
    end = f"{version}/{organization[:15]}"
    return (
        "<loginResponse><result>"
        f"<metadataServerUrl>{base}/services/Soap/m/{end}</metadataServerUrl>"
        "<passwordExpired>false</passwordExpired><sandbox>false</sandbox>"
        f"<serverUrl>{base}/services/Soap/u/{end}</serverUrl>"
        f"<sessionId>{token}</sessionId><userId>{user.id}</userId><userInfo>"
        f"<organizationId>{organization}</organizationId>"
        f"<userName>{escape(user.username)}</userName>"
        f"<userFullName>{escape(user.name)}</userFullName><userId>{user.id}</userId>"
        "</userInfo></result></loginResponse>"
    )


def metadata(org: SalesforceOrg, body: bytes, version: str, base: str, *, fast: bool) -> Reply:
    """`POST /services/Soap/m/X`: deploy, checkDeployStatus, describe and list stubs."""
    root = _parse(body)
    try:
        user = org.sessions.user_of(_text(root, "sessionId"))
        call = Call(org, user, "POST", [], {}, version, base, fast=fast)
        require_metadata_access(call)
    except SalesforceError as error:
        raise SoapFaultError(error.code, error.message) from error
    soap_body = _find(root, "Body")
    operation = next(iter(soap_body), None) if soap_body is not None else None
    name = local_name(operation) if operation is not None else ""
    if operation is None:
        raise SoapFaultError("UNKNOWN_EXCEPTION", "The request has no operation")
    if name == "deploy":
        return _deploy(call, operation)
    if name == "checkDeployStatus":
        return _status(call, operation)
    if name == "listMetadata":
        return _envelope(_listed(org, operation), _METADATA)
    raise SoapFaultError("UNKNOWN_EXCEPTION", f"{name}() is not available")


def _deploy(call: Call, operation: ET.Element) -> Reply:
    try:
        content = base64.b64decode(_text(operation, "ZipFile"), validate=False)
    except binascii.Error as error:
        raise SoapFaultError("INVALID_ZIP_FILE", "the zip is not base64") from error
    result = call.org.deploy(
        content,
        username=call.user.username,
        check_only=_text(operation, "checkOnly").lower() == "true",
        rollback_on_error=_text(operation, "rollbackOnError").lower() != "false",
        polls=1 if call.fast else DEPLOY_POLLS,
    )
    return _envelope(
        f"<deployResponse><result><done>false</done><id>{result.id}</id><state>Queued</state>"
        "</result></deployResponse>",
        _METADATA,
    )


def _status(call: Call, operation: ET.Element) -> Reply:
    record = _text(operation, "asyncProcessId")
    result = call.org.deploys.get(record)
    if result is None:
        raise SoapFaultError("INVALID_CROSS_REFERENCE_KEY", f"invalid id {record}")
    details = "true" in _text(operation, "includeDetails").lower()
    return _envelope(
        "<checkDeployStatusResponse><result>"
        f"{_deploy_xml(result, details=details)}</result></checkDeployStatusResponse>",
        _METADATA,
    )


def _deploy_xml(result: DeployResult, *, details: bool) -> str:
    return _xml(result.body(details=details))


def _xml(body: dict[str, Any]) -> str:
    """JSON as elements: lists repeat their name, None is left out."""
    parts = []
    for name, value in body.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                parts.append(f"<{name}>{_xml(each)}</{name}>")
            elif each is not None:
                text = str(each).lower() if isinstance(each, bool) else str(each)
                text = text.replace(".000+0000", ".000Z") if name.endswith("Date") else text
                parts.append(f"<{name}>{escape(text)}</{name}>")
    return "".join(parts)


def _listed(org: SalesforceOrg, operation: ET.Element) -> str:
    wanted = _text(operation, "type")
    rows = "".join(
        f"<result><fileName>{escape(name)}</fileName><fullName>{escape(name)}</fullName>"
        f"<type>{escape(kind)}</type></result>"
        for kind, name in org.state.components
        if kind == wanted
    )
    return f"<listMetadataResponse>{rows}</listMetadataResponse>"
