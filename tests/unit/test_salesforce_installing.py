"""Installing the package: what an org's answer to a deploy is told as.

No word of an org's own decides what a refusal is about: its texts here are not the emulator's.
"""

from typing import Any

import pytest

from metronome_salesforce.salesforce.deploying import DeployReport
from metronome_salesforce.salesforce.installing import NotAllowedError, access_hint, install
from tests.unit.salesforce_server import Answer, Asked, ScriptedSalesforce, page, refusal
from tests.unit.test_salesforce_deploying import STARTED, looked
from tests.unit.test_salesforce_session import session_of

RIGHTS = (
    "PermissionsModifyMetadata", "PermissionsCustomizeApplication",
    "PermissionsAssignPermissionSets", "PermissionsViewSetup",
)  # fmt: skip
NO_ACCESS = {
    "componentType": "Dashboard", "fullName": "Metronome/Overview", "fileName": "dashboards/a",
    "problem": "You have insufficient privileges for this folder", "problemType": "Error",
}  # fmt: skip
NO_FIELD = {
    "componentType": "Layout", "fullName": "A-B", "fileName": "layouts/A-B.layout",
    "problem": "no such column", "problemType": "Error",
}  # fmt: skip


def installed(
    end: Answer, *, lacking: str = "", told: bool = True, asked: list[Asked] | None = None
) -> DeployReport:
    """A deploy that ends so, by a user of whom the org tells (or not) that it lacks a right."""

    def answer(call: Asked) -> Answer:
        if call.path.endswith("/query"):
            if not told:
                return refusal("INVALID_TYPE")
            return page({name: name != lacking for name in RIGHTS})
        return STARTED if call.method == "POST" else end

    with ScriptedSalesforce(by=answer) as server, session_of(server.url) as session:
        try:
            return install(session)
        finally:
            (asked if asked is not None else []).extend(server.asked)


def failed(*failures: dict[str, Any]) -> Answer:
    details = {"componentFailures": list(failures), "componentSuccesses": None}
    return looked("Failed", done=True, success=False, details=details)


def test_a_deploy_that_succeeded_is_one_whatever_it_warns_of() -> None:
    warning = {**NO_ACCESS, "problemType": "Warning", "success": True}
    details = {"componentFailures": None, "componentSuccesses": [warning]}
    report = installed(looked("Succeeded", done=True, success=True, details=details))

    assert report.succeeded


@pytest.mark.parametrize("told", [True, False])
def test_failures_keep_their_table_and_the_rights_are_a_hint(*, told: bool) -> None:
    report = installed(failed(NO_ACCESS, NO_FIELD), told=told)

    assert [one.name for one in report.problems] == ["Metronome/Overview", "A-B"]
    assert '"Customize Application"' in access_hint(report)
    assert access_hint(installed(failed(NO_FIELD), told=told)) == ""


def test_a_user_who_lacks_what_every_deploy_takes_sends_none() -> None:
    asked: list[Asked] = []
    with pytest.raises(NotAllowedError) as raised:
        installed(failed(NO_FIELD), lacking="PermissionsCustomizeApplication", asked=asked)

    assert '"Customize Application"' in raised.value.message
    assert [one for one in asked if one.method == "POST"] == []
