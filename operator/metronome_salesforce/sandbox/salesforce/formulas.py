"""Formula fields and validation rules: parsed, type-checked and turned into SQLite expressions.

As SQL, because formulas are also filtered and sorted by, over half a million rows (Salesforce
Help, Formula Operators and Functions). Lookups read as 15-character ids inside a formula, as on
the platform: that is why CASESAFEID exists.
"""

# ruff: noqa: S608 -- names in SQL come from the schema; values are bound

from dataclasses import replace
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from metronome_salesforce.sandbox.salesforce.formula_functions import FUNCTIONS
from metronome_salesforce.sandbox.salesforce.formula_terms import (
    FormulaError,
    Scope,
    Term,
    as_boolean,
    as_number,
    as_text,
    picklist_misuse,
    quoted,
    wrong_type,
)
from metronome_salesforce.sandbox.salesforce.schema import (
    NUMBER_TYPES,
    REFERENCE_TYPES,
    Field,
)

_GRAMMAR = r"""
start: _either
_either: either | _both
either: _either "||" _both
_both: both | _compared
both: _both "&&" _compared
_compared: compared | _joined
compared: _compared COMPARE _joined
_joined: joined | _summed
joined: _joined "&" _summed
_summed: summed | _multiplied
summed: _summed SIGN _multiplied
_multiplied: multiplied | _signed
multiplied: _multiplied (STAR | SLASH) _signed
_signed: negative | negated | _raised
negative: "-" _signed
negated: "!" _signed
_raised: raised | _atom
raised: _atom "^" _signed
_atom: number | string | call | name | "(" _either ")"
call: NAME "(" [_either ("," _either)*] ")"
number: NUMBER
string: STRING
name: NAME

COMPARE: "<>" | "!=" | "==" | "<=" | ">=" | "<" | ">" | "="
SIGN: "+" | "-"
STAR: "*"
SLASH: "/"
NUMBER: /\d+(\.\d+)?/
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/
NAME: /\$?[A-Za-z][A-Za-z0-9_.]*/
COMMENT: /\/\*(.|\n)*?\*\//
%ignore /\s+/
%ignore COMMENT
"""
_PARSER = Lark(_GRAMMAR, parser="lalr", propagate_positions=True)
_DEEPEST = 10


@lru_cache(maxsize=512)
def _parse(text: str) -> Tree[Token]:
    try:
        return _PARSER.parse(text)
    except UnexpectedInput as error:
        token = getattr(error, "token", None)
        if token is None or not str(token):
            raise FormulaError("Error: Syntax error") from error
        raise FormulaError(f"Error: Syntax error. Extra {token}") from error


def field_sql(field: Field, scope: Scope) -> str:
    """The SQL expression of a field's value as the API shows it: column, formula or roll-up."""
    if field.summary is not None:
        return _summary_sql(field, scope)
    if field.formula is None:
        return f'{scope.alias}."{field.name}"'
    if scope.depth > _DEEPEST:
        raise FormulaError("Error: Formula references itself")
    inner = replace(scope, blank_as_zero=field.blank_as_zero, depth=scope.depth + 1)
    term = compile_formula(field.formula, inner)
    sql = term.sql
    if field.type == "Checkbox":
        return f"coalesce({sql}, 0)"
    if field.type in NUMBER_TYPES:
        factor = " * 100.0" if field.type == "Percent" else " * 1.0"
        return f"round(({sql}){factor}, {field.scale})"
    if field.type == "Text":
        return f"nullif({sql}, '')"
    return sql


def compile_formula(text: str, scope: Scope) -> Term:
    """The SQL of a formula; raises FormulaError with the platform's sentence."""
    tree = _parse(text)
    return _term(_child(tree, 0), scope)


