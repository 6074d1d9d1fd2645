"""The Salesforce edge against the emulated org, which refuses what the platform refuses."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.canon import Checkbox, Date, DateTime, Lookup, MasterDetail, Number
from metronome_salesforce.errors import ConfigError, RetriableError
from metronome_salesforce.mapping import ObjectMapping, Role
from metronome_salesforce.objects import (
    ACCOUNT_SUMMARY,
    CUSTOMER,
    INVOICE,
    INVOICE_ADJUSTMENT,
    INVOICE_LINE_ITEM,
    INVOICE_SUB_LINE_ITEM,
    OBJECTS,
    PLAN,
    USAGE,
)
from metronome_salesforce.ports import Quota, Target
from metronome_salesforce.rows import ActualRow, Operation, RowError, RowResult, Value, Write
from metronome_salesforce.salesforce.credentials import (
    ClientSecret,
    Credentials,
    Password,
    PrivateKey,
)
from metronome_salesforce.salesforce.failures import RetryPolicy
from metronome_salesforce.salesforce.package import package_files, package_zip
from metronome_salesforce.salesforce.session import Session
from metronome_salesforce.salesforce.target import SalesforceTarget
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.salesforce import (
    ADMIN,
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.sandbox.serving import Served
from metronome_salesforce.scope import Scope

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLIENT = ClientSecret("sandbox-client-id", "sandbox-client-secret")
UPSERT = "PATCH /services/data/v66.0/composite/sobjects/*"
QUERY = "GET /services/data/v66.0/query*"


@dataclass(slots=True)
class World:
    """An org with the package, served over http, and a target that writes to it."""

    org: SalesforceOrg
    sandbox: SalesforceSandbox
    served: Served
    opened: list[SalesforceTarget] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    moment: datetime = NOW

    def target(self, credentials: Credentials = CLIENT, **settings: Any) -> SalesforceTarget:
        settings = {
            "policy": RetryPolicy(attempts=4, lock_attempts=4, sleep=self.waits.append),
            "now": lambda: self.moment,
            **settings,
        }
        target = SalesforceTarget(Session(self.served.url, credentials, **settings))
        self.opened.append(target)
        return target

    def record(self, mapping: ObjectMapping, key: str) -> dict[str, Any]:
        return next(row for row in self.org.rows(mapping.sobject) if row[mapping.key.api] == key)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(name="bare")
def _bare() -> Iterator[World]:
    """An org without the package."""
    org = SalesforceOrg(now=lambda: NOW)
    sandbox = SalesforceSandbox(org)
    with sandbox.serve() as served:
        world = World(org, sandbox, served)
        yield world
        for target in world.opened:
            target.close()


@pytest.fixture(name="world")
def _world(bare: World) -> World:
    deployed = bare.org.deploy(package_zip("66.0"))
    assert deployed.success, deployed.problems
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    return bare


def create(mapping: ObjectMapping, key: str, **fields: Value) -> Write:
    named = {} if mapping is USAGE else {"Name": key}
    return Write(mapping.name, Operation.CREATE, key, {**named, **fields})


def rows(pages: Iterator[list[ActualRow]]) -> dict[str, ActualRow]:
    return {row.key: row for page in pages for row in page}


def succeed(results: list[RowResult]) -> None:
    assert [result.error for result in results if result.error] == []


def invoice(key: str, **fields: Value) -> Write:
    return create(
        INVOICE,
        key,
        **{
            "Metronome_Customer_ID__c": "cus_1",
            "Orphaned_Customer__c": "cus_1",
            "Status__c": "Draft",
            **fields,
        },
    )


# -- the package ----------------------------------------------------------------------------------


def test_the_target_is_one() -> None:
    """For the type checker as much as for the reader."""
    session = Session("https://acme.my.salesforce.com", CLIENT)
    target: Target = SalesforceTarget(session)
    assert (target.chunk_size, target.requests, target.quota) == (200, 0, None)
    target.close()


_SAMPLES: dict[type, Value] = {
    Number: Decimal("12.5"),
    Checkbox: True,
    Date: "2026-01-31",
    DateTime: "2026-01-31T23:59:59Z",
}


def test_every_declared_field_takes_a_value_and_gives_it_back(world: World) -> None:
    """All fields of all nine objects, by the integration user's own rights."""
    target = world.target()
    account = world.org.insert("Account", {"Name": "Acme"})
    target.check(OBJECTS)
    keys = {mapping.sobject: f"{mapping.name}-1" for mapping in OBJECTS}
    sent: dict[str, dict[str, Value]] = {}
    for mapping in OBJECTS:
        values: dict[str, Value] = {}
        for one in mapping.fields:
            if one.role in {Role.KEY, Role.PLATFORM}:
                continue
            kind = one.value_kind
            if isinstance(kind, Lookup | MasterDetail):
                values[one.api] = account if kind.target == "Account" else keys[kind.target]
            elif isinstance(kind, Number) and kind.scale == 0:
                values[one.api] = Decimal(7)
            else:
                values[one.api] = _SAMPLES.get(type(kind), f"{one.api[:6]}é🎉")
        key = keys[mapping.sobject]
        write = Write(mapping.name, Operation.CREATE, key, values)
        assert target.write(mapping, [write]) == [RowResult(write, created=True)]
        # A second time, because a field may be open for creation only.
        assert target.write(mapping, [write]) == [RowResult(write, created=False)]
        sent[mapping.name] = values
    for mapping in OBJECTS:
        row = rows(target.read(mapping, Scope(content=True)))[keys[mapping.sobject]]
        content = {one.api: sent[mapping.name][one.api] for one in mapping.content}
        assert row.content == content
        stored = world.record(mapping, row.key)
        for api, value in content.items():
            if isinstance(value, Decimal):
                assert stored[api] == float(value)
            elif not isinstance(mapping.field(api).kind, Lookup | MasterDetail | DateTime):
                assert stored[api] == value


