"""Logging in, staying logged in, and being thrown out."""

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION, SalesforceOrg
from metronome_salesforce.sandbox.serving import Served
from tests.sandbox.salesforce.conftest import Clock, Rest, log_in
from tests.sandbox.salesforce.test_rows import error

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT = {
    "grant_type": "client_credentials",
    "client_id": "sandbox-client-id",
    "client_secret": "sandbox-client-secret",
}


def token(served: Served, form: dict[str, Any], **more: Any) -> requests.Response:
    return requests.post(f"{served.url}/services/oauth2/token", data=form, timeout=20, **more)


def test_a_token_by_client_credentials(org: SalesforceOrg, served: Served) -> None:
    answer = token(served, CLIENT)
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert "Sforce-Limit-Info" not in answer.headers
    user = org.users[INTEGRATION].id
    assert body["access_token"].startswith(org.state.organization_id[:15] + "!AQ")
    assert body["instance_url"] == served.url
    assert body["id"] == f"{served.url}/id/{org.state.organization_id}/{user}"
    assert body["issued_at"] == "1769860800000"
    assert "expires_in" not in body
    basic = token(
        served, {"grant_type": "client_credentials"},
        auth=("sandbox-client-id", "sandbox-client-secret"),
    )  # fmt: skip
    assert basic.status_code == 200


@pytest.mark.parametrize(
    ("form", "code", "description"),
    [
        ({**CLIENT, "client_id": "x"}, "invalid_client_id", "client identifier invalid"),
        ({**CLIENT, "client_secret": "x"}, "invalid_client", "invalid client credentials"),
        ({**CLIENT, "client_id": "nobody"}, "invalid_grant", "no client credentials user enabled"),
        ({**CLIENT, "grant_type": "password"}, "invalid_grant", "authentication failure"),
        ({**CLIENT, "grant_type": "refresh_token"}, "invalid_grant",
         "expired access/refresh token"),
        ({**CLIENT, "grant_type": "magic"}, "unsupported_grant_type", "grant type not supported"),
        ({}, "invalid_request", "missing required parameter: grant_type"),
        ({"grant_type": JWT_GRANT, "assertion": "x"}, "invalid_grant", "invalid assertion"),
    ],
)  # fmt: skip
def test_refused_token_requests(
    org: SalesforceOrg, served: Served, form: dict[str, str], code: str, description: str
) -> None:
    org.add_client_app("nobody", "sandbox-client-secret", None)
    answer = token(served, form)
    assert answer.status_code == 400
    assert answer.json() == {"error": code, "error_description": description}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


NOW = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({}, None),
        ({"exp": str(int(NOW + 60))}, None),  # simple-salesforce sends text
        ({"exp": int(NOW + 60) * 1000}, None),  # the CLI sends milliseconds
        ({"exp": int(NOW - 60)}, "expired authorization code"),
        ({"sub": ADMIN}, "user hasn't approved this consumer"),
        ({"sub": "x@y.z"}, "user hasn't approved this consumer"),
        ({"aud": "me"}, "audience is invalid"),
        ({"iss": "other"}, "client identifier invalid"),
    ],
)
def test_tokens_by_signed_assertion(
    org: SalesforceOrg,
    served: Served,
    key: rsa.RSAPrivateKey,
    claims: dict[str, Any],
    description: str | None,
) -> None:
    org.add_jwt_app("jwt-app", public_pem(key), {INTEGRATION})
    payload = {
        "iss": "jwt-app", "sub": INTEGRATION, "aud": "https://login.salesforce.com",
        "exp": int(NOW + 60), **claims,
    }  # fmt: skip
    assertion = jwt.encode(payload, key, algorithm="RS256")
    answer = token(served, {"grant_type": JWT_GRANT, "assertion": assertion})
    if description is None:
        assert answer.status_code == 200
    else:
        assert answer.json()["error_description"] == description


