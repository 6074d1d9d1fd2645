"""List views: run for a user and over REST, against what the rows themselves say."""

from collections.abc import Callable
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceError,
    SalesforceOrg,
)
from metronome_salesforce.sandbox.salesforce.listviews import (
    ListViewResult,
    list_views,
    run_list_view,
)
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Clock, Rest

Row = dict[str, Any]
COLUMNS = ("NAME", "Customer__c", "Status__c", "Total__c", "Closed__c")


def criterion(field: str, operation: str, value: str | None = None) -> str:
    """A `<filters>` element."""
    given = "" if value is None else f"<value>{value}</value>"
    return f"<filters><field>{field}</field><operation>{operation}</operation>{given}</filters>"


def list_view(
    name: str, *filters: str, logic: str = "", scope: str = "Everything",
    columns: tuple[str, ...] = COLUMNS,
) -> str:  # fmt: skip
    """A `<listViews>` element."""
    expression = f"<booleanFilter>{logic}</booleanFilter>" if logic else ""
    listed = "".join(f"<columns>{each}</columns>" for each in columns)
    return (
        f"<listViews><fullName>{name}</fullName>{expression}{listed}<filterScope>{scope}"
        f"</filterScope>{''.join(filters)}<label>{name.replace('_', ' ')}</label></listViews>"
    )


def deploy_views(org: SalesforceOrg, *views: str, sobject: str = "T_Invoice__c") -> None:
    """Put list views on an object."""
    content = md.standard_fields("".join(views))
    names = [each.partition("<fullName>")[2].partition("<")[0] for each in views]
    result = org.deploy(
        md.package_zip(
            {f"objects/{sobject}.object": content},
            {"ListView": [f"{sobject}.{name}" for name in names]},
        )
    )
    assert result.problems == []


@pytest.fixture
def billed(org: SalesforceOrg) -> SalesforceOrg:
    """An org with two customers and invoices of all kinds."""
    acme = org.insert("T_Customer__c", {"Customer_ID__c": "c1", "Name": "Acme"})
    zeta = org.insert("T_Customer__c", {"Customer_ID__c": "c2", "Name": "Zeta 50% Ltd"})
    rows: list[Row] = [
        {"Name": "Five", "Customer__c": acme, "Status__c": "Draft", "Total__c": 10,
         "Paid__c": 1, "Start__c": "2026-01-31", "End__c": "2026-02-28",
         "Issued_At__c": "2026-01-31T00:00:00Z", "Short__c": "a_b"},
        {"Name": "four", "Customer__c": zeta, "Status__c": "Finalized", "Total__c": 0,
         "Start__c": "2026-01-01", "End__c": "2026-01-31", "Closed__c": True,
         "Issued_At__c": "2026-01-30T23:59:59Z", "Short__c": "aXb"},
        {"Name": "Three", "Status__c": "Void", "Total__c": -5, "Start__c": "2025-12-01",
         "Issued_At__c": "2026-02-01T00:00:00Z"},
        {"Name": "Two", "Customer__c": acme, "Total__c": 1500.5, "Paid__c": 1500,
         "Start__c": "2025-06-01", "End__c": "2026-03-02", "Short__c": "it's"},
        {"Name": "One", "Customer__c": zeta, "Status__c": "Draft", "Closed__c": True},
    ]  # fmt: skip
    for number, row in enumerate(rows):
        org.insert("T_Invoice__c", {"Invoice_ID__c": f"i{number}", **row})
    return org


def run(org: SalesforceOrg, name: str, username: str = ADMIN) -> ListViewResult:
    return run_list_view(org.state, org.state.user(username), "T_Invoice__c", name)


def names(org: SalesforceOrg, wanted: Callable[[Row], Any]) -> list[str]:
    """The names of the rows that a list should have, in the order of names whatever the case."""
    return sorted(
        (each["Name"] for each in org.rows("T_Invoice__c") if wanted(each)), key=str.lower
    )


