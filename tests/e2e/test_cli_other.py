"""The other commands: help, the package, usage, and an installation without the sandbox."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
import yaml

from metronome_salesforce.cli import run
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    PERMISSION_SET,
    Cluster,
    Json,
    company,
    eventually,
    merged,
    references,
    run_cli,
    start_cli,
    sync_manifest,
)

FAILED = 1
WAYS = ("Metronome", "CustomerLink", "Salesforce")
COMMANDS = ("operator", "sync", "plan", "links", "package", "doctor", "demo", "sandbox")


def test_help_lists_the_commands_and_what_they_are_for() -> None:
    result = run_cli("--help")

    assert result.returncode == 0
    listed = re.findall(r"^    (\S+) {2,}(\S.*)$", result.stdout, re.MULTILINE)
    assert [name for name, _ in listed] == list(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "package zip"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked in this process, as nothing is run."""
    with pytest.raises(SystemExit) as ended:
        run([*command.split(), "--help"])

    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert out.startswith(f"usage: metronome-salesforce {command}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "COMMAND"),
        (("sink",), "invalid choice: 'sink'"),
        (("sync",), "-f/--filename"),
        (("sync", "-f", "a", "--output", "xml"), "invalid choice: 'xml'"),
        (("sync", "-f", "a", "--last-success", "yesterday"), "--last-success"),
        (("package", "zip", "a.zip", "--api-version", "99"), 'from 58.0 on, such as "66.0"'),
        (("package", "zip", "a.zip", "--api-version", "66.1"), "--api-version"),
        (("package", "zip", "a.zip", "--api-version", "30.0"), "--api-version"),
        (("operator", "--port", "http"), "invalid int value: 'http'"),
    ],
)
def test_wrong_usage_gives_code_2_and_says_how(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)

    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert told in err.splitlines()[-1]
    assert err.startswith("usage: metronome-salesforce")


def test_the_package_s_zip_deploys_on_a_fresh_org(tmp_path: Path) -> None:
    """And what was deployed from the file is all that a cycle looks for before it starts."""
    file = tmp_path / "package.zip"
    result = run_cli("package", "zip", str(file))
    assert result.returncode == 0, result.stderr
    assert f"--metadata-dir {file} --single-package" in result.stdout
    with company(package=False) as one:
        deployed = one.org.deploy(file.read_bytes())
        assert deployed.success, deployed.problems
        one.org.assign_permission_set(INTEGRATION, PERMISSION_SET)
        documents = [sync_manifest("acme", one.spec()), *references(one)]
        given = {"apiVersion": "v1", "kind": "List", "items": documents}
        planned = run_cli("plan", "-f", "-", given=given)
        assert planned.returncode == 0, planned.stdout


class _Proxy:
    """A proxy on loopback that lets nothing through and counts who asks."""

    def __enter__(self) -> Self:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        Thread(target=self._refuse, daemon=True).start()
        return self

    def _refuse(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.asked.append(connection.recv(1000).decode("latin-1").split("\r\n")[0])
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[_Proxy]:
    with _Proxy() as proxy:
        yield proxy


def _lines_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while last not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines) + (process.stderr.read() if process.stderr else "")
    return "".join(lines)


def test_the_sandbox_can_be_tried(tmp_path: Path, proxy: _Proxy) -> None:
    """With what it prints, from the manifests that it writes, by kubectl and by `plan -f`.

    Whatever is applied to it, it calls nobody outside: vendors would be called through the proxy.
    """
    folder = tmp_path / "sandbox"
    environment = {
        "HTTPS_PROXY": proxy.url, "https_proxy": proxy.url,
        "HTTP_PROXY": proxy.url, "http_proxy": proxy.url,
        "NO_PROXY": "", "no_proxy": "",
    }  # fmt: skip
    with start_cli(
        "sandbox", "--customers", "7", "--folder", str(folder), environment=environment
    ) as process:
        said = _lines_until(process, " plan -f ")
        assert "Rows written: 0." in said
        hang = r"^On the Account .+ hang now: .*invoices [1-9].*\nLeft on its .+ record: 0 rows\.$"
        assert len(re.findall(hang, said, re.MULTILINE)) == len(WAYS)
        back = (
            r"^On the Orphaned Customer record hang again: .*invoices [1-9].*\nLeft .*: 0 rows\.$"
        )
        assert len(re.findall(back, said, re.MULTILINE)) == 1

        command = said[said.rindex("\nenv ") :]
        planned = subprocess.run(
            ["/bin/bash", "-c", command],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ},
        )  # fmt: skip
        assert planned.returncode == 0, planned.stderr
        assert "Planned: Dry run" in planned.stdout
        assert "\ncustomers: 7, of which 4 linked and 3 orphaned\n" in planned.stdout

        cluster = Cluster("sandbox", folder / "kubeconfig", tmp_path)
        try:
            manifests = str(folder / "manifests")
            cluster.kubectl("apply", "--validate=false", "-f", manifests)
            _links_an_orphan(cluster, said)
            _refuses_vendors(cluster, folder)
        finally:
            cluster.close()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert proxy.asked == []


def _links_an_orphan(cluster: Cluster, said: str) -> None:
    """As the hint says, which names a file."""
    (hint,) = re.findall(r"^ +kubectl (apply .+/links/.+)$", said, re.MULTILINE)
    cluster.kubectl(*shlex.split(hint))
    cluster.kubectl("wait", "clink", "--all", "--for=condition=Ready", "--timeout=20s")
    columns = cluster.kubectl("get", "clink", "--no-headers").split()
    assert columns[1] == "True"


def _refuses_vendors(cluster: Cluster, folder: Path) -> None:
    (sync,) = yaml.safe_load_all((folder / "manifests" / "sync.yaml").read_text("utf-8"))
    changes: dict[str, Json] = {
        "metronome": {"metronome": {"baseUrl": None}},  # which is the vendor's by default
        "salesforce": {"salesforce": {"instanceUrl": "https://vendor.my.salesforce.com"}},
    }
    for name, over in changes.items():
        given = {**sync, "metadata": {"name": name}, "spec": merged(sync["spec"], over)}
        cluster.kubectl("apply", "--validate=false", "-f", "-", given=given)
        stalled = "jsonpath={.status.conditions[?(@.type=='Stalled')].message}"

        def message(name: str = name, stalled: str = stalled) -> str:
            return cluster.kubectl("get", "msync", name, "-o", stalled)

        said = eventually(message)
        assert "The operator may not call the host" in said
        reason = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
        assert cluster.kubectl("get", "msync", name, "-o", reason) == "HostNotAllowed"


def test_the_sandbox_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = run_cli("sandbox", "--customers", "1", "--folder", str(tmp_path / "file"))

    assert result.returncode == FAILED
    assert result.stderr.strip() == f"cannot write to {tmp_path / 'file'}: Not a directory"


def test_without_the_sandbox_s_libraries_a_sentence_says_what_to_install() -> None:
    """An installation without the extra lacks the grammar library, so that importing it fails."""
    code = (
        "import sys; sys.modules['lark'] = None;"
        "from metronome_salesforce.cli import run; sys.exit(run(['demo']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.strip() == (
        "the sandbox is not part of this installation; install it with:"
        " pip install 'metronome-salesforce-operator[sandbox]'"
    )


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_an_operator_runs_one_cycle_at_least(number: str) -> None:
    result = run_cli("operator", f"--max-cycles={number}")

    assert result.returncode == 2
    assert "--max-cycles: must be a whole number from 1 up" in result.stderr
