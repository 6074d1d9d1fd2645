"""What every Salesforce row must hold, worked out from the emulated tenant's own documents.

Written from the package's field dictionary and Metronome's API reference alone: it shares no code
with the product, so that a misunderstanding of ours cannot hide on both sides of a comparison.

Line items and adjustments have no id, and the hash in their keys is the product's own affair. Here
each has an `identity` (what it is, whatever it costs at the moment) to count changes by, and a
`place` (where it stands) to find its row in the org by.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from metronome_salesforce.sandbox.metronome import Tenant
from metronome_salesforce.sandbox.salesforce import SalesforceOrg

CUSTOMER = "Metronome_Orphan_Customer__c"
PLAN = "Metronome_Plan__c"
CUSTOMER_PLAN = "Metronome_Customer_Plan__c"
INVOICE = "Metronome_Invoice__c"
LINE = "Metronome_Invoice_Line_Item__c"
SUB_LINE = "Metronome_Invoice_Sub_Line_Item__c"
ADJUSTMENT = "Metronome_Invoice_Adjustment__c"
GRANT = "Metronome_Credit_Grant__c"
USAGE = "Metronome_Usage__c"
ACCOUNT = "Account"
SOBJECTS = (
    *(CUSTOMER, PLAN, CUSTOMER_PLAN, INVOICE, LINE, SUB_LINE, ADJUSTMENT, GRANT, USAGE),
    ACCOUNT,
)
PLACED = (CUSTOMER_PLAN, INVOICE, GRANT, USAGE)
"""The objects whose rows hang on an Account or an Orphaned Customer themselves."""

_KEYS = {
    CUSTOMER: "Metronome_Customer_ID__c",
    PLAN: "Metronome_Plan_ID__c",
    CUSTOMER_PLAN: "Metronome_Customer_Plan_ID__c",
    INVOICE: "Metronome_Invoice_ID__c",
    GRANT: "Metronome_Credit_Grant_ID__c",
    USAGE: "External_ID__c",
    ACCOUNT: "Id",
}
_OWN_AFFAIR = {
    # Time and fingerprint of the product's own write, and keys that are checked for themselves.
    *("Last_Synced__c", "Sync_Hash__c", "External_ID__c", "Metronome_Last_Synced__c"),
    # Formulas that depend on the day on which they are looked at.
    *("Is_Active__c", "Days_To_Expiration__c", "Percent_Remaining__c", "Amount_Used__c"),
    "Is_Running_Low__c",
    "Metronome_Link__c",
}
_CHILD_KEY = {
    LINE: re.compile(r"(?P<parent>[^:]+):[0-9a-f]{16}:[1-9][0-9]*"),
    SUB_LINE: re.compile(r"(?P<parent>[^:]+:[0-9a-f]{16}:[0-9]+):[0-9a-f]{16}:[1-9][0-9]*"),
    ADJUSTMENT: re.compile(r"(?P<parent>[^:]+):adj:[0-9a-f]{16}:[1-9][0-9]*"),
}

_LONG_AGO = "0001-01-01T00:00:00+00:00"
Json = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """One row that must be there. `customer` and `invoice` tell to whom and what it belongs."""

    identity: Key
    place: Key
    fields: Mapping[str, Any]
    customer: str | None = None
    invoice: str | None = None


Content = dict[str, dict[Key, Expected]]
"""Rows by sObject and identity."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the MetronomeSync and the org bears on the content.

    `usage_from` is the first day of usage the org was ever given; `accounts` the ids of its
    Accounts; `statuses` those of invoices as Metronome writes them.
    """

    now: datetime
    usage_from: date
    window_size: str = "Day"
    skip_zero: bool = True
    accounts: Collection[str] = ()
    id_field: str = "salesforce_account_id"
    statuses: Collection[str] | None = None
    sobjects: Collection[str] = SOBJECTS


# -- values -------------------------------------------------------------------------------------


def text(value: object, length: int = 255) -> str | None:
    """One line of at most `length` UTF-16 units, an ellipsis for what was cut; None for nothing."""
    if value is None:
        return None
    return _cut(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", str(value)).strip(), length)


def long_text(value: object, length: int) -> str | None:
    """Several lines of at most `length` UTF-16 units in all."""
    return None if value is None else _cut(str(value).replace("\r\n", "\n").strip(), length)


def _cut(whole: str, length: int) -> str | None:
    units = whole.encode("utf-16-le")
    if len(units) > 2 * length:
        whole = units[: 2 * (length - 1)].decode("utf-16-le", "ignore").rstrip() + "…"
    return whole or None


def number(value: Decimal | None, scale: int) -> float | None:
    """Rounded half up to `scale` decimals, as the API prints a number."""
    if value is None:
        return None
    return float(Decimal(value).quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_UP))


def moment(value: str | None) -> datetime | None:
    """A timestamp of Metronome in UTC."""
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


def day(value: str | None) -> str | None:
    """The UTC day of a timestamp."""
    found = moment(value)
    return None if found is None else found.date().isoformat()


def second(value: str | None) -> str | None:
    """A timestamp as Salesforce's API prints it."""
    found = moment(value)
    return None if found is None else found.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def whole(amount: Decimal | None, credit_type: Json) -> Decimal | None:
    """Only US dollars come in cents; every other unit comes as it is."""
    if amount is None:
        return None
    return Decimal(amount) / 100 if credit_type["name"] == "USD (cents)" else Decimal(amount)


