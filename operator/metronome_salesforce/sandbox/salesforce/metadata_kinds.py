"""Which checker looks at which kind of component, in the order in which a deploy takes them.

What others refer to comes first. Fields are not here: with the objects they make the schema that
all of these look at. A kind that nobody checks is held against the WSDL alone; it refers to nothing
that is looked at here, and comes before the kinds of this table.
"""

from metronome_salesforce.sandbox.salesforce.app_metadata import check_app, check_tab
from metronome_salesforce.sandbox.salesforce.custom_metadata import check_record
from metronome_salesforce.sandbox.salesforce.dashboard_metadata import check_dashboard
from metronome_salesforce.sandbox.salesforce.deploying_objects import (
    check_object,
    check_validation_rule,
)
from metronome_salesforce.sandbox.salesforce.drafts import Checker
from metronome_salesforce.sandbox.salesforce.layout_metadata import check_layout
from metronome_salesforce.sandbox.salesforce.page_metadata import check_page
from metronome_salesforce.sandbox.salesforce.permission_metadata import check_permission_set
from metronome_salesforce.sandbox.salesforce.report_folders import check_folder
from metronome_salesforce.sandbox.salesforce.report_metadata import check_report, check_report_type
from metronome_salesforce.sandbox.salesforce.view_metadata import (
    check_compact_layout,
    check_list_view,
)

# Keys are `Component.kind`: ReportFolder and DashboardFolder are kinds of their own.
CHECKERS: dict[str, Checker] = {
    "ValidationRule": check_validation_rule,
    "CompactLayout": check_compact_layout,
    "ListView": check_list_view,
    "CustomObject": check_object,
    "FlexiPage": check_page,
    "CustomTab": check_tab,
    "CustomApplication": check_app,
    "Layout": check_layout,
    "CustomMetadata": check_record,
    "ReportType": check_report_type,
    "ReportFolder": check_folder,
    "Report": check_report,
    "DashboardFolder": check_folder,
    "Dashboard": check_dashboard,
    "PermissionSet": check_permission_set,
}