FILTERS: list[tuple[list[str], str, Callable[[Row], Any]]] = [
    ([criterion("Closed__c", "equals", "1")], "", lambda r: r["Closed__c"]),
    ([criterion("Closed__c", "notEqual", "1")], "", lambda r: not r["Closed__c"]),
    ([criterion("Is_Draft__c", "equals", "0")], "", lambda r: r["Status__c"] != "Draft"),
    ([criterion("Status__c", "equals", "Draft")], "", lambda r: r["Status__c"] == "Draft"),
    ([criterion("Status__c", "equals", "Draft,Void")], "",
     lambda r: r["Status__c"] in {"Draft", "Void"}),
    ([criterion("Status__c", "notEqual", "Draft, Void")], "",
     lambda r: r["Status__c"] not in {"Draft", "Void"}),
    ([criterion("Status__c", "equals")], "", lambda r: r["Status__c"] is None),
    ([criterion("Status__c", "notEqual")], "", lambda r: r["Status__c"] is not None),
    ([criterion("Total__c", "greaterThan", "0")], "", lambda r: (r["Total__c"] or -1) > 0),
    ([criterion("Total__c", "lessOrEqual", "0")], "",
     lambda r: r["Total__c"] is not None and r["Total__c"] <= 0),
    ([criterion("Total__c", "equals", "1,500.5")], "", lambda r: r["Total__c"] == 1500.5),
    ([criterion("Rest__c", "lessThan", "20")], "",
     lambda r: r["Rest__c"] is not None and r["Rest__c"] < 20),
    ([criterion("Rest__c", "greaterThan", "90")], "",
     lambda r: r["Rest__c"] is not None and r["Rest__c"] > 90),
    ([criterion("Start__c", "equals", "TODAY")], "", lambda r: r["Start__c"] == "2026-01-31"),
    ([criterion("Start__c", "equals", "THIS MONTH")], "",
     lambda r: (r["Start__c"] or "").startswith("2026-01")),
    ([criterion("Start__c", "lessThan", "2026-01-01")], "",
     lambda r: (r["Start__c"] or "9") < "2026-01-01"),
    ([criterion("Start__c", "greaterOrEqual", "1/1/2026")], "",
     lambda r: (r["Start__c"] or "") >= "2026-01-01"),
    ([criterion("End__c", "equals", "NEXT_N_DAYS:30")], "",
     lambda r: "2026-02-01" <= (r["End__c"] or "") <= "2026-03-02"),
    ([criterion("End__c", "equals", "NEXT 28 DAYS")], "",
     lambda r: "2026-02-01" <= (r["End__c"] or "") <= "2026-02-28"),
    ([criterion("Issued_At__c", "equals", "1/31/2026")], "",
     lambda r: (r["Issued_At__c"] or "").startswith("2026-01-31")),
    ([criterion("Issued_At__c", "greaterThan", "2026-01-31")], "",
     lambda r: (r["Issued_At__c"] or "") >= "2026-02-01"),
    ([criterion("Issued_At__c", "lessThan", "TODAY")], "",
     lambda r: (r["Issued_At__c"] or "9") < "2026-01-31"),
    ([criterion("Customer__c", "equals", "Acme")], "",
     lambda r: r["Customer__r"] == "Acme"),
    ([criterion("Customer__c", "equals")], "", lambda r: r["Customer__r"] is None),
    ([criterion("Customer__c", "contains", "0%")], "",
     lambda r: "0%" in (r["Customer__r"] or "")),
    ([criterion("Short__c", "contains", "a_b")], "", lambda r: "a_b" in (r["Short__c"] or "")),
    ([criterion("Short__c", "notContain", "a_b,X")], "",
     lambda r: not any(one in (r["Short__c"] or "") for one in ("a_b", "X"))),
    ([criterion("Short__c", "startsWith", "it's")], "",
     lambda r: (r["Short__c"] or "").startswith("it's")),
    ([criterion("NAME", "startsWith", "t,f")], "", lambda r: r["Name"][0].lower() in "tf"),
    ([criterion("Status__c", "equals", "Draft"), criterion("Closed__c", "equals", "1"),
      criterion("Total__c", "greaterThan", "100")], "(1 AND 2) OR 3",
     lambda r: (r["Status__c"] == "Draft" and r["Closed__c"]) or (r["Total__c"] or 0) > 100),
    ([criterion("Status__c", "equals", "Draft"), criterion("Closed__c", "equals", "1")],
     "1 AND NOT 2", lambda r: r["Status__c"] == "Draft" and not r["Closed__c"]),
    ([criterion("Status__c", "equals", "Void"), criterion("Closed__c", "equals", "1")],
     "NOT (1 OR 2)", lambda r: not (r["Status__c"] == "Void" or r["Closed__c"])),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "logic", "wanted"), FILTERS)