def unit(credit_type: Json) -> str:
    """The name of the unit that people read."""
    return "USD" if credit_type["name"] == "USD (cents)" else str(credit_type["name"])


def status(value: str) -> str:
    """The status in title case."""
    return " ".join(word.capitalize() for word in value.split("_"))


# -- rows ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sums:
    """Spend and balances of one customer, or of an Account's customers, by unit."""

    spend: dict[str, Decimal] = field(default_factory=dict)
    newest: dict[str, tuple[Key, Decimal | None, str | None]] = field(default_factory=dict)
    balance: dict[str, Decimal] = field(default_factory=dict)

    def add(self, invoices: Iterable[Json], grants: Iterable[Json], now: datetime) -> None:
        for invoice in invoices:
            name, total = unit(invoice["credit_type"]), invoice["total"]
            amount = whole(total, invoice["credit_type"])
            ended, issued = invoice.get("end_timestamp"), invoice.get("issued_at")
            if invoice["status"] == "DRAFT" and invoice["type"] != "USAGE_CONSOLIDATED":
                self.spend[name] = self.spend.get(name, Decimal(0)) + (amount or 0)
            elif invoice["status"] == "FINALIZED" and (issued or ended):
                # The newest is the one that was issued last.
                rank = (moment(issued or ended), moment(ended or _LONG_AGO), invoice["id"])
                known = self.newest.get(name)
                if known is None or rank > known[0]:
                    self.newest[name] = (rank, amount, day(ended))
        for grant in grants:
            starts, ends = moment(grant["effective_at"]), moment(grant["expires_at"])
            if (starts is None or starts <= now) and (ends is None or ends > now):
                credit_type = grant["grant_amount"]["credit_type"]
                left = whole(grant["balance"]["including_pending"], credit_type)
                name = unit(credit_type)
                self.balance[name] = self.balance.get(name, Decimal(0)) + (left or 0)

    def unit(self) -> str | None:
        """The unit that speaks: of the largest spend, else the newest invoice, else the balance."""
        if self.spend:
            return min(self.spend, key=lambda one: (-self.spend[one], one))
        if self.newest:
            return max(self.newest, key=lambda one: self.newest[one][0])
        return min(self.balance, key=lambda one: (-self.balance[one], one), default=None)

    def fields(self, prefix: str = "") -> Json:
        name = self.unit()
        _, last_total, last_end = self.newest.get(name or "", (None, None, None))
        return {
            f"{prefix}Current_Spend__c": number(self.spend.get(name or ""), 2),
            f"{prefix}Last_Invoice_Total__c": number(last_total, 2),
            f"{prefix}Last_Invoice_End__c": last_end,
            f"{prefix}Credit_Balance__c": number(self.balance.get(name or ""), 2),
            f"{prefix}Currency__c": name,
        }


