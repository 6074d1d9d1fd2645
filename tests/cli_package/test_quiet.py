"""That the Salesforce CLI of the tests calls nobody but the org, and that we would see it."""

from pathlib import Path

import pytest

from tests.cli_package.conftest import Desk
from tests.salesforce_cli.running import Seen

pytestmark = pytest.mark.package

CALLS = """
const { spawn, spawnSync } = require('node:child_process');
const http = require('node:http');
const dns = require('node:dns');
const net = require('node:net');
const quiet = (socket) => socket.on('error', () => {});
const refused = (call) => {
  try {
    call();
  } catch (error) {
    console.log(error.message);
  }
};
quiet(http.get('http://127.0.0.21:9/'));
quiet(net.connect(9, '127.0.0.22'));
quiet(net.connect({ port: 9, host: '127.0.0.23' }));
fetch('http://127.0.0.24:49999/').catch(() => {}); // fetch refuses port 9
dns.lookup('127.0.0.25', () => {});
dns.promises.lookup('127.0.0.26');
spawn('true');
spawnSync('false');
refused(() => net.connect(9, '192.0.2.1'));
refused(() => dns.lookup('host.invalid', () => {}));
"""


def test_what_is_watched_is_seen(desk: Desk, tmp_path: Path) -> None:
    """Each way in which Node turns to a host or starts a program; other machines are not called."""
    script = tmp_path / "calls.js"
    script.write_text(CALLS)

    finished, seen = desk.cli.watched(script)

    assert finished.code == 0, finished.errors
    called = {f"127.0.0.{number}" for number in range(21, 27)}
    assert set(seen.hosts) == called | {"192.0.2.1", "host.invalid"}
    assert set(seen.foreign) == {"192.0.2.1", "host.invalid"}
    assert finished.output.splitlines() == [
        "The tests let nobody call 192.0.2.1.",
        "The tests let nobody call host.invalid.",
    ]
    assert seen.programs == ("true", "false")
    assert len(seen.processes) == 1


@pytest.mark.parametrize(("host", "foreign"), [
    ("127.0.0.1", False), ("127.0.0.21", False), ("::1", False), ("localhost", False),
    ("192.0.2.1", True), ("host.invalid", True), ("127.0.0.1.invalid", True), ("/run/s", True),
])  # fmt: skip
def test_hosts_of_other_machines_are_foreign(host: str, foreign: bool) -> None:
    assert bool(Seen((), (host,), ()).foreign) is foreign


def test_commands_call_the_org_alone_and_leave_no_process(desk: Desk) -> None:
    """Also one without an org, which has time to look for updates."""
    for arguments in (
        ("version",),
        ("org", "display"),
        ("project", "deploy", "start", "--source-dir", "metronome", "--dry-run"),
    ):
        finished, seen = desk.cli.watched(desk.cli.programs.cli, *arguments)

        assert finished.code == 0, finished.errors
        assert set(seen.hosts) == ({"127.0.0.1"} if "version" not in arguments else set())
        assert seen.programs == ()
        [process] = seen.processes
        assert not Path(f"/proc/{process}").exists()


def test_state_is_in_the_home_of_the_test(desk: Desk) -> None:
    """Not in that of whoever runs the tests."""
    before = _changed()
    desk.cli.run("org", "display")

    assert (desk.cli.home / ".sfdx").is_dir()
    assert _changed() == before


def _changed() -> dict[str, float]:
    home = Path.home()
    return {
        name: (home / name).stat().st_mtime
        for name in (".sf", ".sfdx", ".local/share/sf", ".cache/sf")
        if (home / name).exists()
    }
