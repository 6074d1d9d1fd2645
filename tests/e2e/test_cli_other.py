"""The other commands: help, the package, usage, and an installation without the sandbox."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from metronome_salesforce.cli import run
from metronome_salesforce.sandbox.salesforce import INTEGRATION
from tests.e2e.suite import (
    PERMISSION_SET,
    company,
    references,
    run_cli,
    sync_manifest,
)

COMMANDS = ("operator", "sync", "plan", "links", "package", "demo", "sandbox")


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
