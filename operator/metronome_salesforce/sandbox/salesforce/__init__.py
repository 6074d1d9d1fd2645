"""An emulated Salesforce org: schema by metadata deploy, rows in SQLite, SOQL, REST and SOAP.

Modelled, after the vendor's REST, SOAP, Metadata and Bulk API 2.0 guides and what its CLI, jsforce
and simple-salesforce send:

* sessions (client credentials, JWT bearer, SOAP login below v65), permission sets and
  field-level security, daily limits, faults on demand;
* rows one by one, in collections, composite, batch, tree and graph requests; soft deletes;
  formulas, roll-ups, validation rules; SOQL with parents, children, aggregates and cursors;
* Bulk API 2.0: ingest jobs (insert, update, upsert, delete, hardDelete) and query jobs, which take
  a step each time somebody looks at them, never by themselves;
* metadata: deploy, validate, cancel, destructive changes, retrieve, list and describe; what is
  deployed is checked as the platform checks it, objects and fields as well as list views, compact
  and search layouts, layouts, tabs, apps, Lightning pages, permission sets and custom metadata;
* list views run for a user, and custom metadata records are rows;
* custom report types, tabular and summary reports, dashboards and their folders are checked and run
  for a user, with filters, groups, sums and charts; reports over REST too.

Refusals are the platform's sentences where a vendor text or a public deploy log has them. Our own
words, for rules that are documented without one: fullName against file name; limits of counts
(external IDs, relationship fields, masters and their levels, columns, filters, fields of compact
and search layouts and of related lists); a list view filter's operation and value; filter logic
(the setup pages' words); fields that a compact layout cannot show; the columns of a layout section,
`must be Readonly`, and what `appears more than once` elsewhere than in related lists; a tab's motif
and kind; an app's colour and utility bar; templates, regions, objects and list views of Lightning
pages; all of custom metadata but picklists and labels; components that the user may not customize;
more than one picklist default; most of what `report_metadata` and `dashboard_metadata` say, where
it is listed.

Not modelled: matrix and joined reports, standard report types, cross filters, buckets and formulas
of reports, dashboard filters, Report and Dashboard as objects of SOQL; sharing rules, record types,
multi-currency, person accounts, Apex, flows and triggers, tooling objects and source tracking, the
designs of Lightning components beyond the few that are listed, quick deploys, createMetadata and
its like, Bulk API 1.0, parallel result pages and chunking of bulk queries, streaming, files and
blobs. Batches of a bulk job run one after the other, so they never lock each other out:
`Faults.row` does that.
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
