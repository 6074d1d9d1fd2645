"""Metadata deploys: what enters the org, what is refused with which sentence."""

import base64
import io
import json
import zipfile
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Rest, log_in


def problems(org: SalesforceOrg, fields: str, **more: Any) -> list[str]:
    """The problems of deploying one object with these fields."""
    content = md.custom_object("Thing", fields, **more)
    result = org.deploy(
        md.package_zip({"objects/Thing__c.object": content}, {"CustomObject": ["Thing__c"]})
    )
    assert result.success == (not result.failures)
    return [each.problem or "" for each in result.failures]


def test_a_package_enters_the_org_and_again_changes_nothing(empty_org: SalesforceOrg) -> None:
    first = empty_org.deploy(md.standard_package())
    assert (first.status, first.problems) == ("Succeeded", [])
    created = {each.full_name for each in first.successes if each.created}
    assert {"T_Invoice__c", "T_Invoice__c.Total__c", "Account.Spend__c", "Sync"} <= created
    second = empty_org.deploy(md.standard_package())
    assert [each.full_name for each in second.messages if each.changed] == ["package.xml"]
    assert not any(each.created for each in second.messages)


def test_check_only_and_rollback_leave_no_trace(empty_org: SalesforceOrg) -> None:
    checked = empty_org.deploy(md.standard_package(), check_only=True)
    assert checked.status == "Succeeded"
    bad = {**md.FILES, "objects/T_Note__c.object": md.custom_object("Note", md.text("Bad__c", 900))}
    refused = empty_org.deploy(md.package_zip(bad, md.MEMBERS))
    assert refused.status == "Failed"
    for name in ("T_Invoice__c", "T_Note__c"):
        assert empty_org.state.schema.get(name) is None
    assert empty_org.rows("PermissionSet") == []


def test_without_rollback_the_good_components_enter(empty_org: SalesforceOrg) -> None:
    content = md.custom_object("Thing", md.text("Good__c") + md.text("Bad__c", 256))
    result = empty_org.deploy(
        md.package_zip({"objects/Thing__c.object": content}, {"CustomObject": ["Thing__c"]}),
        rollback_on_error=False,
    )
    assert result.status == "SucceededPartial"
    thing = empty_org.state.schema.get("Thing__c")
    assert thing is not None
    assert thing.field("Good__c") is not None
    assert thing.field("Bad__c") is None


