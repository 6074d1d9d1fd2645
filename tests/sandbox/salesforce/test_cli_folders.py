"""Folders of reports and dashboards, whose names the Salesforce CLI writes with a slash behind."""

import pytest

from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce import soap_calls as soap
from tests.sandbox.salesforce.conftest import Rest


def package(kind: str, *, element: str = "name") -> bytes:
    """A package with one folder, listed as the CLI lists it."""
    directory = f"{kind.lower()}s"
    folder = f'<{kind}Folder xmlns="{md.NS}"><{element}>Sales</{element}></{kind}Folder>'
    return md.package_zip({f"{directory}/Sales-meta.xml": folder}, {kind: ["Sales/"]})


@pytest.mark.parametrize("kind", ["Report", "Dashboard"])
def test_folder_is_deployed_and_retrieved(admin: Rest, kind: str) -> None:
    """A component of a type of its own in the result, a member of its content's type before."""
    file = f"{kind.lower()}s/Sales-meta.xml"

    done = soap.finish_deploy(admin, package(kind))

    assert soap.one(done, "status") == "Succeeded"
    assert soap.texts(done, "fileName") == ["package.xml", file]
    assert soap.texts(done, "componentType") == ["", f"{kind}Folder"]
    assert soap.texts(done, "fullName") == ["package.xml", "Sales"]

    result = soap.retrieve_status(admin, soap.start_retrieve(admin, {kind: ["Sales/"]}))
    assert set(soap.unzip(result)) == {"unpackaged/package.xml", f"unpackaged/{file}"}
    assert soap.texts(result, "problem") == []


@pytest.mark.parametrize("kind", ["Report", "Dashboard"])
def test_refused_folder_is_named_by_its_type(admin: Rest, kind: str) -> None:
    done = soap.finish_deploy(admin, package(kind, element="nome"))

    assert soap.one(done, "status") == "Failed"
    assert f"{kind}Folder" in soap.texts(done, "componentType")
    assert "Sales" in soap.texts(done, "fullName")
