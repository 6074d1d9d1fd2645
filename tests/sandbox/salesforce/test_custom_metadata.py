"""Custom metadata types: deployed as types and records, read by SOQL, written by nothing else."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce import soap_calls as soap
from tests.sandbox.salesforce.conftest import Clock, Rest, log_in

XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def metadata_type(fields: str, extra: str = "") -> str:
    return (
        f'<CustomObject xmlns="{md.NS}">{fields}<label>Setting</label>'
        f"<pluralLabel>Settings</pluralLabel><visibility>Public</visibility>{extra}</CustomObject>"
    )


def record(label: str = "Main", **values: tuple[str, str]) -> str:
    """A record; each value is (XML Schema type, text)."""
    listed = "".join(
        f'<values><field>{name}</field><value xsi:type="xsd:{kind}">{text}</value></values>'
        for name, (kind, text) in values.items()
    )
    return (
        f'<CustomMetadata xmlns="{md.NS}" {XSI}><label>{label}</label>'
        f"<protected>false</protected>{listed}</CustomMetadata>"
    )


FIELDS = (
    md.text("Text__c", 10)
    + md.number("Number__c", 5, 2)
    + md.field("Flag__c", "Checkbox", extra="<defaultValue>false</defaultValue>")
    + md.field("Day__c", "Date")
    + md.field("Moment__c", "DateTime")
    + md.picklist("Choice__c", "One", "Two", restricted=True)
)
MAIN: dict[str, Any] = {
    "Text__c": ("string", "x"), "Number__c": ("double", "1.5"), "Flag__c": ("boolean", "true"),
    "Day__c": ("date", "2026-01-31"), "Moment__c": ("dateTime", "2026-01-31T10:00:00.000Z"),
    "Choice__c": ("string", "One"),
}  # fmt: skip


def deploy(org: SalesforceOrg, **records: str) -> list[str]:
    files = {"objects/Setting__mdt.object": metadata_type(FIELDS)}
    files |= {f"customMetadata/Setting.{name}.md": text for name, text in records.items()}
    members = {
        "CustomObject": ["Setting__mdt"],
        "CustomMetadata": [f"Setting.{name}" for name in records],
    }
    return org.deploy(md.package_zip(files, members)).problems


def grant(org: SalesforceOrg, *, enabled: bool = True) -> str:
    access = (
        f"<customMetadataTypeAccesses><enabled>{str(enabled).lower()}</enabled>"
        "<name>Setting__mdt</name></customMetadataTypeAccesses>"
    )
    result = org.deploy(
        md.package_zip(
            {"permissionsets/Look.permissionset": md.permission_set({}, {}, access)},
            {"PermissionSet": ["Look"]},
        )
    )
    assert result.problems == []
    return "Look"


def test_records_are_rows_that_soql_reads(org: SalesforceOrg, admin: Rest) -> None:
    assert deploy(org, Main=record(**MAIN), Other=record("Other")) == []
    found = admin.soql(
        "SELECT DeveloperName, MasterLabel, Label, Language, NamespacePrefix, QualifiedApiName, "
        "Text__c, Number__c, Flag__c, Day__c, Moment__c, Choice__c FROM Setting__mdt "
        "ORDER BY DeveloperName"
    )["records"]
    assert {key: value for key, value in found[0].items() if key != "attributes"} == {
        "DeveloperName": "Main", "MasterLabel": "Main", "Label": "Main", "Language": "en_US",
        "NamespacePrefix": None, "QualifiedApiName": "Main", "Text__c": "x", "Number__c": 1.5,
        "Flag__c": True, "Day__c": "2026-01-31", "Moment__c": "2026-01-31T10:00:00.000+0000",
        "Choice__c": "One",
    }  # fmt: skip
    assert (found[1]["Flag__c"], found[1]["Text__c"]) == (False, None)
    assert admin.soql("SELECT COUNT() FROM Setting__mdt")["totalSize"] == 2
    assert org.count("Setting__mdt") == 2
    assert {each["DeveloperName"] for each in org.rows("Setting__mdt")} == {"Main", "Other"}
    described = admin.call("GET", "sobjects/Setting__mdt/describe").json()
    assert described["keyPrefix"] == "m00"
    assert not any(described[each] for each in ("createable", "updateable", "deletable"))


def test_a_record_deployed_again_is_updated(org: SalesforceOrg, clock: Clock) -> None:
    assert deploy(org, Main=record(**MAIN)) == []
    before = org.rows("Setting__mdt")[0]
    clock.advance(hours=1)
    assert deploy(org, Main=record("Principal", Text__c=("string", "y"))) == []
    (after,) = org.rows("Setting__mdt")
    assert after["Id"] == before["Id"]
    assert (after["MasterLabel"], after["Text__c"], after["Number__c"]) == ("Principal", "y", 1.5)
    assert after["SystemModstamp"] > before["SystemModstamp"]


def test_who_may_read_it(org: SalesforceOrg, served: Served, rest: Rest, admin: Rest) -> None:
    """Customize Application, or a permission set that names the type; else it is not there."""
    assert deploy(org, Main=record(**MAIN)) == []
    org.revoke_permission(INTEGRATION, "CustomizeApplication")
    query = "query?q=SELECT Text__c FROM Setting__mdt"
    assert admin.call("GET", query).json()["totalSize"] == 1
    refused = rest.call("GET", query)
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "INVALID_TYPE")
    org.assign_permission_set(INTEGRATION, grant(org))
    assert rest.call("GET", query).json()["totalSize"] == 1
    grant(org, enabled=False)
    assert rest.call("GET", query).status_code == 400
    org.revoke_permission(ADMIN, "CustomizeApplication")
    assert log_in(org, served, ADMIN).call("GET", query).status_code == 400


def test_nobody_writes_it_over_rest(org: SalesforceOrg, admin: Rest) -> None:
    assert deploy(org, Main=record(**MAIN)) == []
    key = org.rows("Setting__mdt")[0]["Id"]
    body = {"Text__c": "z"}
    answers = [
        admin.call("POST", "sobjects/Setting__mdt", json={"DeveloperName": "New", **body}),
        admin.call("PATCH", f"sobjects/Setting__mdt/{key}", json=body),
        admin.call("DELETE", f"sobjects/Setting__mdt/{key}"),
    ]
    assert all(400 <= each.status_code < 500 for each in answers)
    assert [each["Text__c"] for each in org.rows("Setting__mdt")] == ["x"]


RULES = [
    (record(Nope__c=("string", "x")), "no CustomField named Setting__mdt.Nope__c found"),
    (record(Text__c=("double", "1")), "Invalid data type xsd:double for field Text__c"),
    (record(Text__c=("string", "x" * 11)),
     "Value too long for field: Text__c maximum length is:10"),
    (record(Number__c=("double", "1000")), "Invalid value for field Number__c: 1000"),
    (record(Number__c=("double", "one")), "Invalid value for field Number__c: one"),
    (record(Day__c=("date", "2026-02-30")), "Invalid value for field Day__c: 2026-02-30"),
    (record(Choice__c=("string", "Three")), "Invalid value for field Choice__c: Three"),
    (record(), ""),
    (record().replace("</label>", "</label><colour>red</colour>"),
     "colour invalid at this location in type CustomMetadata"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), RULES)
def test_values_must_fit(org: SalesforceOrg, text: str, problem: str) -> None:
    found = deploy(org, Main=text)
    if problem:
        assert problem in found[0]
        assert org.state.schema.get("Setting__mdt") is None
    else:
        assert found == []


TYPE_RULES = [
    ({"fields": md.lookup("Account__c", "Account", "Settings")}, "Invalid data type."),
    ({"fields": md.formula("X__c", "Text", "MasterLabel")}, "Invalid data type."),
    ({"fields": md.picklist("X__c", "a")},
     "Non-strict picklists are not supported on this object."),
    ({"fields": md.key("X__c")}, "Invalid data type."),
    ({"fields": "", "extra": "<deploymentStatus>Deployed</deploymentStatus>"},
     "Can not specify 'deploymentStatus' for a custom metadata type"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "problem"), TYPE_RULES)
def test_types_are_not_objects(org: SalesforceOrg, parts: dict[str, str], problem: str) -> None:
    content = metadata_type(**parts)
    result = org.deploy(
        md.package_zip({"objects/Setting__mdt.object": content}, {"CustomObject": ["Setting__mdt"]})
    )
    assert [each.problem for each in result.failures] == [problem]


def test_records_and_types_are_listed_retrieved_and_deleted(
    org: SalesforceOrg, admin: Rest
) -> None:
    assert deploy(org, Main=record(**MAIN)) == []
    query = "<listMetadata><queries><type>CustomMetadata</type></queries></listMetadata>"
    (listed,) = soap.results(admin, query)
    assert soap.one(listed, "fullName") == "Setting.Main"
    assert soap.one(listed, "fileName") == "customMetadata/Setting.Main.md"
    gone = org.deploy(
        md.package_zip(
            {"destructiveChanges.xml":
             f'<Package xmlns="{md.NS}"><types><members>Setting.Main</members>'
             "<name>CustomMetadata</name></types></Package>"},
            {},
        )
    )  # fmt: skip
    assert gone.problems == []
    assert org.rows("Setting__mdt") == []
