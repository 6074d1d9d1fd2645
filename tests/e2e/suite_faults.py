"""What can be wrong outside the operator: how each fault is made, what is told of it, its mending.

All of them are started together, because some take their time to be given up or to be looked at
again, and each is mended as soon as it has told what is the matter.
"""

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from metronome_salesforce.salesforce.package import package_zip
from metronome_salesforce.sandbox.certificates import CertificateAuthority
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    API_VERSION,
    PERMISSION_SET,
    REQUESTED_AT,
    Company,
    Json,
    Space,
    condition,
    config_map_manifest,
    deploy_package,
    eventually,
    free_port,
    merged,
    message,
    references,
    rows_written,
    secret_manifest,
    secret_value,
    sync_manifest,
)

HIDDEN = "Metronome_Invoice__c.Total__c"


@dataclass(slots=True)
class Case:
    """One broken MetronomeSync: what is applied in place of what is right, and how it is mended.

    `mended` are the documents that differ when it is mended, `act` is what is done in the org.
    `asks` tells that nothing in the cluster changes then, so that a person asks for a cycle rather
    than wait for minutes.
    """

    name: str
    one: Company
    documents: list[Json]
    reason: str
    sentence: str
    mended: list[Json] = field(default_factory=list)
    act: Callable[[], None] = lambda: None
    retries: bool = False
    asks: bool = False
    is_mended: bool = False


@dataclass(slots=True)
class Gallery:
    """All cases, in one namespace, beside a healthy MetronomeSync."""

    space: Space
    cases: dict[str, Case]
    healthy: Company

    def see(self, name: str) -> Json:
        """The status of a case once its first run is over."""
        return self.space.wait(lambda status: status.get("lastRun"), name)

    def mend(self, name: str) -> None:
        """Do what the sentence says, once."""
        case = self.cases[name]
        if case.is_mended:
            return
        case.is_mended = True
        case.act()
        if case.mended:
            self.space.apply(*case.mended)
        if case.asks:
            self.space.annotate(REQUESTED_AT, "mended", name)


def right(name: str, one: Company, **spec: Json) -> dict[str, Json]:
    """The documents of a healthy MetronomeSync by what they are for."""
    metronome, salesforce, authority = references(one, name)
    return {
        "metronome": metronome,
        "salesforce": salesforce,
        "authority": authority,
        "sync": sync_manifest(name, one.spec(name, **spec)),
    }


def _without(parts: dict[str, Json], part: str) -> list[Json]:
    return [document for key, document in parts.items() if key != part]


def _in_place(parts: dict[str, Json], part: str, document: Json) -> list[Json]:
    return [*_without(parts, part), document]


def secret_missing(one: Company) -> Case:
    parts = right("secret-missing", one)
    return Case(
        "secret-missing", one, _without(parts, "metronome"), "SecretNotFound",
        r"Secret secret-missing-metronome with Metronome's API key does not exist in namespace \S+;"
        " create it.",
        mended=[parts["metronome"]],
    )  # fmt: skip


def secret_key_missing(one: Company) -> Case:
    parts = right("secret-key-missing", one)
    half = secret_manifest("secret-key-missing-salesforce", {"clientId": one.client_id})
    return Case(
        "secret-key-missing", one, _in_place(parts, "salesforce", half), "SecretKeyMissing",
        "Secret secret-key-missing-salesforce .* has no key clientSecret",
        mended=[parts["salesforce"]],
    )  # fmt: skip


def api_key_wrong(one: Company) -> Case:
    parts = right("api-key-wrong", one)
    wrong = secret_manifest("api-key-wrong-metronome", {"apiKey": secret_value("wrong-api-key")})
    return Case(
        "api-key-wrong", one, _in_place(parts, "metronome", wrong), "MetronomePermissionDenied",
        r"refused \(403\): the key is wrong, or has no read access; put a valid .*into the Secret",
        mended=[parts["metronome"]],
    )  # fmt: skip


def client_secret_wrong(one: Company) -> Case:
    parts = right("client-secret-wrong", one)
    values = {**one.credentials, "clientSecret": secret_value("wrong-client-secret")}
    wrong = secret_manifest("client-secret-wrong-salesforce", values)
    return Case(
        "client-secret-wrong", one, _in_place(parts, "salesforce", wrong),
        "SalesforceAuthenticationFailed", "client.*Secret",
        mended=[parts["salesforce"]],
    )  # fmt: skip


def config_map_missing(one: Company) -> Case:
    parts = right("config-map-missing", one)
    return Case(
        "config-map-missing", one, _without(parts, "authority"), "ConfigMapNotFound",
        r"ConfigMap config-map-missing-ca .*does not exist in namespace \S+; create it.",
        mended=[parts["authority"]],
    )  # fmt: skip


