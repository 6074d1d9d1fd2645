"""Many small companies in one process: a Salesforce org for each, and one Metronome for them all.

The orgs are apart in everything, each with an address of its own, as two MetronomeSyncs never share
an org. That all read the same tenant changes nothing for the operator, which asks Metronome in
cycles only.
"""

from contextlib import ExitStack
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.metronome import API_KEY, MetronomeSandbox, Tenant
from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg, SalesforceSandbox

ACCOUNTS = 2
"""How many Accounts of each org there are for each customer: one to link it to, one to move it."""

_CUSTOMERS = 12

Json = dict[str, Any]


class Companies:
    """The services of so many companies; a context manager, whose end is theirs.

    `url` is Metronome's.
    """

    def __init__(self, count: int) -> None:
        now = datetime.now(UTC) - timedelta(days=2)
        self._tenant = Tenant.generate(
            customers=_CUSTOMERS, seed=1, months=1, now=now, scale="light"
        )
        self._metronome = MetronomeSandbox(self._tenant)
        self._authority = CertificateAuthority()
        template = _org()
        # The ids are the same in each org: copies count as the template would have.
        names = [f"Account {number}" for number in range(ACCOUNTS * _CUSTOMERS)]
        self._accounts = [template.insert("Account", {"Name": name}) for name in names]
        self._orgs = [_copy(template) for _ in range(count)]
        self._open = ExitStack()
        self.url = self._open.enter_context(self._metronome.serve()).url
        sandboxes = map(SalesforceSandbox, self._orgs)
        self._urls = [
            self._open.enter_context(one.serve(tls=self._authority)).url for one in sandboxes
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def answer(self, _command: Json) -> Json:
        """Addresses, keys, customers and Accounts; and the calls to all orgs since last asked."""
        calls = sum(org.statistics.total_calls for org in self._orgs)
        for org in self._orgs:
            org.statistics.reset()
        app = self._orgs[0].client_credentials
        listed = self._tenant.listed_customers(archived=False)
        return {
            "calls": calls,
            "metronome": {"url": self.url, "apiKey": API_KEY},
            "credentials": {"clientId": app.client_id, "clientSecret": app.client_secret},
            "authority": self._authority.ca_pem.decode(),
            "customers": [one.id for one in listed],
            "accounts": self._accounts,
            "orgs": self._urls,
        }


def _org() -> SalesforceOrg:
    """An org with the package and without rows."""
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    result = org.deploy(package_zip("66.0"))
    if not result.success:
        raise RuntimeError(f"the package does not deploy: {result.problems}")
    org.assign_permission_set(INTEGRATION, "Metronome_Integration")
    return org


def _copy(template: SalesforceOrg) -> SalesforceOrg:
    """Another org with the same rows, which is far quicker than to deploy the package again.

    What a deploy makes is shared, as no test of these changes it.
    """
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    mine, theirs = org.state, template.state
    theirs.storage.connection.backup(mine.storage.connection)
    mine.schema, mine.components = theirs.schema, theirs.components
    mine.permission_sets = theirs.permission_sets
    mine.ids, mine.counters = deepcopy(theirs.ids), theirs.counters.copy()
    return org