def expected(tenant: Tenant, settings: Settings) -> Content:
    """Every row that the org must hold after a cycle that looked at everything."""
    return _Expectation(tenant, settings).content()


class _Expectation:
    def __init__(self, tenant: Tenant, settings: Settings) -> None:
        self.tenant, self.settings = tenant, settings
        self.customers: dict[str, Json] = {
            one["id"]: one for one in tenant.customers() + tenant.customers(archived=True)
        }
        self.account_of = {id_: self._account(one) for id_, one in self.customers.items()}
        self.rows: Content = {sobject: {} for sobject in SOBJECTS}

    def content(self) -> Content:
        tenant = self.tenant
        grants = [one for one in tenant.credit_grants() if one["customer_id"] in self.customers]
        sums: dict[str, _Sums] = {}
        for id_ in self.customers:
            invoices = tenant.invoices(id_)
            sums[id_] = _Sums()
            sums[id_].add(
                invoices,
                (one for one in grants if one["customer_id"] == id_),
                self.settings.now,
            )
            for invoice in invoices:
                if self.settings.statuses is None or invoice["status"] in self.settings.statuses:
                    self._invoice(id_, invoice)
            self._customer(id_, sums[id_])
        self._accounts(sums)
        for plan in tenant.plans():
            self._plan(plan)
        for grant in grants:
            self._grant(grant)
        self._usage()
        return {
            sobject: rows if sobject in self.settings.sobjects else {}
            for sobject, rows in self.rows.items()
        }

    def _add(self, sobject: str, identity: Key, place: Key, fields: Json, **belongs: str) -> None:
        assert identity not in self.rows[sobject], f"two {sobject} are one: {identity}"
        self.rows[sobject][identity] = Expected(identity, place, fields, **belongs)

    def _account(self, customer: Json) -> str | None:
        name = self.settings.id_field
        if name.startswith("customFields."):
            wanted = customer["custom_fields"].get(name.removeprefix("customFields."))
        else:
            wanted = customer["customer_config"]["salesforce_account_id"]
        found = [one for one in self.settings.accounts if wanted and one[:15] == wanted[:15]]
        return found[0] if found else None

    def _hangs_on(self, customer_id: str) -> Json:
        account = self.account_of[customer_id]
        return {
            "Account__c": account,
            "Orphaned_Customer__c": customer_id if account is None else None,
            "Metronome_Customer_ID__c": customer_id,
            "Customer_Name__c": text(self.customers[customer_id]["name"]),
        }

    def _customer(self, id_: str, sums: _Sums) -> None:
        customer, account = self.customers[id_], self.account_of[id_]
        self._add(
            CUSTOMER,
            (id_,),
            (id_,),
            {
                "Name": text(customer["name"], 80) or id_[:80],
                "Metronome_Customer_ID__c": id_,
                "Full_Name__c": text(customer["name"]),
                "Account__c": account,
                "Linked_Account_ID__c": account,
                "Link_Source__c": None if account is None else "Metronome",
                "Relinking__c": False,
                "Link_Pending__c": False,
                "Is_Linked__c": account is not None,
                "Ingest_Aliases__c": long_text("\n".join(customer["ingest_aliases"]), 4096),
                "Archived__c": customer["archived_at"] is not None,
                **sums.fields(),
            },
            customer=id_,
        )

    def _accounts(self, sums: Mapping[str, _Sums]) -> None:
        for account in self.settings.accounts:
            members = sorted(id_ for id_, one in self.account_of.items() if one == account)
            together = _Sums()
            for id_ in members:
                _merge(together, sums[id_])
            first = members[0] if members else None
            fields = {"Metronome_Customer_ID__c": first, **together.fields("Metronome_")}
            self._add(ACCOUNT, (account,), (account,), fields)

    def _plan(self, plan: Json) -> None:
        id_ = plan["id"]
        fields = {
            "Name": text(plan["name"], 80),
            "Metronome_Plan_ID__c": id_,
            "Full_Name__c": text(plan["name"]),
            "Description__c": long_text(plan["description"], 32768),
        }
        self._add(PLAN, (id_,), (id_,), fields)
        for item in self.tenant.plan_customers(id_):
            details, customer_id = item["plan_details"], item["customer_details"]["id"]
            if customer_id not in self.customers:
                continue
            key = (details["customer_plan_id"],)
            fields = {
                "Name": text(details["name"], 80),
                "Metronome_Customer_Plan_ID__c": key[0],
                "Full_Name__c": text(details["name"]),
                "Plan__c": details["id"],
                **self._hangs_on(customer_id),
                "Starting_On__c": day(details["starting_on"]),
                "Ending_On__c": day(details["ending_before"]),
            }
            self._add(CUSTOMER_PLAN, key, key, fields, customer=customer_id)

    def _invoice(self, customer_id: str, invoice: Json) -> None:
        id_, credit_type = invoice["id"], invoice["credit_type"]
        customer_name = text(self.customers[customer_id]["name"]) or customer_id
        first = moment(invoice.get("start_timestamp") or invoice.get("issued_at"))
        name = text(customer_name, 67)
        external = invoice.get("external_invoice") or {}
        belongs = {"customer": customer_id, "invoice": id_}
        fields = {
            "Name": name if first is None else f"{name} - {first:%d-%m-%Y}",
            "Metronome_Invoice_ID__c": id_,
            **self._hangs_on(customer_id),
            "Status__c": status(invoice["status"]),
            "Invoice_Type__c": text(invoice["type"], 80),
            "Start__c": day(invoice.get("start_timestamp")),
            "End__c": day(invoice.get("end_timestamp")),
            "Issued_At__c": second(invoice.get("issued_at")),
            "Subtotal__c": number(whole(invoice.get("subtotal"), credit_type), 2),
            "Total__c": number(whole(invoice["total"], credit_type), 2),
            "Currency__c": unit(credit_type),
            "Plan_Name__c": text(invoice.get("plan_name")),
            "External_Invoice_ID__c": text(external.get("invoice_id")),
            "External_Invoice_Status__c": text(external.get("external_status"), 80),
            "Is_Current__c": invoice["status"] == "DRAFT",
            "Line_Item_Count__c": float(len(invoice["line_items"])),
        }
        self._add(INVOICE, (id_,), (id_,), fields, **belongs)
        lines = invoice["line_items"]
        for identity, position in _numbered(lines, _line_identity, ("total", "quantity")):
            self._line((id_, *identity), position, lines[position], belongs)
        adjustments = invoice.get("invoice_adjustments") or []
        twins: Counter[Key] = Counter()
        for identity, position in _numbered(adjustments, _adjustment_identity, ("total",)):
            one = adjustments[position]
            fields = {
                "Name": text(one["name"], 80),
                "Invoice__c": id_,
                "Full_Name__c": text(one["name"]),
                "Credit_Type__c": unit(one["credit_type"]),
                "Total__c": number(whole(one["total"], one["credit_type"]), 6),
                "Metronome_Credit_Grant_ID__c": one.get("credit_grant_id"),
            }
            place = _adjustment_place(fields, twins)
            self._add(ADJUSTMENT, (id_, *identity), place, fields, **belongs)

    def _line(self, identity: Key, position: int, line: Json, belongs: Mapping[str, str]) -> None:
        id_, credit_type = belongs["invoice"], line["credit_type"]
        fields = {
            "Name": text(line["name"], 80),
            "Invoice__c": id_,
            "Full_Name__c": text(line["name"]),
            "Quantity__c": number(line.get("quantity"), 4),
            "Unit_Price__c": number(whole(line.get("unit_price"), credit_type), 10),
            "Total__c": number(whole(line["total"], credit_type), 6),
            "Credit_Type_Name__c": unit(credit_type),
            "Line_Type__c": text(line["type"], 80),
            "Product_ID__c": line.get("product_id"),
            "Position__c": float(position),
        }
        self._add(LINE, identity, (id_, position), fields, **belongs)
        subs = line.get("sub_line_items") or []
        for sub_identity, sub_position in _numbered(
            subs, _sub_line_identity, ("subtotal", "quantity")
        ):
            sub = subs[sub_position]
            fields = {
                "Name": text(sub["name"], 80),
                "Invoice_Line_Item__c": (id_, position),
                "Full_Name__c": text(sub["name"]),
                "Quantity__c": number(sub["quantity"], 4),
                "Price__c": number(whole(sub.get("price"), credit_type), 10),
                "Subtotal__c": number(whole(sub["subtotal"], credit_type), 6),
                "Position__c": float(sub_position),
            }
            place = (id_, position, sub_position)
            self._add(SUB_LINE, (*identity, *sub_identity), place, fields, **belongs)

    def _grant(self, grant: Json) -> None:
        key, customer_id = (grant["id"],), grant["customer_id"]
        granted, paid = grant["grant_amount"], grant["paid_amount"]
        balance, granted_in = grant["balance"], grant["grant_amount"]["credit_type"]
        fields = {
            "Name": text(grant["name"], 80),
            "Metronome_Credit_Grant_ID__c": key[0],
            **self._hangs_on(customer_id),
            "Full_Name__c": text(grant["name"]),
            "Balance_Including_Pending__c": number(
                whole(balance["including_pending"], granted_in), 2
            ),
            "Balance_Excluding_Pending__c": number(
                whole(balance["excluding_pending"], granted_in), 2
            ),
            "Initial_Grant_Amount__c": number(whole(granted["amount"], granted_in), 2),
            "Grant_Credit_Type__c": unit(granted_in),
            "Amount_Paid__c": number(whole(paid["amount"], paid["credit_type"]), 2),
            "Payment_Currency__c": unit(paid["credit_type"]),
            "Effective_Date__c": day(grant["effective_at"]),
            "Expiration_Date__c": day(grant["expires_at"]),
        }
        self._add(GRANT, key, key, fields, customer=customer_id)

    def _usage(self) -> None:
        settings = self.settings
        since = datetime.combine(settings.usage_from, time(), UTC)
        until = datetime.combine(settings.now.date(), time(), UTC)
        for one in self.tenant.usage(since, until, settings.window_size.upper()):
            customer_id = one["customer_id"]
            if customer_id not in self.customers or (settings.skip_zero and not one["value"]):
                continue
            starts = moment(one["start_timestamp"])
            assert starts is not None
            spelled = {
                "Day": starts.strftime("%Y-%m-%d"),
                "Hour": starts.strftime("%Y-%m-%dT%H:%MZ"),
                "None": "total",
            }[settings.window_size]
            key = (f"{customer_id}:{one['billable_metric_id']}:{spelled}",)
            fields = {
                **self._hangs_on(customer_id),
                "Billable_Metric_Name__c": text(one["billable_metric_name"]),
                "Billable_Metric_ID__c": one["billable_metric_id"],
                "Start__c": day(one["start_timestamp"]),
                "End__c": day(one["end_timestamp"]),
                "Value__c": number(one["value"], 4),
                "Window_Size__c": settings.window_size,
                "Start_At__c": second(one["start_timestamp"]),
                "End_At__c": second(one["end_timestamp"]),
            }
            self._add(USAGE, key, key, fields, customer=customer_id)


