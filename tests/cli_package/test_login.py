"""The ways in which the Salesforce CLI logs in without a browser."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from metronome_salesforce.sandbox.salesforce import ADMIN, INTEGRATION
from tests.cli_package.conftest import Desk

pytestmark = pytest.mark.package

CLIENT = "the-cli's-app"


def test_access_token(desk: Desk) -> None:
    shown = desk.cli.json("org", "display")

    assert (shown["username"], shown["connectedStatus"]) == (ADMIN, "Connected")
    assert shown["id"] == desk.org.state.organization_id


def test_jwt_of_the_integration_user(desk: Desk, tmp_path: Path) -> None:
    key = private_key(desk, tmp_path / "jwt.key")

    arguments = ["--client-id", CLIENT, "--jwt-key-file", str(key), "--username", INTEGRATION]
    desk.cli.run("org", "login", "jwt", *arguments, "--instance-url", desk.url)

    query = ("data", "query", "--query", "SELECT Username FROM User", "--target-org", INTEGRATION)
    assert desk.cli.json(*query)["totalSize"] == len(desk.org.users)
    assert desk.cli.json("org", "display", "--target-org", INTEGRATION)["clientId"] == CLIENT


def private_key(desk: Desk, path: Path) -> Path:
    """Register an app for the integration user; the file with the key that it signs with."""
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    desk.org.add_jwt_app(CLIENT, public.decode(), {INTEGRATION})
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
