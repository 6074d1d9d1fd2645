"""The Account of an Orphaned Customer is set on its page, by a person, from that page only."""

from collections.abc import Iterator

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from tests.sandbox.salesforce.page_reading import Element, read_page, rows_of
from tests.sandbox.salesforce.pages_package import CUSTOMER, INVOICE
from tests.sandbox.salesforce.pages_site import PERSON, Site, add_customer, add_invoice, fill


@pytest.fixture
def site(empty_org: SalesforceOrg) -> Iterator[Site]:
    fill(empty_org)
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        yield Site(empty_org, served)


@pytest.fixture
def account(site: Site) -> str:
    """An Account called Acme."""
    return site.org.insert("Account", {"Name": "Acme"})


@pytest.fixture
def customer(site: Site) -> str:
    """A customer with two invoices and no Account."""
    record = add_customer(site.org, "Beta")
    for name in ("i1", "i2"):
        add_invoice(
            site.org, name, Orphaned_Customer__c=record, Metronome_Customer_ID__c="id of Beta"
        )
    return record


def row(site: Site, record: str) -> dict[str, object]:
    """A customer as it is stored."""
    return next(each for each in site.org.rows(CUSTOMER) if each["Id"] == record)


def panel(site: Site, record: str) -> Element:
    """What the record's page says of the Account."""
    return site.page(f"/app/r/{record}").one("section", id="account")


def refresh(site: Site, record: str) -> list[str]:
    """After how many seconds the record's page looks again."""
    page = site.page(f"/app/r/{record}")
    return [each["content"] for each in page.all("meta", http_equiv="refresh")] or [
        each["content"] for each in page.all("meta") if "http-equiv" in each.attributes
    ]


def move(site: Site, record: str, account: str | None) -> None:
    """Let the integration do what the operator does: move the invoices, then say so."""
    for each in site.org.rows(INVOICE):
        site.org.update(
            INVOICE,
            each["Id"],
            {"Account__c": account, "Orphaned_Customer__c": None if account else record},
            username=INTEGRATION,
        )
    site.org.update(CUSTOMER, record, {"Linked_Account_ID__c": account}, username=INTEGRATION)


def test_an_account_is_set_and_its_rows_are_seen_to_move(
    site: Site, customer: str, account: str
) -> None:
    """Not linked, link pending while the operator has not moved the rows, linked: and back."""
    before = panel(site, customer)
    assert before.one("strong").text == "Not linked"
    assert rows_of(before.one("table")) == [["Invoices", "2", "this record"]]
    assert refresh(site, customer) == []
    link = before.one("footer").one("a")
    assert (link.text, link["href"]) == ("Set Account", f"/app/r/{customer}/account")

    form = site.page(link["href"]).all("form", method="post")[0]
    chosen = form.one("input", type="radio")
    assert chosen["value"] == account
    sent = {"token": form.one("input", name="token")["value"], "account": chosen["value"]}
    answer = site.post(form["action"], sent)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/app/r/{customer}")

    pending = panel(site, customer)
    assert pending.one("strong").text == "Link pending"
    assert pending.one("div", class_="state").one("a")["href"] == f"/app/r/{account}"
    assert rows_of(pending.one("table")) == [["Invoices", "2", "this record"]]
    assert refresh(site, customer) == ["2"]

    move(site, customer, account)
    linked = panel(site, customer)
    assert linked.one("strong").text == "Linked"
    assert rows_of(linked.one("table")) == [["Invoices", "2", "Acme"]]
    assert refresh(site, customer) == []

    picker = site.page(f"/app/r/{customer}/account")
    assert "checked" in picker.one("input", type="radio").attributes
    clear = picker.one("form", class_="clear")
    sent = {each["name"]: each["value"] for each in clear.all("input")}
    assert site.post(clear["action"], sent).status_code == 303
    assert row(site, customer)["Account__c"] is None
    unlinking = panel(site, customer)
    assert unlinking.one("div", class_="state").text.startswith(
        "Link pending to be unlinked, from Acme."
    )
    move(site, customer, None)
    assert panel(site, customer).one("strong").text == "Not linked"


def test_it_is_written_as_the_person(site: Site, customer: str, account: str) -> None:
    """LastModifiedBy is the person of the pages, and nothing but the Account changed."""
    before = row(site, customer)
    site.post(f"/app/r/{customer}/account", {"token": site.token(customer), "account": account})
    after = row(site, customer)
    assert after["LastModifiedById"] == site.org.users[PERSON].id
    assert after["Account__c"] == account
    changed = {name for name, value in after.items() if before[name] != value}
    assert changed == {"Account__c", "LastModifiedById", "Link_Pending__c"}
    assert site.org.statistics.rows[CUSTOMER, "update"] == 1


def test_accounts_are_searched(site: Site, customer: str) -> None:
    """A search finds Accounts by a part of the name; wildcards and quotes are letters of it."""
    for name in ("Acme", "Acorn", "100% Pure", "Mc_Coy", "O'Hara \\ Sons", "Zed"):
        site.org.insert("Account", {"Name": name})

    def found(words: str) -> list[str]:
        page = read_page(site.get(f"/app/r/{customer}/account", params={"q": words}).text)
        assert page.one("input", type="search")["value"] == words
        return [each.one("span").text for each in page.all("label") if each.all("small")]

    assert found("ac") == ["Acme", "Acorn"]
    assert found("%") == ["100% Pure"]
    assert found("_") == ["Mc_Coy"]
    assert found("O'H") == ["O'Hara \\ Sons"]
    assert found("\\") == ["O'Hara \\ Sons"]
    assert found("nothing") == []


