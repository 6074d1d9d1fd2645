"""The deploy, retrieve and metadata commands of the Salesforce CLI: their requests as recorded."""

import base64
import io
import json
import zipfile

import pytest
import requests

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce import soap_calls as soap
from tests.sandbox.salesforce.conftest import Rest

THING = md.package_zip(
    {"objects/Thing__c.object": md.custom_object("Thing", md.text("Ext__c"))},
    {"CustomObject": ["Thing__c"], "CustomField": ["Thing__c.Ext__c"]},
)


def options(**more: str) -> str:
    """The DeployOptions of `project deploy start`, in its order."""
    given = {
        "rollbackOnError": "true", "ignoreWarnings": "false", "checkOnly": "false",
        "singlePackage": "true", **more, "purgeOnDelete": more.get("purgeOnDelete", "false"),
    }  # fmt: skip
    return "".join(f"<{name}>{value}</{name}>" for name, value in given.items())


def exists(org: SalesforceOrg, name: str = "Thing__c") -> bool:
    """Whether the object is in the org."""
    return org.state.schema.get(name) is not None


def test_deploy_start(admin: Rest, org: SalesforceOrg) -> None:
    """Polled about once a second until done."""
    started = soap.send(admin, f"<deploy><ZipFile>{base64.b64encode(THING).decode()}</ZipFile>"
                        f"<DeployOptions>{options()}</DeployOptions></deploy>")  # fmt: skip
    assert started.headers["Content-Type"] == "text/xml;charset=UTF-8"
    assert "<soapenv:Envelope" in started.text
    assert "<done>false</done><id>0Af" in started.text
    assert "<state>Queued</state>" in started.text
    record = started.text.partition("<id>")[2].partition("</id>")[0]
    first, second = (soap.deploy_status(admin, record) for _ in range(2))
    assert (soap.one(first, "status"), soap.one(first, "done")) == ("InProgress", "false")
    assert (soap.one(second, "status"), soap.one(second, "success")) == ("Succeeded", "true")
    assert soap.texts(second, "fileName")[:2] == ["package.xml", "objects/Thing__c.object"]
    assert soap.one(second, "createdDate") == "2026-01-31T12:00:00.000Z"
    names = [each.tag for each in second]
    assert names == sorted(names), "the order of the WSDL"
    assert exists(org)


def test_deploy_start_by_rest(admin: Rest, org: SalesforceOrg) -> None:
    """The options stand in a part named entity_content."""
    deploy_options = {
        "rollbackOnError": True, "ignoreWarnings": False, "checkOnly": False,
        "singlePackage": True, "purgeOnDelete": False,
    }  # fmt: skip
    files = {
        "file": ("package.xml", THING, "application/zip"),
        "entity_content": (None, json.dumps({"deployOptions": deploy_options}), "application/json"),
    }
    answer = admin.call("POST", "metadata/deployRequest", files=files)
    assert answer.status_code == 201
    body = answer.json()
    assert body["deployResult"]["status"] == "InProgress"
    path = f"metadata/deployRequest/{body['id']}?includeDetails=true"
    done = admin.call("GET", path).json()["deployResult"]
    assert (done["done"], done["status"], done["success"]) == (True, "Succeeded", True)
    assert exists(org)