FIELD_RULES = [
    (md.text("X__c", 256), "Length must be between 1 and 255"),
    (md.field("X__c", "Text"), "Must specify 'length' for a CustomField of type Text"),
    (md.number("X__c", 19, 2), "Precision must be between 1 and 18"),
    (md.number("X__c", 2, 3), "Scale must be less than or equal to precision"),
    (md.field("X__c", "Number"), "Must specify 'precision' for a CustomField of type Number"),
    (md.field("X__c", "Date", label="L" * 41),
     "Value too long for field: MasterLabel maximum length is:40"),
    ("<fields><fullName>X__c</fullName><type>Date</type></fields>",
     "Required field is missing: label"),
    ("<fields><fullName>X__c</fullName><label>X</label></fields>",
     "Required field is missing: type"),
    (md.field("N" * 41 + "__c", "Date", label="N"),
     f"Field: fullName, value too large: {'N' * 41}__c (max length=40)"),
    (md.field("A__b__c", "Date"), "The API name can only contain underscores"),
    (md.field("A___c", "Date"), "The API name can only contain underscores"),
    (md.field("1a__c", "Date"), "The API name can only contain underscores"),
    (md.field("Plain", "Date"), "Cannot modify or create standard component: Plain."),
    (md.field("X__c", "Date", extra="<unique>true</unique>"),
     "Can not specify 'unique' for a CustomField of type Date"),
    (md.field("X__c", "Url", extra="<externalId>true</externalId>"),
     "Can not specify 'externalId' for a CustomField of type Url"),
    (md.field("X__c", "Checkbox"),
     "Must specify 'defaultValue' for a CustomField of type Checkbox"),
    (md.field("X__c", "LongTextArea", extra="<length>300</length>"),
     "Must specify 'visibleLines' for a CustomField of type LongTextArea"),
    (md.field("X__c", "LongTextArea", extra="<length>200</length><visibleLines>3</visibleLines>"),
     "Length must be between 256 and 131072"),
    (md.field("X__c", "Picklist"), "Must specify a valueSet for a picklist field"),
    (md.picklist("X__c", "a", "A"), "Duplicate value in picklist: A"),
    (md.field("X__c", "AutoNumber"), "Required field is missing: displayFormat"),
    (md.lookup("X__c", "Nope__c", "Xs"),
     "referenceTo value of 'Nope__c' does not resolve to a valid sObject type"),
    (md.lookup("X__c", "Account", "Xs", "Cascade"),
     "If you want to cascade delete, please contact salesforce.com"),
    (md.lookup("X__c", "Account", "Xs").replace("<type>", "<required>true</required><type>"),
     "The lookup field is required: deleteConstraint must be Restrict, not SetNull"),
    (md.lookup("X__c", "Account", "Things") + md.lookup("Y__c", "Account", "Things"),
     "There is already a Child Relationship named Things on Account."),
    (md.master("X__c", "Account", "Things"),
     "Cannot set sharingModel to ReadWrite on a CustomObject with a MasterDetail"),
    (md.formula("X__c", "Text", "Nope__c"),
     "Error: Field Nope__c does not exist. Check spelling."),
    (md.formula("X__c", "Text", "NOPE(Name)"), "Error: Unknown function NOPE. Check spelling."),
    (md.formula("X__c", "Text", 'IF(ISBLANK(Name), "a"'), "Error: Syntax error"),
    (md.formula("X__c", "Text", "IF(ISBLANK(Name))"),
     "Error: Incorrect number of parameters for function 'IF()'. Expected 3, received 1"),
    (md.formula("X__c", "Checkbox", "Name"),
     "Error: Formula result is data type (Text), incompatible with expected data type (Checkbox)."),
    (md.formula("X__c", "Number", "Name + 1", "<precision>18</precision><scale>0</scale>"),
     "Error: Incorrect parameter type for operator '+()'. Expected Number, received Text"),
    (md.formula("X__c", "Email", "Name"), "A formula field cannot be of type Email"),
    (md.formula("X__c", "Text", "Name", "<unique>true</unique>"),
     "Can not specify unique for CustomFields that have a formula"),
    (md.field("X__c", "Summary", extra="<summaryForeignKey>Nope__c.X__c</summaryForeignKey>"
              "<summaryOperation>count</summaryOperation>"),
     "Could not resolve summaryForeignKey: Nope__c.X__c"),
    (md.text("X__c") + md.text("X__c"), "Field X__c is defined more than once"),
    (md.text("X__c", extra="<colour>red</colour>"),
     ("Error parsing file: Element {http://soap.sforce.com/2006/04/metadata}colour invalid at this "
     "location in type CustomField")),
    (md.text("X__c", extra="<length>10</length>"),
     "Error parsing file: Element length is duplicated at this location in type CustomField"),
    (md.field("X__c", "Texture"), "'Texture' is not a valid value for the enum 'FieldType'"),
    (md.text("X__c", extra="<unique>yes</unique>"),
     "Error parsing file: 'yes' is not a valid value for the type boolean"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "problem"), FIELD_RULES)
def test_field_rules(empty_org: SalesforceOrg, fields: str, problem: str) -> None:
    found = problems(empty_org, fields)
    assert any(each.startswith(problem) for each in found), found
    assert empty_org.state.schema.get("Thing__c") is None


OBJECT_RULES = [
    ({"sharing": "Sometimes"}, "'Sometimes' is not a valid value for the enum 'SharingModel'"),
    ({"name_field": "<nameField><label>N</label><type>Number</type></nameField>"},
     "Must specify a nameField of type Text or AutoNumber"),
    ({"name_field": "<nameField><label>N</label><type>AutoNumber</type></nameField>"},
     "Invalid displayFormat for an auto number field: "),
    ({"extra": "<enableBulkApi>true</enableBulkApi><enableSharing>false</enableSharing>"
      "<enableStreamingApi>true</enableStreamingApi>"},
     "Enable Sharing, Enable Bulk API Access and Enable Streaming API Access must be set"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "problem"), OBJECT_RULES)
def test_object_rules(empty_org: SalesforceOrg, more: dict[str, str], problem: str) -> None:
    assert problems(empty_org, "", **more)[0].startswith(problem)


