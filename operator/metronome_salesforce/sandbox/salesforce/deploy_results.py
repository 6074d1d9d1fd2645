"""What a metadata deploy answers, component by component (Metadata API, DeployResult)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class DeployMessage:
    """One component's outcome."""

    component_type: str
    full_name: str
    file_name: str
    success: bool = True
    changed: bool = False
    created: bool = False
    deleted: bool = False
    problem: str | None = None
    problem_type: str | None = None
    id: str | None = None

    def body(self, moment: str) -> dict[str, Any]:
        """The JSON form of the REST resource."""
        body: dict[str, Any] = {
            "changed": self.changed,
            "componentType": self.component_type,
            "created": self.created,
            "createdDate": moment,
            "deleted": self.deleted,
            "fileName": self.file_name,
            "fullName": self.full_name,
            "success": self.success,
        }
        if self.id:
            body["id"] = self.id
        if self.problem is not None:
            body |= {"problem": self.problem, "problemType": self.problem_type or "Error"}
        return body


@dataclass(slots=True)
class DeployResult:
    """The result of one deploy; `success` false with rollback means that nothing changed."""

    id: str
    moment: str
    user_id: str
    user_name: str
    check_only: bool = False
    rollback_on_error: bool = True
    ignore_warnings: bool = False
    messages: list[DeployMessage] = field(default_factory=list)
    error: str | None = None
    error_code: str | None = None
    status: str = "Pending"
    polls_left: int = 0
    work: Callable[[], None] | None = None
    canceled_by: tuple[str, str] | None = None

    @property
    def failures(self) -> list[DeployMessage]:
        """The components that were refused."""
        return [each for each in self.messages if not each.success]

    @property
    def successes(self) -> list[DeployMessage]:
        """The components that were accepted."""
        return [each for each in self.messages if each.success]

    @property
    def success(self) -> bool:
        """Whether the whole package is in the org (or would be, with checkOnly)."""
        return self.status == "Succeeded"

    @property
    def problems(self) -> list[str]:
        """The problems as lines for people: `Object.Field: problem`."""
        lines = [f"{each.full_name}: {each.problem}" for each in self.failures]
        return [*([self.error] if self.error else []), *lines]

    def shown_status(self) -> str:
        """The status as it is now; each look brings an unfinished deploy one step on."""
        if self.polls_left > 0:
            self.polls_left -= 1
            return "Pending" if self.polls_left else "InProgress"
        self.finish()
        return self.status

    def finish(self) -> None:
        """Do the work, if it still waits."""
        if self.work is not None:
            work, self.work = self.work, None
            work()

    def cancel(self, by: tuple[str, str]) -> bool:
        """Stop a deploy that is not done; false if it is too late."""
        if self.work is None:
            return False
        self.work, self.polls_left = None, 0
        self.status, self.canceled_by = "Canceled", by
        return True

    def body(self, *, details: bool) -> dict[str, Any]:
        """The deployResult JSON."""
        status = self.shown_status()
        done = status not in {"Pending", "InProgress", "Canceling"}
        failures = [each for each in self.failures if each.problem_type != "Warning"]
        counted = [each for each in self.messages if each.component_type]
        body: dict[str, Any] = {
            "id": self.id,
            "checkOnly": self.check_only,
            "createdBy": self.user_id,
            "createdByName": self.user_name,
            "createdDate": self.moment,
            "done": done,
            "ignoreWarnings": self.ignore_warnings,
            "lastModifiedDate": self.moment,
            "numberComponentErrors": len(failures) if done else 0,
            "numberComponentsDeployed": len(counted) - len(failures) if done else 0,
            "numberComponentsTotal": len(counted),
            "numberTestErrors": 0,
            "numberTestsCompleted": 0,
            "numberTestsTotal": 0,
            "rollbackOnError": self.rollback_on_error,
            "runTestsEnabled": False,
            "startDate": self.moment,
            "status": status,
            "success": done and self.success,
        }
        if self.canceled_by is not None:
            body |= {"canceledBy": self.canceled_by[0], "canceledByName": self.canceled_by[1]}
        if done:
            body["completedDate"] = self.moment
            if self.error:
                body |= {
                    "errorMessage": self.error,
                    "errorStatusCode": self.error_code or "UNKNOWN_EXCEPTION",
                }
        if details:
            body["details"] = {
                "componentFailures": [e.body(self.moment) for e in self.failures] if done else [],
                "componentSuccesses": [e.body(self.moment) for e in self.successes] if done else [],
                "runTestResult": {
                    "numFailures": 0, "numTestsRun": 0, "totalTime": 0.0,
                    "failures": [], "successes": [], "codeCoverage": [],
                },
            }  # fmt: skip
        return body
