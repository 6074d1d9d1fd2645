"""Custom report types and folders: what the org takes and what it refuses, in whose words."""

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce import report_zip as rz
from tests.sandbox.salesforce.metadata_zip import package_zip

NAME = "T_Invoice__c$Name"


def deployed(org: SalesforceOrg, content: str, name: str = "Things") -> list[str]:
    """The problems of deploying one report type."""
    return rz.problems(rz.deploy(org, {f"reportTypes/{name}.reportType": content}))


def test_a_report_type_over_joins_and_lookups_is_accepted(org: SalesforceOrg) -> None:
    """Four objects, an outer join last, columns over custom and standard lookups."""
    lines = rz.join("Lines__r", outer=True)
    joins = rz.join("Customers__r", outer=False, inner=rz.join("Invoices__r", outer=True,
                                                               inner=lines))  # fmt: skip
    columns = [
        "Account$Name=The Account", "Account$Owner", "Account$Owner.Email", "Account$Parent.Name",
        "Account$CreatedBy", "Account.Customers__r$Customer_ID__c",
        "Account.Customers__r.Invoices__r$Total__c",
        "Account.Customers__r.Invoices__r$Account__c.Owner.Name",
        "Account.Customers__r.Invoices__r.Lines__r$Amount__c",
        "Account.Customers__r.Invoices__r.Lines__r$Invoice__c",
    ]  # fmt: skip
    assert deployed(org, rz.report_type("Account", columns, joins=joins)) == []


def _chain(*relationships: str) -> str:
    inner = ""
    for each in reversed(relationships):
        inner = rz.join(each, outer=False, inner=inner)
    return inner


