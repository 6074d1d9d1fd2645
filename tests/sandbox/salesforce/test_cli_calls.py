"""The requests that the Salesforce CLI and jsforce are known to send."""

from collections.abc import Iterator

import requests

from metronome_salesforce.sandbox.salesforce import INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Rest
from tests.sandbox.salesforce.test_rows import error

SCRATCH = """
SELECT Id FROM ScratchOrgInfo limit 1
               ^
ERROR at Row:1:Column:16
sObject type 'ScratchOrgInfo' is not supported. If you are attempting to use a custom object, be \
sure to append the '__c' after the entity name. Please reference your WSDL or the describe call \
for the appropriate names."""


def test_a_chunked_token_request(served: Served) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"grant_type=client_credentials&client_id=sandbox-client-id"
        yield b"&client_secret=sandbox-client-secret"

    answer = requests.post(
        f"{served.url}/services/oauth2/token", data=chunks(), timeout=20,
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"


def test_the_first_calls_after_a_login(rest: Rest, org: SalesforceOrg) -> None:
    user = org.users[INTEGRATION].id
    old = Rest(rest.base, rest.token, "51.0")
    assert old.call("GET", f"sobjects/User/{user}").json()["Username"] == INTEGRATION
    answer = old.call("GET", "query?q=SELECT%20Id%20FROM%20ScratchOrgInfo%20limit%201")
    assert error(answer) == (400, "INVALID_TYPE", SCRATCH)
    versions = requests.get(f"{rest.base}/services/data", timeout=20).json()
    assert [each["version"] for each in versions] == [f"{n}.0" for n in range(31, 69)]
    labels = {each["version"]: each["label"] for each in versions}
    assert [labels[each] for each in ("59.0", "63.0", "66.0", "67.0", "68.0")] == [
        "Winter '24", "Spring '25", "Spring '26", "Summer '26", "Winter '27",
    ]  # fmt: skip
    found = rest.soql(
        "SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix, "
        "OrganizationType FROM Organization"
    )["records"][0]
    assert (found["Name"], found["IsSandbox"], found["TrialExpirationDate"]) == (
        "Sandbox", False, None,
    )  # fmt: skip


def test_tooling_objects_are_unknown(rest: Rest) -> None:
    answer = rest.call("GET", "tooling/query?q=SELECT Id FROM SandboxProcess")
    assert error(answer)[1] == "INVALID_TYPE"
    answer = rest.call("GET", "tooling/sobjects/SourceMember/describe")
    assert error(answer) == (404, "NOT_FOUND", "The requested resource does not exist")


def test_get_requests_say_json_and_slashes_trail(rest: Rest) -> None:
    headers = {
        "content-type": "application/json",
        "Sforce-Call-Options": "client=sfdx toolbelt:",
        "accept": "*/*",
    }
    for path in ("limits/", "query/?q=SELECT+Id,+Name+FROM+Account", "sobjects/Account/describe/"):
        answer = rest.call("GET", path, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"


def test_assigning_a_permission_set(rest: Rest, org: SalesforceOrg) -> None:
    content = md.permission_set({"T_Invoice__c": "r"}, {})
    org.deploy(
        md.package_zip({"permissionsets/More.permissionset": content}, {"PermissionSet": ["More"]})
    )
    user = rest.values("SELECT Id FROM User WHERE Username='integration@sandbox.example'", "Id")[0]
    chosen = rest.values("SELECT Id FROM PermissionSet WHERE Name='More'", "Id")[0]
    body = {"AssigneeId": user, "PermissionSetId": chosen}
    assert rest.call("POST", "sobjects/PermissionSetAssignment", json=body).status_code == 201
    again = rest.call("POST", "sobjects/PermissionSetAssignment", json=body)
    assert error(again)[1] == "DUPLICATE_VALUE"
    org.revoke_permission(INTEGRATION, "AssignPermissionSets")
    other = {**body, "AssigneeId": org.users["admin@sandbox.example"].id}
    refused = rest.call("POST", "sobjects/PermissionSetAssignment", json=other)
    assert error(refused)[:2] == (403, "INSUFFICIENT_ACCESS_OR_READONLY")


def test_data_commands(rest: Rest) -> None:
    """create, get, update and delete record, with the CLI's lower-case `id`."""
    made = rest.call("POST", "sobjects/T_Customer__c", json={"Customer_ID__c": "c", "Name": "A"})
    record = made.json()["id"]
    found = rest.soql("SELECT id FROM T_Customer__c WHERE Name = 'A'")["records"]
    assert found[0]["Id"] == record
    assert rest.call("GET", f"sobjects/T_Customer__c/{record}").json()["Name"] == "A"
    changed = rest.call("PATCH", f"sobjects/T_Customer__c/{record}", json={"Name": "B"})
    assert changed.status_code == 204
    assert rest.call("DELETE", f"sobjects/T_Customer__c/{record}").status_code == 204