PERMISSION_RULES: list[tuple[dict[str, str], dict[str, str], str]] = [
    ({}, {"T_Invoice__c.Invoice_ID__c": "rw"},
     "You cannot deploy to a required field: T_Invoice__c.Invoice_ID__c"),
    ({}, {"T_Line__c.Invoice__c": "rw"},
     "You cannot deploy to a required field: T_Line__c.Invoice__c"),
    ({}, {"T_Invoice__c.Name": "r"}, "You cannot deploy to a required field: T_Invoice__c.Name"),
    ({}, {"T_Invoice__c.Nope__c": "r"},
     "In field: field - no CustomField named T_Invoice__c.Nope__c found"),
    ({}, {"T_Invoice__c.Open__c": "rw"}, "Field T_Invoice__c.Open__c is not editable"),
    ({}, {"T_Invoice__c.Line_Count__c": "rw"}, "Field T_Invoice__c.Line_Count__c is not editable"),
    ({"Nope__c": "r"}, {}, "In field: field - no CustomObject named Nope__c found"),
    ({"T_Invoice__c": "u"}, {},
     "Permission Edit T_Invoice__c depends on permission(s): Read T_Invoice__c"),
    ({"T_Invoice__c": "rd"}, {},
     "Permission Delete T_Invoice__c depends on permission(s): Edit T_Invoice__c"),
    ({"T_Invoice__c": "crua"}, {}, ("Permission Modify All T_Invoice__c depends on permission(s): "
     "Delete T_Invoice__c, View All T_Invoice__c")),
    ({"T_Line__c": "r"}, {},
     "Permission Read T_Line__c depends on permission(s): Read T_Invoice__c"),
]  # fmt: skip


@pytest.mark.parametrize(("objects", "fields", "problem"), PERMISSION_RULES)
def test_permission_set_rules(
    org: SalesforceOrg, objects: dict[str, str], fields: dict[str, str], problem: str
) -> None:
    content = md.permission_set(objects, fields)
    result = org.deploy(
        md.package_zip({"permissionsets/P.permissionset": content}, {"PermissionSet": ["P"]})
    )
    assert [(each.component_type, each.full_name) for each in result.failures] == [
        ("PermissionSet", "P")
    ]
    assert (result.failures[0].problem or "").startswith(problem)


def test_members_and_files_must_agree(empty_org: SalesforceOrg) -> None:
    """A listed member without a file is refused; a file that nobody lists is ignored."""
    thing = md.custom_object("Thing", md.text("X__c"))
    result = empty_org.deploy(
        md.package_zip({"objects/Thing__c.object": thing}, {"CustomObject": ["Other__c"]})
    )
    assert result.problems == [
        (
            "Other__c: An object 'Other__c' of type CustomObject was named in package.xml, but was "
            "not found in zipped directory"
        )
    ]
    ignored = empty_org.deploy(md.package_zip({"objects/Thing__c.object": thing}, {}))
    assert ignored.success
    assert empty_org.state.schema.get("Thing__c") is None


def test_a_zip_with_a_top_folder_and_one_that_is_none(empty_org: SalesforceOrg) -> None:
    assert empty_org.deploy(md.standard_package("unpackaged/")).success
    assert not empty_org.deploy(b"not a zip").success
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("objects/X__c.object", "<x/>")
    assert empty_org.deploy(buffer.getvalue()).problems[0] == "No package.xml found"


def redeploy(org: SalesforceOrg, fields: str) -> list[str]:
    content = md.custom_object("Thing", fields)
    return org.deploy(
        md.package_zip({"objects/Thing__c.object": content}, {"CustomObject": ["Thing__c"]})
    ).problems


def test_what_cannot_change_once_there_are_rows(empty_org: SalesforceOrg) -> None:
    assert redeploy(empty_org, md.key("Key__c") + md.text("X__c") + md.text("Old__c")) == []
    record = empty_org.insert("Thing__c", {"Key__c": "k"})
    empty_org.deploy(
        md.package_zip(
            {"permissionsets/P.permissionset": md.permission_set({}, {"Thing__c.X__c": "rw"})},
            {"PermissionSet": ["P"]},
        )
    )
    empty_org.assign_permission_set(ADMIN, "P")
    empty_org.update("Thing__c", record, {"X__c": "x" * 20})
    assert redeploy(empty_org, md.number("X__c")) == [
        "Thing__c.X__c: Cannot change the field type of X__c from Text to Number"
    ]
    assert redeploy(empty_org, md.text("X__c", 10)) == [
        "Thing__c.X__c: Cannot decrease length of X__c: data would be lost"
    ]
    second = empty_org.insert("Thing__c", {"Key__c": "k2", "X__c": "x" * 20})
    unique = md.text("X__c", 255, "<unique>true</unique>")
    assert redeploy(empty_org, unique) == [
        "Thing__c.X__c: Cannot make X__c unique: duplicate values exist"
    ]
    empty_org.update("Thing__c", second, {"X__c": "y"})
    assert redeploy(empty_org, unique) == []
    assert redeploy(empty_org, md.master("M__c", "Account", "Ts")) != []
    # A deploy never deletes: the field that the last packages left out is still there.
    thing = empty_org.state.schema.get("Thing__c")
    assert thing is not None
    assert thing.field("Old__c") is not None
    assert empty_org.rows("Thing__c")[0]["X__c"] == "x" * 20


