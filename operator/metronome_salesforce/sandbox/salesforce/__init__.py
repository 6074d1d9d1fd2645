"""An emulated Salesforce org: schema by metadata deploy, rows in SQLite, SOQL, REST and SOAP.

Modelled, after the vendor's REST, SOAP, Metadata and Bulk API 2.0 guides and what its CLI, jsforce
and simple-salesforce send:

* sessions (client credentials, JWT bearer, SOAP login below v65), permission sets and
  field-level security, daily limits, faults on demand;
* rows one by one, in collections, composite, batch, tree and graph requests; soft deletes;
  formulas, roll-ups, validation rules; SOQL with parents, children, aggregates and cursors;
* Bulk API 2.0: ingest jobs (insert, update, upsert, delete, hardDelete) and query jobs, which take
  a step each time somebody looks at them, never by themselves;
* metadata: deploy, validate, cancel, destructive changes, retrieve, list and describe.

Not modelled: sharing rules, record types, multi-currency, person accounts, Apex, flows and
triggers, tooling objects and source tracking, quick deploys, createMetadata and its like, Bulk API
1.0, parallel result pages and chunking of bulk queries, streaming, files and blobs. Batches of a
bulk job run one after the other, so they never lock each other out: `Faults.row` does that.
"""

from metronome_salesforce.sandbox.salesforce.bulk_jobs import Interruption
from metronome_salesforce.sandbox.salesforce.exceptions import (
    RowError,
    RowRefusedError,
    SalesforceError,
)
from metronome_salesforce.sandbox.salesforce.faults import Faults
from metronome_salesforce.sandbox.salesforce.models import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.server import SalesforceSandbox

__all__ = [
    "ADMIN",
    "INTEGRATION",
    "Faults",
    "Interruption",
    "RowError",
    "RowRefusedError",
    "SalesforceError",
    "SalesforceOrg",
    "SalesforceSandbox",
]