def test_the_package_deploys_again_without_a_change(world: World) -> None:
    again = world.org.deploy(package_zip("66.0"))
    assert again.success
    components = [one for one in again.messages if one.component_type]
    assert len(components) > len(package_files("66.0"))  # fields and list views are in objects
    assert not [one.full_name for one in components if one.changed or one.created]


# -- signing in -----------------------------------------------------------------------------------


def test_the_three_ways_to_sign_in_lead_to_the_same_user(world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    world.org.add_jwt_app("jwt-app", public.decode(), {INTEGRATION})
    ways: list[Credentials] = [
        CLIENT,
        PrivateKey("jwt-app", INTEGRATION, private.decode()),
        Password(INTEGRATION, "sandbox-password", "TOKEN"),
    ]
    succeed(world.target().write(PLAN, [create(PLAN, "p")]))
    for credentials in ways:
        target = world.target(credentials)
        target.check(OBJECTS)
        # "edited" compares with the user that each login names.
        assert not rows(target.read(PLAN, Scope()))["p"].edited


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (ClientSecret("sandbox-client-id", "wrong"), "clientSecret"),
        (ClientSecret("wrong", "sandbox-client-secret"), "clientId"),
        (Password(INTEGRATION, "wrong", "TOKEN"), "user name, password"),
    ],
)
def test_wrong_credentials_say_what_to_check(
    world: World, credentials: Credentials, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        world.target(credentials).check(OBJECTS)
    assert raised.value.reason == "SalesforceAuthenticationFailed"


def test_an_app_without_a_user_to_run_as_says_so(world: World) -> None:
    world.org.add_client_app("new", "secret", None)
    with pytest.raises(ConfigError, match="Run As"):
        world.target(ClientSecret("new", "secret")).check(OBJECTS)


def test_the_org_over_https_with_its_own_authority(world: World) -> None:
    authority = CertificateAuthority()
    with world.sandbox.serve(tls=authority) as served:
        doubting = SalesforceTarget(Session(served.url, CLIENT))
        with pytest.raises(ConfigError, match="caBundleConfigMapRef") as raised:
            doubting.check(OBJECTS)
        doubting.close()
        trusting = SalesforceTarget(
            Session(served.url, CLIENT, ca_bundle=authority.ca_pem.decode())
        )
        trusting.check(OBJECTS)
        trusting.close()
    assert raised.value.reason == "SalesforceCertificateFailed"


def test_sessions_that_expire_in_mid_read_and_mid_write_go_unnoticed(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, f"p{n}") for n in range(450)]))
    world.org.expire_sessions()
    succeed(target.write(PLAN, [create(PLAN, "p450")]))
    pages = target.read(PLAN, Scope())
    world.org.expire_sessions()
    assert len(rows(pages)) == 451
    assert world.org.sessions.logins == 3


