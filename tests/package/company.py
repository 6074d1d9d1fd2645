"""A company whose tenant was synced into an org, for tests of what people get to see there.

What must be there is worked out from the tenant's documents by `tests.expectation`, which knows
nothing of the product.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import cycle

from metronome_salesforce.report import Outcome
from metronome_salesforce.sandbox.salesforce import ADMIN
from metronome_salesforce.sandbox.salesforce.reports import ReportResult, run_report
from tests.expectation import CUSTOMER, LINE, Content, Json
from tests.package.versions import share_dashboards
from tests.stage import NOW, Stage

READER = "reader@sandbox.example"
TODAY = NOW.date()
RUN = "Metronome_Sync_Run__c"


class Company:
    """A synced org: customers without an Account, on one, two on one, and one just linked."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.accounts = {name: stage.account(name) for name in ("Acme", "Beta", "Empty")}
        self.names = {record: name for name, record in self.accounts.items()}
        for number, name in ((0, "Acme"), (1, "Acme"), (2, "Beta")):
            stage.tenant.set_salesforce_account(stage.customer(number), self.accounts[name])
        self._let_grants_expire(1, 30, 59, 60, 61)
        assert asyncio.run(stage.cycle()).outcome is Outcome.SUCCEEDED
        self.content: Content = stage.expected()
        self.line_names = {row.place: row.fields["Name"] for row in self.content[LINE].values()}
        self.pending = stage.customer(4)
        self._link(self.pending, self.accounts["Empty"])
        for number, rejected in enumerate((3, 0, None, 2)):
            moment = f"2026-03-0{1 + number // 2}T0{number}:00:00.000+0000"
            stage.org.insert(RUN, {
                "Run_ID__c": f"made-{number}", "Sync__c": "billing/made", "Started_At__c": moment,
                "Finished_At__c": moment, "Outcome__c": "PartiallyFailed",
                "Rows_Rejected__c": rejected, "Summary__c": f"Rejected {rejected}",
            }, username=stage.clerk())  # fmt: skip
        stage.org.add_user(READER, name="Sales Reader")
        # The administrator deployed the dashboard, so everybody it is shared with sees it with
        # those eyes.
        share_dashboards(stage.org)
        for each in (READER, ADMIN):
            stage.org.assign_permission_set(each, "Metronome_User")

    def _let_grants_expire(self, *days: int) -> None:
        """Move the end of grants that are in effect to so many days from now, in turn."""
        tenant, midnight = self.stage.tenant, NOW.replace(hour=0)
        listed = [
            (customer, grant) for customer, grant in tenant.listed_grants()
            if grant.expires_at > NOW + timedelta(days=90)
        ]  # fmt: skip
        for (customer, grant), after in zip(listed, cycle(days), strict=False):
            made = replace(grant, expires_at=midnight + timedelta(days=after))
            customer.grants = tuple(made if each is grant else each for each in customer.grants)
        # What was worked out with the old ends is forgotten when time passes.
        self.stage.advance(timedelta())

    def _link(self, customer: str, account: str) -> None:
        """A person sets the Account; the billing data has still to be moved."""
        rows = self.stage.org.rows(CUSTOMER)
        [record] = [row["Id"] for row in rows if row["Metronome_Customer_ID__c"] == customer]
        values = {"Account__c": account}
        self.stage.org.update(CUSTOMER, record, values, username=self.stage.clerk())
        old = self.content[CUSTOMER][(customer,)]
        fields = {**old.fields, "Account__c": account, "Is_Linked__c": True,
                  "Link_Pending__c": True}  # fmt: skip
        self.content[CUSTOMER][(customer,)] = replace(old, fields=fields)

    def rows(self, sobject: str) -> list[Json]:
        """What must be in the org, the Account by name."""
        return [
            {**each.fields, "Account": self.names.get(each.fields.get("Account__c") or "")}
            for each in self.content[sobject].values()
        ]

    def run(self, name: str) -> ReportResult:
        """Run a report as somebody with *Metronome User*, who sees all of its columns."""
        state = self.stage.org.state
        result = run_report(state, self.stage.org.users[READER], f"Metronome/{name}")
        admin = run_report(state, self.stage.org.users[self.stage.clerk()], f"Metronome/{name}")
        assert result == admin
        return result


def active(row: Json) -> bool:
    """Whether a grant is in effect today."""
    starts, ends = row["Effective_Date__c"], row["Expiration_Date__c"]
    today = TODAY.isoformat()
    return starts is not None and starts <= today and (ends is None or ends > today)


def percent(row: Json) -> float:
    """What is left of a grant, in per cent with one decimal."""
    share = Decimal(str(row["Balance_Including_Pending__c"])) / Decimal(
        str(row["Initial_Grant_Amount__c"])
    )
    return float((share * 100).quantize(Decimal("0.1")))
