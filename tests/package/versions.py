"""Other versions of the package than today's, as zips: an older one as it was, and made-up ones."""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from metronome_salesforce.salesforce.package import package_files
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg
from tests.sandbox.salesforce import metadata_zip as md

RIGHTS = ("ModifyMetadata", "CustomizeApplication", "AssignPermissionSets", "ViewSetup")
"""What it takes to deploy the package and to assign its permission sets."""
RECORD = "customMetadata/Metronome_Package.Current.md"
BEFORE_VERSIONS = Path(__file__).with_name("package-before-versions.zip").read_bytes()
"""The package as it was before it had a version: objects, fields and two permission sets."""


OWN_LOOKUP = md.package_zip(
    {
        "objects/Contract__c.object": md.custom_object(
            "Contract", md.lookup("Account__c", "Account", "Metronome_Invoices")
        )
    },
    {"CustomObject": ["Contract__c"]},
)
"""An object of the org's own whose lookup to Account has the name of one of the package's."""


def let_install(org: SalesforceOrg) -> None:
    """Let the integration user do what an administrator does otherwise."""
    for right in RIGHTS:
        org.grant_permission(INTEGRATION, right)


def share_dashboards(org: SalesforceOrg) -> None:
    """Share the dashboard folder with everybody, as an administrator may after the deploy."""
    folder = package_files()["dashboards/Metronome-meta.xml"].decode()
    shares = (
        "<folderShares><accessLevel>View</accessLevel><sharedTo>AllInternalUsers</sharedTo>"
        "<sharedToType>Organization</sharedToType></folderShares>"
    )
    shared = folder.replace("    <name>", f"    {shares}<name>")
    result = org.deploy(
        md.package_zip({"dashboards/Metronome-meta.xml": shared}, {"Dashboard": ["Metronome"]})
    )
    assert result.success, result.problems


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    """The files of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(path: str, old: str, new: str) -> bytes:
    """Today's package with a text in one of its files replaced, which must be there."""
    files = package_files()
    text = files[path].decode()
    assert old in text
    return zipped({**files, path: text.replace(old, new).encode()})


def of_version(version: str) -> bytes:
    """Today's package under another version."""
    return changed(RECORD, ">0.1.0<", f">{version}<")


def without(content: bytes, holding: str, element: str) -> bytes:
    """A metadata file without the one element that holds what a pattern finds."""
    pattern = rf"<{element}>(?:(?!</{element}>).)*?{holding}.*?</{element}>"
    text, count = re.subn(pattern, "", content.decode(), flags=re.DOTALL)
    assert count == 1
    return text.encode()


def own_set(hidden: str = "") -> bytes:
    """A permission set of the org's own, "Ours", with what the integration's has but the version.

    And but for one field, if one is `hidden`.
    """
    content = package_files()["permissionsets/Metronome_Integration.permissionset"]
    content = without(content, "<enabled>true</enabled>", "customMetadataTypeAccesses")
    if hidden:
        content = without(content, rf"<field>{re.escape(hidden)}</field>", "fieldPermissions")
    return md.package_zip(
        {"permissionsets/Ours.permissionset": content.decode()}, {"PermissionSet": ["Ours"]}
    )
