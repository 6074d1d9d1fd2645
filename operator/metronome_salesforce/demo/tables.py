"""What the emulated org holds, as tables: counted there, not told by the operator."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tabulate import tabulate

from metronome_salesforce.demo.stage import ORPHANS
from metronome_salesforce.sandbox.salesforce import SalesforceOrg

SYNC_RUN = "Metronome_Sync_Run__c"
_HANGING = {
    "Metronome_Customer_Plan__c": "plans",
    "Metronome_Invoice__c": "invoices",
    "Metronome_Credit_Grant__c": "credit grants",
    "Metronome_Usage__c": "usage rows",
}
_ROWS_SHOWN = 12
_NAME_SHOWN = 40
_NONE = "-"

Json = dict[str, Any]


def rows_written(org: SalesforceOrg) -> int:
    """How many rows the org counted as written, without the records of the runs themselves."""
    return sum(count for (sobject, _), count in org.statistics.rows.items() if sobject != SYNC_RUN)


def last_run_text(org: SalesforceOrg) -> str:
    """What the newest record of a run says."""
    run = org.rows(SYNC_RUN)[-1]
    return f"Its record in Salesforce: {run['Name']}, {run['Trigger__c']}, {run['Outcome__c']}."


def written_table(org: SalesforceOrg) -> str:
    """The rows that the org counted as written, by object."""
    counts: dict[str, Counter[str]] = {}
    for (sobject, operation), count in org.statistics.rows.items():
        counts.setdefault(sobject, Counter())[operation] += count
    rows = [
        (sobject, *(f"{of[what]}" for what in ("insert", "update", "delete")), org.count(sobject))
        for sobject, of in sorted(counts.items())
    ]
    return _table(rows, ("object", "inserted", "updated", "deleted", "rows now"), "lrrrr")


def customers_table(org: SalesforceOrg) -> str:
    """Linked and orphaned customers with their sums, the largest current spend first."""
    accounts = {row["Id"]: row for row in org.rows("Account")}
    rows: list[tuple[Decimal, Sequence[str]]] = []
    for one in org.rows(ORPHANS):
        account = accounts.get(one["Account__c"])
        spend = one["Current_Spend__c"]
        row = (
            _name(one["Name"]),
            _NONE if account is None else _name(account["Name"]),
            _amount(spend),
            one["Currency__c"] or _NONE,
            _amount(one["Last_Invoice_Total__c"]),
            _amount(one["Credit_Balance__c"]),
        )
        rows.append((Decimal(str(spend or 0)), row))
    rows.sort(key=lambda pair: -pair[0])
    headers = ("customer", "Account", "current spend", "unit", "last invoice", "credit balance")
    return _table([row for _, row in rows[:_ROWS_SHOWN]], headers, "llrlrr")


def record_of(org: SalesforceOrg, customer_id: str) -> Json:
    """The Orphaned Customer record of a customer."""
    (record,) = (row for row in org.rows(ORPHANS) if row["Metronome_Customer_ID__c"] == customer_id)
    return record


def account_text(org: SalesforceOrg, customer_id: str) -> str:
    """What hangs on the Account of a customer, and on its Orphaned Customer record still."""
    record = record_of(org, customer_id)
    on_account = _counts(org, "Account__c", record["Account__c"])
    left = sum(_counts(org, "Orphaned_Customer__c", record["Id"]).values())
    return (
        f"On the Account {_name(record['Name'])} hang now: {_listed(on_account)}.\n"
        f"Left on its Orphaned Customer record: {left} rows."
    )


def orphan_text(org: SalesforceOrg, customer_id: str, account_id: str) -> str:
    """What hangs on the Orphaned Customer record of a customer, and on an Account still."""
    record = record_of(org, customer_id)
    on_record = _counts(org, "Orphaned_Customer__c", record["Id"])
    left = sum(_counts(org, "Account__c", account_id).values())
    return (
        f"On the Orphaned Customer record hang again: {_listed(on_record)}.\n"
        f"Left on the Account: {left} rows."
    )


def _counts(org: SalesforceOrg, lookup: str, target: str) -> dict[str, int]:
    return {what: _hanging(org, what, lookup, target) for what in _HANGING}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{_HANGING[what]} {count}" for what, count in counts.items())


def _hanging(org: SalesforceOrg, sobject: str, lookup: str, target: str) -> int:
    return sum(1 for row in org.rows(sobject) if row[lookup] == target)


def invoice_text(org: SalesforceOrg) -> str:
    """One invoice with all that hangs on it: the one with the most charges and adjustments."""
    lines = _by(org, "Metronome_Invoice_Line_Item__c", "Invoice__c")
    charges = _by(org, "Metronome_Invoice_Sub_Line_Item__c", "Invoice_Line_Item__c")
    adjustments = _by(org, "Metronome_Invoice_Adjustment__c", "Invoice__c")
    invoices = org.rows("Metronome_Invoice__c")
    if not invoices:
        return "\nThere are no invoices."
    invoice = max(
        invoices,
        key=lambda row: (
            len(adjustments.get(row["Id"], ()))
            + sum(len(charges.get(line["Id"], ())) for line in lines.get(row["Id"], ())),
            row["Name"],
        ),
    )
    table: list[Sequence[str]] = []
    for line in lines.get(invoice["Id"], ()):
        unit = line["Credit_Type_Name__c"]
        table.append(
            (
                *("line item", line["Name"], _quantity(line["Quantity__c"])),
                *(_amount(line["Total__c"]), unit),
            )
        )
        table.extend(
            (
                *("  charge", charge["Name"], _quantity(charge["Quantity__c"])),
                *(_amount(charge["Subtotal__c"]), unit),  # charges are in the unit of their line
            )
            for charge in charges.get(line["Id"], ())
        )
    table.extend(
        ("adjustment", one["Name"], _NONE, _amount(one["Total__c"]), one["Credit_Type__c"])
        for one in adjustments.get(invoice["Id"], ())
    )
    return (
        f"\nOne invoice: {invoice['Name']} ({invoice['Status__c']}), "
        f"total {_amount(invoice['Total__c'])} {invoice['Currency__c']}\n"
        + _table(table, ("", "name", "quantity", "amount", "unit"), "llrrl")
    )


def _by(org: SalesforceOrg, sobject: str, parent: str) -> dict[str, list[Json]]:
    grouped: dict[str, list[Json]] = {}
    for row in org.rows(sobject):
        grouped.setdefault(row[parent], []).append(row)
    return grouped


def _name(text: str) -> str:
    return text if len(text) <= _NAME_SHOWN else f"{text[: _NAME_SHOWN - 1]}…"


def _amount(value: Any) -> str:
    return _NONE if value is None else f"{Decimal(str(value)):,.2f}"


def _quantity(value: Any) -> str:
    if value is None:
        return _NONE
    number = Decimal(str(value))
    return f"{number:,.0f}" if number == number.to_integral_value() else f"{number.normalize():,f}"


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str], align: str) -> str:
    """A table, indented; `align` has an l or r for each column."""
    if not rows:
        return "  (nothing)"
    sides = ["right" if one == "r" else "left" for one in align]
    text = tabulate(rows, headers=headers, disable_numparse=True, colalign=sides)
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
