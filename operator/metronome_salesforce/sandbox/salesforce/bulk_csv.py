"""CSV as Bulk API 2.0 takes and gives it: one delimiter, one line ending, nothing trimmed.

Python's csv module forgives stray quotes and mixed line endings, the platform does not, so the
reader is a grammar of its own (Bulk API 2.0, Valid CSV Record Rows).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DELIMITERS = {
    "BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t",
}  # fmt: skip
LINE_ENDINGS = {"CRLF": "\r\n", "LF": "\n"}
CSV_TYPE = "text/csv; charset=UTF-8"
_LONGEST_HEADER = 32_000
_LONGEST_FIELD = 131_072
_LONGEST_ROW = 400_000
_MOST_COLUMNS = 5_000
_BARE_LF = re.compile(r"(?<!\r)\n")


class CsvError(Exception):
    """The data cannot be read; the message is the job's `errorMessage`."""


@dataclass(frozen=True, slots=True)
class Table:
    """The header and the rows, every value as the text it was sent as."""

    header: list[str]
    rows: list[list[str]]


def read_table(content: bytes, delimiter: str, ending: str) -> Table:
    """Read a whole upload; `delimiter` and `ending` are the job's words, such as COMMA and LF.

    Raises CsvError with the sentence that the failed job shows.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CsvError("ClientInputError : The data is not valid UTF-8") from error
    _check_endings(text, ending)
    lines = _lines(text, DELIMITERS[delimiter])
    if not lines:
        raise CsvError("InvalidBatch : The CSV has no header row")
    header, *rows = lines
    if sum(map(len, header)) > _LONGEST_HEADER:
        raise CsvError(f"InvalidBatch : The header is longer than {_LONGEST_HEADER} characters")
    for number, row in enumerate(rows, start=1):
        _check_row(number, row, len(header))
    return Table(header, rows)


def _check_endings(text: str, ending: str) -> None:
    wrong = "\r\n" in text if ending == "LF" else _BARE_LF.search(text) is not None
    if wrong:
        raise CsvError(
            "ClientInputError : LineEnding is invalid on user data. "
            f"Current LineEnding setting is {ending}"
        )


def _check_row(number: int, row: list[str], width: int) -> None:
    if len(row) != width:
        raise CsvError(
            f"InvalidBatch : Row {number} has {len(row)} columns, the header has {width}"
        )
    longest = max(map(len, row))
    too_long = longest > _LONGEST_FIELD or sum(map(len, row)) > _LONGEST_ROW
    if too_long or width > _MOST_COLUMNS:
        raise CsvError(f"ClientInputError : Row {number} exceeds the size limits of a record")


def _lines(text: str, delimiter: str) -> list[list[str]]:
    cell = re.compile(
        rf'(?:"([^"]*(?:""[^"]*)*)"|([^"{re.escape(delimiter)}\r\n]*))'
        rf"({re.escape(delimiter)}|\r\n|\n|\r|\Z)"
    )
    lines: list[list[str]] = []
    line: list[str] = []
    at = 0
    while at < len(text) or line:
        found = cell.match(text, at)
        if found is None:
            raise _malformed(text, at)
        quoted, plain, end = found.groups()
        line.append(plain if quoted is None else quoted.replace('""', '"'))
        if end != delimiter:
            if len(line) > 1 or quoted is not None or plain:  # empty lines hold no record
                lines.append(line)
            line = []
        at = found.end()
    return lines


def _malformed(text: str, at: int) -> CsvError:
    if text[at] == '"' and not re.compile(r'"[^"]*(?:""[^"]*)*"').match(text, at):
        problem = "EOF reached before closing an opened quote"
    else:
        problem = "Found unescaped quote. A value with quote should be within a quote"
    return CsvError(f"ClientInputError : Failed to parse CSV. {problem}")


def quote(value: str) -> str:
    """A value in quotes, its own quotes doubled."""
    return '"' + value.replace('"', '""') + '"'


def write_lines(
    header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str, ending: str
) -> str:
    """CSV text: the header as it is given, all values in quotes."""
    separator, end = DELIMITERS[delimiter], LINE_ENDINGS[ending]
    lines = [separator.join(header)]
    lines.extend(separator.join(map(quote, row)) for row in rows)
    return end.join(lines) + end


def java_double(value: float) -> str:
    """A number as the platform's CSV prints it: 23.0, 1.0E7, 1.2E-4."""
    sign, digits, exponent = _parts(value)
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{abs(value):.17f}" if "e" in repr(value) else repr(abs(value))
        return sign + text
    rest = digits[1:] or "0"
    return f"{sign}{digits[0]}.{rest}E{exponent}"


def _parts(value: float) -> tuple[str, str, int]:
    """Sign, significant digits, and the power of ten of the first of them."""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = len(whole) - 1 - leading + (int(power) if power else 0)
    return ("-" if value < 0 else ""), digits.rstrip("0") or "0", exponent
