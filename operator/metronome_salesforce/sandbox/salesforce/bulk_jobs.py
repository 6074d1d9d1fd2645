"""Bulk API 2.0 ingest jobs: their states, and the work that each look at them brings on.

Nothing runs by itself: a job takes a step when somebody asks how it is, so tests neither sleep nor
race. Rows go through the same saving as everywhere else, 200 at a time (Bulk API 2.0, Ingest).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.bulk_csv import CsvError, Table, read_table
from metronome_salesforce.sandbox.salesforce.bulk_rows import (
    Column,
    id_only,
    incoming_row,
    resolve_columns,
)
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.deleting import delete_rows, purge_rows
from metronome_salesforce.sandbox.salesforce.exceptions import (
    RowError,
    RowRefusedError,
    SalesforceError,
)
from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.incoming import Incoming, Result
from metronome_salesforce.sandbox.salesforce.schema import Field
from metronome_salesforce.sandbox.salesforce.writing import Batch

TRANSACTION = 200
BATCH = 10_000
DELETES = frozenset({"delete", "hardDelete"})
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})


@dataclass(slots=True)
class IngestJob:
    """One upload on its way: what was asked for, the data, and how far it is."""

    id: str
    operation: str
    access: Access
    user: User
    moment: str
    version: str
    key: Field | None = None
    delimiter: str = "COMMA"
    ending: str = "LF"
    state: str = "Open"
    modified: str = ""
    content: bytes | None = None
    table: Table | None = None
    columns: list[Column] = field(default_factory=list)
    position: int = 0
    looks: int = 0
    successes: list[list[list[str]]] = field(default_factory=list)
    failures: list[list[list[str]]] = field(default_factory=list)
    error: str | None = None

    @property
    def failed(self) -> int:
        """The number of refused rows so far."""
        return sum(map(len, self.failures))

    @property
    def unprocessed(self) -> list[list[str]]:
        """The rows that were not tried; all of them if the header was refused."""
        return self.table.rows[self.position :] if self.table else []


@dataclass(slots=True)
class Interruption:
    """A job to fail on purpose: after so many rows, with this errorMessage."""

    after_rows: int
    message: str


@dataclass(slots=True)
class Quota:
    """A daily allowance and what is used of it."""

    limit: int
    used: int = 0

    @property
    def left(self) -> int:
        """What remains."""
        return max(self.limit - self.used, 0)


class IngestJobs:
    """The ingest jobs of one org.

    For tests: `rows_per_look` is how many rows a look brings through (None: all in fast mode, a
    batch of 10,000 otherwise); while `stalled`, jobs stay InProgress; `interruption` fails the
    next job that gets so far.
    """

    def __init__(self, state: OrgState) -> None:
        self._state = state
        self.jobs: dict[str, IngestJob] = {}
        self.batches = Quota(15_000)
        self.rows_per_look: int | None = None
        self.stalled = False
        self.interruption: Interruption | None = None

    def create(self, job: IngestJob) -> IngestJob:
        """Keep a new job, Open."""
        job.modified = job.moment
        self.jobs[job.id] = job
        return job

    def upload(self, job: IngestJob, content: bytes) -> None:
        """Take the data, once; raises SalesforceError."""
        if job.content is not None:
            raise SalesforceError(
                "BULK_API_ERROR",
                f"Found multipe contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' "
                "the current Job then create a new Job and make sure you only do 'PUT' once on a "
                "given Job.",
            )
        if job.state != "Open":
            raise _wrong_state(f"Uploading to {job.state} Job not allowed")
        job.content = content

    def close(self, job: IngestJob) -> None:
        """Say that the upload is complete; raises SalesforceError."""
        if job.state != "Open":
            raise _wrong_state(f"Closing already {_shown(job.state)} Job not allowed")
        self._state.statistics.jobs[job.operation] += 1
        self._move(job, "UploadComplete")

    def abort(self, job: IngestJob) -> None:
        """Stop; rows already saved stay. Raises SalesforceError."""
        if job.state in ENDED:
            raise _wrong_state(f"Aborting already {_shown(job.state)} Job not allowed")
        if job.table is None and job.content is not None:
            self._read(job)
        job.error = None
        self._move(job, "Aborted")

    def remove(self, job: IngestJob) -> None:
        """Delete the job and its results; raises SalesforceError."""
        if job.state in {"Open", "InProgress"}:
            raise _wrong_state(f"Deleting {job.state} Job not allowed")
        del self.jobs[job.id]

    # --- the work -----------------------------------------------------------------------

    def look(self, job: IngestJob, *, fast: bool) -> None:
        """Bring a waiting job one step on."""
        if job.state not in {"UploadComplete", "InProgress"}:
            return
        job.looks += 1
        if job.state == "UploadComplete":
            if fast or job.looks > 1:
                self._move(job, "InProgress")
            return
        if not self.stalled:
            self._work(job, self.rows_per_look or (None if fast else BATCH))

    def finish(self) -> None:
        """Bring every job that waits to its end, as a night would."""
        for job in self.jobs.values():
            if job.state in {"UploadComplete", "InProgress"}:
                self._move(job, "InProgress")
                self._work(job, None)

    def _move(self, job: IngestJob, state: str) -> None:
        job.state = state
        job.modified = self._state.stamp()

    def _fail(self, job: IngestJob, message: str) -> None:
        job.error = message
        self._move(job, "Failed")

    def _work(self, job: IngestJob, most: int | None) -> None:
        if job.table is None and not self._begin(job):
            return
        assert job.table is not None  # noqa: S101 -- read by _begin
        total = len(job.table.rows)
        end = total if most is None else min(job.position + most, total)
        while job.position < end:
            stop = min(job.position + TRANSACTION, end)
            if self.interruption is not None:
                stop = min(stop, self.interruption.after_rows)
            if stop > job.position:
                self._transaction(job, job.table.rows[job.position : stop])
            job.position = max(stop, job.position)
            if self.interruption is not None and job.position >= self.interruption.after_rows:
                message, self.interruption = self.interruption.message, None
                self._fail(job, message)
                return
        if job.position >= total:
            self._move(job, "JobComplete")

    def _begin(self, job: IngestJob) -> bool:
        """Read and check the data; false if the job has failed by it."""
        self._read(job)
        if job.error is not None or job.table is None:
            self._move(job, "Failed")
            return False
        self.batches.used += max(-(-len(job.table.rows) // BATCH), 1)
        return True

    def _read(self, job: IngestJob) -> None:
        if job.content is None:
            job.error = "ClientInputError : No data was uploaded"
            return
        try:
            table = read_table(job.content, job.delimiter, job.ending)
        except CsvError as error:
            job.error = str(error)
            return
        job.table = table
        job.content = b""
        try:
            if job.operation in DELETES:
                id_only(table.header, job.operation)
            job.columns = resolve_columns(self._state, job.access, job.user, table.header)
            _check_key(job)
        except CsvError as error:
            job.error = str(error)
            return
        if self.batches.left < -(-len(table.rows) // BATCH):
            job.error = "ExceededQuota : ApiBatchItems Limit exceeded."

    def _transaction(self, job: IngestJob, rows: list[list[str]]) -> None:
        counted = self._state.statistics.rows
        before = counted.copy()
        results = self._delete(job, rows) if job.operation in DELETES else self._save(job, rows)
        self._state.statistics.bulk_rows.update(counted - before)
        successes: list[list[str]] = []
        failures: list[list[str]] = []
        for row, result, named in results:
            if result.errors:
                failures.append([named or "", _error_text(result.errors[0]), *row])
            else:
                created = job.operation == "insert" or result.created is True
                successes.append([result.id or "", str(created).lower(), *row])
        job.successes.append(successes)
        job.failures.append(failures)

    def _save(
        self, job: IngestJob, rows: list[list[str]]
    ) -> list[tuple[list[str], Result, str | None]]:
        """The rows, what became of each, and the id it was sent with."""
        results: list[Result | None] = [None] * len(rows)
        good: list[tuple[int, Incoming]] = []
        for index, row in enumerate(rows):
            try:
                good.append((index, incoming_row(job.access, job.columns, row)))
            except RowRefusedError as refusal:
                results[index] = Result(errors=[refusal.error])
        named: dict[int, str | None] = {index: each.id for index, each in good}
        saved = _saving(job, Batch(self._state, job.user))([each for _, each in good])
        for (index, _), result in zip(good, saved, strict=True):
            results[index] = result
        return [
            (row, result, named.get(index))
            for index, (row, result) in enumerate(zip(rows, results, strict=True))
            if result is not None
        ]

    def _delete(
        self, job: IngestJob, rows: list[list[str]]
    ) -> list[tuple[list[str], Result, str | None]]:
        results: list[tuple[list[str], Result, str | None]] = []
        for row in rows:
            named = row[0]
            refused = _wrong_id(job.access, named)
            result = (
                Result(errors=[refused])
                if refused
                else delete_rows(self._state, job.user, [named])[0]
            )
            if job.operation == "hardDelete" and result.id:
                purge_rows(self._state, [result.id])
            results.append((row, result, named))
        return results


def _saving(job: IngestJob, batch: Batch) -> Callable[[list[Incoming]], list[Result]]:
    if job.operation == "insert":
        return batch.insert
    if job.operation == "update":
        return batch.update
    key = job.key
    assert key is not None  # noqa: S101 -- upsert jobs are not created without their key
    return lambda rows: batch.upsert(rows, key)


def _check_key(job: IngestJob) -> None:
    """Updates need a column of ids, upserts one of their keys; raises CsvError."""
    wanted = {"update": "Id", "upsert": job.key.name if job.key else ""}.get(job.operation)
    names = [each.lower() for each in job.table.header] if job.table else []
    if wanted and wanted.lower() not in names:
        raise CsvError(f"InvalidBatch : Field name not found : {wanted}")


def _wrong_id(access: Access, record: str) -> RowError | None:
    if not record:
        return RowError("MISSING_ARGUMENT", "Id not specified in a delete call")
    full = normalise(record)
    if full is None or full[:3] != access.sobject.prefix:
        return RowError(
            "MALFORMED_ID", f"{access.sobject.label} ID: id value of incorrect type: {record}",
            ["Id"],
        )  # fmt: skip
    return None


def _error_text(error: RowError) -> str:
    fields = f"{', '.join(error.fields)} " if error.fields else ""
    return f"{error.code}:{error.message}:{fields}--"


def _shown(state: str) -> str:
    return {"JobComplete": "Completed", "UploadComplete": "closed"}.get(state, state)


def _wrong_state(message: str) -> SalesforceError:
    return SalesforceError("INVALIDJOBSTATE", f"InvalidJobState : {message}")
