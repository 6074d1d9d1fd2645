"""The Reports REST API: list, describe, runs with facts, and filters given with the run."""

from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import report_zip as rz
from tests.sandbox.salesforce.conftest import Rest, log_in

T = "T_Invoice__c$"
TYPE = [
    f"{T}{name}" for name in ("Name", "Status__c", "Start__c", "Total__c", "Rest__c", "Account__c")
]
BODY = (
    rz.columns(f"{T}Name", f"{T}Total__c:Sum", f"{T}Rest__c", f"{T}Account__c")
    + rz.grouping(f"{T}Status__c")
    + rz.grouping(f"{T}Start__c", "Month")
    + rz.filters((f"{T}Total__c", "greaterThan", "0"))
    + rz.chart(f"{T}Status__c", f"{T}Total__c", "Donut")
    + rz.tag("description", "What it tells.")
    + rz.frame(f"{T}Start__c", "INTERVAL_CUSTOM", "2026-01-01")
)


@pytest.fixture
def report(org: SalesforceOrg) -> str:
    """The id of a deployed report over three invoices, one of which is filtered out."""
    account = org.insert("Account", {"Name": "Big"})
    for name, status, start, total, paid in (
        ("Alpha", "Draft", "2026-01-05", 1234.5, 617.25),
        ("Beta", None, "2026-02-01", 0.5, 0.0),
        ("Gamma", "Draft", "2026-01-09", 0.0, 0.0),
    ):
        org.insert("T_Invoice__c", {
            "Name": name, "Invoice_ID__c": name, "Status__c": status, "Start__c": start,
            "Total__c": total, "Paid__c": paid, "Account__c": account,
        })  # fmt: skip
    deployed = rz.deploy(org, rz.things(BODY, kind="Summary", type_columns=TYPE))
    assert rz.problems(deployed) == []
    return org.state.components["Report", "F/R"].id


@pytest.fixture
def admin(org: SalesforceOrg, served: Served) -> Rest:
    return log_in(org, served, ADMIN)


