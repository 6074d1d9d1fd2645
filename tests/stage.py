"""A stage for whole cycles: a tenant, an org, both served over HTTP, and a clock that tests set.

Cycles run as the product runs them, from a MetronomeSync and its secrets to the report. What was
written is counted by the org, what should have been written by `expectation`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from metronome_salesforce.cycle import Observers, Run
from metronome_salesforce.execution.running import run_linking, run_sync
from metronome_salesforce.inputs import SyncInputs
from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.planning import Place, Plan
from metronome_salesforce.ports import Refusal
from metronome_salesforce.relinking import LinkJob, LinkReport
from metronome_salesforce.report import CycleReport, Outcome, Trigger
from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.sandbox.metronome import (
    API_KEY,
    MetronomeSandbox,
    PageLimits,
    Tenant,
)
from metronome_salesforce.sandbox.salesforce import (
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.spec import MetronomeSync
from tests.expectation import INVOICE, SOBJECTS, Content, Settings, expected

NOW = datetime(2026, 3, 10, 6, tzinfo=UTC)
PERMISSION_SET = "Metronome_Integration"
ENVIRONMENT = {
    "METRONOME_SALESFORCE_ALLOWED_HOSTS": "127.0.0.1,localhost",
    "METRONOME_SALESFORCE_ALLOW_HTTP": "true",
}
Json = dict[str, Any]


class Stage:
    """Both services, a clock for everybody, and what the next cycle has to know.

    `last_success` and `rejected_since` are set by cycles as the operator sets them; `spec` holds
    the parts of the MetronomeSync's spec that differ from the defaults, `lookback` is days of
    usage. An org that is not `fast` takes its time with a deploy. A context manager that stops
    serving.
    """

    def __init__(
        self,
        *,
        now: datetime = NOW,
        customers: int = 12,
        months: int = 3,
        spec: Json | None = None,
        lookback: int = 34,
        page_limits: PageLimits | None = None,
        package: bool = True,
        fast: bool = True,
    ) -> None:
        self.now = self.began = now
        self.name = "production"
        self.spec: Json = spec or {}
        self.lookback = lookback
        self.last_success: datetime | None = None
        self.rejected_since: dict[str, date] = {}
        self.progress: list[tuple[str, int, int | None]] = []
        self.plan: Callable[[Plan], None] | None = None
        self.relinked: Callable[[], Mapping[str, Place]] | None = None
        self.links: list[LinkRequest] | None = []
        self.retained: frozenset[str] = frozenset()
        self.tenant = Tenant.generate(customers=customers, now=now, months=months)
        self.metronome = MetronomeSandbox(self.tenant, page_limits=page_limits)
        self.org = SalesforceOrg(now=lambda: self.now)
        if package:
            self.install()
        self.salesforce = SalesforceSandbox(self.org, fast=fast)
        self._open = ExitStack()
        self.metronome_url = self._open.enter_context(self.metronome.serve()).url
        self.salesforce_url = self._open.enter_context(self.salesforce.serve()).url
        self.org.statistics.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def install(self) -> None:
        """Deploy the package and give the integration user its permission set."""
        result = self.org.deploy(package_zip("66.0"))
        assert result.success, result.problems
        self.org.assign_permission_set(INTEGRATION, PERMISSION_SET)

    def take_rows_of(self, other: "Stage") -> None:
        """Fill the org with another one's rows: quicker than to run the first cycle again."""
        mine, theirs = self.org.state, other.org.state
        theirs.storage.connection.backup(mine.storage.connection)
        mine.counters.update(theirs.counters)
        for sobject in mine.schema.objects.values():
            row = mine.storage.one(f'SELECT count(*) FROM "{sobject.name}"')  # noqa: S608 -- a name of the schema
            if row is not None:
                mine.ids.reserve(sobject.prefix, row[0])
        self.last_success = other.last_success
        self.rejected_since = other.rejected_since

    # -- time and people --------------------------------------------------------------------------

    def advance(self, by: timedelta) -> None:
        """Let time pass for the tenant, the org and the operator."""
        self.tenant.advance(by)
        self.now += by

    def customer(self, number: int) -> str:
        """The id of one of the tenant's twelve odd customers, by position."""
        both = self.tenant.listed_customers(archived=False) + self.tenant.listed_customers(
            archived=True
        )
        return next(one.id for one in both if one.index == number)

    def clerk(self) -> str:
        """The name of a user beside the integration user who may edit everything."""
        name = "clerk@sandbox.example"
        if name not in self.org.users:
            self.org.add_user(name)
            self.org.assign_permission_set(name, PERMISSION_SET)
        return name

    def account(self, name: str) -> str:
        """Create an Account."""
        made = self.org.insert("Account", {"Name": name})
        self.org.statistics.reset()
        return made

    # -- cycles -----------------------------------------------------------------------------------

    def document(self, spec: Mapping[str, Any] | None = None) -> Json:
        """The MetronomeSync as a user writes it."""
        merged: Json = {
            "metronome": {"apiKeySecretRef": {"name": "metronome"}, "baseUrl": self.metronome_url},
            "salesforce": {
                "instanceUrl": self.salesforce_url,
                "credentialsSecretRef": {"name": "salesforce"},
            },
            "usage": {"lookback": f"{self.lookback}d"},
        }
        for part in (self.spec, spec or {}):
            for name, value in part.items():
                merged[name] = (
                    {**merged.get(name, {}), **value} if isinstance(value, dict) else value
                )
        return {
            "apiVersion": "metronome-salesforce.dev/v1alpha1",
            "kind": "MetronomeSync",
            "metadata": {"name": self.name, "namespace": "billing"},
            "spec": merged,
        }

    @property
    def credentials(self) -> dict[str, str]:
        """The client credentials of the integration user."""
        app = self.org.client_credentials
        return {"clientId": app.client_id, "clientSecret": app.client_secret}

    async def cycle(
        self,
        *,
        full: bool = False,
        dry_run: bool = False,
        spec: Mapping[str, Any] | None = None,
        api_key: str = API_KEY,
        credentials: dict[str, str] | None = None,
        ca_bundle: str | None = None,
        environment: Mapping[str, str] = ENVIRONMENT,
        stop: threading.Event | None = None,
        trigger: Trigger = Trigger.SCHEDULE,
        refusal: Refusal | None = None,
    ) -> CycleReport:
        """Run one cycle; what it writes is counted from zero in `written`."""
        self.org.statistics.reset()
        self.metronome.reset_counters()
        inputs = SyncInputs(
            MetronomeSync.model_validate(self.document(spec)),
            api_key,
            self.credentials if credentials is None else credentials,
            ca_bundle,
        )
        run = Run(
            id=f"run-{self.now:%Y%m%d%H%M}",
            trigger=trigger,
            now=self.now,
            full=full,
            dry_run=dry_run,
            details=dry_run,
            last_success=self.last_success,
            rejected_since=self.rejected_since,
            links=self.links,
            retained=self.retained,
            refusal=refusal,
        )
        observers = Observers(
            lambda *step: self.progress.append(step), self.plan, self.relinked or dict
        )
        report = await run_sync(inputs, run, observers, environment=environment, stop=stop)
        if report.outcome in {Outcome.SUCCEEDED, Outcome.PARTIALLY_FAILED}:
            self.last_success = self.now
            self.rejected_since = {
                what: date.fromisoformat(day) for what, day in report.rejected_since.items()
            }
        return report

    async def link(
        self,
        *,
        spec: Mapping[str, Any] | None = None,
        api_key: str = API_KEY,
        moving: Callable[[Mapping[str, Place]], None] = lambda _places: None,
        **job: Any,
    ) -> LinkReport:
        """Run what CustomerLinks ask for; keyword arguments are those of `LinkJob`.

        Without `dirty`, all of `links` are looked at.
        """
        self.org.statistics.reset()
        self.metronome.reset_counters()
        document = MetronomeSync.model_validate(self.document(spec))
        inputs = SyncInputs(document, api_key, self.credentials, None)
        links = self.links or []
        job = {"dirty": frozenset(one.name for one in links), **job}
        return await run_linking(
            inputs,
            LinkJob(now=self.now, links=tuple(links), **job),
            moving=moving,
            environment=ENVIRONMENT,
        )

    @property
    def written(self) -> Counter[tuple[str, str]]:
        """Rows that the org really wrote in the last cycle, by sObject and operation."""
        return Counter(
            {key: count for key, count in self.org.statistics.rows.items() if key[0] in SOBJECTS}
        )

    def drafts(self) -> list[Json]:
        """The org's draft invoices."""
        return [row for row in self.org.rows(INVOICE) if row["Status__c"] == "Draft"]

    def finalized_invoices(self) -> list[Json]:
        """The tenant's finalized invoices, as Metronome lists them."""
        ids = [one.id for one in self.tenant.listed_customers(archived=False)]
        invoices = [invoice for id_ in ids for invoice in self.tenant.invoices(id_)]
        return [invoice for invoice in invoices if invoice["status"] == "FINALIZED"]

    def synced_at(self) -> dict[str, set[datetime]]:
        """The times of the last write that the rows of each sObject show."""
        rows = {sobject: self.org.rows(sobject) for sobject in SOBJECTS}
        return {
            sobject: {datetime.fromisoformat(row["Last_Synced__c"]) for row in of_sobject}
            for sobject, of_sobject in rows.items()
            if of_sobject and "Last_Synced__c" in of_sobject[0]
        }

    # -- expectations -----------------------------------------------------------------------------

    def expected(self, **changed: Any) -> Content:
        """What the org must hold now; keyword arguments are those of `Settings`."""
        settings: Json = {
            "now": self.now,
            "usage_from": self.usage_from,
            "accounts": tuple(row["Id"] for row in self.org.rows("Account")),
        }
        return expected(self.tenant, Settings(**{**settings, **changed}))

    @property
    def usage_from(self) -> date:
        """The first day of usage that the first cycle looked at."""
        return (self.began - timedelta(days=self.lookback)).date()
