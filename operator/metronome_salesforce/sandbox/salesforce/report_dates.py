"""Dates in reports: the intervals of the date filter, granularities of groups, how days are shown.

The org's fiscal year begins in January, so fiscal quarters and years are calendar ones; weeks
begin on Sunday, days are shown as the en_US locale does (Salesforce Help, Relative Date Filter
Reference; Metadata API, UserDateInterval).
"""

import re
from datetime import date, datetime, timedelta

from metronome_salesforce.sandbox.salesforce.date_literals import date_range

Range = tuple[date | None, date | None]
"""The first day and the day after the last one; None is open."""

_LITERAL = re.compile(r"([A-Z][A-Z0-9_]*?)(?::(\d+))?\Z")
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})\Z")
# Interval -> (first period, last period), counted from the current one, and the unit.
_SPANS = {
    "CURRENT": (0, 0, "QUARTER"), "CURNEXT1": (0, 1, "QUARTER"), "CURPREV1": (-1, 0, "QUARTER"),
    "NEXT1": (1, 1, "QUARTER"), "PREV1": (-1, -1, "QUARTER"), "CURNEXT3": (0, 3, "QUARTER"),
    "CURRENTQ": (0, 0, "QUARTER"), "CURNEXTQ": (0, 1, "QUARTER"), "CURPREVQ": (-1, 0, "QUARTER"),
    "NEXTQ": (1, 1, "QUARTER"), "PREVQ": (-1, -1, "QUARTER"), "CURNEXT3Q": (0, 3, "QUARTER"),
    "LASTWEEK": (-1, -1, "WEEK"), "THISWEEK": (0, 0, "WEEK"), "NEXTWEEK": (1, 1, "WEEK"),
    "LASTMONTH": (-1, -1, "MONTH"), "THISMONTH": (0, 0, "MONTH"), "NEXTMONTH": (1, 1, "MONTH"),
    "LASTTHISMONTH": (-1, 0, "MONTH"), "THISNEXTMONTH": (0, 1, "MONTH"),
    "YESTERDAY": (-1, -1, "DAY"), "TODAY": (0, 0, "DAY"), "TOMORROW": (1, 1, "DAY"),
    **{
        f"{name}{unit}": (first, last, "YEAR")
        for unit in ("FY", "Y")
        for name, first, last in (
            ("CUR", 0, 0), ("PREV", -1, -1), ("PREV2", -2, -1), ("AGO2", -2, -2), ("NEXT", 1, 1),
            ("PREVCUR", -1, 0), ("PREVCUR2", -2, 0), ("CURNEXT", 0, 1),
        )
    },
}  # fmt: skip


def parse_day(text: str) -> date | None:
    """A day as 2026-01-31 or 1/31/2026, or None."""
    matched = _AMERICAN.match(text)
    try:
        if matched:
            month, day, year = (int(each) for each in matched.groups())
            return date(year, month, day)
        return date.fromisoformat(text)
    except ValueError:
        return None


def day_range(text: str, today: date) -> tuple[date, date] | None:
    """The days from..until (exclusive) that a filter's value means, or None if it is no date."""
    day = parse_day(text)
    if day is not None:
        return day, day + timedelta(days=1)
    matched = _LITERAL.match(text.upper())
    if matched is None:
        return None
    word = matched[1].replace("FISCAL_", "")
    return date_range(word, None if matched[2] is None else int(matched[2]), today)


def interval_range(interval: str, today: date) -> Range | None:
    """The days of a named interval; None for those that this org does not have."""
    name = interval.removeprefix("INTERVAL_")
    if name == "CUSTOM":
        return None, None
    if name in _SPANS:
        first, last, unit = _SPANS[name]
        return _period(unit, first, today), _period(unit, last + 1, today)
    for word, literal in (("LAST", "LAST_N_DAYS"), ("NEXT", "NEXT_N_DAYS")):
        count = name.removeprefix(word)
        if name.startswith(word) and count.isdigit():
            return date_range(literal, int(count), today)
    return None


def _period(unit: str, offset: int, day: date) -> date:
    """The first day of the period so many after the one that the day is in."""
    match unit:
        case "DAY":
            return day + timedelta(days=offset)
        case "WEEK":
            return day - timedelta(days=(day.weekday() + 1) % 7) + timedelta(days=7 * offset)
        case "QUARTER":
            return _first_of_month(day.year, (day.month - 1) // 3 * 3 + 3 * offset)
        case "YEAR":
            return date(day.year + offset, 1, 1)
    return _first_of_month(day.year, day.month - 1 + offset)


def _first_of_month(year: int, months: int) -> date:
    return date(year + months // 12, months % 12 + 1, 1)


def _american(day: date) -> str:
    return f"{day.month}/{day.day}/{day.year}"


def shown_day(value: str) -> str:
    """A stored day as the en_US locale shows it."""
    return _american(date.fromisoformat(value))


def shown_moment(value: str) -> str:
    """A stored moment as the en_US locale shows it, in UTC."""
    moment = datetime.fromisoformat(value[:19])
    clock = moment.strftime("%I:%M %p").removeprefix("0")
    return f"{_american(moment.date())}, {clock}"


# What is grouped by granularity: DayInMonth and MonthInYear put all years together.
GRANULARITIES = frozenset({
    "Day", "Week", "Month", "Quarter", "Year", "FiscalQuarter", "FiscalYear", "MonthInYear",
    "DayInMonth",
})  # fmt: skip


def bucket(value: str, granularity: str) -> tuple[str | int, str]:
    """The value and the label of the group that a stored date or moment falls into.

    The value is the first day of the period in ISO form, or a number for MonthInYear and
    DayInMonth.
    """
    day = date.fromisoformat(value[:10])
    match granularity:
        case "Week":
            start = _period("WEEK", 0, day)
            return start.isoformat(), f"{_american(start)} - {_american(start + timedelta(days=6))}"
        case "Month":
            return day.replace(day=1).isoformat(), day.strftime("%B %Y")
        case "Quarter" | "FiscalQuarter":
            number = (day.month - 1) // 3 + 1
            kind = "FY" if granularity == "FiscalQuarter" else "CY"
            return _period("QUARTER", 0, day).isoformat(), f"Q{number} {kind}{day.year}"
        case "Year":
            return date(day.year, 1, 1).isoformat(), f"CY{day.year}"
        case "FiscalYear":
            return date(day.year, 1, 1).isoformat(), f"FY{day.year}"
        case "MonthInYear":
            return day.month, day.strftime("%B")
        case "DayInMonth":
            return day.day, str(day.day)
    return day.isoformat(), _american(day)
