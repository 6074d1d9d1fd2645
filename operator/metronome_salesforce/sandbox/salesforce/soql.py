"""SOQL text to a syntax tree, by a grammar that accepts what the platform accepts.

AND and OR may not be mixed without parentheses, NOT stands alone or in parentheses: the platform
refuses both, so the grammar does too (SOQL and SOSL Reference).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError

_LONGEST = 100_000
_LONGEST_STRING = 4_000

_GRAMMAR = r"""
start: query
query: SELECT items FROM PATH alias? scope? where? _rest
_rest: group? having? order? limit? offset? for_view?
alias: PATH
scope: USING SCOPE PATH
items: item ("," item)*
item: operand alias? | "(" query ")"
operand: PATH | call
call: PATH "(" [operand] ")"
where: WHERE condition
condition: simple | conjunction | disjunction | NOT simple -> negation
conjunction: simple (AND simple)+
disjunction: simple (OR simple)+
simple: "(" condition ")" | comparison
comparison: operand OPERATOR value | operand LIKE value
          | operand IN "(" listing ")" -> inside | operand NOT IN "(" listing ")" -> outside
          | operand INCLUDES "(" listing ")" -> includes
          | operand EXCLUDES "(" listing ")" -> excludes
listing: query | value ("," value)*
value: STRING | NUMBER | DATE_TIME | DATE | NULL | TRUE | FALSE | PATH [":" COUNT]
group: GROUP BY operand ("," operand)*
having: HAVING condition
order: ORDER BY ordering ("," ordering)*
ordering: operand direction? nulls?
direction: ASC | DESC
nulls: NULLS (FIRST | LAST)
limit: LIMIT NUMBER
offset: OFFSET NUMBER
for_view: FOR PATH

