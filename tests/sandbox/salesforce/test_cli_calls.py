"""The requests that the Salesforce CLI and jsforce are known to send: login, data, the org."""

from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.sandbox.salesforce import (
    INTEGRATION,
    SalesforceOrg,
    SalesforceSandbox,
)
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce import metadata_zip as md
from tests.sandbox.salesforce.conftest import Clock, Rest
from tests.sandbox.salesforce.test_rows import error
from tests.sandbox.salesforce.test_sessions import JWT_GRANT, public_pem

HEADERS = {
    "Sforce-Call-Options": "client=sfdx toolbelt:", "content-type": "application/json",
    "user-agent": "sfdx toolbelt:", "accept": "*/*", "accept-language": "*",
    "sec-fetch-mode": "cors",
}  # fmt: skip
SANDBOX_PROCESS = (
    "tooling/query?q=SELECT%20Id%2CStatus%2CSandboxName%2CSandboxInfoId%2CLicenseType%2C"
    "CreatedDate%2CCopyProgress%2CSandboxOrganization%2CSourceId%2CDescription%2CEndDate%2C"
    "Features%20FROM%20SandboxProcess%20WHERE%20SandboxOrganization%3D%2700D000000000001%27%20"
    "ORDER%20BY%20CreatedDate%20DESC"
)

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
    for path in ("tooling/query?q=SELECT Id FROM SandboxProcess", SANDBOX_PROCESS):
        assert error(rest.call("GET", path, headers=HEADERS))[:2] == (400, "INVALID_TYPE")
    answer = rest.call("GET", "tooling/sobjects/SourceMember/describe")
    assert error(answer) == (404, "NOT_FOUND", "The requested resource does not exist")


@pytest.mark.parametrize("path", [
    "", "limits", "limits/", "query/?q=SELECT+Id,+Name+FROM+Account", "sobjects/Account/describe",
    "sobjects/Account/describe/",
])  # fmt: skip
def test_get_requests_say_json_and_slashes_trail(rest: Rest, path: str) -> None:
    """An instance URL that ends in a slash makes two of them: that is what the CLI sends."""
    for root in ("", "/"):
        answer = requests.get(
            f"{rest.base}{root}{rest.root}/{path}".removesuffix("/" if not path else "\0"),
            headers={**HEADERS, "Authorization": f"Bearer {rest.token}"}, timeout=20,
        )  # fmt: skip
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
        assert answer.headers["Sforce-Limit-Info"].startswith("api-usage=")


def test_login_by_access_token(rest: Rest, org: SalesforceOrg) -> None:
    """Who the token belongs to; the token's form is checked by the CLI itself."""
    answer = rest.call("GET", "/services/oauth2/userinfo")
    user, organization = org.users[INTEGRATION].id, org.state.organization_id
    expected = {
        "sub": f"{rest.base}/id/{organization}/{user}", "user_id": user,
        "organization_id": organization, "preferred_username": INTEGRATION,
        "name": "Metronome Integration",
    }  # fmt: skip
    assert expected.items() <= answer.json().items()
    assert rest.token.startswith(organization[:15] + "!")


def test_login_by_jwt(org: SalesforceOrg, served: Served, clock: Clock) -> None:
    """Chunked, the expiry in milliseconds, the audience with a slash at its end."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    org.add_jwt_app("3MVGconsumer", public_pem(key), {INTEGRATION})
    now = int(clock.now.timestamp())
    claims = {
        "iss": "3MVGconsumer", "sub": INTEGRATION, "aud": f"{served.url}/",
        "exp": (now + 300) * 1000, "iat": now,
    }  # fmt: skip
    assertion = jwt.encode(claims, key, algorithm="RS256")
    form = f"grant_type={JWT_GRANT.replace(':', '%3A')}&assertion={assertion}"
    answer = requests.post(
        f"{served.url}/services/oauth2/token", data=iter([form.encode()]), timeout=20,
        headers={"content-type": "application/x-www-form-urlencoded"},
    ).json()  # fmt: skip
    identity = f"{served.url}/id/{org.state.organization_id}/{org.users[INTEGRATION].id}"
    expected = {"instance_url": served.url, "id": identity, "token_type": "Bearer"}
    assert expected.items() <= answer.items()
    assert {"access_token", "issued_at", "signature"} <= set(answer)


def test_the_org_is_shown_and_opened(rest: Rest) -> None:
    """What `org display`, `org list`, jsforce's identity() and `org open` read."""
    probe = rest.call("GET", "", headers=HEADERS).json()
    assert probe["sobjects"] == f"{rest.root}/sobjects"
    identity = rest.session.get(probe["identity"], timeout=20).json()
    assert identity["username"] == INTEGRATION
    opened = rest.call("GET", "/services/oauth2/singleaccess").json()
    assert opened["frontdoor_uri"].startswith(f"{rest.base}/secur/frontdoor.jsp?otp=")