# -- preflight ------------------------------------------------------------------------------------


def test_the_preflight_tells_quota_and_storage(world: World) -> None:
    world.org.api_limit = 15_000
    world.org.api_used = 100
    target = world.target()
    state = target.open()
    target.check([*OBJECTS, ACCOUNT_SUMMARY], state)
    assert state.quota == Quota(101, 15_000)
    assert state.storage_left_mb is not None
    assert state.storage_max_mb is not None
    assert 0 < state.storage_left_mb <= state.storage_max_mb
    assert target.quota == Quota(111, 15_000)
    assert ("salesforce", "describe", "200", 10) in target.api_calls
    assert target.requests == 12


def test_used_up_calls_stop_the_cycle_and_come_back(world: World) -> None:
    world.org.api_used = world.org.api_limit
    target = world.target()
    with pytest.raises(RetriableError) as raised:
        target.check(OBJECTS)
    assert raised.value.reason == "ApiBudgetExhausted"
    world.org.api_used = 0
    target.check(OBJECTS)


def test_an_org_without_the_package_is_told_to_deploy_it(bare: World) -> None:
    with pytest.raises(ConfigError, match=CUSTOMER.sobject) as raised:
        bare.target().check(OBJECTS)
    assert raised.value.reason == "PackageMissing"
    assert "deploy the Metronome package" in raised.value.message


def test_an_org_without_the_permission_set_names_it(bare: World) -> None:
    """A deploy alone shows the new objects to nobody."""
    assert bare.org.deploy(package_zip("66.0")).success
    with pytest.raises(ConfigError, match='"Metronome Integration"'):
        bare.target().check(OBJECTS)


def changed(path: str, *edits: tuple[str, str]) -> bytes:
    """The package with texts in one of its files replaced."""
    files = package_files("66.0")
    text = files[path].decode()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    files[path] = text.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SET = "permissionsets/Metronome_Integration.permissionset"


def field_entry(name: str, *, editable: str = "true") -> str:
    return (
        "    <fieldPermissions>\n"
        f"        <editable>{editable}</editable>\n"
        f"        <field>{name}</field>\n"
        "        <readable>true</readable>\n"
        "    </fieldPermissions>\n"
    )


@pytest.mark.parametrize(
    ("name", "replacement", "words"),
    [
        ("Metronome_Invoice__c.Total__c", "", "cannot see"),
        (
            "Metronome_Invoice__c.Total__c",
            field_entry("Metronome_Invoice__c.Total__c", editable="false"),
            "may not write",
        ),
        ("Account.Metronome_Currency__c", "", "cannot see"),
        (
            "Account.Metronome_Currency__c",
            field_entry("Account.Metronome_Currency__c", editable="false"),
            "may not write",
        ),
    ],
)
def test_a_field_without_access_is_named_with_its_object_and_permission_set(
    bare: World, name: str, replacement: str, words: str
) -> None:
    assert bare.org.deploy(changed(SET, (field_entry(name), replacement))).success
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    with pytest.raises(ConfigError, match=words) as raised:
        bare.target().check(OBJECTS)
    assert raised.value.reason == "FieldNotAccessible"
    assert name in raised.value.message
    assert '"Metronome Integration"' in raised.value.message