def certificate_untrusted(one: Company) -> Case:
    parts = right("certificate-untrusted", one)
    other = CertificateAuthority().ca_pem.decode()
    wrong = config_map_manifest("certificate-untrusted-ca", {"ca.crt": other})
    return Case(
        "certificate-untrusted", one, _in_place(parts, "authority", wrong),
        "SalesforceCertificateFailed",
        "certificate of localhost.* cannot be trusted.*spec.salesforce.caBundleConfigMapRef",
        mended=[parts["authority"]],
    )  # fmt: skip


def host_not_allowed(one: Company) -> Case:
    parts = right("host-not-allowed", one)
    wrong = merged(parts["sync"], {"spec": {"metronome": {"baseUrl": "https://metronome.example"}}})
    return Case(
        "host-not-allowed", one, _in_place(parts, "sync", wrong), "HostNotAllowed",
        "may not call the host metronome.example.*METRONOME_SALESFORCE_ALLOWED_HOSTS",
        mended=[parts["sync"]],
    )  # fmt: skip


def host_unreachable(one: Company) -> Case:
    """Nobody listens at the org's address; later somebody does."""
    port = free_port()
    parts = right("host-unreachable", one, salesforce={"instanceUrl": f"https://localhost:{port}"})
    return Case(
        "host-unreachable", one, list(parts.values()), "SalesforceUnreachable",
        "localhost.* cannot be reached; check spec.salesforce.instanceUrl, DNS, the proxy",
        act=lambda: one.also_serve(port),
        retries=True, asks=True,
    )  # fmt: skip


def package_missing(one: Company) -> Case:
    """And the integration user may not install it."""
    return Case(
        "package-missing", one, list(right("package-missing", one).values()), "PackageMissing",
        '"Modify Metadata Through Metadata API Functions" and "Customize Application".*'
        "run metronome-salesforce package deploy",
        act=lambda: deploy_package(one.org),
        asks=True,
    )  # fmt: skip


def field_hidden(one: Company) -> Case:
    """The permission set lacks a field, as one that was made by hand may."""
    _deploy(one, _without_field(package_zip(API_VERSION), HIDDEN))
    one.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
    one.org.statistics.reset()
    return Case(
        "field-hidden", one, list(right("field-hidden", one).values()), "FieldNotAccessible",
        f'cannot see {HIDDEN}; assign the permission set "Metronome Integration"',
        act=lambda: _deploy(one, package_zip(API_VERSION)),
        asks=True,
    )  # fmt: skip


def _deploy(one: Company, content: bytes) -> None:
    result = one.org.deploy(content)
    assert result.success, result.problems


def _without_field(package: bytes, name: str) -> bytes:
    """The package with one field taken out of its permission sets."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.namelist():
            text = old.read(entry)
            if "permissionset" in entry:
                pattern = rf"<fieldPermissions>(?:(?!</fieldPermissions>).)*?<field>{name}</field>"
                text, count = re.subn(
                    rf"{pattern}.*?</fieldPermissions>".encode(), b"", text, flags=re.DOTALL
                )
                assert count == 1, entry
            new.writestr(entry, text)
    return changed.getvalue()


MAKERS = (
    host_unreachable, package_missing, field_hidden, secret_missing, secret_key_missing,
    api_key_wrong, client_secret_wrong, config_map_missing, certificate_untrusted, host_not_allowed,
)  # fmt: skip
NAMES = [maker.__name__.replace("_", "-") for maker in MAKERS]
SLOW = "host-unreachable"
"""Given up after several tries, which may take half a minute."""
WITHOUT_PACKAGE = (package_missing, field_hidden)


def expect_told(gallery: Gallery, name: str) -> None:
    """Check what status and Events tell of a case that is not mended yet."""
    space, case = gallery.space, gallery.cases[name]
    status = gallery.see(name)

    assert condition(status, "Ready")[1] == case.reason, message(status, "Ready")
    assert re.search(case.sentence, message(status, "Ready")), message(status, "Ready")
    assert (status["lastRun"]["outcome"], status["lastRun"]["reason"]) == ("Failed", case.reason)
    if case.retries:
        assert condition(status, "Ready")[0] == "Unknown"
        assert condition(status, "Stalled")[0] == "False"
        # Another try may be under way by now.
        assert condition(status, "Reconciling")[0] == "True"
        assert status["lastRun"]["retry"] == "later"
    else:
        assert condition(status, "Ready")[0] == "False"
        assert condition(status, "Stalled") == ("True", case.reason)
        assert message(status, "Stalled") == message(status, "Ready")
    assert datetime.fromisoformat(status["nextRunTime"]), "it is tried again"
    assert not rows_written(case.one.org)
    told = ("Warning", case.reason, message(status, "Ready"))
    assert eventually(lambda: space.events(name)) == [told]