def _merge(into: _Sums, other: _Sums) -> None:
    for sums, more in ((into.spend, other.spend), (into.balance, other.balance)):
        for name, amount in more.items():
            sums[name] = sums.get(name, Decimal(0)) + amount
    # Of each customer counts the newest invoice in the unit that speaks for it.
    speaking = other.unit()
    if speaking in other.newest:
        newest = other.newest[speaking]
        if speaking not in into.newest or newest[0] > into.newest[speaking][0]:
            into.newest[speaking] = newest


def _numbered(
    items: Sequence[Json], identity: Callable[[Json], Key], amounts: Sequence[str]
) -> list[tuple[Key, int]]:
    """(identity with an ordinal among equals, position); equals are told apart by amounts."""
    seen: Counter[Key] = Counter()
    found = []
    by_amount = sorted(
        range(len(items)), key=lambda at: [Decimal(items[at].get(one) or 0) for one in amounts]
    )
    for position in by_amount:
        one = identity(items[position])
        seen[one] += 1
        found.append(((one, seen[one]), position))
    return found


def _line_identity(line: Json) -> Key:
    plain = (
        *("type", "product_id", "name", "commit_id", "commit_segment_id", "scheduled_charge_id"),
        *("subscription_id", "discount_id"),
    )
    return (
        *(line.get(name) for name in plain),
        *(moment(line.get(name)) for name in ("starting_at", "ending_before")),
        *(
            tuple(sorted((line.get(name) or {}).items()))
            for name in ("pricing_group_values", "presentation_group_values")
        ),
        (line.get("tier") or {}).get("level"),
        line.get("unit_price"),
    )


