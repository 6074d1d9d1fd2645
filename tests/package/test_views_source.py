"""What people see of the package, as far as an org accepts it right or wrong.

A deploy finds names that do not exist. It does not find a field that no page shows, a sum of
dollars and tokens, or a customer that no list view has.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from metronome_salesforce.mapping import AutoNumber, Field, ObjectMapping
from metronome_salesforce.objects import CUSTOMER, PACKAGED

NS = "{http://soap.sforce.com/2006/04/metadata}"
SOURCE = Path(__file__).parents[2] / "operator/metronome_salesforce/package/metronome"
WRITTEN = sorted(
    path.relative_to(SOURCE).as_posix()
    for folder in (
        "applications", "dashboards", "flexipages", "layouts", "objects/*/compactLayouts",
        "objects/*/listViews", "reportTypes", "reports", "tabs",
    )
    for path in SOURCE.glob(f"{folder}/**/*-meta.xml")
)  # fmt: skip
REPORTS = [path for path in WRITTEN if path.startswith("reports/Metronome/")]
# What an amount is an amount of: currencies, credit types and metrics do not add up.
UNITS = {"Currency__c", "Credit_Type_Name__c", "Grant_Credit_Type__c", "Billable_Metric_Name__c"}
COUNTS = {"Rows_Rejected__c"}


def tree(path: str) -> ET.Element:
    return ET.parse(SOURCE / path).getroot()  # noqa: S314 -- our own file


def texts(element: ET.Element, path: str) -> list[str]:
    found = element.findall("/".join(f"{NS}{name}" for name in path.split("/")))
    return [each.text or "" for each in found]


def names(columns: list[str]) -> set[str]:
    """The fields of columns such as `Account.Metronome_Invoices__r$Total__c`."""
    return {column.rpartition("$")[2] for column in columns}


# -- pages ----------------------------------------------------------------------------------------


def _behaviour(mapping: ObjectMapping, field: Field) -> str:
    if isinstance(field.kind, AutoNumber):
        return "Readonly"
    if field.required:
        return "Required"
    chosen = mapping is CUSTOMER and field.api == "Account__c"
    return "Edit" if chosen else "Readonly"


@pytest.mark.parametrize("mapping", PACKAGED, ids=lambda one: one.name)
def test_a_page_shows_every_field_for_people_once(mapping: ObjectMapping) -> None:
    """The Account of a customer is the only one that they may set."""
    layout = tree(f"layouts/{mapping.sobject}-{mapping.label} Layout.layout-meta.xml")
    shown = [
        (item.findtext(f"{NS}field") or "", item.findtext(f"{NS}behavior"))
        for item in layout.iter(f"{NS}layoutItems")
    ]
    expected = [
        (field.api, _behaviour(mapping, field))
        for field in mapping.fields
        if field.api != "Sync_Hash__c"
    ]
    system = [("CreatedById", "Readonly"), ("LastModifiedById", "Readonly")]
    assert sorted(shown) == sorted(expected + system)
    assert texts(layout, "layoutSections/label")[-1] == "System Information"


@pytest.mark.parametrize("path", WRITTEN)
def test_the_fingerprint_is_not_for_people(path: str) -> None:
    assert "Sync_Hash__c" not in (SOURCE / path).read_text("utf-8")


def test_each_object_is_told_from_the_others_by_its_icon() -> None:
    motifs = [
        motif
        for mapping in PACKAGED
        for motif in texts(tree(f"tabs/{mapping.sobject}.tab-meta.xml"), "motif")
    ]
    assert len(set(motifs)) == len(PACKAGED)


# -- list views -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", PACKAGED, ids=lambda one: one.name)
def test_a_view_has_all_records_and_all_begin_with_the_name(mapping: ObjectMapping) -> None:
    views = sorted(SOURCE.glob(f"objects/{mapping.sobject}/listViews/*.listView-meta.xml"))
    assert "All.listView-meta.xml" in [path.name for path in views]
    for path in views:
        view = tree(path.relative_to(SOURCE).as_posix())
        assert texts(view, "columns")[0] == "NAME"
        assert (texts(view, "filters") == []) == (texts(view, "label") == ["All"])


def _admits(view: str, row: dict[str, bool]) -> bool:
    root = tree(f"objects/{CUSTOMER.sobject}/listViews/{view}.listView-meta.xml")
    met = []
    for condition in root.findall(f"{NS}filters"):
        [field, operation, value] = [child.text or "" for child in condition]
        assert operation == "equals"
        met.append(row[field] is {"0": False, "1": True}[value])
    [logic] = texts(root, "booleanFilter") or [" AND ".join(map(str, range(1, len(met) + 1)))]
    assert logic in {"1 OR 2", "1 AND 2 AND 3"}
    return any(met) if "OR" in logic else all(met)


@pytest.mark.parametrize(("linked", "pending", "relinking"), list(product([False, True], repeat=3)))
def test_a_customer_is_orphaned_linked_or_pending(
    linked: bool, pending: bool, relinking: bool
) -> None:
    """Exactly one of the three: what is being moved is neither here nor there."""
    row = {"Is_Linked__c": linked, "Link_Pending__c": pending, "Relinking__c": relinking}
    views = [name for name in ("Orphaned", "Linked", "Link_Pending") if _admits(name, row)]
    settled = "Linked" if linked else "Orphaned"
    assert views == ["Link_Pending" if pending or relinking else settled]


# -- reports --------------------------------------------------------------------------------------


def _summed(report: ET.Element) -> set[str]:
    columns = [
        column.findtext(f"{NS}field") or ""
        for column in report.findall(f"{NS}columns")
        if column.find(f"{NS}aggregateTypes") is not None
    ]
    return names(columns) - COUNTS


@pytest.mark.parametrize("path", REPORTS)
def test_a_report_adds_up_amounts_of_one_unit_only(path: str) -> None:
    """Its outermost groups are the units, and no grand total stands below them."""
    report = tree(path)
    if not _summed(report):
        assert texts(report, "chart/secondaryGroupingColumn") == []
        return
    assert names(texts(report, "groupingsDown/field")[:1]) <= UNITS
    assert texts(report, "showGrandTotal") == ["false"]
    assert names(texts(report, "chart/secondaryGroupingColumn")) & UNITS


def test_the_dashboard_draws_units_apart() -> None:
    root = tree("dashboards/Metronome/Metronome_Overview.dashboard-meta.xml")
    components = list(root.iter(f"{NS}dashboardComponent"))
    assert len(components) == 4
    for component in components:
        [report] = texts(component, "report")
        drawn = tree(f"reports/{report}.report-meta.xml")
        assert names(texts(component, "groupingColumn")) & UNITS
        assert names(texts(component, "chartSummary/column")) <= _summed(drawn)


# -- form -----------------------------------------------------------------------------------------


def _disorders(element: ET.Element) -> Iterator[str]:
    children = [child.tag.removeprefix(NS) for child in element]
    if children != sorted(children, key=lambda name: (name != "fullName", name)):
        yield element.tag.removeprefix(NS)
    for child in element:
        yield from _disorders(child)


@pytest.mark.parametrize("path", WRITTEN)
def test_elements_stand_as_the_platform_writes_them(path: str) -> None:
    """Else the first retrieve from an org shows changes that nobody made."""
    assert list(_disorders(tree(path))) == []
