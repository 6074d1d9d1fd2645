"""A Prometheus of the test's own: on loopback, in a folder of its own, gone at the end."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.suite import eventually, free_port
from tests.monitoring.files import ALERTS, JOB
from tests.monitoring.tools import tool

_STOP_SECONDS = 20

Json = dict[str, Any]
Sample = tuple[dict[str, str], float]
"""The labels of one series, and its value."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus that scrapes one operator every second, and evaluates the chart's alerts."""

    address: str
    log: Path

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an API call, which must succeed."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(
            f"http://{self.address}/api/v1/{path}?{query}", timeout=10
        ) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now."""
        found = self.get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def value(self, expression: str) -> float:
        """What an expression gives that gives one series."""
        ((_, value),) = self.query(expression)
        return value

    def scrapes(self) -> int:
        """How often the operator has been scraped."""
        return int(self.value(f'sum(count_over_time(up{{job="{JOB}"}}[1h]) or vector(0))'))

    def scrape(self, times: int = 2) -> None:
        """Wait until the operator has been scraped so often."""
        wanted = self.scrapes() + times
        eventually(lambda: self.scrapes() >= wanted, told=lambda: self.log.read_text("utf-8"))

    def rules(self) -> dict[str, Json]:
        """The alerts as they are evaluated, by name."""
        groups = self.get("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


@contextmanager
def prometheus(folder: Path, operator: str) -> Iterator[Prometheus]:
    """Scrape the operator at this address (host:port) as the README says."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in ALERTS],
        "scrape_configs": [
            {
                "job_name": JOB,
                "honor_labels": True,
                "static_configs": [{"targets": [operator]}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    log = folder / "prometheus.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        found = Prometheus(f"127.0.0.1:{port}", log)
        eventually(lambda: _is_ready(found), told=lambda: log.read_text("utf-8"))
        yield found
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(one: Prometheus) -> bool:
    try:
        with urllib.request.urlopen(f"http://{one.address}/-/ready", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
