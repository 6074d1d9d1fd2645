"""How the Salesforce CLI comes to the tests: what npm is told, what is refused, what is said.

The registry of these tests is a server on loopback with one package, a plain file in it.
"""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.salesforce_cli import install
from tests.salesforce_cli.install import CliMissingError, Pin
from tests.salesforce_cli.lock import lock_lines

pytestmark = pytest.mark.package


def tarball() -> bytes:
    """The package `greeting`, as a registry has it."""
    files = {
        "package/package.json": b'{"name": "greeting", "version": "1.0.0"}',
        "package/greeting.txt": b"Good morning",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


PACKAGE = tarball()


def integrity(content: bytes) -> str:
    """The hash of a package, as lock files write it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


class Registry(BaseHTTPRequestHandler):
    """What npm asks of a registry: a package's versions, and the content of one."""

    def do_GET(self) -> None:
        content = PACKAGE
        if not self.path.endswith(".tgz"):
            url = f"http://{self.headers['Host']}/greeting/-/greeting-1.0.0.tgz"
            dist = {"tarball": url, "integrity": integrity(PACKAGE)}
            version = {"name": "greeting", "version": "1.0.0", "dist": dist}
            document = {"name": "greeting", "dist-tags": {"latest": "1.0.0"}}
            content = json.dumps({**document, "versions": {"1.0.0": version}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for everything that an installation writes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    return tmp_path / "cache"


@pytest.fixture
def registry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry for npm, and the cache."""
    assert not cache.exists()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def lock_file(folder: Path, *lines: str) -> Path:
    """A lock file with these lines."""
    path = folder / "npm.lock"
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.mark.usefixtures("registry")
def test_packages_are_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_file(tmp_path, f"greeting 1.0.0 {integrity(PACKAGE)}")

    folder = install.install(lock)

    assert (folder / "node_modules/greeting/greeting.txt").read_text() == "Good morning"
    monkeypatch.setenv("PATH", str(tmp_path))  # neither npm nor a registry the second time
    assert install.install(lock) == folder


@pytest.mark.usefixtures("registry")
def test_package_with_another_hash_is_refused(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = lock_file(tmp_path, f"greeting 1.0.0 {integrity(b'another one')}")

    with pytest.raises(CliMissingError, match=r"could not install .*npm\.lock"):
        install.install(lock)

    assert "EINTEGRITY" in capfd.readouterr().err
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_without_npm_a_sentence_says_so(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CliMissingError, match="needs npm, and there is no npm on PATH"):
        install.install()

    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_what_is_not_installed_names_the_target() -> None:
    with pytest.raises(CliMissingError, match="run `make test-package`"):
        install.find()


def test_machine_without_a_pinned_node_can_bring_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = install.find()
    monkeypatch.setattr("tests.salesforce_cli.install._folder", lambda _: found.modules.parent)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(CliMissingError, match="set TEST_NODE to the path of a Node"):
        install.find()

    own = tmp_path / "node"
    monkeypatch.setenv("TEST_NODE", str(own))
    with pytest.raises(CliMissingError, match="is not an executable Node"):
        install.find()

    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert install.find().node == own


def test_lock_has_names_versions_and_hashes_alone() -> None:
    pins = install.read_lock(install.LOCK)

    wanted = json.loads(install.LOCK.with_name("package.json").read_text())["dependencies"]
    assert {pin.place: pin.version for pin in pins if pin.place in wanted} == wanted
    assert len({pin.place for pin in pins}) == len(pins)
    assert "://" not in install.LOCK.read_text()


def test_line_of_another_form_is_refused(tmp_path: Path) -> None:
    lock = lock_file(tmp_path, "greeting 1.0.0 sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=")

    with pytest.raises(CliMissingError, match=r"npm\.lock:1 is not `place version sha512-hash`"):
        install.read_lock(lock)


def test_lock_of_npm_becomes_lines_and_lines_become_a_lock_of_npm() -> None:
    """Bundled packages, which come within another one, have no hash of their own."""
    one, two, three = (integrity(each) for each in (b"1", b"2", b"3"))
    packages = {
        "": {"dependencies": {"b": "^2"}},
        "node_modules/b": {"version": "2.0.0", "integrity": two, "funding": {"url": "x"}},
        "node_modules/b/node_modules/@s/a": {"version": "1.0.0", "integrity": one},
        "node_modules/@s/a": {"version": "3.0.0", "integrity": three, "dev": True},
        "node_modules/b/node_modules/c": {"version": "4.0.0", "inBundle": True},
    }

    lines = lock_lines(json.dumps({"packages": packages}))

    assert lines == [
        f"@s/a 3.0.0 {three}",
        f"b 2.0.0 {two}",
        f"b/node_modules/@s/a 1.0.0 {one}",
    ]
    made = install.npm_files(
        [
            Pin("@s/a", "3.0.0", three),
            Pin("b", "2.0.0", two),
            Pin("b/node_modules/@s/a", "1.0.0", one),
        ]
    )
    assert made["package.json"]["dependencies"] == {"@s/a": "3.0.0", "b": "2.0.0"}
    assert made["package-lock.json"]["packages"] == {
        "": {"name": "cli", "dependencies": {"@s/a": "3.0.0", "b": "2.0.0"}},
        "node_modules/@s/a": {"version": "3.0.0", "integrity": three},
        "node_modules/b": {"version": "2.0.0", "integrity": two, "dependencies": {"@s/a": "1.0.0"}},
        "node_modules/b/node_modules/@s/a": {"version": "1.0.0", "integrity": one},
    }
