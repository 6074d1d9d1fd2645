"""The pages are text whatever the rows say, and for this machine only."""

import socket
from collections.abc import Iterator

import pytest
import requests

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox
from tests.sandbox.salesforce.page_reading import Element, read_page
from tests.sandbox.salesforce.pages_package import CUSTOMER, FILES, INVOICE, RUN, pages_package
from tests.sandbox.salesforce.pages_site import PERSON, Site, add_customer, add_invoice, fill

SCRIPT = "<script>alert(1)</script>"
QUOTES = "\"'><img src=x onerror=alert(1)>"
LABEL = "<i onclick='x'>L</i>"
ESCAPED = "&lt;i onclick='x'&gt;L&lt;/i&gt;"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def sandbox(empty_org: SalesforceOrg) -> SalesforceSandbox:
    fill(empty_org)
    return SalesforceSandbox(empty_org, person=PERSON)


@pytest.fixture
def site(sandbox: SalesforceSandbox) -> Iterator[Site]:
    with sandbox.serve() as served:
        yield Site(sandbox.org, served)


def is_harmless(page: Element) -> None:
    """No element and no attribute of these came from a row or a label."""
    for each in page.walk():
        assert each.tag not in {"script", "i", "img", "iframe", "object", "style"}, each.tag
        assert not [name for name in each.attributes if name.startswith("on") or name == "style"]
        for name in ("href", "action"):
            target = each.attributes.get(name, "/")
            assert target.startswith(("/", "#", "https://x.example/", "data:,")), target


def test_hostile_rows_are_text(site: Site) -> None:
    """Names and values that are markup are shown as they are, on every kind of page."""
    account = site.org.insert("Account", {"Name": SCRIPT})
    record = add_customer(
        site.org, QUOTES, Account__c=account, Notes__c=SCRIPT, Site__c=SCRIPT,
        Metronome_Customer_ID__c=SCRIPT,
    )  # fmt: skip
    for name in (SCRIPT, QUOTES):
        add_invoice(
            site.org, name, Orphaned_Customer__c=record, Metronome_Customer_ID__c=SCRIPT,
            Status__c=name, Currency__c=name, Total__c=5, Start__c="2026-01-01",
        )  # fmt: skip
    site.org.insert(
        RUN, {"Outcome__c": SCRIPT, "Started_At__c": "2026-01-01T00:00:00Z"}, username=INTEGRATION
    )
    for path, shown in (
        (f"/app/o/{CUSTOMER}", (SCRIPT, QUOTES)),
        (f"/app/o/{CUSTOMER}?q=%3Cimg", (QUOTES,)),
        (f"/app/o/{INVOICE}", (SCRIPT, QUOTES)),
        ("/app/o/Account", (SCRIPT,)),
        (f"/app/r/{record}", (SCRIPT, QUOTES)),
        (f"/app/r/{record}/Metronome_Invoices__r", (SCRIPT, QUOTES)),
        (f"/app/r/{record}/account", (SCRIPT, QUOTES)),
        (f"/app/r/{account}", (SCRIPT, QUOTES)),
        ("/app/reports/Billing/By_Status", (SCRIPT, QUOTES)),
        ("/app/reports/Billing/By_Month", (SCRIPT, QUOTES)),
        ("/app/reports/Billing/Shares", (SCRIPT, QUOTES)),
        ("/app/dashboards/Billing/Overview", (SCRIPT,)),
    ):
        page = site.page(path)
        is_harmless(page)
        for each in shown:
            assert each in page.text or path.endswith("Overview"), (path, each)


def test_hostile_metadata_is_text(empty_org: SalesforceOrg) -> None:
    """Labels of objects, fields, views, sections, the app and reports are text as well."""
    fill(empty_org)
    changed = {
        name: content.replace("<label>Inv", f"<label>{ESCAPED} Inv")
        .replace("<pluralLabel>", f"<pluralLabel>{ESCAPED}")
        .replace("<label>Status", f"<label>{ESCAPED}")
        .replace("<label>All", f"<label>{ESCAPED}")
        .replace("<label>Who", f"<label>{ESCAPED}")
        .replace("<label>Billing", f"<label>{ESCAPED}")
        for name, content in FILES.items()
        if name.startswith(("objects/Metronome_Inv", "layouts/", "applications/"))
    }
    name = "reports/Billing/By_Status.report"
    changed[name] = FILES[name].replace("<title>", f"<title>{ESCAPED}").replace(
        "<name>", f"<name>{ESCAPED}"
    )  # fmt: skip
    result = empty_org.deploy(pages_package(changed))
    assert result.success, result.problems
    record = add_customer(empty_org, "Beta")
    invoice = add_invoice(empty_org, "i", Orphaned_Customer__c=record, Total__c=1)
    with SalesforceSandbox(empty_org, person=PERSON).serve() as served:
        site = Site(empty_org, served)
        for path in (
            f"/app/o/{INVOICE}", f"/app/r/{record}", f"/app/r/{invoice}", "/app/reports",
            "/app/reports/Billing/By_Status",
        ):  # fmt: skip
            page = site.page(path)
            is_harmless(page)
            assert LABEL in page.one("main").text, path


