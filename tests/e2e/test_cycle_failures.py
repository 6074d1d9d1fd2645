"""What a person must mend: each failure has its own reason, says what to do, and passes after."""

import json
import logging
import socket
from collections import Counter
from typing import Any, Literal

import pytest

from metronome_salesforce.report import CycleReport, Outcome, Retry
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.metronome import API_KEY
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.expectation import INVOICE, LINE, differences
from tests.stage import PERMISSION_SET, Stage

SECRET = "sandbox-client-secret"


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def recovers(stage: Stage) -> None:
    """The next cycle, with all mended, succeeds by itself."""
    report = await stage.cycle()
    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert differences(stage.expected(), stage.org) == []


def failed(report: CycleReport, reason: str, *hints: str) -> None:
    """The report says what to do and nothing was lost on the way."""
    assert (report.outcome, report.reason) == (Outcome.FAILED, reason), report.message
    for hint in hints:
        assert hint in report.message


async def test_a_wrong_api_key(stage: Stage) -> None:
    report = await stage.cycle(api_key="guessed-key-0123456789")

    assert report.reason in {"MetronomeAuthenticationFailed", "MetronomePermissionDenied"}
    failed(report, report.reason, "spec.metronome.apiKeySecretRef")
    assert report.retry is Retry.AFTER_CHANGE
    assert "guessed-key" not in json.dumps(report.to_json())
    await recovers(stage)


async def test_a_revoked_api_key_in_the_middle_of_a_cycle(stage: Stage) -> None:
    def revoke(_method: str, path: str) -> None:
        if path.endswith("/invoices"):
            stage.metronome.api_keys.pop(API_KEY, None)

    stage.metronome.on_request = revoke
    report = await stage.cycle()

    failed(report, "MetronomePermissionDenied", "spec.metronome.apiKeySecretRef")
    assert stage.written == Counter()
    stage.metronome.on_request = None
    stage.metronome.api_keys[API_KEY] = "write"
    await recovers(stage)


@pytest.mark.parametrize(
    "credentials",
    [
        {"clientId": "sandbox-client-id", "clientSecret": "another-secret-0123"},
        {"clientId": "nobody-knows-this", "clientSecret": SECRET},
        {"username": INTEGRATION, "password": "wrong-password-1", "securityToken": "TOKEN"},
    ],
)
async def test_wrong_salesforce_credentials(stage: Stage, credentials: dict[str, str]) -> None:
    report = await stage.cycle(credentials=credentials)

    failed(report, "SalesforceAuthenticationFailed", "Secret")
    assert report.retry is Retry.AFTER_CHANGE
    told = json.dumps(report.to_json())
    assert not any(value in told for key, value in credentials.items() if key != "username")
    await recovers(stage)


async def test_sessions_that_end_in_the_middle_of_a_cycle_are_opened_again(fresh: Stage) -> None:
    calls = 0

    def expire(_request: object) -> None:
        nonlocal calls
        calls += 1
        if calls in {15, 30}:
            fresh.org.expire_sessions()

    fresh.salesforce.on_request = expire
    report = await fresh.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert fresh.org.sessions.logins == 3
    assert differences(fresh.expected(), fresh.org) == []


async def test_the_package_is_not_there() -> None:
    with Stage(package=False, spec={"salesforce": {"package": {"install": "Never"}}}) as stage:
        report = await stage.cycle()

        failed(report, "PackageMissing", "package deploy", "spec.salesforce.package.install")
        assert report.retry is Retry.AFTER_CHANGE
        stage.install()
        await recovers(stage)


async def test_the_permission_set_is_not_assigned(stage: Stage) -> None:
    """Who may look at permission sets sees that; who may not sees an org without the package."""
    stage.org.revoke_permission_set(INTEGRATION, PERMISSION_SET)
    spec = {"salesforce": {"package": {"install": "Never"}}}

    failed(await stage.cycle(spec=spec), "PackageMissing", "that the integration user can see")
    stage.org.grant_permission(INTEGRATION, "ViewSetup")
    report = await stage.cycle(spec=spec)
    failed(report, "PermissionSetNotAssigned", "Metronome Integration", "assign it")
    stage.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    await recovers(stage)


async def test_a_field_without_access(stage: Stage) -> None:
    """As when an administrator took one field out of the permission set."""
    fields: Any = stage.org.state.permission_sets[PERMISSION_SET.lower()].fields
    name = f"{INVOICE}.Total__c".lower()
    taken = fields.pop(name)
    stage.org.state.access_cache.clear()

    report = await stage.cycle()

    failed(report, "FieldNotAccessible", f"{INVOICE}.Total__c", "Metronome Integration")
    assert stage.written == Counter()
    fields[name] = taken
    stage.org.state.access_cache.clear()
    await recovers(stage)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("service", ["metronome", "salesforce"])