def check_formula(field: Field, scope: Scope) -> None:
    """Refuse a formula that does not parse, names what is not there, or has the wrong type."""
    if field.formula is None:
        return
    blanks = replace(scope, blank_as_zero=field.blank_as_zero)
    found = compile_formula(field.formula, blanks).type
    wanted = {
        "Checkbox": "boolean", "Date": "date", "DateTime": "datetime", "Text": "text",
    }.get(field.type, "number")  # fmt: skip
    if found not in (wanted, "null") and not (found == "id" and wanted == "text"):
        names = {"boolean": "Checkbox", "number": "Number", "text": "Text", "id": "Text"}
        raise FormulaError(
            f"Error: Formula result is data type ({names.get(found, found.capitalize())}), "
            f"incompatible with expected data type ({names.get(wanted, wanted.capitalize())})."
        )


def _summary_sql(field: Field, scope: Scope) -> str:
    summary = field.summary
    assert summary is not None  # noqa: S101 -- the caller has looked
    child = scope.schema.get(summary.child)
    if child is None:
        return "NULL"
    alias = f"r{scope.depth}"
    inner = replace(scope, sobject=child, alias=alias, depth=scope.depth + 1)
    wanted = f'{alias}."{summary.foreign_key}" = {scope.alias}."Id" AND {alias}."IsDeleted" = 0'
    for name, operation, value in summary.filters:
        column = child.field(name)
        if column is None:
            continue
        sign = "IS NOT" if operation == "notEqual" else "IS"
        wanted += f" AND {field_sql(column, inner)} {sign} {_filter_value(value, column)}"
    if summary.operation == "count":
        return f'(SELECT count(*) * 1.0 FROM "{child.name}" {alias} WHERE {wanted})'
    column = child.field(summary.field or "")
    value_sql = field_sql(column, inner) if column else "NULL"
    total = f'(SELECT {summary.operation}({value_sql}) FROM "{child.name}" {alias} WHERE {wanted})'
    return f"coalesce({total}, 0.0)" if summary.operation == "sum" else total


def _filter_value(value: str, column: Field) -> str:
    if column.type == "Checkbox":
        return "1" if value.lower() in {"true", "1"} else "0"
    if column.type in NUMBER_TYPES:
        return str(float(value))
    return quoted(value)


def _child(tree: Tree[Token], index: int) -> Any:
    return tree.children[index]


def _term(node: Tree[Token], scope: Scope) -> Term:
    kind = node.data
    if kind == "number":
        return Term(str(_child(node, 0)), "number")
    if kind == "string":
        return Term(quoted(_unescaped(str(_child(node, 0))[1:-1])), "text")
    if kind == "name":
        return _name(str(_child(node, 0)), scope)
    if kind == "call":
        return _call(node, scope)
    parts = [_term(each, scope) for each in node.children if isinstance(each, Tree)]
    if kind in {"either", "both"}:
        word = " OR " if kind == "either" else " AND "
        return Term(f"({word.join(as_boolean(each, word) for each in parts)})", "boolean")
    if kind == "negated":
        return Term(f"(NOT {as_boolean(parts[0], 'NOT')})", "boolean")
    if kind == "negative":
        return Term(f"(-{as_number(parts[0], '-')})", "number")
    if kind == "joined":
        return Term(f"({as_text(parts[0], '&')} || {as_text(parts[1], '&')})", "text")
    if kind == "compared":
        return _compare(parts[0], str(_child(node, 1)), parts[1])
    if kind == "raised":
        left, right = (as_number(each, "^") for each in parts)
        return Term(f"power({left}, {right})", "number")
    return _arithmetic(parts[0], str(_child(node, 1)), parts[1])


def _unescaped(text: str) -> str:
    return text.replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")


def _name(name: str, scope: Scope) -> Term:
    word = name.upper()
    if word == "NULL":
        return Term("NULL", "null")
    if word in {"TRUE", "FALSE"}:
        return Term("1" if word == "TRUE" else "0", "boolean")
    *parents, last = name.split(".")
    at = scope
    for number, parent in enumerate(parents):
        at, sql = _through(parent, at, number)
        if number == len(parents) - 1:
            inner = _field_term(last, at)
            return Term(sql.format(inner.sql), inner.type)
    if parents:
        raise FormulaError(f"Error: Field {name} does not exist. Check spelling.")
    return _field_term(last, scope)


