"""The report of one cycle: what status, Events, metrics, the terminal and scripts are made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from metronome_salesforce.linking import LinkReason, LinkVerdict
from metronome_salesforce.ports import PackageState, Refusal

REJECTED_SHOWN = 10
"""How many rejected rows a report (and so a status) names; the others are counted."""


class Outcome(StrEnum):
    """How a cycle ended."""

    SUCCEEDED = "Succeeded"
    PARTIALLY_FAILED = "PartiallyFailed"  # some rows were rejected; they are tried again next time
    FAILED = "Failed"
    REFUSED = "Refused"  # a guard found the plan unsafe; nothing was written
    PLANNED = "Planned"  # dry run


def ended(outcome: Outcome, reason: str, message: str) -> str:
    """How a run ended, as a line: the reason where it says more than the outcome."""
    told = f" ({reason})" if reason not in {"", outcome} else ""
    return f"{outcome}{told}" + (f": {message}" if message else "")


class Trigger(StrEnum):
    """Why a cycle ran."""

    SCHEDULE = "Schedule"
    CREATED = "Created"
    REQUESTED = "Requested"
    FULL_RESYNC = "FullResync"
    SPEC_CHANGED = "SpecChanged"
    RETRY = "Retry"


class Retry(StrEnum):
    """What has to happen before a failed cycle is worth another try."""

    NO = "no"
    LATER = "later"
    AFTER_CHANGE = "afterChange"  # of spec, Secret or org


@dataclass(slots=True)
class Counts:
    """Rows of one object by what was planned and what became of them."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that Salesforce refused; holds no content of the row."""

    object: str
    key: str
    operation: str
    code: str
    message: str
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class CycleReport:
    """One run, as JSON-able values: times are RFC 3339 UTC, durations seconds.

    `reason` and `message` are those of a condition. For a dry run `rows` counts what would happen.
    `customers` counts by link state (total, linked, orphaned, archived), `spend` has their current
    spend by link state and currency, empty when the run ended before it was known. `notes` counts
    what was cut, malformed or seen twice. `events` are facts worth an Event: (reason, sentence)
    pairs. `quota` is the org's daily API quota after the run (used, maximum). `rejected_since` has
    the oldest day (such as 2026-02-28) with rejected rows of "invoices" and of "usage". `links`
    says what became of each CustomerLink. `write_back` tells why Account ids could not be stored in
    Metronome (reason, sentence). `package` is what the org has of the Metronome package, None when
    the run ended before it was looked at.
    """

    id: str
    trigger: Trigger
    started_at: str
    outcome: Outcome = Outcome.FAILED
    reason: str = "Unknown"
    message: str = ""
    retry: Retry = Retry.NO
    retry_after: float | None = None
    finished_at: str | None = None
    duration: float = 0.0
    full: bool = False
    rows: dict[str, Counts] = field(default_factory=dict)
    api_requests: dict[str, int] = field(default_factory=dict)
    api_calls: list[tuple[str, str, str, int]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    rejected_codes: dict[str, int] = field(default_factory=dict)
    rejected_operations: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected_since: dict[str, str] = field(default_factory=dict)
    customers: dict[str, int] = field(default_factory=dict)
    spend: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, dict[str, int]] = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)
    quota: dict[str, int] | None = None
    links: dict[str, LinkVerdict] = field(default_factory=dict)
    write_back: tuple[str, str] | None = None
    package: PackageState | None = None

    def trace_attributes(self) -> dict[str, str | int | bool]:
        """What a trace tells of the run: how it ended and how much of what, no content."""
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            **{f"customers.{what}": count for what, count in self.customers.items()},
            **{
                f"rows.{name}.{what}": count
                for name, counts in self.rows.items()
                for what, count in asdict(counts).items()
                if count
            },
        }

    @property
    def failure(self) -> str | None:
        """The reason, if the run came to nothing; rows that were refused are no failure of it."""
        return self.reason if self.outcome in {Outcome.FAILED, Outcome.REFUSED} else None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "CycleReport":
        """The inverse of `to_json`; raises TypeError or ValueError for another shape."""
        values = dict(document)
        values["trigger"] = Trigger(values["trigger"])
        values["outcome"] = Outcome(values["outcome"])
        values["retry"] = Retry(values["retry"])
        values["rows"] = {name: Counts(**counts) for name, counts in values["rows"].items()}
        values["rejected"] = [
            Rejected(**{**row, "fields": tuple(row["fields"])}) for row in values["rejected"]
        ]
        values["events"] = [(reason, message) for reason, message in values["events"]]
        values["links"] = {
            name: LinkVerdict(**{**verdict, "reason": LinkReason(verdict["reason"])})
            for name, verdict in values.get("links", {}).items()
        }
        write_back = values.get("write_back")
        values["write_back"] = None if write_back is None else (write_back[0], write_back[1])
        package = values.get("package")
        values["package"] = None if package is None else _package(package)
        values["api_calls"] = [
            (system, family, status, count) for system, family, status, count in values["api_calls"]
        ]
        return cls(**values)


def _package(document: Mapping[str, Any]) -> PackageState:
    refusal = document.get("refusal")
    return PackageState(**{**document, "refusal": None if refusal is None else Refusal(**refusal)})
