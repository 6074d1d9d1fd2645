"""An org to deploy to, the package's source as a user exports it, and the Salesforce CLI."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metronome_salesforce.sandbox.salesforce import ADMIN, SalesforceOrg, SalesforceSandbox
from tests.salesforce_cli import install
from tests.salesforce_cli.install import Programs
from tests.salesforce_cli.running import SalesforceCli


@dataclass(frozen=True, slots=True)
class Desk:
    """An org without the package, and the CLI in a copy of the source, logged in as admin."""

    org: SalesforceOrg
    sandbox: SalesforceSandbox
    url: str
    cli: SalesforceCli
    project: Path


@pytest.fixture(scope="session")
def programs() -> Programs:
    return install.find()


@pytest.fixture(scope="session")
def exported_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the Salesforce CLI, made by our own command; only copied, never changed."""
    folder = tmp_path_factory.mktemp("exported") / "project"
    command("package", "export", str(folder))
    return folder


@pytest.fixture
def desk(exported_source: Path, programs: Programs, tmp_path: Path) -> Iterator[Desk]:
    project = tmp_path / "project"
    shutil.copytree(exported_source, project)
    org = SalesforceOrg(now=lambda: datetime.now(UTC))
    sandbox = SalesforceSandbox(org)
    with sandbox.serve() as served:
        cli = SalesforceCli(programs, tmp_path / "home", project)
        cli.log_in(served.url, token(org, ADMIN))
        yield Desk(org, sandbox, served.url, cli, project)


def token(org: SalesforceOrg, username: str) -> str:
    """An access token, as a person would copy it from a session."""
    return org.sessions.open(org.state.user(username))


def command(*arguments: str) -> None:
    """Run `metronome-salesforce`, which must succeed."""
    subprocess.run([sys.executable, "-m", "metronome_salesforce", *arguments], check=True)
