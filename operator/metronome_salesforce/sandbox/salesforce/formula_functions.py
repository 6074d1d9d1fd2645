"""The functions of formulas as SQL (Salesforce Help, Formula Operators and Functions)."""

from collections.abc import Callable

from metronome_salesforce.sandbox.salesforce.formula_terms import (
    Scope,
    Term,
    as_boolean,
    as_number,
    as_text,
    picklist_misuse,
    wrong_type,
)

_Maker = Callable[[list[Term], Scope], Term]


def _if(terms: list[Term], _: Scope) -> Term:
    condition = as_boolean(terms[0], "IF")
    kinds = {each.type for each in terms[1:]} - {"null"}
    if len(kinds - {"id"}) > 1:
        raise wrong_type("IF", terms[1].type.capitalize(), terms[2])
    if "picklist" in kinds:
        raise picklist_misuse()
    kind = next(iter(kinds - {"id"}), "text" if kinds else "null")
    return Term(f"(CASE WHEN {condition} THEN {terms[1].sql} ELSE {terms[2].sql} END)", kind)


def _raw_blank(term: Term) -> str:
    # ISBLANK looks at the field itself: the zero put in for a blank number does not count.
    sql = term.sql
    if term.type == "number" and sql.startswith("coalesce(") and sql.endswith(", 0)"):
        sql = sql[len("coalesce(") : -len(", 0)")]
    return f"(nullif({sql}, '') IS NULL)"


def _is_blank(terms: list[Term], _: Scope) -> Term:
    return Term(_raw_blank(terms[0]), "boolean")


def _case_safe(terms: list[Term], _: Scope) -> Term:
    term = terms[0]
    sql = term.sql
    if term.type == "id" and sql.startswith("substr(") and sql.endswith(", 1, 15)"):
        return Term(sql[len("substr(") : -len(", 1, 15)")], "text")
    return Term(f"case_safe_id({as_text(term, 'CASESAFEID')})", "text")


def _is_picklist_value(terms: list[Term], _: Scope) -> Term:
    if terms[0].type != "picklist":
        raise wrong_type("ISPICKVAL", "Picklist", terms[0])
    wanted = as_text(terms[1], "ISPICKVAL")
    return Term(f"(coalesce({terms[0].sql}, '') COLLATE BINARY = {wanted})", "boolean")


def _hyperlink(terms: list[Term], _: Scope) -> Term:
    address, label = as_text(terms[0], "HYPERLINK"), as_text(terms[1], "HYPERLINK")
    target = as_text(terms[2], "HYPERLINK") if len(terms) > 2 else "'_blank'"
    return Term(
        f"('<a href=\"' || {address} || '\" target=\"' || {target} || '\">' || {label} || '</a>')",
        "text",
    )


def _today(_: list[Term], scope: Scope) -> Term:
    return Term(f"'{scope.now:%Y-%m-%d}'", "date")


def _now(_: list[Term], scope: Scope) -> Term:
    return Term(f"'{scope.now:%Y-%m-%dT%H:%M:%S}.000+0000'", "datetime")


def _to_text(terms: list[Term], _: Scope) -> Term:
    term = terms[0]
    if term.type == "number":
        return Term(f"plain_number({term.sql})", "text")
    return Term(f"coalesce({term.sql}, '')", "text")


def _blank_value(terms: list[Term], _: Scope) -> Term:
    return Term(
        f"(CASE WHEN {_raw_blank(terms[0])} THEN {terms[1].sql} ELSE {terms[0].sql} END)",
        terms[0].type,
    )


def _logical(word: str) -> _Maker:
    def make(terms: list[Term], _: Scope) -> Term:
        joined = f" {word} ".join(as_boolean(each, word) for each in terms)
        return Term(f"({joined})", "boolean")

    return make


def _numeric(pattern: str, name: str) -> _Maker:
    def make(terms: list[Term], _: Scope) -> Term:
        values = ", ".join(as_number(each, name) for each in terms)
        return Term(pattern.format(values), "number")

    return make


def _textual(pattern: str, name: str, result: str = "text") -> _Maker:
    def make(terms: list[Term], _: Scope) -> Term:
        values = [as_text(terms[0], name), *(each.sql for each in terms[1:])]
        return Term(pattern.format(", ".join(values)), result)

    return make


def _date_part(pattern: str) -> _Maker:
    def make(terms: list[Term], _: Scope) -> Term:
        if terms[0].type != "date":
            raise wrong_type("YEAR", "Date", terms[0])
        return Term(f"CAST(strftime('{pattern}', {terms[0].sql}) AS INTEGER)", "number")

    return make


def _not(terms: list[Term], _: Scope) -> Term:
    return Term(f"(NOT {as_boolean(terms[0], 'NOT')})", "boolean")


# name -> (fewest parameters, most parameters, maker)
FUNCTIONS: dict[str, tuple[int, int, _Maker]] = {
    "IF": (3, 3, _if),
    "AND": (1, 99, _logical("AND")),
    "OR": (1, 99, _logical("OR")),
    "NOT": (1, 1, _not),
    "ISBLANK": (1, 1, _is_blank),
    "ISNULL": (1, 1, _is_blank),
    "BLANKVALUE": (2, 2, _blank_value),
    "NULLVALUE": (2, 2, _blank_value),
    "CASESAFEID": (1, 1, _case_safe),
    "ISPICKVAL": (2, 2, _is_picklist_value),
    "HYPERLINK": (2, 3, _hyperlink),
    "TODAY": (0, 0, _today),
    "NOW": (0, 0, _now),
    "TEXT": (1, 1, _to_text),
    "VALUE": (1, 1, _textual("CAST({0} AS REAL)", "VALUE", "number")),
    "UPPER": (1, 1, _textual("upper({0})", "UPPER")),
    "LOWER": (1, 1, _textual("lower({0})", "LOWER")),
    "TRIM": (1, 1, _textual("trim({0})", "TRIM")),
    "LEN": (1, 1, _textual("length({0})", "LEN", "number")),
    "LEFT": (2, 2, _textual("left_of({0})", "LEFT")),
    "RIGHT": (2, 2, _textual("right_of({0})", "RIGHT")),
    "CONTAINS": (2, 2, _textual("(instr({0}) > 0)", "CONTAINS", "boolean")),
    "ABS": (1, 1, _numeric("abs({0})", "ABS")),
    "ROUND": (2, 2, _numeric("round({0})", "ROUND")),
    "MAX": (2, 99, _numeric("max({0})", "MAX")),
    "MIN": (2, 99, _numeric("min({0})", "MIN")),
    "YEAR": (1, 1, _date_part("%Y")),
    "MONTH": (1, 1, _date_part("%m")),
    "DAY": (1, 1, _date_part("%d")),
}