def _sub_line_identity(sub: Json) -> Key:
    return (
        sub.get("charge_id"),
        sub["name"],
        *(moment(sub.get(name)) for name in ("start_date", "end_date")),
    )


def _adjustment_identity(one: Json) -> Key:
    return (one["name"], one["credit_type"]["id"], one.get("credit_grant_id"))


def _adjustment_place(fields: Mapping[str, Any], twins: Counter[Key]) -> Key:
    place = tuple(fields[name] for name in sorted(fields))
    twins[place] += 1
    return (*place, twins[place])


# -- the org ------------------------------------------------------------------------------------

OrgRow = dict[str, Any]


def org_content(org: SalesforceOrg) -> dict[str, dict[Key, OrgRow]]:
    """The org's rows by sObject and place, references as keys of what they refer to."""
    rows = {sobject: org.rows(sobject) for sobject in SOBJECTS}
    key_of = {
        row["Id"]: row[_KEYS[sobject]]
        for sobject in (CUSTOMER, PLAN, INVOICE)
        for row in rows[sobject]
    }
    found: dict[str, dict[Key, OrgRow]] = {}
    line_place = {
        row["Id"]: (key_of.get(row["Invoice__c"]), int(row["Position__c"])) for row in rows[LINE]
    }
    for sobject in SOBJECTS:
        twins: Counter[Key] = Counter()
        placed = found[sobject] = {}
        for row in sorted(rows[sobject], key=lambda one: str(one.get("External_ID__c"))):
            for name in ("Orphaned_Customer__c", "Plan__c", "Invoice__c"):
                if row.get(name) is not None:
                    row[name] = key_of.get(row[name], f"unknown {row[name]}")
            if sobject == LINE:
                place: Key = line_place[row["Id"]]
            elif sobject == SUB_LINE:
                row["Invoice_Line_Item__c"] = line_place[row["Invoice_Line_Item__c"]]
                place = (*row["Invoice_Line_Item__c"], int(row["Position__c"]))
            elif sobject == ADJUSTMENT:
                names = ("Name", *(name for name in row if name.endswith("__c")))
                place = _adjustment_place({n: row[n] for n in names if n not in _OWN_AFFAIR}, twins)
            else:
                place = (row[_KEYS[sobject]],)
            assert place not in placed, f"two rows of {sobject} at {place}"
            placed[place] = row
    return found