def test_an_object_that_rows_cannot_be_deleted_from_is_named(bare: World) -> None:
    weaker = changed(
        SET,
        ("<allowDelete>true</allowDelete>", "<allowDelete>false</allowDelete>"),
        ("<modifyAllRecords>true</modifyAllRecords>", "<modifyAllRecords>false</modifyAllRecords>"),
    )
    assert bare.org.deploy(weaker).success
    bare.org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    with pytest.raises(ConfigError, match="may not delete Metronome_Orphan_Customer__c") as raised:
        bare.target().check(OBJECTS)
    assert raised.value.reason == "ObjectNotAccessible"


def test_a_user_without_the_api_is_told_so(world: World) -> None:
    world.org.revoke_permission(INTEGRATION, "ApiEnabled")
    with pytest.raises(ConfigError) as raised:
        world.target().check(OBJECTS)
    assert raised.value.reason == "SalesforceApiDisabled"


def test_an_api_version_from_the_future_is_named(world: World) -> None:
    with pytest.raises(ConfigError, match=r"999\.0") as raised:
        world.target(api_version="999.0").check(OBJECTS)
    assert raised.value.reason == "SalesforceApiVersionUnknown"


# -- rows -----------------------------------------------------------------------------------------


def test_nulls_clear_and_fields_that_are_not_named_stay(world: World) -> None:
    target = world.target()
    full = create(
        CUSTOMER,
        "cus_1",
        Full_Name__c='Müller & Söhne "GmbH" 🎉',
        Ingest_Aliases__c="one\ntwo",
        Current_Spend__c=Decimal("12345678901.23"),
        Last_Invoice_End__c="2026-02-01",
        Archived__c=True,
    )
    succeed(target.write(CUSTOMER, [full]))
    stored = world.record(CUSTOMER, "cus_1")
    assert stored["Full_Name__c"] == 'Müller & Söhne "GmbH" 🎉'
    assert stored["Ingest_Aliases__c"] == "one\ntwo"
    assert stored["Current_Spend__c"] == 12345678901.23
    cleared = {"Full_Name__c": None, "Current_Spend__c": None, "Last_Invoice_End__c": None}
    succeed(target.write(CUSTOMER, [Write("Customer", Operation.UPDATE, "cus_1", cleared)]))
    stored = world.record(CUSTOMER, "cus_1")
    assert [stored[name] for name in cleared] == [None, None, None]
    assert stored["Ingest_Aliases__c"] == "one\ntwo"
    assert stored["Archived__c"] is True


def test_a_row_moves_between_its_two_places(world: World) -> None:
    target = world.target()
    account = world.org.insert("Account", {"Name": "Acme"})
    succeed(target.write(CUSTOMER, [create(CUSTOMER, "cus_1")]))
    succeed(target.write(INVOICE, [invoice("inv_1")]))
    row = rows(target.read(INVOICE, Scope()))["inv_1"]
    assert (row.account, row.orphaned_customer) == (None, "cus_1")
    there: dict[str, Value] = {"Account__c": account, "Orphaned_Customer__c": None}
    succeed(target.write(INVOICE, [Write("Invoice", Operation.UPDATE, "inv_1", there)]))
    row = rows(target.read(INVOICE, Scope()))["inv_1"]
    assert (row.account, row.orphaned_customer) == (account, None)
    back: dict[str, Value] = {"Account__c": None, "Orphaned_Customer__c": "cus_1"}
    succeed(target.write(INVOICE, [Write("Invoice", Operation.UPDATE, "inv_1", back)]))
    row = rows(target.read(INVOICE, Scope()))["inv_1"]
    assert (row.account, row.orphaned_customer) == (None, "cus_1")


