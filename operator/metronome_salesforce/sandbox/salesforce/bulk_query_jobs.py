"""Bulk API 2.0 query jobs: a SOQL query run in the background, its rows kept as CSV values.

The rows are those of the moment in which the job was done, whatever is written afterwards
(Bulk API 2.0, Query).
"""

from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.bulk_csv import java_double
from metronome_salesforce.sandbox.salesforce.bulk_jobs import ENDED, Quota
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.querying import Queries
from metronome_salesforce.sandbox.salesforce.schema import Field
from metronome_salesforce.sandbox.salesforce.soql_sql import Compiled


@dataclass(slots=True)
class QueryJob:
    """One query on its way."""

    id: str
    operation: str
    text: str
    sobject: str
    user: User
    moment: str
    version: str
    delimiter: str
    ending: str
    chunked: bool
    state: str = "UploadComplete"
    modified: str = ""
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    looks: int = 0
    error: str | None = None


class QueryJobs:
    """The query jobs of one org; while `stalled`, jobs stay InProgress."""

    def __init__(self, state: OrgState, queries: Queries) -> None:
        self._state = state
        self._queries = queries
        self.jobs: dict[str, QueryJob] = {}
        self.quota = Quota(10_000)
        self.storage = Quota(1_000_000_000)  # in KB
        self.stalled = False

    def create(
        self, text: str, operation: str, user: User, version: str, csv_format: tuple[str, str]
    ) -> QueryJob:
        """Check the query and keep the job; raises SalesforceError."""
        if not self.quota.left:
            raise SalesforceError(
                "LIMIT_EXCEEDED",
                f"Max bulk v2 query jobs ({self.quota.limit}) per 24 hrs has been reached "
                f"({self.quota.used})",
            )
        if not self.storage.left:
            raise SalesforceError(
                "LIMIT_EXCEEDED",
                f"Max bulk v2 query result size stored ({self.storage.limit}) kb per 24 hrs has "
                f"been exceeded ({self.storage.used})",
            )
        compiled = self._compile(text, operation, user)
        self.quota.used += 1
        self._state.statistics.jobs[operation] += 1
        delimiter, ending = csv_format
        moment = self._state.stamp()
        job = QueryJob(
            self._state.ids.next("750"), operation, text, compiled.root.access.sobject.name, user,
            moment, version, delimiter, ending,
            chunked=compiled.limit is None and " ORDER BY " not in compiled.tail, modified=moment,
        )  # fmt: skip
        self.jobs[job.id] = job
        return job

    def _compile(self, text: str, operation: str, user: User) -> Compiled:
        compiled = self._queries.compile(text, user, deleted=operation == "queryAll")
        if compiled.children:
            raise SalesforceError(
                "API_ERROR",
                "Aggregate Relationships not supported in Bulk V2 Query with CSV content type",
            )
        if compiled.aggregate or compiled.counting:
            raise SalesforceError("API_ERROR", "Aggregate queries not supported in Bulk V2 Query")
        if compiled.offset is not None:
            raise SalesforceError("API_ERROR", "OFFSET not supported in Bulk V2 Query")
        return compiled

    def look(self, job: QueryJob, *, fast: bool) -> None:
        """Bring a waiting job one step on."""
        if job.state in ENDED:
            return
        job.looks += 1
        if job.state == "UploadComplete":
            if fast or job.looks > 1:
                self._move(job, "InProgress")
        elif not self.stalled:
            self._run(job)

    def finish(self) -> None:
        """Bring every job that waits to its end."""
        for job in self.jobs.values():
            if job.state not in ENDED:
                self._run(job)

    def abort(self, job: QueryJob) -> None:
        """Stop the job; raises SalesforceError."""
        if job.state in ENDED:
            shown = "Completed" if job.state == "JobComplete" else job.state
            raise SalesforceError(
                "INVALIDJOBSTATE", f"InvalidJobState : Aborting already {shown} Job not allowed"
            )
        self._move(job, "Aborted")

    def remove(self, job: QueryJob) -> None:
        """Delete the job and its results; raises SalesforceError."""
        if job.state not in ENDED:
            raise SalesforceError(
                "INVALIDJOBSTATE", f"InvalidJobState : Deleting {job.state} Job not allowed"
            )
        del self.jobs[job.id]

    def _move(self, job: QueryJob, state: str) -> None:
        job.state = state
        job.modified = self._state.stamp()

    def _run(self, job: QueryJob) -> None:
        try:
            compiled = self._compile(job.text, job.operation, job.user)
        except SalesforceError as error:  # the schema, or the access, changed meanwhile
            job.error = f"InvalidBatch : Failed to process query: {error.code}: {error.message}"
            self._move(job, "Failed")
            return
        columns = _columns(compiled)
        job.header = [name for name, _, _ in columns]
        job.rows = [
            [csv_value(row[index], known) for _, index, known in columns]
            for row in self._queries.all_rows(compiled)
        ]
        size = sum(len(cell) for row in job.rows for cell in row)
        self.storage.used += -(-size // 1024)
        self._move(job, "JobComplete")


def _columns(compiled: Compiled) -> list[tuple[str, int, Field | None]]:
    """Name, place in the fetched row and field of each selected column, as selected."""
    columns = []
    for each in compiled.described:
        node, names = compiled.root, []
        for part in each.path[:-1]:
            name = next(one for one in node.parents if one.lower() == part.lower())
            names.append(name)
            node = node.parents[name]
        leaf, index, _ = next(one for one in node.leaves if one[0] == each.path[-1])
        columns.append((".".join([*names, leaf]), index, each.field))
    return columns


def csv_value(value: Any, known: Field | None) -> str:
    """A value as the platform's CSV prints it: 23.0, true, 2026-01-31T00:00:00.000Z, or empty."""
    if value is None:
        return ""
    kind = known.result_type if known is not None else ""
    if kind == "Checkbox" and not isinstance(value, str):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("+0000", "Z") if kind == "DateTime" else value
    return str(value) if kind == "Int" else java_double(float(value))