def differences(content: Content, org: SalesforceOrg, *, at_most: int = 20) -> list[str]:
    """Where the org's rows are not what they must be, in sentences; empty when all is well."""
    actual = org_content(org)
    found = [
        sentence
        for sobject in SOBJECTS
        for sentence in _differences(sobject, content[sobject], actual[sobject])
    ]
    found += _key_problems(actual)
    return found[:at_most] if len(found) <= at_most else [*found[:at_most], f"… of {len(found)}"]


def _differences(
    sobject: str, wanted: Mapping[Key, Expected], actual: Mapping[Key, OrgRow]
) -> Iterable[str]:
    by_place = {row.place: row for row in wanted.values()}
    for place in by_place.keys() - actual.keys():
        yield f"{sobject} {place} is missing"
    for place in actual.keys() - by_place.keys():
        yield f"{sobject} {place} should not be there"
    for place in by_place.keys() & actual.keys():
        fields, row = by_place[place].fields, actual[place]
        for name in fields:
            if row[name] != fields[name]:
                yield f"{sobject} {place} {name} is {row[name]!r}, not {fields[name]!r}"
        # Every field that the package has must have been thought of here.
        forgotten = {name for name in row if name.endswith("__c")} - fields.keys() - _OWN_AFFAIR
        if forgotten and sobject != ACCOUNT:
            yield f"nothing is expected of {sobject}.{sorted(forgotten)}"