REFUSED = [
    (rz.report_type("Nix__c", [NAME]), "Invalid object name 'Nix__c'"),
    (rz.report_type("t_invoice__c", ["t_invoice__c$Name"]), "Invalid object name 't_invoice__c'"),
    (rz.report_type("T_Invoice__c", [NAME], joins=rz.join("Lines", outer=True)),
     "Invalid relationship name 'Lines'"),
    (rz.report_type("T_Invoice__c", [NAME], joins=rz.join("Invoice__c", outer=True)),
     "Invalid relationship name 'Invoice__c'"),
    (rz.report_type("Account", ["Account$Name"],
                    joins=rz.join("Invoices__r", outer=True,
                                  inner=rz.join("Lines__r", outer=False))),
     "An inner join is not allowed after an outer join: Lines__r"),
    (rz.report_type("Account", ["Account$Name"],
                    joins=_chain("ChildAccounts", "Customers__r", "Invoices__r", "Lines__r")),
     "A report type can join at most 4 objects"),
    (rz.report_type("T_Invoice__c", ["T_Line__c$Name"]),
     "Invalid table 'T_Line__c' for column Name"),
    (rz.report_type("T_Invoice__c", [NAME, "T_Invoice__c.Lines__r$Name"]),
     "Invalid table 'T_Invoice__c.Lines__r' for column Name"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Nix__c"]),
     "Invalid field 'Nix__c' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Total"]),
     "Invalid field 'Total' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$OwnerId"]),
     "Invalid field 'OwnerId' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Account__r.Name"]),
     "Invalid field 'Account__r.Name' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Account__c.Nix__c"]),
     "Invalid field 'Account__c.Nix__c' for object 'Account'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Total__c.Name"]),
     "Invalid field 'Total__c.Name' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$SystemModstamp"]),
     "Invalid field 'SystemModstamp' for object 'T_Invoice__c'"),
    (rz.report_type("T_Invoice__c", ["T_Invoice__c$Account__c.Parent.Parent.Parent.Parent.Name"]),
     "Field Account__c.Parent.Parent.Parent.Parent.Name spans more than 4 lookup relationships"),
    (rz.report_type("T_Invoice__c", [NAME, NAME]), f"Duplicate column specified: {NAME}"),
    (rz.report_type("T_Invoice__c", [NAME], extra=rz.section([NAME], "Again")),
     f"Duplicate column specified: {NAME}"),
    (rz.report_type("T_Invoice__c", []), "A report type without columns shows nothing"),
    (rz.report_type("T_Invoice__c", [NAME], label=""), "Required field is missing: label"),
    (rz.report_type("T_Invoice__c", [NAME], label="L" * 51),
     f"Report Type Label: data value too large: {'L' * 51} (max length=50)"),
    (rz.report_type("T_Invoice__c", [NAME], extra=rz.tag("description", "d" * 256)),
     f"Description: data value too large: {'d' * 256} (max length=255)"),
    (rz.report_type("T_Invoice__c", [NAME]).replace("<deployed>true</deployed>", ""),
     "Required field is missing: deployed"),
    (rz.report_type("T_Invoice__c", [NAME]).replace(">other<", ">billing<"),
     "'billing' is not a valid value for the enum 'ReportTypeCategory'"),
    (rz.report_type("T_Invoice__c", [NAME], joins="<join><outerJoin>true</outerJoin></join>"),
     "Required field is missing: relationship"),
    (rz.report_type("T_Invoice__c", [NAME]).replace("<masterLabel>Columns</masterLabel>", ""),
     "Required field is missing: masterLabel"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_wrong_with_a_report_type_is_said(
    org: SalesforceOrg, content: str, problem: str
) -> None:
    assert deployed(org, content) == [problem]


def test_names_and_the_base_object_that_stays(org: SalesforceOrg) -> None:
    """A name that is none is refused, and so is another base object later on."""
    [problem] = deployed(org, rz.report_type("T_Invoice__c", [NAME]), "Two__Things")
    assert problem.startswith("The name Two__Things can only contain underscores")
    assert deployed(org, rz.report_type("T_Invoice__c", [NAME])) == []
    assert deployed(org, rz.report_type("Account", ["Account$Name"])) == [
        "Cannot change base object"
    ]


FOLDERS = [
    (rz.folder(name=""), "Required field is missing: name"),
    (rz.folder(name="N" * 41), f"Folder Label: data value too large: {'N' * 41} (max length=40)"),
    (rz.folder(shares=rz.SHARED * 2), "Duplicate folderShares specified: AllInternalUsers"),
    (rz.folder(shares=rz.SHARED.replace("AllInternalUsers", "Everybody")),
     "sharedTo: Invalid value specified: Everybody"),
    (rz.folder(shares=rz.SHARED.replace("AllInternalUsers", "Nix")
               .replace("Organization", "Group")),
     "In field: sharedTo - no Group named Nix found"),
    (rz.folder(shares=rz.SHARED.replace("AllInternalUsers", "nobody@sandbox.example")
               .replace("Organization", "User")),
     "In field: sharedTo - no User named nobody@sandbox.example found"),
    (rz.folder(shares=rz.SHARED.replace("View", "Look")),
     "'Look' is not a valid value for the enum"),
    (rz.folder("Dashboard"), "does not match type ReportFolder"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), FOLDERS, ids=range(len(FOLDERS)))
def test_what_is_wrong_with_a_folder_is_said(
    org: SalesforceOrg, content: str, problem: str
) -> None:
    found = rz.problems(rz.deploy(org, {"reports/F-meta.xml": content}))
    assert [problem in each for each in found] == [True]


def test_a_folder_is_listed_with_or_without_a_slash(org: SalesforceOrg) -> None:
    """The Salesforce CLI writes the slash; the deploy calls the folder by its own type."""
    for listed in ("F", "F/"):
        content = package_zip({"reports/F-meta.xml": rz.folder()}, {"Report": [listed]})
        result = org.deploy(content)
        assert rz.problems(result) == []
        assert [(one.component_type, one.full_name) for one in result.successes][1:] == [
            ("ReportFolder", "F")
        ]