def test_declared_validation_rules_are_enforced(org: SalesforceOrg) -> None:
    rule = (
        "<validationRules><fullName>Positive</fullName><active>true</active>"
        "<errorConditionFormula>Total__c &lt; 0</errorConditionFormula>"
        "<errorDisplayField>Total__c</errorDisplayField>"
        "<errorMessage>Totals are positive.</errorMessage></validationRules>"
    )
    content = md.INVOICE.replace("</CustomObject>", f"{rule}</CustomObject>")
    result = org.deploy(
        md.package_zip({"objects/T_Invoice__c.object": content}, {"CustomObject": ["T_Invoice__c"]})
    )
    assert result.problems == []
    org.insert("T_Invoice__c", {"Invoice_ID__c": "a", "Total__c": 1})
    with pytest.raises(Exception, match="FIELD_CUSTOM_VALIDATION_EXCEPTION: Totals are positive"):
        org.insert("T_Invoice__c", {"Invoice_ID__c": "b", "Total__c": -1})
    assert org.count("T_Invoice__c") == 1


def test_access_begins_with_the_assigned_permission_set(
    empty_org: SalesforceOrg,
) -> None:
    """Deployed is not visible: not to the integration user, not even to the admin."""
    org = empty_org
    org.deploy(md.standard_package())
    sandbox = SalesforceSandbox(org)
    with sandbox.serve() as served:
        admin, user = log_in(org, served, ADMIN), log_in(org, served, INTEGRATION)
        for each, code in ((admin, "INVALID_FIELD"), (user, "INVALID_TYPE")):
            answer = each.call("GET", "query?q=SELECT Total__c FROM T_Invoice__c")
            assert answer.json()[0]["errorCode"] == code
        names = {each["name"] for each in admin.call(
            "GET", "sobjects/T_Invoice__c/describe").json()["fields"]}  # fmt: skip
        assert "Invoice_ID__c" in names  # required: visible to whoever sees the object
        assert "Total__c" not in names
        assert user.call("GET", "sobjects/T_Invoice__c/describe").status_code == 404
        answer = admin.call("POST", "sobjects/T_Invoice__c",
                            json={"Invoice_ID__c": "a", "Total__c": 1})  # fmt: skip
        assert answer.json()[0]["message"] == (
            "No such column 'Total__c' on sobject of type T_Invoice__c"
        )
        org.assign_permission_set(INTEGRATION, "Sync")
        described = user.call("GET", "sobjects/T_Invoice__c/describe").json()
        fields = {each["name"]: each for each in described["fields"]}
        assert fields["Total__c"]["updateable"] is True
        assert fields["Open__c"]["updateable"] is False
        org.revoke_permission_set(INTEGRATION, "Sync")
        assert user.call("GET", "sobjects/T_Invoice__c/describe").status_code == 404


def test_a_field_that_may_only_be_read(org: SalesforceOrg) -> None:
    content = md.permission_set({"T_Invoice__c": "cru"}, {"T_Invoice__c.Total__c": "r"})
    org.deploy(
        md.package_zip({"permissionsets/R.permissionset": content}, {"PermissionSet": ["R"]})
    )
    reader = org.add_user("reader@sandbox.example")
    org.assign_permission_set(reader.username, "R")
    with pytest.raises(Exception, match="Unable to create/update fields: Total__c"):
        org.insert("T_Invoice__c", {"Invoice_ID__c": "a", "Total__c": 1}, username=reader.username)
    record = org.insert("T_Invoice__c", {"Invoice_ID__c": "a"}, username=reader.username)
    with pytest.raises(Exception, match="INSUFFICIENT_ACCESS_OR_READONLY"):
        org.delete("T_Invoice__c", record, username=reader.username)


