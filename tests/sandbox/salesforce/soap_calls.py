"""Metadata API calls by SOAP, as the CLI writes them, for tests."""

import base64
import io
import zipfile
from xml.etree import ElementTree as ET

import requests

from tests.sandbox.salesforce.conftest import Rest

_NS = "{http://soap.sforce.com/2006/04/metadata}"
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    '<soapenv:Header xmlns="http://soap.sforce.com/2006/04/metadata"><SessionHeader>'
    "<sessionId>{token}</sessionId></SessionHeader><CallOptions><client>sfdx toolbelt:</client>"
    "</CallOptions></soapenv:Header>"
    '<soapenv:Body xmlns="http://soap.sforce.com/2006/04/metadata">{body}</soapenv:Body>'
    "</soapenv:Envelope>"
)


def send(rest: Rest, body: str, version: str = "67.0") -> requests.Response:
    """POST one operation; no Authorization header, the session is in the envelope."""
    return requests.post(
        f"{rest.base}/services/Soap/m/{version}",
        data=_ENVELOPE.format(token=rest.token, body=body),
        headers={"content-type": "text/xml", "soapaction": '""', "accept": "*/*"},
        timeout=20,
    )


def parse(text: str) -> ET.Element:
    """The root of an XML document that the sandbox made."""
    return ET.fromstring(text)  # noqa: S314 -- our own server on loopback


def results(rest: Rest, body: str) -> list[ET.Element]:
    """The result elements of an operation that must succeed."""
    answer = send(rest, body)
    assert answer.status_code == 200, answer.text
    return list(parse(answer.text).iter(f"{_NS}result"))


def texts(element: ET.Element, name: str) -> list[str]:
    """The texts of all elements of that name, at any depth."""
    return [each.text or "" for each in element.iter(_NS + name)]


def one(element: ET.Element, name: str) -> str:
    """The text of the first child of that name."""
    return element.findtext(_NS + name, "")


def fault(answer: requests.Response) -> str:
    """The faultstring of a refused operation."""
    assert answer.status_code == 500
    root = parse(answer.text)
    code, text = root.findtext(".//faultcode") or "", root.findtext(".//faultstring") or ""
    assert code.removeprefix("sf:") == text.partition(":")[0]
    return text


def deploy(rest: Rest, content: bytes, options: str = "") -> str:
    """Start a deploy; its id."""
    encoded = base64.b64encode(content).decode()
    body = f"<deploy><ZipFile>{encoded}</ZipFile><DeployOptions>{options}</DeployOptions></deploy>"
    return one(results(rest, body)[0], "id")


def deploy_status(rest: Rest, record: str) -> ET.Element:
    """The result element of a deploy."""
    return results(
        rest,
        f"<checkDeployStatus><asyncProcessId>{record}</asyncProcessId>"
        "<includeDetails>true</includeDetails></checkDeployStatus>",
    )[0]


def finish_deploy(rest: Rest, content: bytes, options: str = "") -> ET.Element:
    """Deploy and look until it is done."""
    record = deploy(rest, content, options)
    for _ in range(10):
        found = deploy_status(rest, record)
        if one(found, "done") == "true":
            return found
    raise AssertionError(record)


def retrieve_status(rest: Rest, record: str) -> ET.Element:
    """The result element of a retrieve."""
    return results(
        rest,
        f"<checkRetrieveStatus><asyncProcessId>{record}</asyncProcessId></checkRetrieveStatus>",
    )[0]


def start_retrieve(rest: Rest, members: dict[str, list[str]], extra: str = "") -> str:
    """Start a retrieve of members by type; its id."""
    types = "".join(
        f"<types>{''.join(f'<members>{each}</members>' for each in names)}"
        f"<name>{kind}</name></types>"
        for kind, names in members.items()
    )
    body = (
        f"<retrieve><request><apiVersion>67.0</apiVersion>{extra}<unpackaged>{types}"
        "<version>67.0</version></unpackaged></request></retrieve>"
    )
    found = results(rest, body)[0]
    assert (one(found, "done"), one(found, "state")) == ("false", "Queued")
    return one(found, "id")


def unzip(result: ET.Element) -> dict[str, str]:
    """The files of a retrieve's zip."""
    content = base64.b64decode(one(result, "zipFile"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
