"""The package as a MetronomeSync in a cluster shows and installs it."""

from collections.abc import Iterator

import pytest

from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    PERMISSION_SET,
    Company,
    Space,
    company,
    condition,
    content,
    deploy_package,
    eventually,
    message,
    undisturbed,
)
from tests.package.versions import let_install, of_version


@pytest.fixture(name="bare")
def _bare() -> Iterator[Company]:
    """A company whose org lacks the package, and whose integration user may install it."""
    with company(package=False) as one:
        let_install(one.org)
        yield one


def test_an_org_without_it_is_filled_at_once(space: Space, bare: Company) -> None:
    space.start(bare)
    status = space.wait_for_run()

    assert content(bare.org) == undisturbed(bare)
    assert condition(status, "PackageInstalled") == ("True", "Installed")
    assert status["package"] == {"installedVersion": "0.1.0"}
    told = ("Normal", "PackageInstalled", "The Metronome package 0.1.0 was installed.")
    assert told in space.events()


def test_never_waits_for_an_administrator(space: Space, bare: Company) -> None:
    space.start(bare, salesforce={"package": {"install": "Never"}})
    status = space.wait_for_run(outcome="Failed")
    assert condition(status, "Ready") == ("False", "PackageMissing")
    assert condition(status, "Stalled") == ("True", "PackageMissing")
    assert condition(status, "PackageInstalled") == ("False", "PackageMissing")
    assert "metronome-salesforce package deploy" in message(status, "Ready")
    assert "package" not in status
    assert not bare.org.deploys

    deploy_package(bare.org)
    status = space.request("it is there now")
    assert condition(status, "Ready") == ("True", "Succeeded")
    assert condition(status, "PackageInstalled") == ("True", "Installed")


def test_an_older_one_is_told_and_upgraded_when_asked(space: Space, bare: Company) -> None:
    assert bare.org.deploy(of_version("0.0.7")).success
    bare.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    space.start(bare)
    status = space.wait_for_run()
    assert condition(status, "PackageInstalled") == ("True", "Outdated")
    assert status["package"] == {"installedVersion": "0.0.7"}
    told = ("Warning", "Outdated", message(status, "PackageInstalled"))
    assert eventually(lambda: told in space.events())

    space.patch({"salesforce": {"package": {"install": "Always"}}})
    status = space.wait_for_run(2)
    assert condition(status, "PackageInstalled") == ("True", "Installed")
    assert status["package"] == {"installedVersion": "0.1.0"}
