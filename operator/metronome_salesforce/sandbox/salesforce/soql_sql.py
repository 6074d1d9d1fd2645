"""A parsed SOQL query to SQLite: the select list, joins for parent paths, grouping and order.

Nothing is filtered in Python (SOQL Reference, SOQL SELECT Syntax).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import Access, User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.formula_terms import Scope, quoted
from metronome_salesforce.sandbox.salesforce.formulas import field_sql
from metronome_salesforce.sandbox.salesforce.schema import (
    LONG_TYPES,
    NUMBER_TYPES,
    Field,
)
from metronome_salesforce.sandbox.salesforce.soql import (
    Item,
    Operand,
    Ordering,
    Query,
    query_error,
)
from metronome_salesforce.sandbox.salesforce.soql_conditions import Conditions

_AGGREGATES = {"COUNT", "COUNT_DISTINCT", "SUM", "MIN", "MAX", "AVG"}
_CALENDAR = {"CALENDAR_YEAR": "%Y", "CALENDAR_MONTH": "%m", "DAY_IN_MONTH": "%d"}
_ADVICE_FIELD = (
    "If you are attempting to use a custom field, be sure to append the '__c' after the custom "
    "field name. Please reference your WSDL or the describe call for the appropriate names."
)
_ADVICE_RELATIONSHIP = (
    "If you are attempting to use a custom relationship, be sure to append the '__r' after the "
    "custom relationship name. Please reference your WSDL or the describe call for the "
    "appropriate names."
)
_ADVICE_TYPE = (
    "If you are attempting to use a custom object, be sure to append the '__c' after the entity "
    "name. Please reference your WSDL or the describe call for the appropriate names."
)
_MOST_PARENTS = 5


@dataclass(slots=True)
class Node:
    """One table in the query: the object, its alias, and the parents joined to it."""

    access: Access
    alias: str
    id_column: int | None = None
    leaves: list[tuple[str, int, bool]] = field(default_factory=list)
    parents: dict[str, "Node"] = field(default_factory=dict)
    joined: dict[str, "Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """One result column, as the CLI's columns=true shows it."""

    path: tuple[str, ...]
    field: Field | None
    aggregate: str | None = None
    children: tuple["Column", ...] = ()


@dataclass(slots=True)
class Compiled:
    """A translated query: `sql` without LIMIT and paging, its parameters and its shape."""

    text: str
    root: Node
    columns: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    described: list[Column] = field(default_factory=list)
    from_sql: str = ""
    parameters: list[Any] = field(default_factory=list)
    tail: str = ""
    tail_parameters: list[Any] = field(default_factory=list)
    children: list[tuple[str, "Compiled", Field]] = field(default_factory=list)
    aggregate: bool = False
    counting: bool = False
    limit: int | None = None
    offset: int | None = None
    every_field: bool = False