def test_refused_rows_are_data_and_the_others_are_stored(world: World) -> None:
    world.org.add_validation_rule(
        CUSTOMER.sobject,
        "Spend",
        lambda row: (row.get("Current_Spend__c") or 0) > 1000,
        "Spend above 1000 needs approval",
        "Current_Spend__c",
    )
    target = world.target()
    writes = [
        create(CUSTOMER, "cus_1"),
        create(CUSTOMER, "cus_2", Full_Name__c="Initech " * 40),
        create(CUSTOMER, "cus_3", Current_Spend__c=Decimal(1001)),
        create(CUSTOMER, "cus_4", Current_Spend__c=Decimal("1e17")),
        create(CUSTOMER, "cus_5", Account__c="001Hs0000099999"),
        create(CUSTOMER, "cus_6"),
    ]
    results = target.write(CUSTOMER, writes)
    assert [result.write for result in results] == writes
    assert [result.error.code if result.error else None for result in results] == [
        None,
        "STRING_TOO_LONG",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "INVALID_CROSS_REFERENCE_KEY",
        None,
    ]
    assert results[2].error == RowError(
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "Spend above 1000 needs approval",
        ("Current_Spend__c",),
    )
    assert "Initech" not in str(results[1].error)
    assert world.org.count(CUSTOMER.sobject) == 2


def test_a_child_whose_parent_is_missing_is_refused_alone(world: World) -> None:
    target = world.target()
    succeed(target.write(CUSTOMER, [create(CUSTOMER, "cus_1")]))
    good, bad = target.write(INVOICE, [invoice("a"), invoice("b", Orphaned_Customer__c="cus_9")])
    assert good.error is None
    assert bad.error is not None
    assert bad.error.code == "INVALID_FIELD"
    assert "cus_9" not in bad.error.message


def test_keys_that_differ_by_case_are_two_rows(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, "plan_a"), create(PLAN, "plan_A")]))
    assert world.org.count(PLAN.sobject) == 2
    assert set(rows(target.read(PLAN, Scope()))) == {"plan_a", "plan_A"}


@pytest.mark.parametrize("key", ["a/b", "..", "a?b#c", "a+b c%20", "x@y.inc", "k.json", "'\"\\é🎉"])
def test_keys_of_any_form_reach_their_row(world: World, key: str) -> None:
    """In a URL these would change the resource; they travel in the body."""
    target = world.target()
    for name in ("first", "second"):
        write = Write("Plan", Operation.UPDATE, key, {"Name": name})
        succeed(target.write(PLAN, [write]))
    assert [row["Metronome_Plan_ID__c"] for row in world.org.rows(PLAN.sobject)] == [key]
    assert world.record(PLAN, key)["Name"] == "second"


def test_deletes_remove_rows_and_those_gone_already_count(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, f"p{n}") for n in range(3)]))
    found = rows(target.read(PLAN, Scope()))
    writes = [Write("Plan", Operation.DELETE, key, {}, found[key].id) for key in ("p0", "p1", "p2")]
    world.org.delete(PLAN.sobject, found["p1"].id)
    succeed(target.delete(PLAN, writes))
    succeed(target.delete(PLAN, writes))
    assert world.org.count(PLAN.sobject) == 0


def test_accounts_are_found_by_customer_and_by_id_and_updated(world: World) -> None:
    target = world.target()
    ids = [world.org.insert("Account", {"Name": f"Account {n}"}) for n in range(4)]
    world.org.insert("Account", {"Name": "not asked for"})
    # A deploy shows new fields to nobody, administrators included.
    world.org.assign_permission_set(ADMIN, "Metronome_Integration")
    world.org.update("Account", ids[3], {"Metronome_Customer_ID__c": "cus_old"})
    world.org.delete("Account", ids[2])
    wanted = [ids[0][:15], ids[1], ids[2], "no id", "001Hs0000099999"]
    found = rows(target.accounts(wanted))
    assert set(found) == {ids[0], ids[1], ids[3]}
    content = found[ids[0]].content
    assert content is not None
    assert set(content.values()) == {None}
    fields: dict[str, Value] = {
        "Metronome_Customer_ID__c": "cus_1",
        "Metronome_Current_Spend__c": Decimal("1.1"),
        "Metronome_Last_Invoice_End__c": "2026-01-31",
        "Metronome_Last_Synced__c": "2026-03-01T12:00:00Z",
    }
    write = Write("Account", Operation.UPDATE, ids[0], fields, ids[0])
    taken = replace(write, key=ids[1], id=ids[1])
    gone = replace(write, key=ids[2], id=ids[2])
    results = target.write(ACCOUNT_SUMMARY, [write, taken, gone])
    assert [result.error.code if result.error else None for result in results] == [
        None,
        "DUPLICATE_VALUE",
        "ENTITY_IS_DELETED",
    ]
    after = rows(target.accounts([]))
    assert set(after) == {ids[0], ids[3]}
    assert after[ids[0]].content == {
        "Metronome_Customer_ID__c": "cus_1",
        "Metronome_Current_Spend__c": Decimal("1.1"),
        "Metronome_Last_Invoice_Total__c": None,
        "Metronome_Last_Invoice_End__c": "2026-01-31",
        "Metronome_Credit_Balance__c": None,
        "Metronome_Currency__c": None,
    }


