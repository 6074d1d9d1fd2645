"""Reports and plans as text for a terminal, and as JSON for scripts."""

import json
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import groupby

from tabulate import tabulate

from metronome_salesforce.objects import OBJECTS
from metronome_salesforce.planning import FieldChange
from metronome_salesforce.report import CycleReport, Outcome, ended
from metronome_salesforce.rows import Operation, Value

_PLANS = {Outcome.PLANNED, Outcome.REFUSED}
_MARKS = {Operation.CREATE: "+", Operation.UPDATE: "~", Operation.DELETE: "-"}


class OutputError(Exception):
    """Standard output takes no more; `is_closed` when its reader is gone, as `head` goes."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {error.strerror}")
        self.is_closed = isinstance(error, BrokenPipeError)


def put(text: str, *, flush: bool = False) -> None:
    """Print to standard output; raises OutputError."""
    try:
        print(text, flush=flush)
    except OSError as error:
        raise OutputError(error) from None


def flush_output() -> None:
    """Write what waits to be written to standard output; raises OutputError."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from None


def report_text(report: CycleReport) -> str:
    """What a person wants to know of a run: outcome, rows by object, what was refused and why."""
    return "\n".join(_report_lines(report))


def _report_lines(report: CycleReport) -> Iterator[str]:
    yield ended(report.outcome, report.reason, report.message)
    if report.rows:
        order = [mapping.name for mapping in OBJECTS] + ["Account"]
        verbs = ("create", "update", "delete") if report.outcome in _PLANS else None
        created, updated, deleted = verbs or ("created", "updated", "deleted")
        rows = [
            (
                *(name, counts.created, counts.updated, counts.unchanged),
                *(counts.deleted, counts.rejected),
            )
            for name, counts in sorted(report.rows.items(), key=lambda item: order.index(item[0]))
        ]
        headers = ("object", created, updated, "unchanged", deleted, "rejected")
        yield ""
        yield tabulate(rows, headers=headers)
        yield ""
    if report.customers:
        counts = report.customers
        yield (
            f"customers: {counts['total']}, of which {counts['linked']} linked and "
            f"{counts['orphaned']} orphaned"
        )
    if report.api_requests:
        calls = ", ".join(f"{system} {count}" for system, count in report.api_requests.items())
        yield f"API requests: {calls}; {report.duration:.1f} s"
    for kind, notes in report.notes.items():
        yield f"{kind}: " + ", ".join(f"{what} {count}" for what, count in notes.items())
    for reason, message in report.events:
        yield f"{reason}: {message}"
    if report.rejected:
        yield ""
        yield tabulate(
            [
                (row.object, row.key, row.operation, row.code, ", ".join(row.fields), row.message)
                for row in report.rejected
            ],
            headers=("object", "key", "operation", "code", "fields", "what Salesforce says"),
        )


def changes_text(changes: Iterable[FieldChange]) -> Iterator[str]:
    """A plan row by row: a line for the row, then a line for each field, old and new."""
    last: tuple[str, str] | None = None
    for change in changes:
        if (change.object, change.key) != last:
            last = (change.object, change.key)
            yield f"{_MARKS[change.operation]} {change.object} {change.key}"
        if change.operation is not Operation.DELETE:
            yield f"    {change.field}: {_shown(change.old)} → {_shown(change.new)}"


def changes_json(changes: Iterable[FieldChange]) -> Iterator[str]:
    """The same for scripts, the members of a JSON list: one row a line.

    Each is `{object, key, operation, fields: {name: {old, new}}}`; numbers are strings, as exact as
    they are.
    """
    separator = ""
    for (name, key), of_row in groupby(changes, lambda change: (change.object, change.key)):
        fields = list(of_row)
        row = {
            "object": name,
            "key": key,
            "operation": fields[0].operation.value,
            "fields": {
                one.field: {"old": _plain(one.old), "new": _plain(one.new)} for one in fields
            },
        }
        yield separator + json.dumps(row, ensure_ascii=False)
        separator = ","


def _shown(value: Value) -> str:
    if value is None:
        return "(empty)"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(_plain(value))


def _plain(value: Value) -> str | bool | None:
    return format(value, "f") if isinstance(value, Decimal) else value


def complain(text: str) -> None:
    """Tell the person at the terminal, beside the output."""
    print(text, file=sys.stderr)


def show_progress(stage: str, done: int, total: int | None) -> None:
    """Show on a terminal how far the work is, over the line before."""
    of = "" if total is None else f" of {total}"
    print(
        f"\r\x1b[K{stage}" + (f": {done}{of}" if done else ""), end="", file=sys.stderr, flush=True
    )