class Compiler:
    """Translates one query level; parent joins are added as paths name them."""

    def __init__(
        self, state: OrgState, user: User, text: str, query: Query, *, deleted: bool, prefix: str
    ) -> None:
        self.state = state
        self.user = user
        self.text = text
        self.query = query
        self.deleted = deleted
        self.prefix = prefix
        self.now: datetime = state.moment()
        self.joins: list[str] = []
        self.parameters: list[Any] = []
        self._aliases = 0
        self._conditions = Conditions(self)
        self._root: Node | None = None

    # --- levels -------------------------------------------------------------------------

    def compile(self, parent: tuple[Access, str] | None = None) -> Compiled:
        """The whole level; `parent` names the object and relationship of a child subquery."""
        query = self.query
        foreign_key: Field | None = None
        if parent is None:
            access = self._object(query.source, query.source_at)
        else:
            access, foreign_key = self._child(parent[0], query.source, query.source_at)
        root = self._root = Node(access, f"{self.prefix}0")
        compiled = Compiled(self.text, root)
        self._select(compiled, query.items)
        conditions = []
        if not self.deleted and "isdeleted" in access.sobject.fields:
            conditions.append(f'{root.alias}."IsDeleted" = 0')
        if query.where is not None:
            conditions.append(self._conditions.sql(query.where))
        parameters, self.parameters = self.parameters, []
        compiled.tail = self._grouping(compiled)
        compiled.tail_parameters, self.parameters = self.parameters, parameters
        compiled.from_sql = f'"{access.sobject.name}" {root.alias} {" ".join(self.joins)}'
        if conditions:
            compiled.from_sql += f" WHERE {' AND '.join(conditions)}"
        compiled.parameters = self.parameters
        compiled.limit, compiled.offset = query.limit, query.offset
        if query.offset is not None and query.offset > 2000:
            raise SalesforceError(
                "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"
            )
        if compiled.every_field and (query.limit is None or query.limit > 200):
            raise SalesforceError(
                "MALFORMED_QUERY",
                "The SOQL FIELDS function must have a LIMIT of at most 200",
            )
        if foreign_key is not None:
            compiled.columns.append(f'{root.alias}."{foreign_key.name}"')
        return compiled

    def _object(self, name: str, at: int) -> Access:
        access = self.state.access(name, self.user)
        if access is None:
            raise query_error(
                "INVALID_TYPE",
                self.text,
                at,
                f"sObject type '{name}' is not supported. {_ADVICE_TYPE}",
            )
        return access

    def _child(self, parent: Access, name: str, at: int) -> tuple[Access, Field]:
        for each in self.state.schema.children(parent.sobject.name):
            if each.name and each.name.lower() == name.lower():
                access = self.state.access(each.child.name, self.user)
                if access and each.field.name.lower() in access.fields:
                    return access, each.field
        raise query_error(
            "INVALID_TYPE",
            self.text,
            at,
            f"Didn't understand relationship '{name}' in FROM part of query call. "
            f"{_ADVICE_RELATIONSHIP}",
        )

    # --- the select list ----------------------------------------------------------------

    def _select(self, compiled: Compiled, items: tuple[Item, ...]) -> None:
        functions = [each.operand for each in items if each.operand and each.operand.function]
        aggregate = any(each.function in _AGGREGATES for each in functions) or self.query.group
        if len(items) == 1 and functions and functions[0].function == "COUNT":
            compiled.counting = not functions[0].path
        compiled.aggregate = bool(aggregate)
        if compiled.aggregate:
            self._select_aggregates(compiled, items)
            return
        root = compiled.root
        root.id_column = self._add(compiled, f'{root.alias}."Id"')
        for each in items:
            if each.query is not None:
                self._select_children(compiled, each.query)
            elif each.operand is not None:
                self._select_field(compiled, each.operand, each.alias)

    def _select_field(self, compiled: Compiled, operand: Operand, alias: str | None) -> None:
        if operand.function == "FIELDS":
            self._select_all(compiled, operand)
            return
        node, known = self._resolve(operand, compiled.root)
        sql = self._value(node, known)
        if operand.function is not None:
            sql = self._row_function(operand, sql, known)
        elif alias is not None:
            raise query_error(
                "MALFORMED_QUERY",
                self.text,
                operand.at,
                "only aggregate expressions use field aliasing",
            )
        target = self._shape(compiled, operand.path[:-1])
        name = alias or known.name
        if any(leaf[0] == name for leaf in target.leaves):
            raise query_error(
                "INVALID_FIELD", self.text, operand.at, f"duplicate field selected: {known.name}"
            )
        boolean = known.type == "Checkbox" and operand.function is None
        target.leaves.append((name, self._add(compiled, sql), boolean))
        compiled.described.append(Column((*self._names(operand, compiled.root), name), known))

    def _names(self, operand: Operand, root: Node) -> tuple[str, ...]:
        names, node = [], root
        for part in self._without_alias(operand.path)[:-1]:
            node = node.joined[part.lower()]
            names.append(part)
        return tuple(names)

    def _select_all(self, compiled: Compiled, operand: Operand) -> None:
        which = operand.path[0].upper() if operand.path else ""
        if which not in {"ALL", "STANDARD", "CUSTOM"}:
            raise query_error("MALFORMED_QUERY", self.text, operand.at, "unexpected token: FIELDS")
        compiled.every_field = which != "STANDARD"
        root = compiled.root
        for each in root.access.fields.values():
            if which == "ALL" or each.custom == (which == "CUSTOM"):
                column = self._add(compiled, self._value(root, each))
                root.leaves.append((each.name, column, each.type == "Checkbox"))
                compiled.described.append(Column((each.name,), each))

    def _select_children(self, compiled: Compiled, query: Query) -> None:
        prefix = f"{self.prefix}c{len(compiled.children)}_"
        if len(self.prefix) > 1:
            raise query_error(
                "MALFORMED_QUERY", self.text, query.source_at, "subqueries can not be nested"
            )
        inner = Compiler(
            self.state, self.user, self.text, query, deleted=self.deleted, prefix=prefix
        )
        child = inner.compile((compiled.root.access, query.source))
        _, key = self._child(compiled.root.access, query.source, query.source_at)
        name = key.children or query.source
        compiled.children.append((name, child, key))
        compiled.described.append(Column((name,), None, name, tuple(child.described)))

    def _select_aggregates(self, compiled: Compiled, items: tuple[Item, ...]) -> None:
        grouped = {self._key(each) for each in self.query.group}
        unnamed = 0
        for each in items:
            operand = each.operand
            if operand is None:
                raise query_error("MALFORMED_QUERY", self.text, 0, "Grouped query with subquery")
            if operand.function in _AGGREGATES:
                sql, known = self._aggregate(operand, compiled.root)
            else:
                node, known = self._resolve(operand, compiled.root)
                if self._key(operand) not in grouped:
                    raise query_error(
                        "MALFORMED_QUERY",
                        self.text,
                        operand.at,
                        f"Field must be grouped or aggregated: {known.name}",
                    )
                sql = self._value(node, known)
                if operand.function is not None:
                    sql = self._row_function(operand, sql, known)
            if each.alias:
                name = each.alias
            elif operand.function:
                name, unnamed = f"expr{unnamed}", unnamed + 1
            else:
                name = known.name if known else "expr0"
            boolean = known is not None and known.type == "Checkbox" and not operand.function
            compiled.root.leaves.append((name, self._add(compiled, sql), boolean))
            shown = f"{(operand.function or '').lower()}({'.'.join(operand.path)})"
            compiled.described.append(Column((name,), known, shown if operand.function else None))

    def _add(self, compiled: Compiled, sql: str) -> int:
        compiled.columns.append(sql)
        return len(compiled.columns) - 1

    def _shape(self, compiled: Compiled, path: tuple[str, ...]) -> Node:
        """The output record the field belongs to: the row itself or one of its parents."""
        node = compiled.root
        for part in self._without_alias((*path, ""))[:-1]:
            joined = node.joined[part.lower()]
            reference = node.access.relationships[part.lower()]
            node.parents[reference.relationship or part] = joined
            if joined.id_column is None:
                joined.id_column = self._add(compiled, f'{joined.alias}."Id"')
            node = joined
        return node

    # --- names --------------------------------------------------------------------------

    def _without_alias(self, path: tuple[str, ...]) -> tuple[str, ...]:
        names = {(self.query.alias or "").lower(), self.query.source.lower()} - {""}
        return path[1:] if len(path) > 1 and path[0].lower() in names else path

    def _resolve(self, operand: Operand, root: Node) -> tuple[Node, Field]:
        path = self._without_alias(operand.path)
        if not path:
            raise query_error("MALFORMED_QUERY", self.text, operand.at, "unexpected token: ')'")
        node = root
        if len(path) > _MOST_PARENTS + 1:
            raise query_error(
                "MALFORMED_QUERY", self.text, operand.at, "relationship path is too deep"
            )
        for part in path[:-1]:
            node = self._join(node, part, operand)
        known = node.access.fields.get(path[-1].lower())
        if known is None:
            raise query_error(
                "INVALID_FIELD",
                self.text,
                operand.at,
                f"No such column '{path[-1]}' on entity '{node.access.sobject.name}'. "
                f"{_ADVICE_FIELD}",
            )
        return node, known

    def _join(self, node: Node, part: str, operand: Operand) -> Node:
        key = part.lower()
        if key in node.joined:
            return node.joined[key]
        reference = node.access.relationships.get(key)
        target = reference.reference_to if reference is not None else None
        access = self.state.access(target or "", self.user)
        if reference is None or access is None:
            raise query_error(
                "INVALID_FIELD",
                self.text,
                operand.at,
                f"Didn't understand relationship '{part}' in field path. {_ADVICE_RELATIONSHIP}",
            )
        self._aliases += 1
        joined = Node(access, f"{self.prefix}{self._aliases}")
        self.joins.append(
            f'LEFT JOIN "{access.sobject.name}" {joined.alias} '
            f'ON {joined.alias}."Id" = {node.alias}."{reference.name}"'
        )
        node.joined[key] = joined
        return joined

    def _value(self, node: Node, known: Field) -> str:
        scope = Scope(self.state.schema, node.access.sobject, node.alias, self.now)
        return field_sql(known, scope)

    def _key(self, operand: Operand) -> tuple[str | None, tuple[str, ...]]:
        return operand.function, tuple(part.lower() for part in self._without_alias(operand.path))

    def operand(self, operand: Operand, *, having: bool) -> tuple[str, Field | None]:
        """The SQL of an operand; aggregates only where `having`."""
        assert self._root is not None  # noqa: S101 -- set before anything is translated
        if operand.function in _AGGREGATES:
            if not having:
                raise query_error(
                    "MALFORMED_QUERY",
                    self.text,
                    operand.at,
                    "Aggregate functions are not allowed in a WHERE clause",
                )
            return self._aggregate(operand, self._root)
        node, known = self._resolve(operand, self._root)
        sql = self._value(node, known)
        if operand.function is not None:
            return self._row_function(operand, sql, known), None
        return sql, known

    def subquery(self, query: Query) -> Compiled:
        """The sub-select of a semi-join."""
        self._aliases += 1
        prefix = f"{self.prefix}s{self._aliases}_"
        inner = Compiler(
            self.state, self.user, self.text, query, deleted=self.deleted, prefix=prefix
        )
        return inner.compile()

    def _row_function(self, operand: Operand, sql: str, known: Field) -> str:
        function = operand.function
        if function in _CALENDAR and known.type in {"Date", "DateTime"}:
            return f"CAST(strftime('{_CALENDAR[function]}', substr({sql}, 1, 10)) AS INTEGER)"
        if function == "DAY_ONLY" and known.type == "DateTime":
            return f"substr({sql}, 1, 10)"
        if function == "TOLABEL":
            return _label_sql(sql, known)
        if function == "FORMAT":
            return f"CAST({sql} AS TEXT)"
        raise query_error(
            "INVALID_FIELD", self.text, operand.at, f"invalid function: {operand.function}"
        )

    def _aggregate(self, operand: Operand, root: Node) -> tuple[str, Field | None]:
        if not operand.path:
            if operand.function != "COUNT":
                raise query_error("MALFORMED_QUERY", self.text, operand.at, "unexpected token: ')'")
            return "count(*)", None
        node, known = self._resolve(operand, root)
        sql = self._value(node, known)
        if operand.function in {"SUM", "AVG"} and known.result_type not in NUMBER_TYPES:
            raise query_error(
                "INVALID_FIELD",
                self.text,
                operand.at,
                f"field {known.name} does not support aggregate operator {operand.function}",
            )
        if operand.function == "COUNT_DISTINCT":
            return f"count(DISTINCT {sql})", None
        if operand.function == "COUNT":
            return f"count({sql})", None
        return f"{(operand.function or '').lower()}({sql})", known

    # --- grouping and order -------------------------------------------------------------

    def _grouping(self, compiled: Compiled) -> str:
        query, root, tail = self.query, compiled.root, ""
        if query.group:
            tail += " GROUP BY " + ", ".join(self._grouped(each, root) for each in query.group)
        if query.having is not None:
            if not query.group:
                raise query_error(
                    "MALFORMED_QUERY", self.text, query.source_at, "unexpected token: 'HAVING'"
                )
            tail += f" HAVING {self._conditions.sql(query.having, having=True)}"
        if query.order:
            tail += " ORDER BY " + ", ".join(self._ordered(each, compiled) for each in query.order)
        return tail

    def _grouped(self, operand: Operand, root: Node) -> str:
        node, known = self._resolve(operand, root)
        if known.type in LONG_TYPES or known.result_type in {"Number", "Currency", "Percent"}:
            raise query_error(
                "INVALID_FIELD",
                self.text,
                operand.at,
                f"field '{known.name}' can not be grouped in a query call",
            )
        sql = self._value(node, known)
        return self._row_function(operand, sql, known) if operand.function else sql

    def _ordered(self, each: Ordering, compiled: Compiled) -> str:
        operand = each.operand
        if compiled.aggregate and operand.function is None and len(operand.path) == 1:
            for index, (name, _, _) in enumerate(compiled.root.leaves):
                if name.lower() == operand.path[0].lower():
                    return f"{index + 1} {_direction(each)}"
        sql, known = self.operand(operand, having=compiled.aggregate)
        if known is not None and known.type in LONG_TYPES:
            raise query_error(
                "INVALID_FIELD",
                self.text,
                operand.at,
                f"field '{known.name}' can not be sorted in a query call",
            )
        return f"{sql} {_direction(each)}"


def _label_sql(sql: str, known: Field) -> str:
    """The label of a picklist's value; a value that the picklist lacks is its own label."""
    labels = [
        f"WHEN {quoted(each.value)} THEN {quoted(each.label)}"
        for each in known.picklist
        if each.label != each.value
    ]
    return f"CASE {sql} {' '.join(labels)} ELSE {sql} END" if labels else sql


def _direction(each: Ordering) -> str:
    return ("DESC" if each.descending else "ASC") + (
        " NULLS LAST" if each.nulls_last else " NULLS FIRST"
    )
