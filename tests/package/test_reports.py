"""Every report of the package returns what the tenant's documents say it must.

A generated tenant is synced into an org; what each report has to show is then worked out from
`tests.expectation`, which knows Metronome's documents alone, and compared with the run.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from metronome_salesforce.sandbox.salesforce import SalesforceError
from metronome_salesforce.sandbox.salesforce.dashboards import dashboards, run_dashboard
from metronome_salesforce.sandbox.salesforce.reports import (
    ReportGroup,
    ReportResult,
    reports,
)
from tests.expectation import CUSTOMER, GRANT, INVOICE, LINE, USAGE, Json
from tests.package.company import READER, TODAY, Company, active, percent
from tests.stage import NOW, Stage

SPEND = frozenset({"Draft", "Finalized"})


# -- working it out ------------------------------------------------------------------------------


def exact(values: Iterable[float | None]) -> float:
    """The sum of what is not blank."""
    return float(sum((Decimal(str(each)) for each in values if each is not None), Decimal()))


def totals(rows: Iterable[Json], *names: str) -> tuple[float, ...]:
    """The sums of fields."""
    known = list(rows)
    return tuple(exact(row[name] for row in known) for name in names)


def grouped(rows: Iterable[Json], *keys: Callable[[Json], Hashable]) -> dict[Any, list[Json]]:
    """The rows by their keys."""
    found: dict[Any, list[Json]] = defaultdict(list)
    for row in rows:
        found[tuple(key(row) for key in keys)].append(row)
    return dict(found)


def field(name: str) -> Callable[[Json], Any]:
    """A key: the value of a field."""
    return lambda row: row[name]


def leaves(result: ReportResult) -> dict[Any, ReportGroup]:
    """The innermost groups by the values that lead to them."""
    found: dict[Any, ReportGroup] = {}

    def walk(groups: Iterable[ReportGroup], path: tuple[object, ...]) -> None:
        for each in groups:
            if each.groups:
                walk(each.groups, (*path, each.value))
            else:
                assert (*path, each.value) not in found
                found[(*path, each.value)] = each

    walk(result.groups, ())
    return found


def sums(result: ReportResult) -> dict[Any, tuple[object, ...]]:
    """The aggregates of the innermost groups."""
    return {path: each.aggregates for path, each in leaves(result).items()}


def check_levels(result: ReportResult) -> None:
    """Blank or smaller units come first, and a group counts what is in it, as does the total."""
    labels = [each.label for each in result.groups]
    assert labels == sorted(labels, key=lambda label: (label != "-", label.casefold()))
    assert sum(each.aggregates[-1] for each in result.groups) == result.totals[-1]  # type: ignore[misc]
    for each in result.groups:
        assert sum(inner.aggregates[-1] for inner in each.groups) == each.aggregates[-1]  # type: ignore[misc]


def descending(result: ReportResult) -> bool:
    """Whether the groups of each unit stand by their first sum, the largest first."""
    return all(
        [inner.aggregates[at] for inner in each.groups]
        == sorted((inner.aggregates[at] for inner in each.groups), reverse=True)  # type: ignore[type-var]
        for each in result.groups
        for at in [_sorted_by(result)]
    )


def _sorted_by(result: ReportResult) -> int:
    names = [each.name for each in result.aggregates]
    return next(at for at, name in enumerate(names) if name.endswith(("Total__c", "Spend__c")))


# -- the reports ---------------------------------------------------------------------------------


def test_all_reports_are_looked_at_here(company: Company) -> None:
    assert [name for name, _ in reports(company.stage.org.state)] == [
        f"Metronome/{name}" for name in (
            "Credits_Expiring_Next", "Credits_Running_Low", "Customers_with_a_Link_Pending",
            "Rejected_Rows", "Spend_History_by_Month", "Spend_by_Account", "Spend_by_Product",
            "Top_Orphaned_Customers_by_Monthly_Spend", "Usage_Trend",
        )
    ]  # fmt: skip


def test_top_orphaned_customers_by_monthly_spend(company: Company) -> None:
    result = company.run("Top_Orphaned_Customers_by_Monthly_Spend")
    kept = [
        row for row in company.rows(CUSTOMER)
        if not row["Is_Linked__c"] and not row["Archived__c"] and (row["Current_Spend__c"] or 0) > 0
    ]  # fmt: skip
    names = ("Current_Spend__c", "Last_Invoice_Total__c", "Credit_Balance__c")
    expected = {
        path: (*totals(rows, *names), len(rows))
        for path, rows in grouped(kept, field("Currency__c"), field("Name")).items()
    }
    assert len(expected) > 5
    assert sums(result) == expected
    check_levels(result)
    assert descending(result)
    assert company.pending not in {row["Metronome_Customer_ID__c"] for row in kept}


def test_spend_history_by_month(company: Company) -> None:
    result = company.run("Spend_History_by_Month")
    kept = [row for row in company.rows(INVOICE) if row["Status__c"] in SPEND]
    expected = {
        path: (exact(row["Total__c"] for row in rows), len(rows))
        for path, rows in grouped(
            kept, field("Currency__c"),
            lambda row: row["Start__c"] and f"{row['Start__c'][:7]}-01",
        ).items()
    }  # fmt: skip
    assert len(expected) > 5
    assert sums(result) == expected
    check_levels(result)
    for each in result.groups:
        months = [str(inner.value or "") for inner in each.groups]
        assert months == sorted(months)


def test_spend_by_account(company: Company) -> None:
    """The Accounts' invoices; of the one without any, nothing, though it is linked."""
    result = company.run("Spend_by_Account")
    kept = [row for row in company.rows(INVOICE) if row["Account"] and row["Status__c"] in SPEND]
    expected = {
        path: (exact(row["Total__c"] for row in rows), len(rows))
        for path, rows in grouped(kept, field("Currency__c"), field("Account")).items()
    }
    assert {name for _, name in expected} == {"Acme", "Beta"}
    assert sums(result) == expected
    check_levels(result)
    assert descending(result)


