"""Manifests from files: what is read, how problems are placed, and that no value is repeated."""

import base64
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metronome_salesforce.manifests import (
    Bundle,
    InvalidManifest,
    load,
)

SYNC = """\
apiVersion: metronome-salesforce.dev/v1alpha1
kind: MetronomeSync
metadata:
  name: production
spec:
  invoices:
    since: 2024-01-01
  metronome:
    apiKeySecretRef: {name: metronome}
  salesforce:
    instanceUrl: https://acme.my.salesforce.com
    credentialsSecretRef: {name: salesforce}
    caBundleConfigMapRef: {name: ca}
"""
LINK = """\
apiVersion: metronome-salesforce.dev/v1alpha1
kind: CustomerLink
metadata: {name: acme}
spec:
  syncRef: {name: production}
  customer: {ingestAlias: acme}
  account: {id: 001A0000006Vm9r}
"""
SECRETS = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: metronome}}
stringData: {{apiKey: "key-1"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: salesforce, namespace: default}}
type: Opaque
data:
  clientId: {base64.b64encode(b"id-1").decode()}
  clientSecret: {base64.b64encode(b"secret-1" + bytes([10])).decode()}
  other: {base64.b64encode(b"other").decode()}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: ca}}
data: {{ca.crt: PEM}}
"""


def read(text: str) -> Bundle:
    return load(["-"], stdin=io.StringIO(text))


def refused(text: str) -> list[tuple[int | None, str, str]]:
    """Line, field and message of each problem."""
    with pytest.raises(InvalidManifest) as caught:
        read(text)
    return [(p.line, p.field, p.message) for p in caught.value.problems]


def test_files_and_folders_are_read_together(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "1.yaml").write_text(f"{SYNC}---\n{LINK}---\n")
    (folder / "2.yml").write_text(SECRETS)
    (folder / "3.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}})
    )
    (folder / "README.md").write_text("not: [yaml")
    single = tmp_path / "single"
    single.write_text(LINK.replace("name: acme}", "name: other}"))

    bundle = load([str(folder), str(single)])

    assert [sync.metadata.name for sync in bundle.syncs] == ["production"]
    assert [link.metadata.name for link in bundle.links] == ["acme", "other"]
    assert bundle.secrets == {
        ("default", "metronome"): {"apiKey": "key-1"},
        ("default", "salesforce"): {
            "clientId": "id-1",
            "clientSecret": "secret-1",
            "other": "other",
        },
    }
    assert bundle.config_maps == {("default", "ca"): {"ca.crt": "PEM"}, ("default", "more"): {}}
    assert bundle.notes == ()


def test_unquoted_dates_are_text_as_for_kubectl() -> None:
    (sync,) = read(SYNC).syncs

    assert str(sync.spec.invoices.since) == "2024-01-01"


def test_list_of_kubectl_get_is_read() -> None:
    bundle = read("apiVersion: v1\nkind: List\nitems:\n- " + LINK.replace("\n", "\n  "))

    assert [link.metadata.name for link in bundle.links] == ["acme"]


def test_other_kinds_are_noted() -> None:
    bundle = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n" + LINK)

    assert bundle.notes == ("stdin:1: Deployment (apps/v1) is of no use here; ignored",)
    assert len(bundle.links) == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "message"),
    [
        ("since: 2024-01-01", "since: soon", 7, "spec.invoices.since", "must be a day"),
        ("  invoices:", "  windowSize: Week\n  invoices:", 6, "spec.windowSize", "Day, Hour"),
        ("  invoices:", "  shards: 3\n  invoices:", 6, "spec.shards", "is not a field"),
        ("  invoices:", "  objects: [Customer,\n    X]\n  invoices:", 7, "spec.objects[1]", "one"),
        ("apiKeySecretRef: {name: metronome}", "{}", 8, "spec.metronome.apiKeySecretRef", "requ"),
        ("  invoices:", "  suspend: 'no'\n  invoices:", 6, "spec.suspend", "true or false"),
        ("  invoices:", "  dryRun: true\n  dryRun: true\n  invoices:", 7, "spec.dryRun", "twice"),
        ("name: production", "labels: {}", 3, "metadata.name", "is required"),
        ("v1alpha1", "v2", 1, "apiVersion", "must be metronome-salesforce.dev/v1alpha1"),
        ("MetronomeSync", "MetronomeLink", 2, "kind", "MetronomeSync, CustomerLink"),
        ("kind: MetronomeSync\n", "", 1, "kind", "is required"),
        ("kind: MetronomeSync\n", "kind: 3\n", 2, "kind", "must be text"),
        ("production", "!!int production", 4, "metadata.name", "YAML tag"),
        ("production", "!secret production", 4, "metadata.name", "YAML tag"),
        ("production", "<<", 4, "metadata.name", "lower case letters"),
        ("production", "a\n  <<: {x: 1}", 5, "metadata", "merge keys"),
        ("production", "a\n  ? [a]\n  : 1", 5, "metadata", "text as keys"),
    ],
)  # fmt: skip
def test_problem_has_line_and_field(
    old: str, new: str, line: int, field: str, message: str
) -> None:
    assert old in SYNC
    (found,) = refused(SYNC.replace(old, new))

    assert found[:2] == (line, field)
    assert message in found[2]


def test_text_lists_every_problem_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SYNC.replace("2024-01-01", "x") + "---\n- 1\n")
    (tmp_path / "b.yaml").write_text("kind: [")

    with pytest.raises(InvalidManifest) as caught:
        load([str(tmp_path), str(tmp_path / "missing.yaml")])

    lines = str(caught.value).splitlines()
    assert (
        lines[0] == f"{tmp_path}/a.yaml:7: spec.invoices.since: must be a day, such as 2024-01-01"
    )
    assert lines[1].startswith(f"{tmp_path}/a.yaml:15: is not a resource")
    assert lines[2].startswith(f"{tmp_path}/b.yaml:1: is not YAML: ")
    assert lines[3] == f"{tmp_path}/missing.yaml: cannot be read: No such file or directory"
    assert caught.value.reason == "InvalidManifest"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \x00"])
def test_file_that_is_not_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)

    with pytest.raises(InvalidManifest, match=r"a\.yaml: is not"):
        load([str(tmp_path)])


def test_folder_without_manifests(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"has no \.yaml"):
        load([str(tmp_path)])


def test_names_are_unique_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LINK)
    (tmp_path / "b.yaml").write_text(SECRETS + "---\n" + LINK)

    with pytest.raises(InvalidManifest) as caught:
        load([str(tmp_path)])

    (found,) = caught.value.problems
    assert (found.line, found.field) == (22, "metadata.name")
    assert found.message == f"is that of the CustomerLink in {tmp_path}/a.yaml:1 already"


def test_same_name_in_another_namespace_is_another_resource() -> None:
    bundle = read(LINK + "---\n" + LINK.replace("{name: acme}", "{name: acme, namespace: b}"))

    assert [link.metadata.namespace for link in bundle.links] == ["default", "b"]


@pytest.mark.parametrize(
    ("body", "line", "field"),
    [
        ("metadata: {name: s}\ndata: {k: 'hunter2!'}", 4, "data.k"),
        ("metadata: {name: s}\ndata: {k: aHVudGVyMg}", 4, "data.k"),
        ("metadata: {name: s}\ndata: {k: /w==}", 4, "data.k"),
        ("metadata: {name: s}\nstringData: {k: 12345}", 4, "stringData.k"),
        ("metadata: {name: s}\nstringData: hunter2", 4, "stringData"),
        ("metadata: {}\nstringData: {k: hunter2}", 3, "metadata.name"),
        ("metadata: {name: s}\nstringData: {k: &hunter2 [*hunter2]}", 4, "stringData.k[0]"),
        ("metadata: {name: s}\nstringData: {k: *hunter2}", 4, ""),
        ("metadata: {name: s}\nstringData: {k: 'hunter2}", None, ""),
        ("metadata: {name: s}\nstringData: {k: %hunter2}", 4, ""),
        ("metadata: {name: s}\nstringData: {k: !!hunter2 x}", 4, "stringData.k"),
        ("metadata: {name: s}\nstringData:\n  k: hunter2\n hunter2", None, ""),
    ],
)
def test_bad_secret_is_placed_and_never_shown(body: str, line: int | None, field: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\n{body}\n"
    found = refused(text)

    if line is not None:
        assert found[0][:2] == (line, field)
    with pytest.raises(InvalidManifest) as caught:
        read(text)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secret_in_the_wrong_place_is_not_shown() -> None:
    wrong = SYNC.replace("{name: metronome}", "{name: HUNTER 2, key: HUNTER/2, apiKey: HUNTER}")
    found = refused(wrong)

    assert [field for _, field, _ in found] == [
        "spec.metronome.apiKeySecretRef.name",
        "spec.metronome.apiKeySecretRef.key",
        "spec.metronome.apiKeySecretRef.apiKey",
    ]
    assert "HUNTER" not in "".join(message for _, _, message in found)


def test_many_aliases_cost_nothing() -> None:
    """Ten lists of ten aliases each, ten deep, would be ten thousand million values."""
    bomb = "a0: &a0 x\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
    )

    assert refused("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  " +
                   bomb.replace("\n", "\n  "))  # fmt: skip


def test_deep_nesting_is_refused() -> None:
    ((_, field, message),) = refused("a: " + "[" * 60 + "]" * 60)

    assert message == "is nested too deeply"
    assert field.startswith("a[0]")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`? \n\t,0~<", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever it is, it ends in a bundle or a list of problems."""
    found: tuple[object, ...] = ()
    try:
        found = (read(text),)
    except InvalidManifest as error:
        found = error.problems

    assert found


def test_thousands_of_links_are_read_in_seconds() -> None:
    text = "---\n".join(LINK.replace("name: acme", f"name: acme-{n}") for n in range(2000))

    assert len(read(text).links) == 2000
