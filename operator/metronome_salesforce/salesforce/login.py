"""The three ways to sign in, each ending in a session id and the id of our own user.

The OAuth flows are our own requests to the My Domain host: simple-salesforce sends them to
`https://{domain}.salesforce.com`, whatever the org's address is (OAuth 2.0 Client Credentials Flow,
OAuth 2.0 JWT Bearer Flow). SOAP login is simple-salesforce's. A session is never revoked: the
user's parallel sessions may end with it.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin

from metronome_salesforce.errors import ConfigError, ProductError, RetriableError
from metronome_salesforce.salesforce.credentials import (
    ClientSecret,
    Credentials,
    Password,
    PrivateKey,
)
from metronome_salesforce.salesforce.failures import (
    ExpiredError,
    TransientError,
    failure_of_status,
    failure_of_transport,
)
from metronome_salesforce.salesforce.wire import Wire

_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_JWT_LIFE = timedelta(minutes=3)
_NEWEST_SOAP_LOGIN = 64.0
_REASON = "SalesforceAuthenticationFailed"
_RATE_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Login:
    """An open session; `user_id` is None when Salesforce did not tell it."""

    session_id: str = field(repr=False)
    user_id: str | None


def log_in(
    wire: Wire, instance_url: str, credentials: Credentials, *, api_version: str, now: datetime
) -> Login:
    """Open a session with one request.

    Raises ConfigError("SalesforceAuthenticationFailed") with what to do, RetriableError when the
    login rate is exceeded, and TransientError for what may pass by itself.
    """
    match credentials:
        case ClientSecret():
            form = {
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
            }
            return _token(wire, instance_url, form)
        case PrivateKey():
            form = {
                "grant_type": _JWT_GRANT,
                "assertion": _assertion(instance_url, credentials, now),
            }
            return _token(wire, instance_url, form)
        case Password():
            return _soap(wire, instance_url, credentials, api_version)


def audience(instance_url: str) -> str:
    """Whom an assertion is meant for: sandboxes have an authorization server of their own."""
    host = urlsplit(instance_url).hostname or ""
    sandbox = host.endswith(".sandbox.my.salesforce.com")
    return f"https://{'test' if sandbox else 'login'}.salesforce.com"


def _assertion(instance_url: str, credentials: PrivateKey, now: datetime) -> str:
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.username,
        "aud": audience(instance_url),
        "exp": int((now + _JWT_LIFE).timestamp()),
    }
    try:
        return jwt.encode(claims, credentials.private_key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        pass  # the exception may quote the key; it must not become the context of ours
    raise ConfigError(
        "CredentialsIncomplete",
        f"privateKey in {_SECRET} is no RSA private key in PEM form without a passphrase",
    )


def _token(wire: Wire, instance_url: str, form: dict[str, str]) -> Login:
    failure: TransientError | ProductError
    try:
        response = wire.post(f"{instance_url}/services/oauth2/token", data=form)
        document: Any = response.json()
    except requests.exceptions.JSONDecodeError:
        failure = _answer_failure(wire)
    except requests.RequestException as error:
        failure = failure_of_transport(error, host=_host(instance_url))
    else:
        if response.status_code == HTTPStatus.OK and isinstance(document, dict):
            token, identity = document.get("access_token"), document.get("id")
            if isinstance(token, str) and token:
                # https://login.salesforce.com/id/<organization>/<user>
                user = str(identity).rpartition("/")[2] if identity else None
                return Login(token, user)
        failure = _token_failure(response.status_code, document, wire)
    raise failure


def _token_failure(status: int, document: Any, wire: Wire) -> TransientError | ProductError:
    told = document if isinstance(document, dict) else {}
    error = str(told.get("error", ""))
    description = str(told.get("error_description", "")).lower()
    if not error:
        return _answer_failure(wire)
    if error == "rate_limit_exceeded" or "login rate exceeded" in description:
        return _rate_exceeded()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or error in {
        "temporarily_unavailable",
        "server_error",
    }:
        return TransientError("SalesforceUnavailable", "the org's login service is not available")
    for known, part, sentence in _TOKEN_SENTENCES:
        if error == known and part in description:
            return ConfigError(_REASON, sentence)
    named = error if re.fullmatch(r"[a-z_]{1,40}", error) else "an unknown error"
    return ConfigError(
        _REASON,
        f"Salesforce refused the login ({named}); check the app's OAuth settings and policies, and "
        f"{_SECRET}",
    )


_SECRET = "the Secret that spec.salesforce.credentialsSecretRef names"  # noqa: S105 -- a sentence
_PRE_AUTHORISE = (
    "the integration user may not use the app; set the app's policy to admin-approved users, and "
    "add the user's profile or permission set to the app"
)
_AUDIENCE = (
    "the org does not accept the assertion's audience; set spec.salesforce.instanceUrl to the "
    "org's My Domain URL (https://<name>.my.salesforce.com, "
    "https://<name>--<sandbox>.sandbox.my.salesforce.com)"
)
_TOKEN_SENTENCES = (
    (
        "invalid_grant",
        "no client credentials user enabled",
        "the app has no user to run as; set Run As in the client credentials policy of the app",
    ),
    (
        "invalid_grant",
        "not supported on this domain",
        (
            "client credentials work on the org's own host only; set spec.salesforce.instanceUrl "
            "to the My Domain URL (https://<name>.my.salesforce.com)"
        ),
    ),
    ("invalid_grant", "approved this consumer", _PRE_AUTHORISE),
    ("invalid_grant", "not admin approved", _PRE_AUTHORISE),
    ("invalid_app_access", "", _PRE_AUTHORISE),
    ("invalid_grant", "audience", _AUDIENCE),
    ("invalid_grant", "inactive user", "the integration user is inactive; activate it"),
    (
        "invalid_grant",
        "invalid assertion",
        (
            f"the org does not accept the signature; privateKey in {_SECRET} must belong to the "
            "certificate uploaded to the app"
        ),
    ),
    (
        "invalid_grant",
        "authentication failure",
        f"the org does not know the user or the password; check {_SECRET}",
    ),
    (
        "invalid_grant",
        "expired",
        "the org takes the assertion for expired; check the clock of the machine",
    ),
    (
        "invalid_client_id",
        "",
        (
            f"the org does not know the app; check clientId in {_SECRET} (a new app takes about "
            "ten minutes to become known)"
        ),
    ),
    (
        "invalid_client",
        "",
        f"the org refused the app's secret; check clientId and clientSecret in {_SECRET}",
    ),
    ("inactive_org", "", "the org is inactive or locked; ask its administrator"),
    (
        "unsupported_grant_type",
        "",
        (
            "the app does not allow this login flow; enable client credentials or JWT bearer in "
            "the app's OAuth settings"
        ),
    ),
)


def _soap(wire: Wire, instance_url: str, credentials: Password, api_version: str) -> Login:
    """SOAP login(): absent from API versions above 64.0, and retired in Summer '27."""
    failure: TransientError | ProductError
    try:
        session_id, _ = SalesforceLogin(
            username=credentials.username,
            password=credentials.password,
            security_token=credentials.security_token,
            sf_version=str(min(float(api_version), _NEWEST_SOAP_LOGIN)),
            session=wire,
            client_id="metronome-salesforce-operator",
            scratch_url=instance_url,
        )
    except SalesforceAuthenticationFailed as refused:
        failure = _soap_failure(refused.code, wire)
    except requests.RequestException as error:
        failure = failure_of_transport(error, host=_host(instance_url))
    except Exception:  # noqa: BLE001 -- a page that is no XML makes the parser raise its own kinds
        failure = _answer_failure(wire)
    else:
        text = wire.login_answer.text if wire.login_answer is not None else ""
        user = re.search(r"<userId>\s*(\w{15,18})\s*</userId>", text)
        return Login(str(session_id), user[1] if user else None)
    raise failure