def test_filters_mean_what_they_say(
    billed: SalesforceOrg, filters: list[str], logic: str, wanted: Callable[[Row], Any]
) -> None:
    deploy_views(billed, list_view("V", *filters, logic=logic))
    customers = {each["Id"]: each["Name"] for each in billed.rows("T_Customer__c")}
    expected = names(
        billed, lambda row: wanted({**row, "Customer__r": customers.get(row["Customer__c"])})
    )
    assert 0 < len(expected) < 5
    assert [row.values[0] for row in run(billed, "V").rows] == expected


def test_columns_and_values(billed: SalesforceOrg) -> None:
    """A lookup shows its parent's name, everything else what REST gives."""
    deploy_views(billed, list_view("All"))
    found = run(billed, "All")
    assert (found.object, found.name, found.label) == ("T_Invoice__c", "All", "All")
    assert [(each.name, each.label, each.type) for each in found.columns] == [
        ("NAME", "Name", "string"),
        ("Customer__c", "Customer", "string"),
        ("Status__c", "Status", "picklist"),
        ("Total__c", "Total", "double"),
        ("Closed__c", "Closed", "boolean"),
    ]
    ids = {each["Name"]: each["Id"] for each in billed.rows("T_Invoice__c")}
    assert [(row.id, *row.values) for row in found.rows] == [
        (ids["Five"], "Five", "Acme", "Draft", 10, False),
        (ids["four"], "four", "Zeta 50% Ltd", "Finalized", 0, True),
        (ids["One"], "One", "Zeta 50% Ltd", "Draft", None, True),
        (ids["Three"], "Three", None, "Void", -5, False),
        (ids["Two"], "Two", "Acme", None, 1500.5, False),
    ]


def test_a_user_sees_what_access_shows(billed: SalesforceOrg) -> None:
    """A column without field access is not there; without the object there is no view."""
    deploy_views(billed, list_view("All"), list_view("Dear", criterion("Total__c", "equals", "1")))
    content = md.permission_set({"T_Invoice__c": "rv"}, {"T_Invoice__c.Status__c": "r"})
    billed.deploy(
        md.package_zip({"permissionsets/R.permissionset": content}, {"PermissionSet": ["R"]})
    )
    reader = billed.add_user("reader@sandbox.example")
    with pytest.raises(SalesforceError) as refused:
        run(billed, "All", reader.username)
    assert refused.value.code == "NOT_FOUND"
    billed.assign_permission_set(reader.username, "R")
    found = run(billed, "All", reader.username)
    assert [each.name for each in found.columns] == ["NAME", "Status__c"]
    assert found.rows[0].values == ("Five", "Draft")
    with pytest.raises(SalesforceError) as hidden:
        run(billed, "Dear", reader.username)
    assert hidden.value.code == "INVALID_FIELD"


def test_mine_are_the_rows_one_owns(billed: SalesforceOrg) -> None:
    deploy_views(billed, list_view("Mine", scope="Mine"), list_view("All"))
    billed.insert("T_Invoice__c", {"Invoice_ID__c": "x", "Name": "X"}, username=INTEGRATION)
    assert [row.values[0] for row in run(billed, "Mine", INTEGRATION).rows] == ["X"]
    assert len(run(billed, "All", INTEGRATION).rows) == 6


def test_people_and_dates_as_columns(billed: SalesforceOrg, clock: Clock) -> None:
    people = ("NAME", "CREATED_DATE", "CREATEDBY_USER", "UPDATEDBY_USER.ALIAS", "OWNER.LAST_NAME")
    deploy_views(
        billed, list_view("People", criterion("CREATED_DATE", "equals", "TODAY"), columns=people)
    )
    found = run(billed, "People")
    assert [each.label for each in found.columns] == [
        "Name", "Created Date", "Created By", "Last Modified By Alias", "Owner Last Name",
    ]  # fmt: skip
    assert found.rows[0].values == (
        "Five", "2026-01-31T12:00:00.000+0000", "Sandbox Admin", "admin@sa", "Admin",
    )  # fmt: skip
    clock.advance(days=1)
    assert run(billed, "People").rows == ()


def test_views_of_an_object_by_label(billed: SalesforceOrg) -> None:
    deploy_views(billed, list_view("B_view"), list_view("A_view"))
    assert list_views(billed.state, "t_invoice__c") == [("A_view", "A view"), ("B_view", "B view")]
    assert list_views(billed.state, "Account") == []
    with pytest.raises(SalesforceError):
        run(billed, "C_view")


