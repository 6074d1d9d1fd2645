"""SOAP envelopes and faults, and the login of the partner API.

Only what the CLI, jsforce and simple-salesforce send; unprefixed result elements, as those
clients look for them by name.
"""

from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.calls import Reply
from metronome_salesforce.sandbox.salesforce.exceptions import SoapFaultError
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.packages import local_name

XML_TYPE = "text/xml;charset=UTF-8"
_NO_LOGIN_FROM = 65.0
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="{sf}"{default} '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{content}'
    "</soapenv:Body></soapenv:Envelope>"
)
PARTNER = "urn:partner.soap.sforce.com"
METADATA = "http://soap.sforce.com/2006/04/metadata"
_FAULTS = "urn:fault.partner.soap.sforce.com"


def envelope(content: str, space: str, status: int = 200) -> Reply:
    """A SOAP envelope around the content of its body."""
    return Reply(
        status,
        _ENVELOPE.format(sf=_FAULTS, default=f' xmlns="{space}"' if space else "", content=content),
        content_type=XML_TYPE,
    )


def fault(error: SoapFaultError) -> Reply:
    """A SOAP fault."""
    message = escape(f"{error.code}: {error.message}")
    return envelope(
        f"<soapenv:Fault><faultcode>sf:{error.code}</faultcode><faultstring>{message}"
        f"</faultstring><detail><sf:{_fault_name(error.code)}><sf:exceptionCode>{error.code}"
        f"</sf:exceptionCode><sf:exceptionMessage>{escape(error.message)}</sf:exceptionMessage>"
        f"</sf:{_fault_name(error.code)}></detail></soapenv:Fault>",
        "",  # faultcode and faultstring have no namespace
        500,
    )


def _fault_name(code: str) -> str:
    return "LoginFault" if code == "INVALID_LOGIN" else "UnexpectedErrorFault"


def parse(body: bytes) -> ET.Element:
    """The root of a request; raises SoapFaultError."""
    try:
        return ET.fromstring(body)  # noqa: S314 -- a sandbox on loopback parses its client's request
    except ET.ParseError as error:
        raise SoapFaultError("UNKNOWN_EXCEPTION", "The request is not well-formed") from error


def find(element: ET.Element, name: str) -> ET.Element | None:
    """The first element of that name at any depth, whatever its namespace."""
    return next((each for each in element.iter() if local_name(each) == name), None)


def text(element: ET.Element, name: str) -> str:
    """The text of the first element of that name, or nothing."""
    found = find(element, name)
    return "" if found is None else "".join(found.itertext()).strip()


def login(org: SalesforceOrg, body: bytes, version: str, base: str) -> Reply:
    """`POST /services/Soap/u/X`: username and password with token, below v65 only."""
    root = parse(body)
    if find(root, "login") is None:
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
    token, user = org.sessions.soap_login(text(root, "username"), text(root, "password"))
    return envelope(_login_result(org, user, token, version, base), PARTNER)


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