def test_many_accounts_are_offered_in_part(site: Site, customer: str) -> None:
    """Twenty-five at a time, and the page says that there are more."""
    for number in range(30):
        site.org.insert("Account", {"Name": f"A{number:02}"})
    page = site.main(f"/app/r/{customer}/account")
    assert len(page.all("input", type="radio")) == 25
    assert "The first 25 of 30 Accounts." in page.text


def refused(site: Site, customer: str, account: str, **headers: str | None) -> int:
    """The status of a post with a right token and these headers; nothing must be written."""
    token = site.token(customer)
    answer = site.post(
        f"/app/r/{customer}/account", {"token": token, "account": account}, **headers
    )
    assert row(site, customer)["Account__c"] is None
    return answer.status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/json"},
    ],
)
def test_forms_of_other_pages_are_refused(
    site: Site, customer: str, account: str, headers: dict[str, str | None]
) -> None:
    """A form that a page from elsewhere sends changes nothing, even with the token."""
    assert refused(site, customer, account, **headers) == 403


def test_forms_without_their_token_are_refused(site: Site, customer: str, account: str) -> None:
    """No token, a wrong one, and one of another record's form change nothing."""
    other = add_customer(site.org, "Other")
    path = f"/app/r/{customer}/account"
    for token in ("", "0" * 64, site.token(other), "é" * 3):
        assert site.post(path, {"token": token, "account": account}).status_code == 403
    assert site.post(path, {"account": account}).status_code == 403
    assert site.post(path, {}).status_code == 403
    large = {"token": site.token(customer), "account": account, "more": "x" * 20_000}
    assert site.post(path, large).status_code == 403
    assert row(site, customer)["Account__c"] is None


def test_a_token_ends_with_its_server(site: Site, customer: str, account: str) -> None:
    """Another server of the same org has another secret."""
    with SalesforceSandbox(site.org, person=PERSON).serve() as served:
        token = Site(site.org, served).token(customer)
    answer = site.post(f"/app/r/{customer}/account", {"token": token, "account": account})
    assert answer.status_code == 403


def test_looking_changes_nothing(site: Site, customer: str, account: str) -> None:
    """The form's fields in an address are a question, not a change."""
    path = f"/app/r/{customer}/account?account={account}&token={site.token(customer)}"
    assert site.get(path).status_code == 200
    assert row(site, customer)["Account__c"] is None


def test_other_paths_take_no_forms(site: Site, customer: str, account: str) -> None:
    """There is one thing to be changed: posts elsewhere, and for other records, are refused."""
    sent = {"token": site.token(customer), "account": account}
    for path in ("/app", f"/app/r/{customer}", f"/app/o/{CUSTOMER}", f"/app/r/{account}/account",
                 "/app/r/nobody/account"):  # fmt: skip
        assert site.post(path, sent).status_code == 404, path


def test_the_orgs_own_rules_hold(site: Site, customer: str, account: str) -> None:
    """A row that the org refuses is refused here with its words, and the form is shown again."""
    path = f"/app/r/{customer}/account"
    site.org.add_validation_rule(
        CUSTOMER, "NotHer", lambda row: row["Account__c"] is not None, "Not <b>her</b>."
    )
    answer = site.post(path, {"token": site.token(customer), "account": account})
    assert answer.status_code == 400
    page = read_page(answer.text)
    assert "Not <b>her</b>." in page.one("p", role="alert").text
    assert page.one("input", type="radio")["value"] == account
    site.org.remove_validation_rule(CUSTOMER, "NotHer")
    for wrong in (customer, "x", "001Hs00009999999AAA"):
        answer = site.post(path, {"token": site.token(customer), "account": wrong})
        assert answer.status_code == 400, wrong
        assert read_page(answer.text).one("p", role="alert").text
    assert row(site, customer)["Account__c"] is None


def test_save_without_a_choice_asks_for_one(site: Site, customer: str, account: str) -> None:
    """Save with no Account chosen says so, and clears nothing."""
    site.org.update(CUSTOMER, customer, {"Account__c": account}, username=INTEGRATION)
    answer = site.post(f"/app/r/{customer}/account", {"token": site.token(customer)})
    assert read_page(answer.text).one("p", role="alert").text == "Choose an Account first."
    assert row(site, customer)["Account__c"] == account


def test_who_may_not_edit_is_offered_nothing(empty_org: SalesforceOrg) -> None:
    """A person who only reads sees the Account and where the rows are, and no way to change it."""
    fill(empty_org, person_set="Readers")
    record = add_customer(empty_org, "Beta")
    account = empty_org.insert("Account", {"Name": "Acme"})
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        site = Site(empty_org, served)
        shown = panel(site, record)
        assert shown.one("strong").text == "Not linked"
        assert not shown.all("a")
        site.page(f"/app/r/{record}/account", status=404)
        answer = site.post(f"/app/r/{record}/account", {"token": "0" * 64, "account": account})
        assert answer.status_code == 403
        assert row(site, record)["Account__c"] is None
