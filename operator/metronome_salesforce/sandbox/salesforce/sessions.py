"""Tokens and the ways to get one: client credentials, JWT bearer, SOAP login.

Username-password and refresh-token grants are refused, as new orgs refuse the first and no app
here was given the second (Salesforce Help, OAuth Authorization Flows).
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import (
    OAuthError,
    SalesforceError,
    SoapFaultError,
    session_expired,
)

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_IDLE = timedelta(hours=2)


@dataclass(slots=True)
class ClientApp:
    """An external client app for the client-credentials flow; `username` is its Run As user."""

    client_id: str
    client_secret: str
    username: str | None


@dataclass(slots=True)
class JwtApp:
    """An external client app with a certificate; `public_key` is a PEM key or certificate."""

    client_id: str
    public_key: str
    usernames: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Session:
    user: User
    used: datetime


class Sessions:
    """Open sessions of one org."""

    def __init__(self, state: OrgState) -> None:
        self._state = state
        self._open: dict[str, _Session] = {}
        self.idle_timeout = _IDLE
        self.logins = 0
        self.client_apps: dict[str, ClientApp] = {}
        self.jwt_apps: dict[str, JwtApp] = {}

    def open(self, user: User) -> str:
        """A new session token for the user."""
        if not user.active:
            raise OAuthError("invalid_grant", "inactive user")
        self.logins += 1
        token = f"{self._state.organization_id[:15]}!AQ{secrets.token_hex(40)}"
        self._open[token] = _Session(user, self._state.moment())
        return token

    def user_of(self, token: str | None) -> User:
        """The session's user; raises INVALID_SESSION_ID, and API_DISABLED_FOR_ORG (403)."""
        session = self._open.get(token or "")
        now = self._state.moment()
        if session is None or now - session.used > self.idle_timeout or not session.user.active:
            self._open.pop(token or "", None)
            raise session_expired()
        session.used = max(session.used, now)
        if not self._state.may(session.user, "ApiEnabled"):
            raise SalesforceError(
                "API_DISABLED_FOR_ORG",
                "API is not enabled for this Organization or Partner",
                status=403,
            )
        return session.user

    def peek(self, token: str) -> tuple[User, datetime] | None:
        """The session's user and end of idle time, without using it."""
        session = self._open.get(token)
        return None if session is None else (session.user, session.used + self.idle_timeout)

    def revoke(self, token: str) -> bool:
        """End the session, and the user's other ones: parallel logins share a family."""
        session = self._open.get(token)
        if session is None:
            return False
        self.expire(session.user.username)
        return True

    def expire(self, username: str | None = None) -> None:
        """End every session, or those of one user."""
        if username is None:
            self._open.clear()
            return
        self._open = {
            token: each
            for token, each in self._open.items()
            if each.user.username.lower() != username.lower()
        }

    # --- flows --------------------------------------------------------------------------

    def grant(
        self, form: dict[str, str], basic: tuple[str, str] | None, host: str
    ) -> tuple[str, User]:
        """Answer a token request with a token and its user; raises OAuthError."""
        kind = form.get("grant_type", "")
        if kind == "client_credentials":
            return self._client_credentials(form, basic, host)
        if kind == JWT_GRANT:
            return self._jwt(form)
        if kind == "password":
            raise OAuthError("invalid_grant", "authentication failure")
        if kind == "refresh_token":
            raise OAuthError("invalid_grant", "expired access/refresh token")
        if not kind:
            raise OAuthError("invalid_request", "missing required parameter: grant_type")
        raise OAuthError("unsupported_grant_type", "grant type not supported")

    def check_client(self, form: dict[str, str], basic: tuple[str, str] | None) -> ClientApp:
        """The app that a request authenticates as; raises OAuthError."""
        client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
        app = self.client_apps.get(client_id)
        if app is None:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(app.client_secret.encode(), secret.encode()):
            raise OAuthError("invalid_client", "invalid client credentials")
        return app

    def _client_credentials(
        self, form: dict[str, str], basic: tuple[str, str] | None, host: str
    ) -> tuple[str, User]:
        if host.partition(":")[0] in {"login.salesforce.com", "test.salesforce.com"}:
            raise OAuthError("invalid_grant", "request not supported on this domain")
        app = self.check_client(form, basic)
        if app.username is None:
            raise OAuthError("invalid_grant", "no client credentials user enabled")
        user = self._state.user(app.username)
        return self.open(user), user

    def _jwt(self, form: dict[str, str]) -> tuple[str, User]:
        assertion = form.get("assertion", "")
        try:
            claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.PyJWTError as error:
            raise OAuthError("invalid_grant", "invalid assertion") from error
        app = self.jwt_apps.get(str(claims.get("iss", "")))
        if app is None:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        self._verify(assertion, app)
        if not str(claims.get("aud", "")).startswith(("https://", "http://")):
            raise OAuthError("invalid_grant", "audience is invalid")
        if self._expired(claims.get("exp")):
            raise OAuthError("invalid_grant", "expired authorization code")
        username = str(claims.get("sub", "")).lower()
        user = self._state.users.get(username)
        if user is None or username not in {each.lower() for each in app.usernames}:
            raise OAuthError("invalid_grant", "user hasn't approved this consumer")
        return self.open(user), user

    def _verify(self, assertion: str, app: JwtApp) -> None:
        try:
            key: Any = app.public_key
            if "BEGIN CERTIFICATE" in app.public_key:
                from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 -- rare

                key = load_pem_x509_certificate(app.public_key.encode()).public_key()
            jwt.decode(
                assertion,
                key,
                algorithms=["RS256"],
                options={
                    "verify_exp": False, "verify_aud": False, "verify_iat": False,
                    "verify_nbf": False,
                },
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError) as error:
            raise OAuthError("invalid_grant", "invalid assertion") from error

    def _expired(self, expiry: Any) -> bool:
        """Lenient on the form: clients send seconds, milliseconds, and seconds as text."""
        try:
            seconds = float(expiry)
        except (TypeError, ValueError):
            return True
        if seconds > 1e11:
            seconds /= 1000
        return seconds < self._state.moment().timestamp()

    def soap_login(self, username: str, password: str) -> tuple[str, User]:
        """Username, and password with the security token behind it; raises SoapFaultError."""
        user = self._state.users.get(username.lower())
        if user is None or not user.active or password != user.password + user.security_token:
            raise SoapFaultError(
                "INVALID_LOGIN",
                "Invalid username, password, security token; or user locked out.",
            )
        return self.open(user), user
