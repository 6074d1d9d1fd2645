"""What comes out of the org again: retrieve, list, describe; and what is cancelled."""

import io
import zipfile
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import (
    INTEGRATION,
    SalesforceError,
    SalesforceOrg,
    SalesforceSandbox,
)
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce import soap_calls as soap
from tests.sandbox.salesforce.conftest import Clock, Rest
from tests.sandbox.salesforce.test_rows import error

_NS = "{http://soap.sforce.com/2006/04/metadata}"


def test_what_was_deployed_comes_back(admin: Rest, org: SalesforceOrg, clock: Clock) -> None:
    """The zip, deployed again, changes nothing; fileProperties name its files."""
    clock.advance(minutes=5)
    members = {
        "CustomField": ["Account.Spend__c"],
        "CustomObject": ["T_Customer__c", "T_Invoice__c", "T_Line__c", "T_Note__c"],
        "PermissionSet": ["Sync"],
    }
    result = soap.retrieve_status(admin, soap.start_retrieve(admin, members))
    assert soap.one(result, "status") == "Succeeded"
    files = soap.unzip(result)
    assert set(files) == {
        "unpackaged/package.xml", "unpackaged/objects/Account.object",
        "unpackaged/objects/T_Customer__c.object", "unpackaged/objects/T_Invoice__c.object",
        "unpackaged/objects/T_Line__c.object", "unpackaged/objects/T_Note__c.object",
        "unpackaged/permissionsets/Sync.permissionset",
    }  # fmt: skip
    listed = {
        soap.one(each, "fileName"): (soap.one(each, "type"), soap.one(each, "fullName"))
        for each in result.iter(f"{_NS}fileProperties")
    }
    assert set(listed) == set(files)
    assert listed["unpackaged/objects/T_Note__c.object"] == ("CustomObject", "T_Note__c")
    account = soap.parse(files["unpackaged/objects/Account.object"])
    assert [each.findtext(f"{_NS}fullName") for each in account] == ["Spend__c"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    again = org.deploy(buffer.getvalue())
    assert (again.status, again.problems) == ("Succeeded", [])
    assert [each.full_name for each in again.messages if each.changed] == ["package.xml"]
    assert len(again.messages) > 40


def test_wildcards_unknown_names_and_the_root(admin: Rest, org: SalesforceOrg) -> None:
    """`*` means custom objects, and no fields; what is missing is a message."""
    members = {
        "CustomObject": ["*", "Nix__c"], "CustomField": ["*", "Account.Nix__c"],
        "PermissionSet": ["*"], "ApexClass": ["Any"],
    }  # fmt: skip
    single = "<singlePackage>true</singlePackage>"
    record = soap.start_retrieve(admin, members, single)
    result = soap.retrieve_status(admin, record)
    assert set(soap.unzip(result)) == {
        "package.xml", "objects/T_Customer__c.object", "objects/T_Invoice__c.object",
        "objects/T_Line__c.object", "objects/T_Note__c.object", "permissionsets/Sync.permissionset",
    }  # fmt: skip
    assert soap.texts(result, "problem") == [
        "Entity of type 'CustomObject' named 'Nix__c' cannot be found",
        "Entity of type 'CustomField' named 'Account.Nix__c' cannot be found",
        "Unknown type name 'ApexClass' specified in package.xml",
    ]
    gone = soap.send(
        admin,
        f"<checkRetrieveStatus><asyncProcessId>{record}</asyncProcessId></checkRetrieveStatus>",
    )
    assert soap.fault(gone).startswith("INVALID_CROSS_REFERENCE_KEY")
    assert org.retrievals == {}


def test_a_slow_retrieve_without_its_zip(admin: Rest, sandbox: SalesforceSandbox) -> None:
    """Asked with includeZip false, the zip is kept for a later call."""
    sandbox._gateway.fast = False
    record = soap.start_retrieve(admin, {"PermissionSet": ["Sync"]})
    seen = [soap.one(soap.retrieve_status(admin, record), "status") for _ in range(2)]
    assert seen == ["InProgress", "InProgress"]
    body = (
        f"<checkRetrieveStatus><asyncProcessId>{record}</asyncProcessId>"
        "<includeZip>false</includeZip></checkRetrieveStatus>"
    )
    bare = soap.results(admin, body)[0]
    assert (soap.one(bare, "done"), soap.one(bare, "zipFile")) == ("true", "")
    assert len(soap.unzip(soap.retrieve_status(admin, record))) == 2


def test_listing(admin: Rest, org: SalesforceOrg) -> None:
    """Custom and standard objects, fields, and reports by folder."""
    report_type = (
        f'<ReportType xmlns="{md.NS}"><baseObject>Account</baseObject><category>accounts</category>'
        "<deployed>true</deployed><label>Accounts</label><sections><columns>"
        "<checkedByDefault>true</checkedByDefault><field>Name</field><table>Account</table>"
        "</columns><masterLabel>Accounts</masterLabel></sections></ReportType>"
    )
    report = (
        f'<Report xmlns="{md.NS}"><columns><field>Account$Name</field></columns>'
        "<format>Tabular</format><name>R</name><reportType>A__c</reportType></Report>"
    )
    folder = f'<ReportFolder xmlns="{md.NS}"><name>F</name></ReportFolder>'
    files = {
        "reportTypes/A.reportType": report_type,
        "reports/F-meta.xml": folder,
        "reports/F/R.report": report,
    }
    deployed = org.deploy(md.package_zip(files, {"ReportType": ["A"], "Report": ["F", "F/R"]}))
    assert deployed.success, deployed.problems

    def names(*kinds: str, folder: str = "") -> list[str]:
        inside = f"<folder>{folder}</folder>" if folder else ""
        queries = "".join(f"<queries>{inside}<type>{each}</type></queries>" for each in kinds)
        body = f"<listMetadata>{queries}<asOfVersion>67.0</asOfVersion></listMetadata>"
        return [soap.one(each, "fullName") for each in soap.results(admin, body)]

    assert {"T_Invoice__c", "Account"} <= set(names("CustomObject"))
    assert "Account.Spend__c" in names("CustomField")
    assert names("PermissionSet", "CustomTab") == ["Sync"]
    assert names("ReportFolder") == ["F"]
    assert names("Report", folder="F") == ["F/R"]
    assert names("Report") == []
    many = "<queries><type>Layout</type></queries>" * 4
    answer = soap.send(admin, f"<listMetadata>{many}</listMetadata>")
    assert soap.fault(answer).startswith("LIMIT_EXCEEDED")
    answer = soap.send(admin, "<listMetadata><queries><type>Nix</type></queries></listMetadata>")
    assert soap.fault(answer) == "INVALID_TYPE: Unknown type:Nix"
    result = soap.results(
        admin, "<listMetadata><queries><type>PermissionSet</type></queries></listMetadata>"
    )[0]
    assert soap.one(result, "fileName") == "permissionsets/Sync.permissionset"
    assert soap.one(result, "id") == org.rows("PermissionSet")[0]["Id"]


def test_describing_the_types(admin: Rest) -> None:
    body = "<describeMetadata><asOfVersion>67.0</asOfVersion></describeMetadata>"
    found = {
        soap.one(each, "xmlName"): each
        for each in soap.results(admin, body)[0].iter(f"{_NS}metadataObjects")
    }
    objects = found["CustomObject"]
    assert (soap.one(objects, "directoryName"), soap.one(objects, "suffix")) == (
        "objects", "object",
    )  # fmt: skip
    assert "CustomField" in soap.texts(objects, "childXmlNames")
    assert soap.one(found["Report"], "inFolder") == "true"


def test_metadata_calls_need_permission_and_session(rest: Rest, org: SalesforceOrg) -> None:
    body = "<describeMetadata><asOfVersion>67.0</asOfVersion></describeMetadata>"
    org.revoke_permission(INTEGRATION, "ModifyMetadata")
    assert soap.fault(soap.send(rest, body)).startswith("INSUFFICIENT_ACCESS")
    org.expire_sessions()
    assert soap.fault(soap.send(rest, body)).startswith("INVALID_SESSION_ID")
    assert soap.fault(soap.send(rest, "<renameMetadata/>")).startswith("INVALID_SESSION_ID")


@pytest.mark.parametrize("way", ["soap", "rest"])
def test_a_deploy_cancelled_in_time_changes_nothing(
    admin: Rest, org: SalesforceOrg, way: str
) -> None:
    """A second attempt, or one after the end, is refused."""
    content = md.package_zip(
        {"objects/Thing__c.object": md.custom_object("Thing", "")}, {"CustomObject": ["Thing__c"]}
    )
    record = soap.deploy(admin, content)

    def cancel(deploy: str) -> tuple[int, str]:
        if way == "soap":
            answer = soap.send(admin, f"<cancelDeploy><String>{deploy}</String></cancelDeploy>")
            return answer.status_code, answer.text
        body = {"deployResult": {"status": "Canceling"}}
        answer = admin.call("PATCH", f"metadata/deployRequest/{deploy}", json=body)
        return answer.status_code, answer.text

    assert cancel(record)[0] == (200 if way == "soap" else 202)
    status = soap.deploy_status(admin, record)
    assert (soap.one(status, "status"), soap.one(status, "done")) == ("Canceled", "true")
    assert soap.one(status, "canceledByName") == "Sandbox Admin"
    assert org.state.schema.get("Thing__c") is None
    assert "Deployment already completed" in cancel(record)[1]
    assert soap.one(soap.finish_deploy(admin, content), "status") == "Succeeded"
    assert org.state.schema.get("Thing__c") is not None


def test_other_changes_to_a_deploy_are_refused(admin: Rest) -> None:
    record = soap.deploy(admin, md.standard_package())
    body = {"deployResult": {"status": "Succeeded"}}
    answer = admin.call("PATCH", f"metadata/deployRequest/{record}", json=body)
    assert error(answer)[:2] == (400, "INVALID_INPUT")
    unknown = soap.send(admin, "<cancelDeploy><String>0Af000000000001</String></cancelDeploy>")
    assert soap.fault(unknown).startswith("INVALID_CROSS_REFERENCE_KEY")


def destroy(
    org: SalesforceOrg, members: dict[str, list[str]], when: str = "Post", **more: Any
) -> tuple[str, list[tuple[str, bool, str | None]]]:
    """Deploy destructive changes only; the status, and name, deleted and problem of each."""
    package = md.package_zip({}, members)
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        manifest = archive.read("package.xml").decode()
    files = {f"destructiveChanges{when}.xml": manifest}
    result = org.deploy(md.package_zip(files, {}), **more)
    return result.status, [
        (each.full_name, each.deleted, each.problem)
        for each in result.messages
        if each.component_type
    ]


def test_destructive_changes(org: SalesforceOrg, rest: Rest) -> None:
    """Fields and objects go with their data; what is not there is a warning."""
    org.insert("T_Note__c", {"Invoice__c": org.insert("T_Invoice__c", {"Invoice_ID__c": "i"})})
    members = {
        "CustomField": ["Account.Spend__c", "Account.Nix__c"], "CustomObject": ["T_Note__c"]
    }  # fmt: skip
    checked = destroy(org, members, check_only=True)
    assert org.state.schema.get("T_Note__c") is not None
    done = destroy(org, members)
    assert done == checked == (
        "Succeeded",
        [
            ("Account.Spend__c", True, None),
            ("Account.Nix__c", False, "No CustomField named: Account.Nix__c found"),
            ("T_Note__c", True, None),
        ],
    )  # fmt: skip
    answer = rest.call("GET", "query", params={"q": "SELECT Spend__c FROM Account"})
    assert error(answer)[1] == "INVALID_FIELD"
    assert rest.call("GET", "sobjects/T_Note__c/describe").status_code == 404
    assert org.deploy(md.standard_package()).success
    assert org.rows("T_Note__c") == []
    answer = rest.call("GET", "query", params={"q": "SELECT Spend__c FROM Account"})
    assert answer.status_code == 200, "the package's permission set granted it again"


def test_what_others_need_is_not_destroyed(org: SalesforceOrg) -> None:
    status, messages = destroy(org, {"CustomField": ["T_Line__c.Amount__c"]}, when="")
    assert status == "Failed"
    assert messages == [
        (
            "T_Line__c.Amount__c", False, ("This component is referenced elsewhere in Salesforce: "
            "T_Invoice__c.Line_Total__c, T_Invoice__c.Largest__c"),
        )
    ]  # fmt: skip
    status, messages = destroy(org, {"CustomObject": ["T_Customer__c"]})
    assert status == "Failed"
    status, messages = destroy(org, {"PermissionSet": ["Sync"]}, rollback_on_error=False)
    assert messages[0][2] == (
        "This component is referenced elsewhere in Salesforce: assignments of Sync"
    )
    assert len(org.rows("PermissionSet")) == 1
    for username in org.users:
        org.revoke_permission_set(username, "Sync")
    assert destroy(org, {"PermissionSet": ["Sync"]}) == ("Succeeded", [("Sync", True, None)])
    assert org.rows("PermissionSet") == []


def test_a_field_destroyed_first_may_come_back_as_another(org: SalesforceOrg) -> None:
    """With destructiveChangesPre, in one deploy: old values and old grants are gone."""
    org.insert("Account", {"Name": "A", "Spend__c": 5})
    content = md.package_zip(
        {
            "objects/Account.object": md.standard_fields(md.text("Spend__c")),
            "destructiveChangesPre.xml": f'<Package xmlns="{md.NS}"><types>'
            "<members>Account.Spend__c</members><name>CustomField</name></types></Package>",
        },
        {"CustomField": ["Account.Spend__c"]},
    )
    result = org.deploy(content)
    assert result.success, result.problems
    row = org.rows("Account")[0]
    assert row["Spend__c"] is None
    with pytest.raises(SalesforceError, match="No such column 'Spend__c'"):
        org.update("Account", row["Id"], {"Spend__c": "much"})
