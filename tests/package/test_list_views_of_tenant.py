"""Every list view of the package shows what the documents of a tenant say it must.

Only columns that the expectation knows are compared; what a platform or the product stamps by
itself (numbers of records, times of writing) is looked at elsewhere.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce.listviews import list_views, run_list_view
from tests.expectation import (
    ADJUSTMENT,
    CUSTOMER,
    CUSTOMER_PLAN,
    GRANT,
    INVOICE,
    LINE,
    PLAN,
    SUB_LINE,
    USAGE,
    Json,
)
from tests.package.company import READER, RUN, TODAY, Company, active, percent

TODAY_TEXT = TODAY.isoformat()
SINCE = (TODAY - timedelta(days=30)).isoformat()
UNTIL = (TODAY + timedelta(days=30)).isoformat()


def everything(row: Json) -> bool:
    """A view of all rows."""
    return bool(row)


def in_effect(row: Json) -> bool:
    """Whether a customer has a plan today."""
    ends = row["Ending_On__c"]
    return row["Starting_On__c"] <= TODAY_TEXT and (ends is None or ends > TODAY_TEXT)


def low(row: Json) -> bool:
    """Whether less than a fifth of a grant in effect is left."""
    granted = row["Initial_Grant_Amount__c"] or 0
    return active(row) and granted > 0 and row["Balance_Including_Pending__c"] < 0.2 * granted


def expiring(row: Json) -> bool:
    """Whether a grant in effect, not used up, ends within thirty days from tomorrow."""
    ends, left = row["Expiration_Date__c"], row["Balance_Including_Pending__c"] or 0
    return active(row) and left > 0 and ends is not None and TODAY_TEXT < ends <= UNTIL


VIEWS: dict[tuple[str, str], Callable[[Json], bool]] = {
    **{
        (sobject, "All"): everything
        for sobject in (
            CUSTOMER, PLAN, CUSTOMER_PLAN, INVOICE, LINE, SUB_LINE, ADJUSTMENT, GRANT, USAGE,
        )
    },
    (CUSTOMER, "Orphaned"): lambda row: not row["Is_Linked__c"] and not row["Link_Pending__c"],
    (CUSTOMER, "Linked"): lambda row: row["Is_Linked__c"] and not row["Link_Pending__c"],
    (CUSTOMER, "Link_Pending"): lambda row: row["Link_Pending__c"],
    (CUSTOMER, "Top_Spend"): lambda row: (row["Current_Spend__c"] or 0) > 0,
    (CUSTOMER_PLAN, "Active"): in_effect,
    (INVOICE, "Current_Draft"): lambda row: row["Status__c"] == "Draft",
    (GRANT, "Running_Low"): low,
    (GRANT, "Expiring_in_30_Days"): expiring,
    (USAGE, "Last_30_Days"): lambda row: SINCE <= row["Start__c"] <= TODAY_TEXT,
}  # fmt: skip
RUN_VIEWS = {"All", "Latest", "With_Rejected_Rows"}


def shown(row: Json, column: str, company: Company) -> Any:
    """What a column must show of a row; KeyError where the expectation does not know."""
    match column:
        case "NAME":
            return row["Name"]
        case "Account__c":
            return row["Account"]
        case "Plan__c":
            return company.content[PLAN][(row[column],)].fields["Name"]
        case "Invoice__c":
            return company.content[INVOICE][(row[column],)].fields["Name"]
        case "Percent_Remaining__c":
            return percent(row) if (row["Initial_Grant_Amount__c"] or 0) > 0 else None
        case "Days_To_Expiration__c":
            return float((date.fromisoformat(row["Expiration_Date__c"]) - TODAY).days)
        case "Is_Active__c":
            return active(row) if "Expiration_Date__c" in row else in_effect(row)
        case "Invoice_Line_Item__c":
            return company.line_names[row[column]]
    return row[column]


def test_all_views_are_looked_at_here(company: Company) -> None:
    state = company.stage.org.state
    objects = {name for name, _ in VIEWS} | {RUN}
    found = {(name, view) for name in objects for view, _ in list_views(state, name)}
    assert found == VIEWS.keys() | {(RUN, view) for view in RUN_VIEWS}


@pytest.mark.parametrize(("sobject", "view"), VIEWS, ids=[f"{a}.{b}" for a, b in VIEWS])
def test_a_view_shows_its_rows(company: Company, sobject: str, view: str) -> None:
    org = company.stage.org
    result = run_list_view(org.state, org.users[READER], sobject, view)
    kept = [row for row in company.rows(sobject) if VIEWS[sobject, view](row)]
    assert len(kept) > 0
    if view != "All":
        assert len(kept) < len(company.rows(sobject))
    unknown = {"UPDATEDBY_USER", "LAST_UPDATE"} | ({"NAME"} if sobject == USAGE else set())
    columns = [each.name for each in result.columns if each.name not in unknown]
    at = [index for index, each in enumerate(result.columns) if each.name in columns]
    assert len(columns) > 2 or sobject == PLAN
    assert Counter(tuple(each.values[index] for index in at) for each in result.rows) == Counter(
        tuple(shown(row, column, company) for column in columns) for row in kept
    )


def test_the_views_of_runs(company: Company) -> None:
    """All: the cycle and the four made by hand; rejected rows have two of those; one is latest."""
    org = company.stage.org

    def rejected(view: str) -> list[object]:
        result = run_list_view(org.state, org.users[READER], RUN, view)
        at = [each.name for each in result.columns].index("Rows_Rejected__c")
        return [each.values[at] for each in result.rows]

    assert rejected("All") == [0.0, 3.0, 0.0, None, 2.0]
    assert rejected("With_Rejected_Rows") == [3.0, 2.0]
    assert rejected("Latest") == [0.0]
