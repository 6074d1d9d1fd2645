"""What promtool says of the alerts, of the metrics, and of alerts that are not what they were."""

import re
from pathlib import Path

import pytest
import yaml

from tests.monitoring.files import ALERTS, RULE_TESTS, alerts
from tests.monitoring.tools import promtool

pytestmark = pytest.mark.monitoring

NEVER, ALWAYS = "metronome_salesforce_suspended < 0", "vector(1)"


def test_the_alerts_are_well_formed() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *ALERTS)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(ALERTS)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_each_alert_fires_when_it_should_and_at_no_other_time(path: Path) -> None:
    done = promtool("test", "rules", path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", [NEVER, ALWAYS], ids=["never", "always"])
def test_the_rule_tests_see_alerts_that_are_broken(tmp_path: Path, expression: str) -> None:
    """Alerts that never fire, or always, fail them, each by name: so they are about each."""
    for path in ALERTS:
        document = yaml.safe_load(path.read_text("utf-8"))
        for group in document["groups"]:
            for rule in group["rules"]:
                rule["expr"] = expression
        (tmp_path / path.name).write_text(yaml.safe_dump(document), "utf-8")
    copies = []
    for path in RULE_TESTS:
        copied = yaml.safe_load(path.read_text("utf-8"))
        copied["rule_files"] = [Path(name).name for name in copied["rule_files"]]
        copies.append(tmp_path / path.name)
        copies[-1].write_text(yaml.safe_dump(copied), "utf-8")

    done = promtool("test", "rules", *copies)

    assert done.returncode != 0
    failed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert failed == {one["alert"] for one in alerts()}