def _soap_failure(code: object, wire: Wire) -> TransientError | ProductError:
    """`code` is the fault's exception code; None or a number when the answer was no SOAP fault."""
    known = code if isinstance(code, str) else ""
    if not re.fullmatch(r"[A-Z_]{1,80}", known):
        return _answer_failure(wire)
    if known in {"SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION"}:
        return TransientError("SalesforceUnavailable", "the org's login service is not available")
    if known in {"LOGIN_RATE_EXCEEDED", "RATE_EXCEEDED"}:
        return _rate_exceeded()
    if known == "REQUEST_LIMIT_EXCEEDED":
        return RetriableError("ApiBudgetExhausted", "the org has used up its API calls", 3600.0)
    return ConfigError(
        _REASON,
        _SOAP_SENTENCES.get(known, f"Salesforce refused the login ({known}); check {_SECRET}"),
    )


_OAUTH = "use an external client app: clientId + clientSecret, or clientId + username + privateKey"
_SOAP_SENTENCES = {
    "INVALID_LOGIN": (
        f"the org refused user name, password or security token; check {_SECRET}, and whether the "
        "user is active, unlocked and allowed to log in from here"
    ),
    "LOGIN_MUST_USE_SECURITY_TOKEN": (
        f"the org asks for a security token; check securityToken in {_SECRET} (it changes with "
        "the password)"
    ),
    "PASSWORD_LOCKOUT": "the integration user is locked; unlock it and check the password",
    "ORG_LOCKED": "the org is locked; ask its administrator",
    "TRIAL_EXPIRED": "the org's trial has expired",
    "INVALID_OPERATION": f"the org has SOAP login switched off; {_OAUTH}",
    "UNSUPPORTED_API_VERSION": f"the org no longer offers SOAP login; {_OAUTH}",
    "API_DISABLED_FOR_ORG": f"the API or SOAP login is switched off in this org; {_OAUTH}",
    "API_CURRENTLY_DISABLED": f"the API or SOAP login is switched off in this org; {_OAUTH}",
}


def _answer_failure(wire: Wire) -> TransientError | ProductError:
    """The failure of a login that was answered with something else than a login's answer."""
    response = wire.login_answer
    status = response.status_code if response is not None else HTTPStatus.BAD_GATEWAY
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return TransientError("SalesforceUnavailable", "the login's answer cannot be read")
    failure = failure_of_status(status, None, what="oauth")
    if isinstance(failure, ExpiredError) or status == HTTPStatus.NOT_FOUND:
        return ConfigError(
            _REASON,
            f"there is no Salesforce login at spec.salesforce.instanceUrl ({status}); set it to "
            "the org's My Domain URL (https://<name>.my.salesforce.com)",
        )
    return failure


def _rate_exceeded() -> RetriableError:
    return RetriableError(
        "SalesforceLoginRateExceeded",
        "the integration user has logged in too often (3,600 times an hour)",
        _RATE_AFTER,
    )


def _host(instance_url: str) -> str:
    return urlsplit(instance_url).hostname or "the org"