# -- reading --------------------------------------------------------------------------------------


def with_invoices(target: SalesforceTarget) -> None:
    """Two invoices with a line, a charge and an adjustment each; one is a draft."""
    succeed(target.write(CUSTOMER, [create(CUSTOMER, "cus_1")]))
    succeed(
        target.write(
            INVOICE,
            [
                invoice("draft", Start__c="2026-02-01", End__c="2026-03-01", Sync_Hash__c="h1"),
                invoice(
                    "old",
                    Status__c="Finalized",
                    Start__c="2025-01-01",
                    End__c="2025-02-01",
                    Issued_At__c="2025-02-02T08:00:00Z",
                ),
            ],
        )
    )
    for key in ("draft", "old"):
        line = create(INVOICE_LINE_ITEM, f"{key}:l", Invoice__c=key)
        succeed(target.write(INVOICE_LINE_ITEM, [line]))
        charge = create(INVOICE_SUB_LINE_ITEM, f"{key}:l:s", Invoice_Line_Item__c=f"{key}:l")
        succeed(target.write(INVOICE_SUB_LINE_ITEM, [charge]))
        adjustment = create(INVOICE_ADJUSTMENT, f"{key}:adj", Invoice__c=key)
        succeed(target.write(INVOICE_ADJUSTMENT, [adjustment]))


CHILDREN = (INVOICE_LINE_ITEM, INVOICE_SUB_LINE_ITEM, INVOICE_ADJUSTMENT)


def test_children_tell_their_invoice_its_customer_and_whether_it_is_a_draft(world: World) -> None:
    target = world.target()
    with_invoices(target)
    for mapping in CHILDREN:
        found = rows(target.read(mapping, Scope()))
        told = {(row.owner, row.customer_id, row.draft) for row in found.values()}
        assert told == {("draft", "cus_1", True), ("old", "cus_1", False)}
    found = rows(target.read(INVOICE, Scope()))
    assert (found["draft"].owner, found["draft"].hash, found["draft"].draft) == (
        "cus_1",
        "h1",
        True,
    )
    assert (found["old"].hash, found["old"].draft) == (None, False)


def test_the_scope_reaches_as_far_for_children_as_for_invoices(world: World) -> None:
    target = world.target()
    with_invoices(target)
    for mapping in (INVOICE, *CHILDREN):
        near = rows(target.read(mapping, Scope(invoices_from=date(2026, 1, 1))))
        assert len(near) == 1
        assert all(key.startswith("draft") for key in near)
        issued = Scope(invoices_from=date(2025, 2, 2))
        assert len(rows(target.read(mapping, issued))) == 2
        assert len(rows(target.read(mapping, Scope()))) == 2


def test_usage_and_the_horizon(world: World) -> None:
    target = world.target()
    assert target.horizon(date(2026, 3, 1)).old_drafts == []
    assert target.horizon(date(2026, 3, 1)).oldest_usage is None
    with_invoices(target)
    days = ("2026-01-05", "2026-01-06", "2026-02-01")
    succeed(target.write(USAGE, [create(USAGE, f"u:{day}", Start__c=day) for day in days]))
    assert target.horizon(date(2026, 2, 1)).old_drafts == []
    assert target.horizon(date(2026, 2, 2)).old_drafts == [("cus_1", date(2026, 2, 1))]
    assert target.horizon(date(2026, 2, 1)).oldest_usage == date(2026, 1, 5)
    found = rows(target.read(USAGE, Scope(usage_from=date(2026, 1, 6))))
    assert set(found) == {"u:2026-01-06", "u:2026-02-01"}


