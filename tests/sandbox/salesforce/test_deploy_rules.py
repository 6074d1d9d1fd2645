"""Rules of the platform that our own package has no occasion to break, or breaks in part only."""

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceOrg
from tests.sandbox.salesforce import metadata_zip as md

DETAIL = {"sharing": "ControlledByParent"}


def deploy(org: SalesforceOrg, files: dict[str, str], members: dict[str, list[str]]) -> list[str]:
    return org.deploy(md.package_zip(files, members)).problems


def objects(org: SalesforceOrg, **contents: str) -> list[str]:
    files = {f"objects/{name}__c.object": content for name, content in contents.items()}
    return deploy(org, files, {"CustomObject": [f"{name}__c" for name in contents]})


def test_three_levels_of_details_are_allowed_and_no_more(empty_org: SalesforceOrg) -> None:
    def level(name: str, parent: str) -> str:
        return md.custom_object(name, md.master("Up__c", parent, f"{name}s"), **DETAIL)

    three = {"A": level("A", "Account"), "B": level("B", "A__c"), "C": level("C", "B__c")}
    assert objects(empty_org, **three) == []
    assert objects(empty_org, D=level("D", "C__c")) == [
        "D__c.Up__c: Too many master-detail levels above D__c: 3 are allowed",
        (
            "D__c: Cannot set sharingModel to ControlledByParent on a CustomObject without a "
            "MasterDetail relationship field"
        ),
    ]


def test_a_detail_cannot_be_its_own_master(empty_org: SalesforceOrg) -> None:
    content = md.custom_object("A", md.master("Up__c", "A__c", "As"), **DETAIL)
    assert "Too many master-detail levels above A__c" in objects(empty_org, A=content)[0]


def test_a_standard_object_is_no_detail(org: SalesforceOrg) -> None:
    fields = md.standard_fields(md.master("Up__c", "T_Customer__c", "Accounts"))
    found = deploy(org, {"objects/Account.object": fields}, {"CustomField": ["Account.Up__c"]})
    assert found == ["Account.Up__c: A standard object cannot be on the detail side: Account"]


def test_an_object_refused_for_its_parts_leaves_the_others(empty_org: SalesforceOrg) -> None:
    """Without rollback the object goes with its fields; what is sound stays."""
    files = {
        "objects/A__c.object": md.custom_object("A", md.text("X__c"), **DETAIL),
        "objects/B__c.object": md.custom_object("B", md.text("X__c")),
    }
    result = empty_org.deploy(
        md.package_zip(files, {"CustomObject": ["A__c", "B__c"]}), rollback_on_error=False
    )
    assert result.status == "SucceededPartial"
    assert empty_org.state.schema.get("A__c") is None
    assert empty_org.state.schema.get("B__c") is not None
    assert ("CustomField", "A__c.X__c") not in empty_org.state.components
    assert ("CustomField", "B__c.X__c") in empty_org.state.components


def test_an_object_keeps_its_rules_when_it_is_deployed_again(org: SalesforceOrg) -> None:
    rule = (
        "<validationRules><fullName>Positive</fullName><active>true</active>"
        "<errorConditionFormula>Total__c &lt; 0</errorConditionFormula>"
        "<errorMessage>Totals are positive.</errorMessage></validationRules>"
    )
    with_rule = md.INVOICE.replace("</CustomObject>", f"{rule}</CustomObject>")
    assert objects(org, T_Invoice=with_rule) == []
    assert objects(org, T_Invoice=md.INVOICE) == []
    with pytest.raises(Exception, match="Totals are positive"):
        org.insert("T_Invoice__c", {"Invoice_ID__c": "a", "Total__c": -1})


@pytest.mark.parametrize(
    ("objects", "extra", "problem"),
    [
        ({"Contact": "r"}, "", "Permission Read Contact depends on permission(s): Read Account"),
        ({"Contact": "r", "Account": "r"}, "", ""),
        (
            {},
            "<customPermissions><enabled>true</enabled><name>Sync</name></customPermissions>",
            "In field: name - no CustomPermission named Sync found",
        ),
        (
            {},
            "<classAccesses><apexClass>Sync</apexClass><enabled>true</enabled></classAccesses>",
            "In field: apexClass - no ApexClass named Sync found",
        ),
        (
            {},
            "<userPermissions><enabled>true</enabled><name>ApiEnabled</name></userPermissions>" * 2,
            "Duplicate userPermissions specified: ApiEnabled",
        ),
        (
            {},
            "<tabSettings><tab>standard-home</tab><visibility>Visible</visibility></tabSettings>",
            "",
        ),
    ],
)
def test_permission_sets(
    org: SalesforceOrg, objects: dict[str, str], extra: str, problem: str
) -> None:
    content = md.permission_set(objects, {}, extra)
    found = deploy(org, {"permissionsets/P.permissionset": content}, {"PermissionSet": ["P"]})
    assert found == ([f"P: {problem}"] if problem else [])