def test_views_over_rest(billed: SalesforceOrg, rest: Rest) -> None:
    """The list, one view, its description with a query that gives the same rows, and its rows."""
    draft = criterion("Status__c", "equals", "Draft")
    deploy_views(billed, list_view("All"), list_view("Drafts", draft))
    base = "sobjects/T_Invoice__c/listviews"
    listed = rest.call("GET", base).json()
    assert (listed["size"], listed["done"], listed["sobjectType"]) == (2, True, "T_Invoice__c")
    by_name = {each["developerName"]: each for each in listed["listviews"]}
    record = by_name["Drafts"]["id"]
    assert record.startswith("00B")
    assert rest.call("GET", f"{base}/{record}").json() == by_name["Drafts"]
    described = rest.call("GET", by_name["Drafts"]["describeUrl"]).json()
    assert described["query"] == (
        "SELECT Name, Customer__r.Name, toLabel(Status__c), Total__c, Closed__c, Id, CreatedDate, "
        "LastModifiedDate, SystemModstamp FROM T_Invoice__c WHERE Status__c = 'Draft' "
        "ORDER BY Name ASC NULLS FIRST, Id ASC NULLS FIRST"
    )
    assert described["whereCondition"] == {
        "field": "Status__c", "operator": "equals", "values": ["Draft"],
    }  # fmt: skip
    shown = [each["fieldNameOrPath"] for each in described["columns"] if not each["hidden"]]
    assert shown == ["Name", "Customer__r.Name", "Status__c", "Total__c", "Closed__c"]
    assert [each["sortDirection"] for each in described["columns"]][:2] == ["ascending", None]
    results = rest.call("GET", by_name["Drafts"]["resultsUrl"]).json()
    values = [
        {each["fieldNameOrPath"]: each["value"] for each in row["columns"]}
        for row in results["records"]
    ]
    assert (results["size"], results["label"]) == (2, "Drafts")
    assert [each["Name"] for each in values] == rest.values(described["query"])
    assert values[0]["Total__c"] == "10.0"
    assert (values[0]["Closed__c"], values[0]["Customer__r.Name"]) == ("false", "Acme")
    page = rest.call("GET", f"{base}/{by_name['All']['id']}/results?limit=2&offset=3").json()
    assert [each["columns"][0]["value"] for each in page["records"]] == ["One", "Three"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sobjects/Nope__c/listviews", 404),
        ("sobjects/T_Invoice__c/listviews/00B000000000001", 404),
        ("sobjects/T_Invoice__c/listviews/Nope/describe", 404),
        ("sobjects/T_Invoice__c/listviews/All/rows", 404),
        ("sobjects/T_Invoice__c/listviews/All/results?limit=2001", 400),
        ("sobjects/T_Invoice__c/listviews/All/results?offset=0", 400),
    ],
)
def test_views_that_rest_does_not_find(
    billed: SalesforceOrg, rest: Rest, path: str, status: int
) -> None:
    deploy_views(billed, list_view("All"))
    assert rest.call("GET", path).status_code == status


def test_labels_of_picklists(billed: SalesforceOrg, rest: Rest) -> None:
    """Results and toLabel give labels; filters take either."""
    content = md.standard_fields(
        md.picklist("Stage__c", "open").replace("<label>open</label>", "<label>Still Open</label>")
        + list_view("Open", criterion("Stage__c", "equals", "Still Open"), columns=("Stage__c",))
    )
    result = billed.deploy(
        md.package_zip(
            {
                "objects/T_Invoice__c.object": content,
                "permissionsets/S.permissionset": md.permission_set(
                    {}, {"T_Invoice__c.Stage__c": "rw"}
                ),
            },
            {"CustomField": ["T_Invoice__c.Stage__c"], "ListView": ["T_Invoice__c.Open"],
             "PermissionSet": ["S"]},
        )
    )  # fmt: skip
    assert result.problems == []
    for each in (ADMIN, INTEGRATION):
        billed.assign_permission_set(each, "S")
    billed.insert("T_Invoice__c", {"Invoice_ID__c": "s", "Stage__c": "open"})
    billed.insert("T_Invoice__c", {"Invoice_ID__c": "t", "Stage__c": "other"})
    assert [row.values for row in run(billed, "Open").rows] == [("open",)]
    results = rest.call("GET", "sobjects/T_Invoice__c/listviews/Open/results").json()
    assert results["records"][0]["columns"][0]["value"] == "Still Open"
    labelled = rest.values("SELECT toLabel(Stage__c) FROM T_Invoice__c WHERE Stage__c != null "
                           "ORDER BY Invoice_ID__c", "Stage__c")  # fmt: skip
    assert labelled == ["Still Open", "other"]