def got(rest: Rest, path: str, **more: Any) -> Any:
    """The JSON of a GET that must succeed."""
    answer = rest.call("GET", path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_list_holds_what_the_user_may_open(
    org: SalesforceOrg, served: Served, admin: Rest, report: str
) -> None:
    [listed] = got(admin, "analytics/reports")
    assert (listed["id"], listed["name"]) == (report, "A Report")
    assert got(admin, listed["url"])["attributes"]["reportId"] == report
    assert got(admin, listed["describeUrl"])["reportMetadata"]["id"] == report
    rz.deploy(org, {"reports/F-meta.xml": rz.folder(shares="")})
    other = log_in(org, served, INTEGRATION)
    assert got(other, "analytics/reports") == []
    refused = other.call("GET", f"analytics/reports/{report}")
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (403, "FORBIDDEN")


def test_a_run_with_details(org: SalesforceOrg, admin: Rest, report: str) -> None:
    found = got(admin, f"analytics/reports/{report[:15]}", params={"includeDetails": "true"})
    rows = {each["Name"]: each for each in org.rows("T_Invoice__c")}
    [account] = org.rows("Account")
    assert found["attributes"]["reportName"] == "A Report"
    assert (found["allData"], found["hasDetailRows"]) == (True, True)
    assert found["groupingsAcross"] == {"groupings": []}
    assert found["groupingsDown"]["groupings"] == [
        {"key": "0", "label": "-", "value": None, "groupings": [
            {"key": "0_0", "label": "February 2026", "value": "2026-02-01", "groupings": []},
        ]},
        {"key": "1", "label": "Draft", "value": "Draft", "groupings": [
            {"key": "1_0", "label": "January 2026", "value": "2026-01-01", "groupings": []},
        ]},
    ]  # fmt: skip
    facts = found["factMap"]
    assert sorted(facts) == ["0!T", "0_0!T", "1!T", "1_0!T", "T!T"]
    assert facts["T!T"]["aggregates"] == [
        {"label": "1,235.00", "value": 1235.0}, {"label": "2", "value": 2},
    ]  # fmt: skip
    assert facts["1!T"] == {
        "aggregates": [{"label": "1,234.50", "value": 1234.5}, {"label": "1", "value": 1}],
        "rows": [],
    }
    assert facts["1_0!T"]["rows"] == [{"dataCells": [
        {"label": "Alpha", "value": rows["Alpha"]["Id"]},
        {"label": "1,234.50", "value": 1234.5},
        {"label": "50.0%", "value": 50.0},
        {"label": "Big", "value": account["Id"]},
    ]}]  # fmt: skip
    extended = found["reportExtendedMetadata"]
    assert extended["aggregateColumnInfo"][f"s!{T}Total__c"]["label"] == "Sum of Total"
    assert extended["detailColumnInfo"][f"{T}Rest__c"] == {"dataType": "percent", "label": "Rest"}
    assert extended["groupingColumnInfo"] == {
        f"{T}Status__c": {"dataType": "picklist", "groupingLevel": 0, "label": "Status"},
        f"{T}Start__c": {"dataType": "date", "groupingLevel": 1, "label": "Start"},
    }
    metadata = found["reportMetadata"]
    assert (metadata["reportFormat"], metadata["developerName"]) == ("SUMMARY", "R")
    assert metadata["reportType"] == {"label": "Things", "type": "Things__c"}
    assert metadata["aggregates"] == [f"s!{T}Total__c", "RowCount"]
    assert metadata["description"] == "What it tells."
    assert metadata["chart"]["groupings"] == [f"{T}Status__c"]
    assert metadata["folderId"].startswith("00l")
    assert metadata["standardDateFilter"]["startDate"] == "2026-01-01"


def test_without_details_there_are_sums_only(admin: Rest, report: str) -> None:
    found = got(admin, f"analytics/reports/{report}")
    assert not found["hasDetailRows"]
    assert [sorted(each) for each in found["factMap"].values()] == [["aggregates"]] * 5


def test_filters_that_come_with_the_run(admin: Rest, report: str) -> None:
    def run(metadata: Any) -> Any:
        return admin.call("POST", f"analytics/reports/{report}", json={"reportMetadata": metadata})

    def item(column: str, operator: str, value: str) -> dict[str, str]:
        return {"column": T + column, "operator": operator, "value": value}

    both = [item("Name", "equals", "Gamma"), item("Total__c", "lessThan", "1")]
    for logic, count in (("1 AND 2", 1), ("1 OR 2", 2), (None, 1)):
        body = {"reportFilters": both, "reportBooleanFilter": logic}
        assert run(body).json()["factMap"]["T!T"]["aggregates"][-1]["value"] == count
    assert admin.call("POST", f"analytics/reports/{report}").json()["factMap"]["T!T"] == {
        "aggregates": [{"label": "1,235.00", "value": 1235.0}, {"label": "2", "value": 2}]
    }
    refused: list[tuple[Any, str]] = [
        ({"reportFilters": [item("Nix__c", "equals", "1")]},
         f"Invalid field '{T}Nix__c' in the report's filters"),
        ({"reportFilters": [item("Total__c", "contains", "1")]},
         f"Invalid filter operator 'contains' for double field {T}Total__c"),
        ({"reportBooleanFilter": "1 AND 2"},
         "The filter logic references an undefined filter: 2."),
        ({"reportFormat": "TABULAR"}, "reportMetadata.reportFormat: not modelled by this org"),
    ]  # fmt: skip
    for body, message in refused:
        answer = run(body)
        assert answer.status_code == 400
        assert answer.json() == [{"message": message, "errorCode": "BAD_REQUEST"}]


def test_describe_lists_what_may_be_filtered_how(
    org: SalesforceOrg, served: Served, report: str
) -> None:
    """As the user sees it: a field without access is in no category."""
    rest = log_in(org, served, INTEGRATION)
    found = got(rest, f"analytics/reports/{report}/describe")
    [category] = found["reportTypeMetadata"]["categories"]
    assert category["label"] == "Columns"
    assert list(category["columns"]) == TYPE
    assert category["columns"][f"{T}Status__c"]["filterValues"] == [
        {"label": each, "name": each} for each in ("Draft", "Finalized", "Void")
    ]
    operators = found["reportTypeMetadata"]["dataTypeFilterOperatorMap"]
    assert {each["name"] for each in operators["double"]} == {
        "equals", "notEqual", "lessThan", "greaterThan", "lessOrEqual", "greaterOrEqual",
    }  # fmt: skip
    org.add_user("stranger@sandbox.example")
    stranger = log_in(org, served, "stranger@sandbox.example")
    answer = stranger.call("GET", f"analytics/reports/{report}/describe")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "FORBIDDEN")


def test_paths_and_methods_that_are_none(admin: Rest, report: str) -> None:
    for method, path, status in (
        ("GET", "analytics/reports/00O000000000001AAA", 404),
        ("GET", f"analytics/reports/{report}/instances", 404),
        ("GET", "analytics/dashboards", 404),
        ("DELETE", f"analytics/reports/{report}", 405),
        ("POST", "analytics/reports", 405),
    ):
        assert admin.call(method, path).status_code == status