def _key_problems(actual: Mapping[str, Mapping[Key, OrgRow]]) -> Iterable[str]:
    line_key = {place: row["External_ID__c"] for place, row in actual[LINE].items()}
    for sobject, shape in _CHILD_KEY.items():
        for place, row in actual[sobject].items():
            parent = row["Invoice__c"] if sobject != SUB_LINE else line_key[place[:2]]
            matched = shape.fullmatch(row["External_ID__c"])
            if matched is None or matched["parent"] != parent:
                yield f"{sobject} {place} has the key {row['External_ID__c']}"
    for sobject in set(SOBJECTS) - {ACCOUNT}:
        for place, row in actual[sobject].items():
            if not re.fullmatch(r"[0-9a-f]{64}", row["Sync_Hash__c"] or ""):
                yield f"{sobject} {place} has no fingerprint"


def child_keys(content: Content, org: SalesforceOrg) -> dict[tuple[str, Key], str]:
    """The external ids of lines, sub lines and adjustments by what they are."""
    actual = org_content(org)
    return {
        (sobject, identity): actual[sobject][row.place]["External_ID__c"]
        for sobject in _CHILD_KEY
        for identity, row in content[sobject].items()
        if row.place in actual[sobject]
    }


# -- comparing two expectations -----------------------------------------------------------------


def changes(before: Content, after: Content) -> Counter[tuple[str, str]]:
    """How many rows of each sObject have to be written to get from one to the other."""
    counts: Counter[tuple[str, str]] = Counter()
    for sobject in SOBJECTS:
        old, new = before[sobject], after[sobject]
        counts[sobject, "insert"] = len(new.keys() - old.keys())
        counts[sobject, "delete"] = len(old.keys() - new.keys())
        counts[sobject, "update"] = sum(
            1
            for identity in old.keys() & new.keys()
            if _written(old[identity].fields) != _written(new[identity].fields)
        )
    return +counts


def _written(fields: Mapping[str, Any]) -> Json:
    """Without what the platform works out by itself, or what a child refers to."""
    computed = {"Is_Current__c", "Line_Item_Count__c", "Is_Linked__c", "Invoice_Line_Item__c"}
    return {name: value for name, value in fields.items() if name not in computed}


def with_history(after: Content, before: Content, keep: Callable[[str, Expected], bool]) -> Content:
    """`after` and those rows of `before` that are history: `keep(sobject, row)` says which."""
    return {
        sobject: {
            **{key: row for key, row in before[sobject].items() if keep(sobject, row)},
            **after[sobject],
        }
        for sobject in SOBJECTS
    }
