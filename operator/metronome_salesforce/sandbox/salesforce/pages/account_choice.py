"""The one thing that can be changed here: the Account of an Orphaned Customer.

It is written as the person, through the same rules as a row that comes by REST, so that the
operator meets what a person in a real org would leave behind.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from metronome_salesforce.sandbox.salesforce.exceptions import RowRefusedError, SalesforceError
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.records import (
    Record,
    find_record,
    order_by,
    quoted,
    select,
)
from metronome_salesforce.sandbox.salesforce.pages.showing import link, record_link
from metronome_salesforce.sandbox.salesforce.pages.tables import table
from metronome_salesforce.sandbox.salesforce.pages.visits import (
    NoPageError,
    Page,
    Redirect,
    Visit,
    object_path,
    record_path,
)

_CUSTOMER = "Metronome_Orphan_Customer__c"
_ACCOUNT = "Account__c"
_LINKED = "Linked_Account_ID__c"
_SOURCE = "Link_Source__c"
_PENDING = "Link_Pending__c"
_CUSTOMER_ID = "Metronome_Customer_ID__c"
_STEP = "account"
_OFFERED = 25
_LONGEST_SEARCH = 80
_LOOK_AGAIN = 2


class ForbiddenFormError(Exception):
    """A form that no page of this org made for this record."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands beside a customer's record, and after how many seconds to look again."""

    body: Markup
    refresh: int | None


def account_panel(visit: Visit, record: Record) -> Panel | None:
    """Whose the customer's rows are and where they hang; None for other objects."""
    if record.access.sobject.name != _CUSTOMER:
        return None
    pending = bool(record.value(_PENDING))
    return Panel(
        tag(
            "section",
            tag("h2", "Account"),
            _state(visit, record, pending=pending),
            _where_rows_hang(visit, record),
            _change_link(record),
            class_="card choice",
            id="account",
        ),
        _LOOK_AGAIN if pending else None,
    )


def picker_page(visit: Visit, record_id: str, *, refusal: str | None = None) -> Page:
    """Accounts to choose from, by a search; raises NoPageError."""
    record = find_record(visit, record_id)
    access = visit.access("Account")
    if not _may_set(record) or access is None:
        raise NoPageError("There is no Account to be set on this record, or no right to do so.")
    words = visit.query.get("q", "").strip()[:_LONGEST_SEARCH]
    condition = f"Name LIKE '%{quoted(words, like=True)}%'" if words else "Name != null"
    accounts = select(
        visit, access, [], condition, f"{order_by(access, None, descending=False)} LIMIT {_OFFERED}"
    )
    total = visit.count("Account", condition)
    here = record_path(record.id, _STEP)
    body = tag(
        "section",
        tag("h1", "Set the Account of ", link(record_path(record.id), record.name)),
        tag("p", refusal, class_="refusal", role="alert") if refusal else None,
        tag(
            "form",
            tag("label", "Search Accounts ", tag(
                "input", type="search", name="q", value=words, autofocus=True,
                maxlength=_LONGEST_SEARCH,
            )),
            tag("button", "Search", class_="button"),
            action=here, method="get", role="search", class_="search",
        ),
        tag("p", _found(total, len(accounts)), class_="note"),
        _choices(visit, record, accounts),
        class_="card picker",
    )  # fmt: skip
    return Page(f"Set the Account of {record.name}", body, tab=object_path(_CUSTOMER))


def choose_account(visit: Visit, record_id: str) -> Page | Redirect:
    """Set or clear the Account as the form says; raises NoPageError and ForbiddenFormError."""
    record = find_record(visit, record_id)
    if record.access.sobject.name != _CUSTOMER:
        raise NoPageError("There is no Account to be set on this record.")
    given = visit.form.get("token", "").encode()
    if not hmac.compare_digest(given, _token(visit, record).encode()):
        raise ForbiddenFormError
    account = visit.form.get("account")
    if account is None:
        return picker_page(visit, record.id, refusal="Choose an Account first.")
    try:
        visit.org.update(
            _CUSTOMER, record.id, {_ACCOUNT: account or None}, username=visit.user.username
        )
    except (RowRefusedError, SalesforceError) as error:
        page = picker_page(visit, record.id, refusal=str(error))
        return Page(page.title, page.body, page.tab, status=error.status)
    return Redirect(record_path(record.id))


# --- on the record's page ---------------------------------------------------------------