def test_hostile_addresses_are_text(site: Site) -> None:
    """What an address says comes back as text, if at all."""
    for path in (
        "/app/%3Cscript%3Ealert(1)%3C/script%3E",
        f"/app/o/{CUSTOMER}?view=%3Cscript%3E",
        "/app/r/%22%3E%3Cimg%20src=x%3E",
        f"/app/o/{CUSTOMER}?q=%22%3E%3Cscript%3E&sort=%22%3E%3Cscript%3E",
        "/app/reports/%3Cscript%3E/%22%27",
    ):
        is_harmless(read_page(site.get(path).text))


def test_every_answer_is_guarded(site: Site) -> None:
    """Strict headers on pages, redirects, refusals and the stylesheet."""
    record = add_customer(site.org, "Beta")
    answers = [
        site.get(path)
        for path in ("/", "/app", f"/app/r/{record}", "/app/nothing", "/app/style.css")
    ]
    answers.append(site.post(f"/app/r/{record}/account", {}))
    assert [each.status_code for each in answers] == [303, 303, 200, 404, 200, 403]
    for each in answers:
        assert each.headers["Content-Security-Policy"] == POLICY
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert each.headers["X-Frame-Options"] == "DENY"
        assert each.headers["Referrer-Policy"] == "same-origin"
        assert each.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert each.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert each.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in each.headers
        assert "Access-Control-Allow-Origin" not in each.headers
    assert answers[4].headers["Content-Type"] == "text/css;charset=UTF-8"


def test_nothing_is_fetched_from_elsewhere(site: Site) -> None:
    """The pages' only file is their stylesheet, which names no address."""
    page = site.page(f"/app/o/{CUSTOMER}")
    assert [each["href"] for each in page.all("link")] == ["/app/style.css", "data:,"]
    style = site.get("/app/style.css").text
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize(
    "host", ["metronome.example", "127.0.0.1.example", "127.0.0.2", "", "localhost.example:80", "["]
)
def test_other_names_of_the_server_are_refused(site: Site, host: str) -> None:
    """A name of somebody else that leads here would let their pages read these."""
    with socket.create_connection(("127.0.0.1", site.served.port), 20) as connection:
        connection.sendall(
            f"GET /app/o/{CUSTOMER} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.split(" ", 2)[1] in {"400", "421"}
    assert "Orphaned" not in answer


def test_names_of_this_machine_are_taken(site: Site) -> None:
    """Loopback by number or by name, with or without a port."""
    for host in (f"127.0.0.1:{site.served.port}", "localhost", "LOCALHOST:80", "[::1]:80"):
        answer = site.get(f"/app/o/{CUSTOMER}", headers={"Host": host})
        assert answer.status_code == 200, host


def test_other_methods_are_refused(site: Site) -> None:
    """The pages are read, and one form is sent; nothing else."""
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = requests.request(method, f"{site.served.url}/app", timeout=20)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    head = requests.head(f"{site.served.url}/app/o/{CUSTOMER}", timeout=20)
    assert (head.status_code, head.content) == (200, b"")


def test_pages_are_no_api_calls(sandbox: SalesforceSandbox, site: Site) -> None:
    """Looking does not count as calls, is not remembered, and meets no injected faults."""
    site.org.statistics.reset()
    used = site.org.api_used
    site.page(f"/app/o/{CUSTOMER}")
    assert site.org.statistics.total_calls == 0
    assert site.org.api_used == used
    assert not sandbox.requests


def test_without_a_person_there_are_no_pages(empty_org: SalesforceOrg) -> None:
    """An org that is served without them answers as the platform's API does."""
    with SalesforceSandbox(empty_org).serve() as served:
        for path in ("/", "/app", "/app/o/Account"):
            answer = Site(empty_org, served).get(path)
            assert answer.status_code == 404
            assert answer.json()[0]["errorCode"] == "NOT_FOUND"


def test_the_api_is_served_beside_the_pages(site: Site) -> None:
    """The pages take nothing from the API."""
    versions = site.get("/services/data").json()
    assert "66.0" in [each["version"] for each in versions]
    assert site.get("/services/data/v66.0/sobjects").status_code == 401
    assert site.get("/application").status_code == 404