def test_rows_of_customers_of_any_age(world: World) -> None:
    target = world.target()
    with_invoices(target)
    succeed(target.write(CUSTOMER, [create(CUSTOMER, "cus_2")]))
    other = invoice("other", Metronome_Customer_ID__c="cus_2", Orphaned_Customer__c="cus_2")
    succeed(target.write(INVOICE, [other]))
    assert set(rows(target.read_of_customers(INVOICE, ["cus_1"]))) == {"draft", "old"}
    assert set(rows(target.read_of_customers(INVOICE, ["cus_2", "cus_3", "o'x"]))) == {"other"}
    assert rows(target.read_of_customers(INVOICE, [])) == {}


def test_an_edit_by_somebody_else_shows_and_ours_covers_it(world: World) -> None:
    target = world.target()
    write = create(PLAN, "p", Description__c="ours")
    succeed(target.write(PLAN, [write]))
    row = rows(target.read(PLAN, Scope()))["p"]
    assert not row.edited
    world.org.assign_permission_set(ADMIN, "Metronome_Integration")
    world.org.update(PLAN.sobject, row.id, {"Description__c": "theirs"})
    assert rows(target.read(PLAN, Scope()))["p"].edited
    succeed(target.write(PLAN, [write]))
    assert not rows(target.read(PLAN, Scope()))["p"].edited


def test_links_are_read_with_their_customer(world: World) -> None:
    target = world.target()
    account = world.org.insert("Account", {"Name": "Acme"})
    write = create(
        CUSTOMER,
        "cus_1",
        Account__c=account,
        Linked_Account_ID__c=account,
        Link_Source__c="Metronome",
    )
    succeed(target.write(CUSTOMER, [write]))
    row = rows(target.read(CUSTOMER, Scope()))["cus_1"]
    assert (row.account, row.linked, row.link_source) == (account, account, "Metronome")
    assert (row.customer_id, row.owner) == ("cus_1", "cus_1")


def test_many_rows_come_in_pages_once_each(world: World) -> None:
    target = world.target()
    writes = [create(PLAN, f"p{n:04d}") for n in range(2500)]
    for start in range(0, len(writes), 200):
        succeed(target.write(PLAN, writes[start : start + 200]))
    before = target.requests
    pages = list(target.read(PLAN, Scope()))
    assert sorted(row.key for page in pages for row in page) == [write.key for write in writes]
    assert len(pages) == target.requests - before == 2


def test_reading_goes_on_where_a_lost_cursor_left_it(world: World) -> None:
    """INVALID_QUERY_LOCATOR between two pages: no row is missed and none comes twice."""
    target = world.target()
    writes = [create(PLAN, f"p{n:04d}") for n in range(2100)]
    for start in range(0, len(writes), 200):
        succeed(target.write(PLAN, writes[start : start + 200]))
    world.sandbox.faults.add(
        "GET /services/data/v66.0/query/*",
        status=400,
        error_code="INVALID_QUERY_LOCATOR",
        message="invalid query locator",
        times=1,
    )
    pages = list(target.read(PLAN, Scope()))
    assert sorted(row.key for page in pages for row in page) == [write.key for write in writes]


# -- bad days -------------------------------------------------------------------------------------


def test_a_connection_that_breaks_after_the_commit_leaves_no_duplicate(world: World) -> None:
    target = world.target()
    target.check(OBJECTS)
    world.sandbox.faults.add(UPSERT, drop="after_commit", times=1)
    results = target.write(PLAN, [create(PLAN, f"p{n}") for n in range(5)])
    succeed(results)
    assert [result.created for result in results] == [False] * 5
    assert world.org.count(PLAN.sobject) == 5
    assert world.org.statistics.rows[PLAN.sobject, "insert"] == 5