def _state(visit: Visit, record: Record, *, pending: bool) -> Markup:
    access = record.access
    field = access.fields.get(_ACCOUNT.lower())
    account = record.cell(field) if field is not None and record.value(_ACCOUNT) else None
    if pending:
        before = _account(visit, record.value(_LINKED))
        return tag(
            "div",
            tag("strong", "Link pending"),
            tag(
                "p",
                *(("to ", account) if account else ("to be unlinked",)),
                *((", from ", before) if before else ()),
                ". The operator looks for choices every few seconds and moves the billing data; "
                "this page looks again by itself.",
            ),
            class_="state pending",
            role="status",
        )
    if account is not None:
        source = access.fields.get(_SOURCE.lower())
        return tag(
            "div", tag("strong", "Linked"), tag("p", "to ", account, "."),
            tag("p", "Link source: ", record.cell(source))
            if source is not None and record.value(_SOURCE) else None,
            class_="state linked", role="status",
        )  # fmt: skip
    return tag("div", tag("strong", "Not linked"), tag("p", "The billing data is on this record."),
               class_="state", role="status")  # fmt: skip


def _account(visit: Visit, record: str | None) -> Markup | None:
    access = visit.access("Account")
    if not record or access is None:
        return None
    rows = select(visit, access, [], f"Id = '{quoted(record)}'")
    return record_link(rows[0].id, rows[0].name) if rows else join("a deleted Account")


def _where_rows_hang(visit: Visit, record: Record) -> Markup | None:
    """How many of the customer's rows hang on this record, and how many on which Account."""
    customer = record.value(_CUSTOMER_ID)
    if not customer:
        return None
    rows: list[list[Markup | str]] = []
    for each in visit.state.schema.children(_CUSTOMER):
        access = visit.access(each.child.name)
        needed = (each.field.name, _ACCOUNT, _CUSTOMER_ID)
        if access is None or any(name.lower() not in access.fields for name in needed):
            continue
        found = visit.soql(
            f"SELECT {each.field.name} here, {_ACCOUNT} there, COUNT(Id) rows "  # noqa: S608 -- as the person
            f"FROM {each.child.name} WHERE {_CUSTOMER_ID} = '{quoted(customer)}' "
            f"GROUP BY {each.field.name}, {_ACCOUNT}"
        )
        for group in found:
            place = (
                join("this record") if group["here"] == record.id
                else _account(visit, group["there"]) or join("another record")
            )  # fmt: skip
            rows.append([each.child.plural, f"{int(group['rows']):,}", place])
    if not rows:
        return tag("p", "There is no billing data.", class_="note")
    return table(["Billing data", "Rows", "Is on"], [False, True, False], rows)


def _may_set(record: Record) -> bool:
    access = record.access
    field = access.fields.get(_ACCOUNT.lower())
    return (
        access.sobject.name == _CUSTOMER
        and access.grant.edit
        and field is not None
        and access.writable(field, creating=False)
    )


def _change_link(record: Record) -> Markup | None:
    if not _may_set(record):
        return None
    words = "Change Account" if record.value(_ACCOUNT) else "Set Account"
    return tag("footer", link(record_path(record.id, _STEP), words, class_="button main"))


# --- the form ---------------------------------------------------------------------------


def _choices(visit: Visit, record: Record, accounts: list[Record]) -> Markup:
    """Accounts as radio buttons, the set one chosen; a second button clears it."""
    current = record.value(_ACCOUNT)
    options = [
        tag(
            "label",
            tag("input", type="radio", name="account", value=each.id, checked=each.id == current),
            tag("span", each.name),
            tag("small", each.id),
        )
        for each in accounts
    ]
    token = tag("input", type="hidden", name="token", value=_token(visit, record))
    here = record_path(record.id, _STEP)
    save = tag(
        "form",
        token,
        tag("fieldset", tag("legend", "Account"), *options) if accounts else None,
        tag("button", "Save", class_="button main") if accounts else None,
        link(record_path(record.id), "Cancel", class_="button"),
        action=here, method="post",
    )  # fmt: skip
    if current is None:
        return save
    clear = tag(
        "form",
        token,
        tag("input", type="hidden", name="account", value=""),
        tag("button", "Clear the Account", class_="button"),
        action=here, method="post", class_="clear",
    )  # fmt: skip
    return join(save, clear)


def _found(total: int, offered: int) -> str:
    if not total:
        return "No Account has this in its name."
    if total > offered:
        return f"The first {offered} of {total:,} Accounts. A search finds the others."
    return "1 Account." if total == 1 else f"{total:,} Accounts."


def _token(visit: Visit, record: Record) -> str:
    """Proves that a form was made by this server, for this record and this person."""
    words = f"{_CUSTOMER} {record.id} {visit.user.id}".encode()
    return hmac.new(visit.secret, words, sha256).hexdigest()
