"""The generated package, by the platform's rules that need no org to check."""

import io
import zipfile
from xml.etree import ElementTree as ET

import pytest

from metronome_salesforce.mapping import ObjectMapping
from metronome_salesforce.objects import ACCOUNT_SUMMARY, OBJECTS, PACKAGED
from metronome_salesforce.salesforce.package import package_files, package_zip

NS = "{http://soap.sforce.com/2006/04/metadata}"
FILES = package_files("66.0")


def tree(path: str) -> ET.Element:
    return ET.fromstring(FILES[path])  # noqa: S314 -- our own file


def text(element: ET.Element, name: str) -> str | None:
    found = element.find(f"{NS}{name}")
    return None if found is None else found.text


def fields(sobject: str) -> dict[str, ET.Element]:
    elements = tree(f"objects/{sobject}.object").findall(f"{NS}fields")
    return {text(element, "fullName") or "": element for element in elements}


def test_the_same_version_gives_the_same_bytes_with_everything_listed() -> None:
    assert package_zip("66.0") == package_zip("66.0")
    with zipfile.ZipFile(io.BytesIO(package_zip("65.0"))) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == set(FILES)
        assert b"<version>65.0</version>" in archive.read("package.xml")
    manifest = tree("package.xml")
    members = {
        text(types, "name"): [element.text for element in types.findall(f"{NS}members")]
        for types in manifest.findall(f"{NS}types")
    }
    assert members["CustomObject"] == sorted(
        [
            *(mapping.sobject for mapping in OBJECTS),
            "Metronome_Sync_Run__c",
            "Metronome_Package__mdt",
        ]
    )
    assert members["CustomField"] == sorted(f"Account.{name}" for name in fields("Account"))
    assert members["PermissionSet"] == [
        "Metronome_Admin",
        "Metronome_Integration",
        "Metronome_User",
    ]


@pytest.mark.parametrize("mapping", [*PACKAGED, ACCOUNT_SUMMARY], ids=lambda one: one.name)
def test_every_field_is_there_and_explained(mapping: ObjectMapping) -> None:
    declared = {field.api for field in mapping.fields} - {"Name"}
    found = fields(mapping.sobject)
    assert set(found) == declared
    for element in found.values():
        assert len(text(element, "label") or "x" * 99) <= 40
        assert len(text(element, "inlineHelpText") or "x" * 999) <= 510
        assert text(element, "description")


def test_keys_tell_cases_apart_and_are_required() -> None:
    """Ids of billing systems may differ by case alone."""
    key = fields("Metronome_Invoice__c")["Metronome_Invoice_ID__c"]
    assert {name: text(key, name) for name in ("type", "length", "unique", "externalId")} == {
        "type": "Text",
        "length": "255",
        "unique": "true",
        "externalId": "true",
    }
    assert text(key, "caseSensitive") == "true"
    assert text(key, "required") == "true"
    owner = fields("Metronome_Invoice__c")["Metronome_Customer_ID__c"]
    assert text(owner, "externalId") == "true"
    assert text(owner, "unique") is None


def test_masters_can_be_named_again_and_lookups_survive_their_parent() -> None:
    """A master that is not reparentable makes upserts of existing rows fail."""
    master = fields("Metronome_Invoice_Line_Item__c")["Invoice__c"]
    assert text(master, "type") == "MasterDetail"
    assert text(master, "reparentableMasterDetail") == "true"
    assert text(master, "required") is None
    lookup = fields("Metronome_Invoice__c")["Account__c"]
    assert (text(lookup, "type"), text(lookup, "deleteConstraint")) == ("Lookup", "SetNull")
    assert text(lookup, "relationshipName") == "Metronome_Invoices"


def test_details_are_shared_as_their_master() -> None:
    for mapping in OBJECTS:
        root = tree(f"objects/{mapping.sobject}.object")
        types = {text(element, "type") for element in root.findall(f"{NS}fields")}
        assert (text(root, "sharingModel") == "ControlledByParent") == ("MasterDetail" in types)


def test_computed_fields_are_no_stored_ones() -> None:
    formula = fields("Metronome_Credit_Grant__c")["Percent_Remaining__c"]
    assert (text(formula, "type"), text(formula, "scale")) == ("Percent", "1")
    assert (text(formula, "formula") or "").startswith("IF(Initial_Grant_Amount__c > 0,")
    checkbox = fields("Metronome_Invoice__c")["Is_Current__c"]
    assert text(checkbox, "defaultValue") is None
    link = fields("Metronome_Orphan_Customer__c")["Metronome_Link__c"]
    assert text(link, "length") is None
    count = fields("Metronome_Invoice__c")["Line_Item_Count__c"]
    assert text(count, "summaryForeignKey") == "Metronome_Invoice_Line_Item__c.Invoice__c"
    usage = tree("objects/Metronome_Usage__c.object").find(f"{NS}nameField")
    assert usage is not None
    assert text(usage, "type") == "AutoNumber"


def test_a_new_status_of_metronome_does_not_stop_the_load() -> None:
    values = fields("Metronome_Invoice__c")["Status__c"].find(f"{NS}valueSet")
    assert values is not None
    assert text(values, "restricted") == "false"
    assert [e.text for e in values.iter(f"{NS}fullName")] == ["Draft", "Finalized", "Void"]


def permissions(name: str) -> dict[str, tuple[str | None, str | None]]:
    root = tree(f"permissionsets/{name}.permissionset")
    return {
        text(element, "field") or "": (text(element, "readable"), text(element, "editable"))
        for element in root.findall(f"{NS}fieldPermissions")
    }


def test_permission_sets_name_no_field_that_the_platform_refuses_there() -> None:
    """Required and master-detail fields and the name fail the deploy."""
    for name in ("Metronome_Integration", "Metronome_User", "Metronome_Admin"):
        given = permissions(name)
        assert "Metronome_Invoice__c.Metronome_Invoice_ID__c" not in given
        assert "Metronome_Invoice_Line_Item__c.Invoice__c" not in given
        assert not any(field.endswith(".Name") for field in given)
    assert permissions("Metronome_Integration")["Metronome_Invoice__c.Total__c"] == ("true", "true")
    assert permissions("Metronome_Integration")["Metronome_Invoice__c.Is_Current__c"] == (
        "true",
        "false",
    )
    assert permissions("Metronome_Integration")["Account.Metronome_Currency__c"] == ("true", "true")
    assert set(permissions("Metronome_User").values()) == {("true", "false")}


def test_the_integration_sees_all_accounts_and_owns_none() -> None:
    root = tree("permissionsets/Metronome_Integration.permissionset")
    rights = {
        text(e, "object"): {child.tag.removeprefix(NS): child.text for child in e}
        for e in root.findall(f"{NS}objectPermissions")
    }
    assert rights["Account"] == {
        "allowCreate": "false",
        "allowDelete": "false",
        "allowEdit": "true",
        "allowRead": "true",
        "modifyAllRecords": "false",
        "object": "Account",
        "viewAllRecords": "true",
    }
    assert set(rights) == {
        "Account",
        "Metronome_Sync_Run__c",
        *(mapping.sobject for mapping in OBJECTS),
    }