async def test_a_host_that_cannot_be_reached(stage: Stage, service: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    name = "baseUrl" if service == "metronome" else "instanceUrl"

    report = await stage.cycle(spec={service: {name: url}})

    failed(report, f"{service.title()}Unreachable", f"spec.{service}.{name}")
    assert report.retry is Retry.LATER
    await recovers(stage)


async def test_a_certificate_that_nobody_vouches_for(stage: Stage) -> None:
    authority = CertificateAuthority()
    with stage.salesforce.serve(tls=authority) as secured:
        there = {"salesforce": {"instanceUrl": secured.url}}
        report = await stage.cycle(spec=there)
        failed(report, "SalesforceCertificateFailed", "caBundleConfigMapRef")
        assert report.retry is Retry.AFTER_CHANGE

        report = await stage.cycle(spec=there, ca_bundle=authority.ca_pem.decode())
        assert report.outcome is Outcome.SUCCEEDED, report.message

        report = await stage.cycle(spec={"metronome": {"baseUrl": secured.url}})
        failed(report, "MetronomeCertificateFailed", "SSL_CERT_FILE")
    await recovers(stage)


async def test_a_host_that_the_operator_may_not_call(stage: Stage) -> None:
    report = await stage.cycle(environment={})

    failed(report, "HostNotAllowed", "METRONOME_SALESFORCE_ALLOWED_HOSTS")
    assert stage.metronome.requests == Counter()
    await recovers(stage)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("spared", [0, 4, 8])
async def test_an_answer_that_is_lost_after_the_commit(fresh: Stage, spared: int) -> None:
    """Written and not known to be: the next cycle finds it and writes nothing twice."""
    fresh.salesforce.faults.add("PATCH *", drop="after_commit", after=spared)

    report = await fresh.cycle()

    failed(report, "SalesforceUnavailable")
    assert report.retry is Retry.LATER
    committed = {key for key, count in fresh.written.items() if count}
    assert len(committed) >= 1
    fresh.salesforce.faults.clear()
    report = await fresh.cycle()
    assert report.outcome is Outcome.SUCCEEDED
    assert differences(fresh.expected(), fresh.org) == []


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("drop", ["before", "after_commit"])
async def test_a_day_of_changes_that_breaks_off_at_every_call(
    stage: Stage, drop: Literal["before", "after_commit"]
) -> None:
    """Links, deletes and updates: each try gets one writing call further than the one before.

    One beside that for the record of the run.
    """
    stage.tenant.set_salesforce_account(stage.customer(0), stage.account("Acme"))
    stage.tenant.void_grant(stage.tenant.credit_grants()[-1]["id"])
    stage.tenant.split_draft_line(
        next(
            one["id"]
            for one in stage.tenant.invoices(stage.customer(1))
            if one["status"] == "DRAFT" and one["type"] == "USAGE"
        )
    )
    tries = 0
    report = None
    while report is None or report.outcome is not Outcome.SUCCEEDED:
        tries += 1
        assert tries < 40
        stage.salesforce.faults.clear()
        for method in ("PATCH", "DELETE"):
            stage.salesforce.faults.add(f"{method} *", drop=drop, after=2)
        report = await stage.cycle()
        assert report.reason in {"Succeeded", "SalesforceUnavailable"}, report.message

    assert tries > 3
    assert differences(stage.expected(), stage.org) == []
    stage.salesforce.faults.clear()
    await stage.cycle(full=True)
    assert stage.written == Counter()


@pytest.mark.usefixtures("no_pauses")
async def test_a_delete_whose_answer_is_lost(stage: Stage) -> None:
    stage.tenant.void_grant(stage.tenant.credit_grants()[0]["id"])
    stage.salesforce.faults.add("DELETE *", drop="after_commit", times=2)

    report = await stage.cycle()

    assert report.outcome is Outcome.SUCCEEDED, report.message
    assert differences(stage.expected(), stage.org) == []


@pytest.mark.usefixtures("no_pauses")
async def test_no_secret_and_no_customer_in_logs_and_reports(
    fresh: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Not of a good cycle, nor of any that fails, nor of rows that are refused."""
    caplog.set_level(logging.INFO)
    reports = [await fresh.cycle(credentials={"clientId": "x-client", "clientSecret": "y" * 20})]
    reports.append(await fresh.cycle(api_key="another-wrong-key"))
    fresh.salesforce.faults.add("PATCH *", status=500, after=3, times=3)
    locked = fresh.salesforce.faults.row(LINE, every=3, status_code="STRING_TOO_LONG")
    fresh.metronome.faults.add("GET /v1/customers/*/invoices", status=500, times=2)
    reports.append(await fresh.cycle())
    fresh.metronome.faults.add("POST /v1/usage", status=400, body={"message": "Acme said no"})
    reports.append(await fresh.cycle())

    assert locked.hits
    assert [report.outcome for report in reports] == [
        *(Outcome.FAILED, Outcome.FAILED, Outcome.PARTIALLY_FAILED, Outcome.FAILED)
    ]
    told = caplog.text + "".join(json.dumps(report.to_json()) for report in reports)
    told += json.dumps(fresh.progress)
    names = {one["name"] for one in fresh.tenant.customers()}
    tokens = set(fresh.org.sessions._open)
    assert len(tokens) >= 2
    for word in {API_KEY, SECRET, "another-wrong-key", "y" * 20, "Acme said no"} | names | tokens:
        assert word not in told