PAGE = (
    f'<FlexiPage xmlns="{md.NS}"><flexiPageRegions>{{items}}<name>main</name>'
    "<type>Region</type></flexiPageRegions>{more}<masterLabel>Home</masterLabel>{about}"
    "<template><name>{template}</name></template><type>{kind}</type></FlexiPage>"
)
FACET = "<flexiPageRegions><name>Facet-1</name><type>Facet</type></flexiPageRegions>"
TABS = (
    "<itemInstances><componentInstance><componentInstanceProperties><name>body</name>"
    "<value>Facet-1</value></componentInstanceProperties><componentName>flexipage:tab"
    "</componentName></componentInstance></itemInstances>"
)
OWN = (
    "<itemInstances><componentInstance><componentName>c:totals</componentName>"
    "</componentInstance></itemInstances>"
)


def page(items: str = "", more: str = "", about: str = "", kind: str = "AppPage") -> str:
    template = {"RecordPage": "flexipage:recordHomeTemplateDesktop"}.get(
        kind, "flexipage:defaultAppHomeTemplate"
    )
    return PAGE.format(items=items, more=more, about=about, kind=kind, template=template)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (page(), ""),
        (page(TABS, FACET), ""),
        (page("", FACET), "The facet Facet-1 is defined by a component in the FlexiPage"),
        (page(OWN), "design time component information for component c:totals."),
        (page(kind="RecordPage", about="<sobjectType>Account</sobjectType>"), ""),
        (
            page(kind="RecordPage", about="<sobjectType>Nope__c</sobjectType>"),
            "In field: sobjectType - no CustomObject named Nope__c found",
        ),
    ],
)
def test_lightning_pages(org: SalesforceOrg, content: str, problem: str) -> None:
    found = deploy(org, {"flexipages/Home.flexipage": content}, {"FlexiPage": ["Home"]})
    assert (len(found), problem in "".join(found)) == (1 if problem else 0, True)


def test_a_page_may_hold_a_component_of_the_same_package(org: SalesforceOrg) -> None:
    files = {
        "flexipages/Home.flexipage": page(OWN),
        "lwc/totals/totals.js": "export default class {}",
        "lwc/totals/totals.js-meta.xml": "<LightningComponentBundle/>",
        "tabs/Home.tab": f'<CustomTab xmlns="{md.NS}"><flexiPage>Home</flexiPage>'
        "<label>Home</label><motif>Custom1: Heart</motif></CustomTab>",
    }
    members = {"FlexiPage": ["Home"], "LightningComponentBundle": ["totals"], "CustomTab": ["Home"]}
    assert deploy(org, files, members) == []


LAYOUT = (
    f'<Layout xmlns="{md.NS}"><layoutSections><layoutColumns>{{items}}</layoutColumns>'
    "<style>OneColumn</style></layoutSections>{lists}</Layout>"
)


def items(**fields: str) -> str:
    return "".join(
        f"<layoutItems><behavior>{behavior}</behavior><field>{name}</field></layoutItems>"
        for name, behavior in fields.items()
    )


@pytest.mark.parametrize(
    ("sobject", "fields", "problem"),
    [
        ("T_Note__c", {"Invoice__c": "Required"}, ""),
        ("T_Note__c", {"Invoice__c": "Required", "Name": "Readonly", "Code__c": "Readonly"}, ""),
        ("T_Note__c", {"Invoice__c": "Edit"}, "Field:Invoice__c must be Required"),
        ("T_Note__c", {}, "Layout must contain an item for required layout field: Invoice__c"),
        (
            "T_Note__c",
            {"Invoice__c": "Required", "Code__c": "Edit"},
            "Field:Code__c must be Readonly",
        ),
        ("T_Note__c", {"Invoice__c": "Required", "Name": "Edit"}, "Field:Name must be Readonly"),
        ("Account", {"Name": "Required", "Spend__c": "Edit", "OwnerId": "Edit"}, ""),
        ("Account", {"Name": "Required", "CreatedById": "Edit"}, "CreatedById must be Readonly"),
    ],
)
def test_layouts(org: SalesforceOrg, sobject: str, fields: dict[str, str], problem: str) -> None:
    content = LAYOUT.format(items=items(**fields), lists="")
    name = f"{sobject}-Our Layout"
    found = deploy(org, {f"layouts/{name}.layout": content}, {"Layout": [name]})
    assert (len(found), problem in "".join(found)) == (1 if problem else 0, True)


def test_related_lists_of_an_account(org: SalesforceOrg) -> None:
    """A child's rows by its reference to the Account, or a list that the platform has."""
    related = "<relatedLists><fields>NAME</fields><relatedList>{}</relatedList></relatedLists>"
    for name, problem in (
        ("T_Invoice__c.Account__c", []),
        ("RelatedNoteList", []),
        ("T_Invoice__c.Customer__c",
         ["Account-L: Cannot find related list:T_Invoice__c.Customer__c"]),
    ):  # fmt: skip
        content = LAYOUT.format(items=items(Name="Required"), lists=related.format(name))
        found = deploy(org, {"layouts/Account-L.layout": content}, {"Layout": ["Account-L"]})
        assert found == problem