def test_deploy_of_a_directory(admin: Rest, org: SalesforceOrg) -> None:
    """The zip has a top folder, singlePackage is false."""
    with zipfile.ZipFile(io.BytesIO(THING)) as archive:
        files = {f"zip/{name}": archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    done = soap.finish_deploy(admin, buffer.getvalue(), options(singlePackage="false"))
    assert soap.one(done, "status") == "Succeeded"
    assert exists(org)


def test_deploy_that_fails(admin: Rest, org: SalesforceOrg) -> None:
    files = {"objects/Thing__c.object": md.custom_object("Thing", md.text("Bad__c", 900))}
    content = md.package_zip(files, {"CustomObject": ["Thing__c"]})
    done = soap.finish_deploy(admin, content, options())
    assert (soap.one(done, "status"), soap.one(done, "success")) == ("Failed", "false")
    assert soap.texts(done, "problem") == ["Length must be between 1 and 255"]
    assert soap.one(done, "numberComponentErrors") == "1"
    assert not exists(org)


def test_deploy_validate(admin: Rest, org: SalesforceOrg) -> None:
    asked = options(checkOnly="true", testLevel="RunLocalTests")
    done = soap.finish_deploy(admin, THING, asked)
    assert (soap.one(done, "status"), soap.one(done, "checkOnly")) == ("Succeeded", "true")
    assert not exists(org)


def test_deploy_with_destructive_changes(admin: Rest, org: SalesforceOrg) -> None:
    files = {
        "destructiveChangesPost.xml": f'<Package xmlns="{md.NS}"><types><members>T_Note__c'
        "</members><name>CustomObject</name></types><version>67.0</version></Package>"
    }
    asked = options(testLevel="NoTestRun", purgeOnDelete="true")
    done = soap.finish_deploy(admin, md.package_zip(files, {}), asked)
    assert soap.one(done, "status") == "Succeeded"
    assert soap.texts(done, "deleted") == ["false", "true"]
    assert not exists(org, "T_Note__c")


def test_retrieve_start(admin: Rest) -> None:
    """No source tracking; the object's own file, under unpackaged."""
    tracking = admin.call("GET", "tooling/sobjects/SourceMember/describe")
    assert tracking.status_code == 404
    members = {"CustomField": ["T_Note__c.Body__c"], "CustomObject": ["T_Note__c"]}
    result = soap.retrieve_status(admin, soap.start_retrieve(admin, members))
    assert (soap.one(result, "done"), soap.one(result, "success")) == ("true", "true")
    files = soap.unzip(result)
    assert set(files) == {"unpackaged/objects/T_Note__c.object", "unpackaged/package.xml"}
    assert "<fullName>Body__c</fullName>" in files["unpackaged/objects/T_Note__c.object"]
    assert sorted(soap.texts(result, "fileName")) == sorted(files)


def test_list_metadata(admin: Rest) -> None:
    body = (
        "<listMetadata><queries><type>CustomObject</type></queries>"
        "<asOfVersion>67.0</asOfVersion></listMetadata>"
    )
    found = {soap.one(each, "fullName"): each for each in soap.results(admin, body)}
    assert soap.one(found["T_Note__c"], "fileName") == "objects/T_Note__c.object"
    assert soap.one(found["T_Note__c"], "type") == "CustomObject"


@pytest.mark.parametrize("asked", [
    "<includeDetails>true</includeDetails>",
    "<includeDetails><details>true</details></includeDetails>",
    "<includeDetails>True</includeDetails>",
])  # fmt: skip
def test_details_are_asked_for_in_three_ways(admin: Rest, asked: str) -> None:
    """By the CLI, by jsforce's complete({details: true}), by Python."""
    record = soap.deploy(admin, THING, options())
    soap.deploy_status(admin, record)
    body = f"<asyncProcessId>{record}</asyncProcessId>{asked}"
    result = soap.results(admin, f"<checkDeployStatus>{body}</checkDeployStatus>")[0]
    assert "Thing__c" in soap.texts(result, "fullName")
    plain = body.partition("<includeDetails>")[0]
    result = soap.results(admin, f"<checkDeployStatus>{plain}</checkDeployStatus>")[0]
    assert soap.texts(result, "fullName") == []


def test_the_session_is_in_the_envelope(admin: Rest, org: SalesforceOrg) -> None:
    """An expired one is HTTP 500 with a fault, not 401."""
    org.expire_sessions()
    body = "<describeMetadata><asOfVersion>67.0</asOfVersion></describeMetadata>"
    answer = soap.send(admin, body)
    assert answer.status_code == 500
    assert "<faultcode>sf:INVALID_SESSION_ID</faultcode>" in answer.text
    rest_answer = requests.get(
        f"{admin.base}{admin.root}/limits", timeout=20,
        headers={"Authorization": f"Bearer {admin.token}"},
    )  # fmt: skip
    assert rest_answer.status_code == 401