def test_an_assertion_by_another_key(
    org: SalesforceOrg, served: Served, key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    org.add_jwt_app("jwt-app", public_pem(other), {INTEGRATION})
    payload = {"iss": "jwt-app", "sub": INTEGRATION, "aud": "https://x", "exp": NOW + 60}
    assertion = jwt.encode(payload, key, algorithm="RS256")
    answer = token(served, {"grant_type": JWT_GRANT, "assertion": assertion})
    assert answer.json() == {"error": "invalid_grant", "error_description": "invalid assertion"}


def test_sessions_end(rest: Rest, clock: Clock) -> None:
    """By two idle hours, by an admin, by a revoke of a sister session."""
    clock.advance(minutes=119)
    assert rest.call("GET", "limits").status_code == 200
    clock.advance(minutes=119)
    assert rest.call("GET", "limits").status_code == 200
    clock.advance(minutes=121)
    answer = rest.call("GET", "limits")
    assert error(answer) == (401, "INVALID_SESSION_ID", "Session expired or invalid")


def test_an_admin_ends_sessions(rest: Rest, admin: Rest, org: SalesforceOrg) -> None:
    org.expire_sessions(INTEGRATION)
    assert rest.call("GET", "limits").status_code == 401
    assert admin.call("GET", "limits").status_code == 200
    org.expire_sessions()
    assert admin.call("GET", "limits").status_code == 401


def test_revoking_one_session_ends_the_family(
    rest: Rest, org: SalesforceOrg, served: Served
) -> None:
    sister = log_in(org, served, INTEGRATION)
    answer = requests.post(
        f"{served.url}/services/oauth2/revoke", data={"token": sister.token}, timeout=20
    )
    assert answer.status_code == 200
    assert rest.call("GET", "limits").status_code == 401


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "INVALID_SESSION_ID"),
        ("Bearer ", "INVALID_SESSION_ID"),
        ("Bearer 00D!x", "INVALID_SESSION_ID"),
        ("Basic eDp5", "INVALID_AUTH_HEADER"),
    ],
)
def test_wrong_headers(served: Served, header: str | None, code: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = requests.get(f"{served.url}/services/data/v66.0/limits", headers=headers, timeout=20)
    assert error(answer)[:2] == (401, code)


def test_a_user_who_may_not_use_the_api(rest: Rest, org: SalesforceOrg) -> None:
    org.revoke_permission(INTEGRATION, "ApiEnabled")
    answer = rest.call("GET", "limits")
    assert error(answer)[:2] == (403, "API_DISABLED_FOR_ORG")


def test_who_am_i(rest: Rest, org: SalesforceOrg, served: Served) -> None:
    user = org.users[INTEGRATION]
    found = rest.call("GET", "/services/oauth2/userinfo").json()
    assert found["user_id"] == user.id
    assert found["preferred_username"] == INTEGRATION
    identity = rest.call("GET", "").json()["identity"]
    assert identity.startswith(served.url)
    person = rest.session.get(identity, timeout=20).json()
    assert person["username"] == INTEGRATION
    assert (
        "frontdoor.jsp" in rest.call("GET", "/services/oauth2/singleaccess").json()["frontdoor_uri"]
    )
    inside = requests.post(
        f"{served.url}/services/oauth2/introspect",
        data={**CLIENT, "token": rest.token}, timeout=20,
    ).json()  # fmt: skip
    assert (inside["active"], inside["username"]) == (True, INTEGRATION)


def soap_login(served: Served, version: str, password: str) -> requests.Response:
    body = (
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>'
        '<n1:login xmlns:n1="urn:partner.soap.sforce.com">'
        f"<n1:username>{ADMIN}</n1:username><n1:password>{password}</n1:password></n1:login>"
        "</env:Body></env:Envelope>"
    )
    return requests.post(
        f"{served.url}/services/Soap/u/{version}", data=body,
        headers={"Content-Type": "text/xml"}, timeout=20,
    )  # fmt: skip


def test_soap_login_with_password_and_token(served: Served) -> None:
    answer = soap_login(served, "59.0", "sandbox-passwordTOKEN")
    session = answer.text.partition("<sessionId>")[2].partition("</sessionId>")[0]
    assert Rest(served.url, session).call("GET", "limits").status_code == 200


@pytest.mark.parametrize(
    ("version", "password", "code"),
    [
        ("59.0", "sandbox-password", "INVALID_LOGIN"),
        ("59.0", "TOKEN", "INVALID_LOGIN"),
        ("65.0", "sandbox-passwordTOKEN", "UNSUPPORTED_API_VERSION"),
    ],
)
def test_refused_soap_logins(served: Served, version: str, password: str, code: str) -> None:
    answer = soap_login(served, version, password)
    assert answer.status_code == 500
    assert f"<sf:exceptionCode>{code}</sf:exceptionCode>" in answer.text
