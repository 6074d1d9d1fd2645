"""A pytest plugin that fails a run which tested nothing, or which left a test out.

It also shows what tests have measured (see `conftest`).

`make test-cluster` is the proof on a real API server: a run in which every test was deselected or
skipped must not look like one.
"""

from collections import Counter

import pytest


class Strict:
    """Counts what ran and turns a run without it into a failure."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.refused = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once, at its call, or where a fixture or mark skipped it."""
        if report.when == "call" or report.skipped:
            self.outcomes[report.outcome] += 1

    @pytest.hookimpl(tryfirst=True)  # before the terminal's closing lines
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Set the exit status where pytest itself would have said that all is well."""
        untested = pytest.ExitCode.NO_TESTS_COLLECTED
        if session.exitstatus not in {pytest.ExitCode.OK, untested}:
            return  # it has failed, and says why
        self.refused = self.outcomes["skipped"] > 0 or not self.outcomes["passed"]
        if self.refused:
            session.exitstatus = untested

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why, and what was measured."""
        for report in terminalreporter.stats.get("passed", ()):
            for name, line in report.user_properties:
                terminalreporter.write_line(f"{name}: {line} ({report.nodeid})")
        if self.refused:
            terminalreporter.write_line(
                f"{self.outcomes['passed']} passed and {self.outcomes['skipped']} skipped: here"
                " every test must run, and there must be one.",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    """Take part in this run."""
    config.pluginmanager.register(Strict(), "controlplane-strict")