def test_spend_by_product(company: Company) -> None:
    result = company.run("Spend_by_Product")
    status = {key[0]: row.fields["Status__c"] for key, row in company.content[INVOICE].items()}
    kept = [row for row in company.rows(LINE) if status[row["Invoice__c"]] in SPEND]
    expected = {
        path: (
            *(exact(row[name] for row in rows) for name in ("Quantity__c", "Total__c")),
            len(rows),
        )
        for path, rows in grouped(kept, field("Credit_Type_Name__c"), field("Full_Name__c")).items()
    }
    assert len(expected) > 5
    assert sums(result) == expected
    check_levels(result)
    assert descending(result)


def check_grants(result: ReportResult, kept: list[Json], names: tuple[str, ...]) -> None:
    """Each group holds its grants' names, values and sums; amounts of one unit only."""
    by = [each.name.partition("$")[2] for each in result.groupings]
    expected = grouped(kept, *(field(name) for name in by))
    assert len(expected) > 1
    found = leaves(result)
    assert found.keys() == expected.keys()
    summed = [each.name.partition("$")[2] for each in result.aggregates[:-1]]
    for path, rows in expected.items():
        group = found[path]
        assert sorted(map(repr, (row.values for row in group.rows))) == sorted(
            map(repr, (tuple(row[name] for name in names) for row in rows))
        )
        assert group.aggregates == (
            *(exact(row[name] for row in rows) for name in summed),
            len(rows),
        )
    check_levels(result)


def test_credits_running_low(company: Company) -> None:
    result = company.run("Credits_Running_Low")
    kept = [
        {**row, "percent": percent(row)} for row in company.rows(GRANT)
        if active(row) and (row["Initial_Grant_Amount__c"] or 0) > 0
        and row["Balance_Including_Pending__c"] < 0.2 * row["Initial_Grant_Amount__c"]
    ]  # fmt: skip
    names = (
        "Name", "Account", "percent", "Balance_Including_Pending__c", "Initial_Grant_Amount__c",
        "Expiration_Date__c",
    )  # fmt: skip
    check_grants(result, kept, names)


def test_credits_expiring_next(company: Company) -> None:
    result = company.run("Credits_Expiring_Next")
    until = (TODAY + timedelta(days=60)).isoformat()
    kept = [
        {
            **row, "percent": percent(row),
            "days": float((date.fromisoformat(row["Expiration_Date__c"]) - TODAY).days),
        }
        for row in company.rows(GRANT)
        if active(row) and row["Expiration_Date__c"] is not None
        and row["Expiration_Date__c"] <= until and row["Balance_Including_Pending__c"] > 0
    ]  # fmt: skip
    names = (
        "Name", "Customer_Name__c", "Account", "days", "Balance_Including_Pending__c", "percent",
    )  # fmt: skip
    check_grants(result, kept, names)


