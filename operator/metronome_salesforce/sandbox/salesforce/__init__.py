"""An emulated Salesforce org: schema by metadata deploy, rows in SQLite, SOQL, REST and SOAP.

What is modelled follows the REST, SOAP and Metadata API guides; sharing rules, record types,
multi-currency, Apex and flows are not modelled.
"""

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
    "RowError",
    "RowRefusedError",
    "SalesforceError",
    "SalesforceOrg",
    "SalesforceSandbox",
]