def _through(relationship: str, scope: Scope, number: int) -> tuple[Scope, str]:
    """One step to a parent row: the scope there and a subquery with a hole for the value."""
    for each in scope.sobject.fields.values():
        if each.relationship and each.relationship.lower() == relationship.lower():
            target = scope.schema.get(each.reference_to or "")
            if target is None or number:
                break
            alias = f"p{scope.depth}{number}"
            hole = (
                f'(SELECT {{0}} FROM "{target.name}" {alias} '
                f'WHERE {alias}."Id" = {scope.alias}."{each.name}")'
            )
            return replace(scope, sobject=target, alias=alias, depth=scope.depth + 1), hole
    raise FormulaError(f"Error: Field {relationship} does not exist. Check spelling.")


def _field_term(name: str, scope: Scope) -> Term:
    field = scope.sobject.field(name)
    if field is None:
        raise FormulaError(f"Error: Field {name} does not exist. Check spelling.")
    if field.type in {"LongTextArea", "Html"}:
        raise FormulaError(
            f"Error: You cannot use long text area fields in a formula: {field.name}."
        )
    sql = field_sql(field, scope)
    if field.type in REFERENCE_TYPES or field.type == "Id":
        return Term(f"substr({sql}, 1, 15)", "id")
    if field.type == "Percent":
        sql = f"({sql} / 100.0)"
    kinds = {"Checkbox": "boolean", "Date": "date", "DateTime": "datetime", "Picklist": "picklist"}
    if field.type in NUMBER_TYPES or field.type == "Summary":
        # A blank number counts as zero unless the formula says otherwise.
        return Term(f"coalesce({sql}, 0)" if scope.blank_as_zero else sql, "number")
    return Term(sql, kinds.get(field.type, "text"))


def _compare(left: Term, operator: str, right: Term) -> Term:
    sign = {"<>": "IS NOT", "!=": "IS NOT", "=": "IS", "==": "IS"}.get(operator, operator)
    kinds = {left.type, right.type} - {"null"}
    if "picklist" in kinds:
        raise picklist_misuse()
    if kinds <= {"text", "id"}:
        # Blank text equals the empty string in a formula.
        return Term(
            f"(coalesce({left.sql}, '') {sign} coalesce({right.sql}, ''))", "boolean"
        )  # fmt: skip
    if len(kinds) > 1:
        raise wrong_type(operator, left.type.capitalize(), right)
    return Term(f"coalesce({left.sql} {sign} {right.sql}, 0)", "boolean")


def _arithmetic(left: Term, operator: str, right: Term) -> Term:
    kinds = (left.type, right.type)
    if operator == "+" and kinds == ("text", "text"):
        return Term(f"(coalesce({left.sql}, '') || coalesce({right.sql}, ''))", "text")
    if operator == "-" and kinds in {("date", "date"), ("datetime", "datetime")}:
        return Term(f"(julianday({left.sql}) - julianday({right.sql}))", "number")
    if operator in "+-" and left.type in {"date", "datetime"} and right.type == "number":
        return Term(f"add_days({left.sql}, {operator}({right.sql}))", left.type)
    if operator == "+" and right.type in {"date", "datetime"} and left.type == "number":
        return Term(f"add_days({right.sql}, {left.sql})", right.type)
    first, second = (as_number(each, operator) for each in (left, right))
    if operator == "/":
        return Term(f"({first} * 1.0 / nullif({second}, 0))", "number")
    return Term(f"({first} {operator} {second})", "number")


def _call(node: Tree[Token], scope: Scope) -> Term:
    name = str(_child(node, 0)).upper()
    known = FUNCTIONS.get(name)
    if known is None:
        raise FormulaError(f"Error: Unknown function {name}. Check spelling.")
    arguments = [each for each in node.children[1:] if isinstance(each, Tree)]
    fewest, most, make = known
    if not fewest <= len(arguments) <= most:
        raise FormulaError(
            f"Error: Incorrect number of parameters for function '{name}()'. "
            f"Expected {fewest}, received {len(arguments)}"
        )
    return make([_term(each, scope) for each in arguments], scope)