def test_deploying_over_rest_takes_a_few_looks(org: SalesforceOrg) -> None:
    sandbox = SalesforceSandbox(org, fast=False)
    with sandbox.serve() as served:
        client = log_in(org, served, INTEGRATION)
        options = {"deployOptions": {"singlePackage": True, "rollbackOnError": True}}
        started = client.call(
            "POST", "metadata/deployRequest",
            files={"json": ("", json.dumps(options), "application/json"),
                   "file": ("package.zip", md.standard_package(), "application/zip")},
        )  # fmt: skip
        assert started.status_code == 201
        record = started.json()["id"]
        seen = [started.json()["deployResult"]["status"]]
        while seen[-1] in {"Pending", "InProgress"}:
            answer = client.call(
                "GET", f"metadata/deployRequest/{record}?includeDetails=true"
            ).json()["deployResult"]
            seen.append(answer["status"])
        assert seen == ["Pending", "Pending", "InProgress", "Succeeded"]
        assert (answer["done"], answer["success"]) == (True, True)
        assert answer["numberComponentErrors"] == 0
        assert answer["details"]["componentFailures"] == []
        org.revoke_permission(INTEGRATION, "ModifyMetadata")
        refused = client.call("GET", f"metadata/deployRequest/{record}")
        assert (refused.status_code, refused.json()[0]["errorCode"]) == (403, "INSUFFICIENT_ACCESS")


def test_deploying_over_soap(rest: Rest, served: Served) -> None:
    """What the CLI sends: the session in the header, the zip in base64."""

    def soap(body: str, token: str) -> Any:
        envelope = (
            '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" '
            f'xmlns="{md.NS}"><e:Header><SessionHeader><sessionId>{token}</sessionId>'
            f"</SessionHeader></e:Header><e:Body>{body}</e:Body></e:Envelope>"
        )
        return rest.session.post(
            f"{served.url}/services/Soap/m/66.0", data=envelope, timeout=20,
            headers={"Content-Type": "text/xml", "SOAPAction": '""'},
        )  # fmt: skip

    encoded = base64.b64encode(md.standard_package()).decode()
    started = soap(f"<deploy><ZipFile>{encoded}</ZipFile><DeployOptions><rollbackOnError>true"
                   "</rollbackOnError></DeployOptions></deploy>", rest.token)  # fmt: skip
    record = started.text.partition("<id>")[2].partition("</id>")[0]
    assert record.startswith("0Af")
    assert started.headers["Content-Type"] == "text/xml;charset=UTF-8"
    asked = (f"<checkDeployStatus><asyncProcessId>{record}</asyncProcessId>"
             "<includeDetails>true</includeDetails></checkDeployStatus>")  # fmt: skip
    first, second = soap(asked, rest.token), soap(asked, rest.token)
    assert "<status>InProgress</status>" in first.text
    assert "<status>Succeeded</status>" in second.text
    assert "<componentSuccesses>" in second.text
    refused = soap(asked, "00D!wrong")
    assert refused.status_code == 500
    assert "<faultcode>sf:INVALID_SESSION_ID</faultcode>" in refused.text


def test_the_right_to_deploy_is_none_to_what_is_deployed(org: SalesforceOrg) -> None:
    """Modify Metadata lets a deploy begin; each component takes Customize Application."""
    org.revoke_permission(INTEGRATION, "CustomizeApplication")
    thing = md.custom_object("Thing", "")
    content = md.package_zip({"objects/Thing__c.object": thing}, {"CustomObject": ["Thing__c"]})
    result = org.deploy(content, username=INTEGRATION)

    assert not result.success
    assert result.problems == ["Thing__c: insufficient access rights on object id"]
    assert org.state.schema.get("Thing__c") is None


def test_who_may_not_look_into_setup_sees_no_permission_sets(
    org: SalesforceOrg, served: Served
) -> None:
    client = log_in(org, served, INTEGRATION)
    query = {"q": "SELECT Id FROM PermissionSet"}
    assert client.call("GET", "query", params=query).status_code == 200
    for right in ("AssignPermissionSets", "ViewSetup"):
        org.revoke_permission(INTEGRATION, right)
    for hidden in ("SELECT Id FROM PermissionSet", "SELECT Id FROM PermissionSetAssignment"):
        answer = client.call("GET", "query", params={"q": hidden})
        assert answer.json()[0]["errorCode"] == "INVALID_TYPE"
    assert client.call("GET", "query", params={"q": "SELECT Id FROM User"}).status_code == 200