def test_query_columns(rest: Rest, org: SalesforceOrg) -> None:
    """The undocumented second call of each query."""
    org.insert("Account", {"Name": "Acme"})

    def columns(text: str) -> dict[str, Any]:
        found: dict[str, Any] = rest.call(
            "GET", "query", params={"q": text, "columns": "true"}, headers=HEADERS
        ).json()
        return found

    plain = columns("SELECT Id, Name FROM Account LIMIT 1")
    assert plain["columnMetadata"][0] == {
        "aggregate": False, "apexType": "Id", "booleanType": False, "columnName": "Id",
        "custom": False, "displayName": "Id", "foreignKeyName": None, "insertable": False,
        "joinColumns": [], "numberType": False, "textType": False, "updatable": False,
    }  # fmt: skip
    assert {key: plain[key] for key in ("entityName", "groupBy", "idSelected", "keyPrefix")} == {
        "entityName": "Account", "groupBy": False, "idSelected": True, "keyPrefix": "001",
    }  # fmt: skip
    parent = columns("SELECT Customer__r.Name FROM T_Invoice__c")["columnMetadata"][0]
    assert parent["columnName"] == "Customer__r"
    assert parent["joinColumns"] == [{"columnName": "Name", "joinColumns": []}]
    counted = columns("SELECT COUNT(Id) FROM Account")["columnMetadata"][0]
    assert (counted["aggregate"], counted["displayName"], counted["columnName"]) == (
        True, "count(Id)", "expr0",
    )  # fmt: skip
    nested = columns("SELECT Name, (SELECT Id, Name FROM Invoices__r) FROM T_Customer__c")
    assert nested["columnMetadata"][1]["aggregate"] is True
    names = [each["columnName"] for each in nested["columnMetadata"][1]["joinColumns"]]
    assert names == ["Id", "Name"]


def test_import_tree(admin: Rest, org: SalesforceOrg) -> None:
    body = {"records": [{"attributes": {"type": "Account", "referenceId": "a1"}, "Name": "Tree1"}]}
    answer = admin.call("POST", "composite/tree/Account", json=body, headers=HEADERS)
    record = org.rows("Account")[0]["Id"]
    assert (answer.status_code, answer.json()) == (
        201, {"hasErrors": False, "results": [{"referenceId": "a1", "id": record}]}
    )  # fmt: skip


def test_a_busy_org(rest: Rest, sandbox: SalesforceSandbox) -> None:
    """The CLI asks five times more, then shows the message."""
    sandbox.faults.add(
        "GET */query*", status=503, error_code="SERVER_UNAVAILABLE", message="Server too busy",
        times=6,
    )  # fmt: skip
    path = "query?q=SELECT%20Id%20FROM%20Account"
    answers = [rest.call("GET", path, headers=HEADERS) for _ in range(7)]
    assert error(answers[0]) == (503, "SERVER_UNAVAILABLE", "Server too busy")
    assert [each.status_code for each in answers] == [503] * 6 + [200]


def test_jsforce_rows(rest: Rest) -> None:
    """Upserts with a slash in the key, collections without allOrNone, queryAll paged by query."""
    headers = {**HEADERS, "Sforce-Query-Options": "batchSize=200"}
    path = "composite/sobjects/T_Customer__c/Customer_ID__c"
    body = {
        "allOrNone": False,
        "records": [
            {"Customer_ID__c": str(n), "attributes": {"type": "T_Customer__c"}} for n in range(200)
        ],
    }
    made = rest.call("PATCH", path, json=body, headers=headers).json()
    assert all(each["created"] for each in made)
    one = rest.call("PATCH", "sobjects/T_Customer__c/Customer_ID__c/a%20b", json={"Name": "N"})
    assert one.status_code == 201
    slash = rest.call("PATCH", "sobjects/T_Customer__c/Customer_ID__c/a%20b/c", json={"Name": "N"})
    assert error(slash)[:2] == (404, "NOT_FOUND"), "an unencoded slash is another resource"
    update = {
        "allOrNone": False,
        "records": [{"id": made[0]["id"], "Name": "X", "attributes": {"type": "T_Customer__c"}}],
    }
    changed = rest.call("PATCH", "composite/sobjects", json=update, headers=headers)
    assert changed.json() == [{"id": made[0]["id"], "success": True, "errors": []}]
    gone = rest.call("DELETE", f"composite/sobjects?ids={made[1]['id']},{made[2]['id']}")
    assert [each["success"] for each in gone.json()] == [True, True]
    page = rest.call("GET", "queryAll?q=SELECT Id FROM T_Customer__c", headers=headers).json()
    assert (page["totalSize"], page["done"]) == (201, False)
    locator = page["nextRecordsUrl"].rpartition("/")[2]
    rest_of_it = rest.call("GET", f"query/{locator}", headers=headers).json()
    assert len(rest_of_it["records"]) == 1


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