def test_usage_trend(company: Company) -> None:
    result = company.run("Usage_Trend")
    since = (TODAY - timedelta(days=30)).isoformat()
    kept = [row for row in company.rows(USAGE) if since <= row["Start__c"] <= TODAY.isoformat()]
    expected = {
        path: (exact(row["Value__c"] for row in rows), len(rows))
        for path, rows in grouped(kept, field("Billable_Metric_Name__c"), field("Start__c")).items()
    }
    assert len(kept) < len(company.rows(USAGE))
    assert len(expected) > 60
    assert sums(result) == expected
    check_levels(result)


def test_customers_with_a_link_pending(company: Company) -> None:
    """The one that a person has just linked; those that a cycle has linked are done."""
    result = company.run("Customers_with_a_Link_Pending")
    [name] = [
        row["Name"] for row in company.rows(CUSTOMER)
        if row["Metronome_Customer_ID__c"] == company.pending
    ]  # fmt: skip
    clerk = company.stage.org.users[company.stage.clerk()].name
    moment = NOW.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    assert [each.values for each in result.rows] == [
        (name, "Empty", True, False, None, None, clerk, moment)
    ]
    assert [each.references[1] for each in result.rows] == [company.accounts["Empty"]]


def test_rejected_rows(company: Company) -> None:
    """Runs that had any, the newest day first; not the cycle that had none."""
    result = company.run("Rejected_Rows")
    shown = [
        (each.label, each.aggregates, [(row.values[1], row.values[4], row.values[5])
                                       for row in each.rows])
        for each in result.groups
    ]  # fmt: skip
    assert shown == [
        ("3/2/2026", (2.0, 1), [("billing/made", 2.0, "Rejected 2")]),
        ("3/1/2026", (3.0, 1), [("billing/made", 3.0, "Rejected 3")]),
    ]
    assert result.totals == (5.0, 2)


def test_a_dashboard_is_for_those_only_whom_it_is_shared_with() -> None:
    """It shows what whoever deployed it may see, whatever its viewer may."""
    with Stage(customers=2, months=1) as stage:
        stage.org.add_user("guest@sandbox.example")
        guest = stage.org.users["guest@sandbox.example"]
        with pytest.raises(SalesforceError):
            run_dashboard(stage.org.state, guest, "Metronome/Metronome_Overview")


def test_the_dashboard_draws_the_same_numbers(company: Company) -> None:
    org = company.stage.org
    assert dashboards(org.state) == [("Metronome/Metronome_Overview", "Metronome Overview")]
    board = run_dashboard(org.state, org.users[READER], "Metronome/Metronome_Overview")
    assert [each.problem for each in board.components] == [None] * 4
    assert [each.report.partition("/")[2] for each in board.components] == [
        "Spend_History_by_Month", "Top_Orphaned_Customers_by_Monthly_Spend", "Spend_by_Account",
        "Credits_Expiring_Next",
    ]  # fmt: skip
    for each in board.components:
        assert each.result is not None
        totals = {
            (point.label, part.label): part.amounts[0]
            for point in each.points
            for part in point.series
        }
        assert len(totals) > 1
        report = company.run(each.report.partition("/")[2])
        names = [one.name for one in report.groupings]
        assert each.grouping is not None
        assert each.series is not None
        order = [names.index(one.name) for one in (each.grouping, each.series)]
        at = [one.label for one in report.aggregates].index(each.aggregates[0])
        labels = {
            tuple((outer.label, inner.label)[place] for place in order): inner.aggregates[at]
            for outer in report.groups
            for inner in outer.groups
        }
        assert totals.items() <= labels.items()
        shown = {point.label for point in each.points}
        assert len(shown) == min(len({one for one, _ in labels}), 10)
        if each.report.endswith("_by_Month"):
            continue
        # Those that were left out have no more than those that are there.
        sums: dict[str, float] = {}
        for (label, _), amount in labels.items():
            sums[label] = sums.get(label, 0) + float(str(amount or 0))
        left = [amount for label, amount in sums.items() if label not in shown]
        assert min(sums[label] for label in shown) >= max(left, default=0)
