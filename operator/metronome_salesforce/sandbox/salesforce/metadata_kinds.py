"""Which checker looks at which kind of component, in the order in which a deploy takes them.

What others refer to comes first. Objects and fields are not here: they make the schema that all of
these look at. A kind that nobody checks has been held against the WSDL alone, and comes after the
kinds of this table.
"""

from metronome_salesforce.sandbox.salesforce.app_metadata import check_tab
from metronome_salesforce.sandbox.salesforce.deploying_objects import check_validation_rule
from metronome_salesforce.sandbox.salesforce.drafts import Checker
from metronome_salesforce.sandbox.salesforce.permission_metadata import check_permission_set

# Keys are `Component.kind`: ReportFolder and DashboardFolder are kinds of their own.
CHECKERS: dict[str, Checker] = {
    "ValidationRule": check_validation_rule,
    "CustomTab": check_tab,
    # ReportType, ReportFolder, Report, DashboardFolder, Dashboard: here, in this order.
    "PermissionSet": check_permission_set,
}