SELECT.3: /select(?![\w.])/i
FROM.3: /from(?![\w.])/i
USING.3: /using(?![\w.])/i
SCOPE.3: /scope(?![\w.])/i
WHERE.3: /where(?![\w.])/i
AND.3: /and(?![\w.])/i
OR.3: /or(?![\w.])/i
NOT.3: /not(?![\w.])/i
IN.3: /in(?![\w.])/i
LIKE.3: /like(?![\w.])/i
INCLUDES.3: /includes(?![\w.])/i
EXCLUDES.3: /excludes(?![\w.])/i
GROUP.3: /group(?![\w.])/i
BY.3: /by(?![\w.])/i
HAVING.3: /having(?![\w.])/i
ORDER.3: /order(?![\w.])/i
ASC.3: /asc(?![\w.])/i
DESC.3: /desc(?![\w.])/i
NULLS.3: /nulls(?![\w.])/i
FIRST.3: /first(?![\w.])/i
LAST.3: /last(?![\w.])/i
LIMIT.3: /limit(?![\w.])/i
OFFSET.3: /offset(?![\w.])/i
FOR.3: /for(?![\w.])/i
NULL.3: /null(?![\w.])/i
TRUE.3: /true(?![\w.])/i
FALSE.3: /false(?![\w.])/i
OPERATOR: "!=" | "<>" | "<=" | ">=" | "=" | "<" | ">"
PATH: /[A-Za-z]\w*(\s*\.\s*[A-Za-z]\w*)*/
STRING: /'(\\.|[^'\\])*'/s
DATE_TIME.3: /\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})/i
DATE.2: /\d{4}-\d{2}-\d{2}(?!T)/
NUMBER: /[+-]?\d+(\.\d+)?([eE][+-]?\d+)?/
COUNT.1: /\d+/
%ignore /\s+/
"""


@dataclass(frozen=True, slots=True)
class Operand:
    """A field path, or a function over one; `at` is the offset in the query text."""

    path: tuple[str, ...]
    function: str | None
    at: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal: kind is string, number, datetime, date, null, boolean or word."""

    kind: str
    value: Any
    at: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operand operator literal`; LIKE is the operator `like`."""

    operand: Operand
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """`operand [NOT] IN (...)`, or INCLUDES and EXCLUDES."""

    operand: Operand
    operator: str
    values: tuple[Literal, ...]
    query: "Query | None" = None


@dataclass(frozen=True, slots=True)
class Logic:
    """`and`, `or` or `not` over conditions."""

    word: str
    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the select list."""

    operand: Operand | None = None
    alias: str | None = None
    query: "Query | None" = None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One entry of ORDER BY."""

    operand: Operand
    descending: bool = False
    nulls_last: bool = False


@dataclass(slots=True)
class Query:
    """A parsed query or subquery."""

    items: tuple[Item, ...]
    source: str
    source_at: int
    alias: str | None = None
    where: Any = None
    group: tuple[Operand, ...] = ()
    having: Any = None
    order: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int | None = None


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "N": "\n", "R": "\r", "T": "\t"}
_LEGAL_ESCAPES = frozenset("nrtbfNRTBF'\"\\_%")


class _IllegalEscapeError(Exception):
    pass


def unescape(text: str, *, like: bool = False) -> str:
    """The value of a quoted string; in LIKE patterns the escaped wildcards keep their slash."""
    if "\\" not in text:
        return text
    out, at = [], 0
    while at < len(text):
        char = text[at]
        if char != "\\":
            out.append(char)
            at += 1
            continue
        following = text[at + 1]
        if following not in _LEGAL_ESCAPES:
            raise _IllegalEscapeError(following)
        if following in "_%" or (like and following == "\\"):
            out.append("\\" + following)
        else:
            out.append(_ESCAPES.get(following, following))
        at += 2
    return "".join(out)


def _split(token: Token) -> tuple[str, ...]:
    return tuple(part.strip() for part in str(token).split("."))


class _Builder(Transformer[Token, Any]):
    """Turns lark's tree into the values above."""

    def start(self, parts: list[Any]) -> Query:
        query: Query = parts[0]
        return query

    def query(self, parts: list[Any]) -> Query:
        query = Query(items=parts[1], source=str(parts[3]), source_at=parts[3].start_pos)
        for kind, value in parts[4:]:
            if kind != "ignored":
                setattr(query, kind, value)
        return query

    def alias(self, parts: list[Token]) -> tuple[str, str]:
        return "alias", str(parts[0])

    def scope(self, _: list[Any]) -> tuple[str, None]:
        return "ignored", None

    for_view = scope

    def items(self, parts: list[Item]) -> tuple[Item, ...]:
        return tuple(parts)

    def item(self, parts: list[Any]) -> Item:
        if isinstance(parts[0], Query):
            return Item(query=parts[0])
        return Item(operand=parts[0], alias=parts[1][1] if len(parts) > 1 else None)

    def operand(self, parts: list[Any]) -> Operand:
        if isinstance(parts[0], Operand):
            return parts[0]
        return Operand(_split(parts[0]), None, parts[0].start_pos)

    def call(self, parts: list[Any]) -> Operand:
        inner = parts[1] if len(parts) > 1 else None
        return Operand(inner.path if inner else (), str(parts[0]).upper(), parts[0].start_pos)

    def where(self, parts: list[Any]) -> tuple[str, Any]:
        return "where", parts[1]

    def having(self, parts: list[Any]) -> tuple[str, Any]:
        return "having", parts[1]

    def condition(self, parts: list[Any]) -> Any:
        return parts[0]

    simple = condition

    def negation(self, parts: list[Any]) -> Logic:
        return Logic("not", (parts[1],))

    def conjunction(self, parts: list[Any]) -> Logic:
        return Logic("and", tuple(parts[::2]))

    def disjunction(self, parts: list[Any]) -> Logic:
        return Logic("or", tuple(parts[::2]))

    def comparison(self, parts: list[Any]) -> Comparison:
        operator = str(parts[1]).lower()
        return Comparison(parts[0], "!=" if operator == "<>" else operator, parts[2])

    def inside(self, parts: list[Any]) -> Membership:
        return self._membership(parts, "in")

    def outside(self, parts: list[Any]) -> Membership:
        return self._membership(parts, "not in")

    def includes(self, parts: list[Any]) -> Membership:
        return self._membership(parts, "includes")

    def excludes(self, parts: list[Any]) -> Membership:
        return self._membership(parts, "excludes")

    def _membership(self, parts: list[Any], operator: str) -> Membership:
        listed = parts[-1]
        if isinstance(listed[0], Query):
            return Membership(parts[0], operator, (), listed[0])
        return Membership(parts[0], operator, tuple(listed))

    def listing(self, parts: list[Any]) -> list[Any]:
        return parts

    def value(self, parts: list[Any]) -> Literal:
        token: Token = parts[0]
        text, at = str(token), token.start_pos or 0
        kind = token.type
        if kind == "STRING":
            return Literal("string", text[1:-1], at)
        if kind == "NUMBER":
            return Literal("number", float(text), at)
        if kind in {"TRUE", "FALSE"}:
            return Literal("boolean", kind == "TRUE", at)
        if kind == "PATH":
            count = int(parts[1]) if len(parts) > 1 and parts[1] is not None else None
            return Literal("word", text.upper(), at, count)
        return Literal({"DATE_TIME": "datetime"}.get(kind, kind.lower()), text, at)

    def group(self, parts: list[Any]) -> tuple[str, tuple[Operand, ...]]:
        return "group", tuple(parts[2:])

    def order(self, parts: list[Any]) -> tuple[str, tuple[Ordering, ...]]:
        return "order", tuple(parts[2:])

    def ordering(self, parts: list[Any]) -> Ordering:
        return Ordering(parts[0], "desc" in parts[1:], "last" in parts[1:])

    def direction(self, parts: list[Token]) -> str:
        return str(parts[0]).lower()

    def nulls(self, parts: list[Token]) -> str:
        return str(parts[1]).lower()

    def limit(self, parts: list[Token]) -> tuple[str, int]:
        return "limit", int(float(parts[1]))

    def offset(self, parts: list[Token]) -> tuple[str, int]:
        return "offset", int(float(parts[1]))


_PARSER = Lark(
    _GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False, cache=False
)


def query_error(code: str, text: str, at: int, problem: str) -> SalesforceError:
    """A query error with the platform's excerpt, caret and Row/Column."""
    before = text[:at]
    row = before.count("\n") + 1
    column = at - (before.rfind("\n") + 1) + 1
    line_end = text.find("\n", at)
    line = text[before.rfind("\n") + 1 : line_end if line_end >= 0 else len(text)]
    start = max(0, column - 1 - 60)
    excerpt = line[start : column - 1 + 60]
    caret = " " * (column - 1 - start) + "^"
    return SalesforceError(
        code, f"\n{excerpt}\n{caret}\nERROR at Row:{row}:Column:{column}\n{problem}"
    )


@lru_cache(maxsize=256)
def _parsed(text: str) -> Query:
    return cast(Query, _PARSER.parse(text))


def parse(text: str) -> Query:
    """The syntax tree; raises SalesforceError (MALFORMED_QUERY)."""
    if not text or not text.strip():
        raise SalesforceError("MALFORMED_QUERY", "A query string has to be specified")
    if len(text) > _LONGEST:
        raise SalesforceError(
            "MALFORMED_QUERY", f"SOQL statements cannot be longer than {_LONGEST} characters."
        )
    try:
        return _parsed(text)
    except UnexpectedToken as error:
        at = error.token.start_pos if error.token.type != "$END" else len(text)
        shown = "<EOF>" if error.token.type == "$END" else str(error.token)
        problem = f"unexpected token: '{shown}'"
        raise query_error("MALFORMED_QUERY", text, at or 0, problem) from error
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        shown = text[at : at + 1]
        problem = f"unexpected token: '{shown}'"
        raise query_error("MALFORMED_QUERY", text, at, problem) from error
    except (UnexpectedInput, VisitError) as error:
        raise SalesforceError("MALFORMED_QUERY", "unexpected token") from error


def string_value(literal: Literal, text: str, *, like: bool = False) -> str:
    """The value of a string literal; raises MALFORMED_QUERY for a wrong escape or length."""
    try:
        value = unescape(literal.value, like=like)
    except _IllegalEscapeError as error:
        raise query_error(
            "MALFORMED_QUERY",
            text,
            literal.at,
            f"Invalid string literal '{literal.value}'. Illegal character sequence '\\{error}' "
            "in string literal.",
        ) from error
    if len(value) > _LONGEST_STRING:
        raise query_error(
            "MALFORMED_QUERY",
            text,
            literal.at,
            f"string literal exceeds the {_LONGEST_STRING} character limit",
        )
    return value