def test_a_delete_whose_answer_is_lost_is_repeated(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, "p")]))
    row = rows(target.read(PLAN, Scope()))["p"]
    world.sandbox.faults.add("DELETE *", drop="after_commit", times=1)
    succeed(target.delete(PLAN, [Write("Plan", Operation.DELETE, "p", {}, row.id)]))
    assert world.org.count(PLAN.sobject) == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_org_that_stumbles_is_asked_again(world: World, status: int) -> None:
    target = world.target()
    world.sandbox.faults.add(UPSERT, status=status, body="<html>busy</html>", times=2)
    world.sandbox.faults.add(QUERY, status=status, body="<html>busy</html>", times=2)
    succeed(target.write(PLAN, [create(PLAN, "p")]))
    assert set(rows(target.read(PLAN, Scope()))) == {"p"}
    assert len(world.waits) == 4


def test_an_org_that_stays_down_ends_the_cycle_to_be_tried_later(world: World) -> None:
    target = world.target()
    world.sandbox.faults.add(UPSERT, status=503, body="<html>busy</html>")
    with pytest.raises(RetriableError) as raised:
        target.write(PLAN, [create(PLAN, "p")])
    assert raised.value.reason == "SalesforceUnavailable"
    assert world.org.count(PLAN.sobject) == 0


def test_locked_rows_are_sent_again_until_they_pass(world: World) -> None:
    target = world.target()
    world.sandbox.faults.row(PLAN.sobject, every=3, times=4)
    results = target.write(PLAN, [create(PLAN, f"p{n}") for n in range(10)])
    succeed(results)
    assert [result.write.key for result in results] == [f"p{n}" for n in range(10)]
    assert world.org.count(PLAN.sobject) == 10
    assert world.waits


def test_a_race_for_a_key_is_run_again(world: World) -> None:
    target = world.target()
    world.sandbox.faults.row(
        PLAN.sobject,
        status_code="DUPLICATE_VALUE",
        message="duplicate value found: Metronome_Plan_ID__c duplicates value on record with id: x",
        times=1,
    )
    succeed(target.write(PLAN, [create(PLAN, "p")]))


def test_full_storage_rejects_rows_and_nothing_else(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, "old")]))
    world.org.storage_full = True
    results = target.write(PLAN, [create(PLAN, "new"), create(PLAN, "old", Description__c="x")])
    assert [result.error.code if result.error else None for result in results] == [
        "STORAGE_LIMIT_EXCEEDED",
        None,
    ]


def test_a_daily_limit_that_strikes_in_mid_cycle_stops_it(world: World) -> None:
    target = world.target()
    world.org.api_limit = world.org.api_used + 3
    for n in range(3):
        succeed(target.write(PLAN, [create(PLAN, f"p{n}")]))
    with pytest.raises(RetriableError) as raised:
        target.write(PLAN, [create(PLAN, "p3")])
    assert raised.value.reason == "ApiBudgetExhausted"
    assert world.org.count(PLAN.sobject) == 3


def test_a_session_that_timed_out_is_renewed(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, "p")]))
    world.org.state.now = lambda: NOW + timedelta(hours=3)
    world.moment = NOW + timedelta(hours=3)
    assert set(rows(target.read(PLAN, Scope()))) == {"p"}
    assert world.org.sessions.logins == 2


def test_headers_that_keep_the_orgs_rules_out_are_on_every_write(world: World) -> None:
    target = world.target()
    succeed(target.write(PLAN, [create(PLAN, "p")]))
    world.org.expire_sessions()
    succeed(target.write(PLAN, [create(PLAN, "p")]))
    sent = [one for one in world.sandbox.requests if one.method == "PATCH"]
    assert [one.status for one in sent] == [200, 401, 200]
    for one in sent:
        headers = {name.lower(): value for name, value in one.headers.items()}
        assert headers["sforce-duplicate-rule-header"] == "allowSave=true"
        assert headers["sforce-auto-assign"] == "FALSE"
        assert "x-prettyprint" not in headers
    assert json.dumps(sent[0].query) == "{}"
