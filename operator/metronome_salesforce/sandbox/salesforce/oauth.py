"""The OAuth endpoints: token, userinfo, introspect, revoke, singleaccess, and identity URLs."""

import base64
import binascii
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.calls import Reply
from metronome_salesforce.sandbox.salesforce.exceptions import OAuthError, not_found
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Client id and secret of a Basic Authorization header."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, secret


def _identity_url(org: SalesforceOrg, user: User, base: str) -> str:
    return f"{base}/id/{org.state.organization_id}/{user.id}"


def token(
    org: SalesforceOrg, form: dict[str, str], authorization: str, base: str, host: str
) -> Reply:
    """`POST /services/oauth2/token`; no expires_in, as on the platform."""
    access_token, user = org.sessions.grant(form, basic_credentials(authorization), host)
    return Reply(
        200,
        {
            "access_token": access_token,
            "instance_url": base,
            "id": _identity_url(org, user, base),
            "token_type": "Bearer",
            "issued_at": str(int(org.state.moment().timestamp() * 1000)),
            "signature": base64.b64encode(access_token[-32:].encode()).decode(),
            "scope": "api",
        },
    )


def introspect(org: SalesforceOrg, form: dict[str, str], authorization: str) -> Reply:
    """`POST /services/oauth2/introspect`; needs the client's own credentials."""
    org.sessions.check_client(form, basic_credentials(authorization))
    found = org.sessions.peek(form.get("token", ""))
    if found is None:
        return Reply(200, {"active": False})
    user, expiry = found
    return Reply(
        200,
        {
            "active": True,
            "scope": "api",
            "username": user.username,
            "sub": f"https://login.salesforce.com/id/{org.state.organization_id}/{user.id}",
            "token_type": "access_token",
            "exp": int(expiry.timestamp()),
        },
    )


def revoke(org: SalesforceOrg, form: dict[str, str]) -> Reply:
    """`POST /services/oauth2/revoke`; ends the user's other sessions too."""
    if not org.sessions.revoke(form.get("token", "")):
        raise OAuthError("unsupported_token_type", "this token type is not supported")
    return Reply(200, b"", content_type="text/html;charset=UTF-8")


def user_info(org: SalesforceOrg, user: User, base: str) -> Reply:
    """`GET /services/oauth2/userinfo`."""
    return Reply(200, _person(org, user, base) | {"sub": _identity_url(org, user, base)})


def identity(org: SalesforceOrg, user: User, base: str, wanted: str) -> Reply:
    """`GET /id/<org>/<user>`."""
    if wanted[:15] != user.id[:15]:
        raise not_found()
    body = _person(org, user, base)
    body |= {
        "id": _identity_url(org, user, base),
        "username": user.username,
        "display_name": user.name,
        "asserted_user": True,
    }
    return Reply(200, body)


def _person(org: SalesforceOrg, user: User, base: str) -> dict[str, Any]:
    first, _, last = user.name.rpartition(" ")
    return {
        "user_id": user.id,
        "organization_id": org.state.organization_id,
        "preferred_username": user.username,
        "nickname": user.username.partition("@")[0],
        "name": user.name,
        "given_name": first,
        "family_name": last,
        "email": user.username,
        "email_verified": True,
        "active": user.active,
        "user_type": "STANDARD",
        "language": "en_US",
        "locale": "en_US",
        "urls": {
            "rest": f"{base}/services/data/v{{version}}/",
            "sobjects": f"{base}/services/data/v{{version}}/sobjects/",
            "query": f"{base}/services/data/v{{version}}/query/",
            "metadata": f"{base}/services/Soap/m/{{version}}/{org.state.organization_id[:15]}",
        },
    }


def single_access(base: str) -> Reply:
    """`GET /services/oauth2/singleaccess`: where a browser would go."""
    return Reply(200, {"frontdoor_uri": f"{base}/secur/frontdoor.jsp?otp=sandbox"})
