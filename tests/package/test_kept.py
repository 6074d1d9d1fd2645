"""What the org keeps of our package: it comes back as it went in, beside what others have made."""

import io
import zipfile
from datetime import UTC, datetime

from metronome_salesforce.salesforce.package import package_files, package_zip
from metronome_salesforce.sandbox.salesforce import ADMIN, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.listviews import list_views
from metronome_salesforce.sandbox.salesforce.packages import parse_xml, read_members
from metronome_salesforce.sandbox.salesforce.retrieving import retrieve
from tests.sandbox.salesforce import metadata_zip as md

CUSTOMER = "Metronome_Orphan_Customer__c"
LAYOUT = f"{CUSTOMER}-Orphaned Customer Layout"


def installed() -> SalesforceOrg:
    org = SalesforceOrg(now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC))
    result = org.deploy(package_zip("66.0"))
    assert result.success, result.problems
    return org


def retrieved(org: SalesforceOrg, members: dict[str, list[str]]) -> bytes:
    user = org.state.user(ADMIN)
    found = retrieve(org.state, user, members, "66.0", single=True)
    assert found.messages == []
    return found.content


def test_a_retrieved_package_deploys_again_and_changes_nothing() -> None:
    """Everything that package.xml names comes back, and is what it was."""
    org = installed()
    members = read_members(parse_xml(package_files("66.0")["package.xml"]))
    content = retrieved(org, members)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == set(package_files("66.0"))
    again = org.deploy(content)
    assert again.problems == []
    assert [each.full_name for each in again.messages if each.changed] == ["package.xml"]


def test_what_others_made_stays() -> None:
    """A view and a layout of the customer's own, and a permission set changed by hand."""
    org = installed()
    own = (
        "<listViews><fullName>Ours</fullName><columns>NAME</columns><filterScope>Everything"
        "</filterScope><label>Ours</label></listViews>"
    )
    layout = package_files("66.0")[f"layouts/{LAYOUT}.layout"].decode()
    files = {
        f"objects/{CUSTOMER}.object": md.standard_fields(own + md.text("Ours__c")),
        f"layouts/{CUSTOMER}-Our Layout.layout": layout,
    }
    names = {
        "ListView": [f"{CUSTOMER}.Ours"], "CustomField": [f"{CUSTOMER}.Ours__c"],
        "Layout": [f"{CUSTOMER}-Our Layout"],
    }  # fmt: skip
    assert org.deploy(md.package_zip(files, names)).problems == []
    again = org.deploy(package_zip("66.0"))
    assert [each.full_name for each in again.messages if each.changed] == ["package.xml"]
    assert ("Ours", "Ours") in list_views(org.state, CUSTOMER)
    customer = org.state.schema.get(CUSTOMER)
    assert customer is not None
    assert customer.field("Ours__c") is not None
    with zipfile.ZipFile(io.BytesIO(retrieved(org, {"Layout": ["*"]}))) as archive:
        assert f"layouts/{CUSTOMER}-Our Layout.layout" in archive.namelist()


def test_what_was_changed_in_the_org_is_as_the_package_says_again() -> None:
    """The package owns what it contains: a changed layout is its own after the next deploy."""
    org = installed()
    path = f"layouts/{LAYOUT}.layout"
    sound = package_files("66.0")[path].decode()
    changed = sound.replace("<label>Information</label>", "<label>Ours</label>")
    assert changed != sound
    files = {path: changed}
    assert org.deploy(md.package_zip(files, {"Layout": [LAYOUT]})).problems == []
    again = org.deploy(package_zip("66.0"))
    assert [each.full_name for each in again.messages if each.changed] == ["package.xml", LAYOUT]
    assert b"Ours" not in org.state.components["Layout", LAYOUT].content
