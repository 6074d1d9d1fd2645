"""The org's rows in SQLite: a table for each object, a column for each stored field.

Values are kept in the form the API prints (18-character ids, `2026-01-31T00:00:00.000+0000`), so
that a page of 2,000 rows goes out without conversion. Case-insensitive text carries the NOCASE
collation, which folds ASCII letters only; the platform folds all.
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

from metronome_salesforce.sandbox.salesforce.ids import normalise
from metronome_salesforce.sandbox.salesforce.schema import NUMBER_TYPES, Field, SObject

STAMP = "%Y-%m-%dT%H:%M:%S.000+0000"


def stamp(moment: datetime) -> str:
    """A moment as the API prints it; the platform keeps whole seconds."""
    return moment.strftime(STAMP)


def _add_days(value: str | None, days: float | None) -> str | None:
    if value is None or days is None:
        return None
    if len(value) == 10:
        return (date.fromisoformat(value) + timedelta(days=int(days))).isoformat()
    return stamp(datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.000%z") + timedelta(days=days))


def _case_safe_id(value: str | None) -> str | None:
    return None if value is None else normalise(value) or value


def _plain_number(value: float | None) -> str | None:
    return None if value is None else f"{value:.10f}".rstrip("0").rstrip(".")


def _left(value: str | None, count: float | None) -> str:
    return (value or "")[: int(count or 0)]


def _right(value: str | None, count: float | None) -> str:
    return (value or "")[-int(count) :] if count else ""


class Storage:
    """One SQLite database; the caller holds the org's lock."""

    def __init__(self, database: str) -> None:
        self.connection = sqlite3.connect(
            database, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for statement in (
            "PRAGMA journal_mode = MEMORY",
            "PRAGMA synchronous = OFF",
            "PRAGMA temp_store = MEMORY",
            "PRAGMA cache_size = -65536",
        ):
            self.connection.execute(statement)
        functions: list[tuple[str, int, Any]] = [
            ("add_days", 2, _add_days),
            ("case_safe_id", 1, _case_safe_id),
            ("plain_number", 1, _plain_number),
            ("left_of", 2, _left),
            ("right_of", 2, _right),
        ]
        for name, count, function in functions:
            self.connection.create_function(name, count, function, deterministic=True)

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested uses join the outer transaction."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a SELECT."""
        return self.connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a SELECT, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, parameters).fetchone()
        return row

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a writing statement; the number of rows it touched."""
        return self.connection.execute(sql, parameters).rowcount

    def migrate(self, old: SObject | None, new: SObject) -> None:
        """Create the object's table, or add the columns and indexes that are missing."""
        known = {row[1] for row in self.all(f'PRAGMA table_info("{new.name}")')}
        if not known:
            columns = ", ".join(_column(each) for each in new.stored)
            self.run(f'CREATE TABLE "{new.name}" ({columns})')
        else:
            for each in new.stored:
                if each.name not in known:
                    self.run(f'ALTER TABLE "{new.name}" ADD COLUMN {_column(each)}')
                    self._fill_default(new, each)
        for each in new.stored:
            before = old.field(each.name) if old else None
            self._index(new, each, changed=before is not None and before.unique != each.unique)

    def drop_column(self, table: str, column: str) -> None:
        """Remove a field's column with its indexes."""
        for name in (f"{table}_{column}", f"{table}_{column}_all"):
            self.run(f'DROP INDEX IF EXISTS "{name}"')
        self.run(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')

    def drop_table(self, table: str) -> None:
        """Remove an object with all its rows."""
        self.run(f'DROP TABLE IF EXISTS "{table}"')

    def _fill_default(self, sobject: SObject, field: Field) -> None:
        if field.type == "Checkbox":
            value = 1 if field.default is True else 0
            self.run(f'UPDATE "{sobject.name}" SET "{field.name}" = ?', (value,))
        elif field.type == "AutoNumber":
            rows = self.all(f'SELECT rowid FROM "{sobject.name}" ORDER BY rowid')
            for number, (rowid,) in enumerate(rows, start=1):
                self.run(
                    f'UPDATE "{sobject.name}" SET "{field.name}" = ? WHERE rowid = ?',
                    (auto_number(field, number), rowid),
                )

    def _index(self, sobject: SObject, field: Field, *, changed: bool) -> None:
        name = f"{sobject.name}_{field.name}"
        if changed:
            self.run(f'DROP INDEX IF EXISTS "{name}"')
        if field.unique:
            # Rows in the recycle bin do not block a key.
            self.run(
                f'CREATE UNIQUE INDEX IF NOT EXISTS "{name}" ON "{sobject.name}" '
                f'("{field.name}") WHERE "IsDeleted" = 0'
            )
            self.run(
                f'CREATE INDEX IF NOT EXISTS "{name}_all" ON "{sobject.name}" ("{field.name}")'
            )
        elif field.external_id or field.type in {"MasterDetail", "Lookup"} or field.name in {
            "SystemModstamp", "Name",
        }:  # fmt: skip
            if field.name in {"CreatedById", "LastModifiedById", "OwnerId"}:
                return
            self.run(f'CREATE INDEX IF NOT EXISTS "{name}" ON "{sobject.name}" ("{field.name}")')

    def insert(self, table: str, values: dict[str, Any]) -> None:
        """Add one row."""
        columns = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join("?" * len(values))
        self.connection.execute(
            f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', tuple(values.values())
        )

    def update(self, table: str, record: str, values: dict[str, Any]) -> None:
        """Change one row."""
        assignments = ", ".join(f'"{name}" = ?' for name in values)
        self.connection.execute(
            f'UPDATE "{table}" SET {assignments} WHERE "Id" = ?', (*values.values(), record)
        )

    def fetch(self, table: str, record: str, columns: Iterable[str]) -> dict[str, Any] | None:
        """The named columns of one row, deleted or not."""
        names = list(columns)
        listed = ", ".join(f'"{name}"' for name in names)
        row = self.one(f'SELECT {listed} FROM "{table}" WHERE "Id" = ?', (record,))
        return None if row is None else dict(zip(names, row, strict=True))


def auto_number(field: Field, number: int) -> str:
    """The nth value of an auto-number field, by its display format such as USG-{0000000000}."""
    pattern = field.display_format or "{0}"
    start, _, rest = pattern.partition("{")
    zeros, _, end = rest.partition("}")
    return f"{start}{number:0{max(len(zeros), 1)}d}{end}"


def _column(field: Field) -> str:
    if field.type == "Id":
        return '"Id" TEXT PRIMARY KEY'
    if field.type in NUMBER_TYPES:
        return f'"{field.name}" {"INTEGER" if field.type == "Int" else "REAL"}'
    if field.type == "Checkbox":
        return f'"{field.name}" INTEGER NOT NULL DEFAULT 0'
    if field.is_text and not field.case_sensitive:
        return f'"{field.name}" TEXT COLLATE NOCASE'
    return f'"{field.name}" TEXT'
