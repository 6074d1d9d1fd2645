"""SOQL's date literals as half-open ranges of days (SOQL Reference, Date Formats and Literals)."""

from datetime import date, timedelta


def _month(day: date, offset: int) -> date:
    months = day.year * 12 + day.month - 1 + offset
    return date(months // 12, months % 12 + 1, 1)


def _week(day: date) -> date:
    # The week begins on Sunday in the en_US locale of the org.
    return day - timedelta(days=(day.weekday() + 1) % 7)


def _quarter(day: date, offset: int) -> date:
    return _month(date(day.year, (day.month - 1) // 3 * 3 + 1, 1), 3 * offset)


_FIXED = {
    "YESTERDAY": (-1, 0), "TODAY": (0, 1), "TOMORROW": (1, 2),
    "LAST_90_DAYS": (-90, 1), "NEXT_90_DAYS": (1, 91),
}  # fmt: skip


def date_range(word: str, count: int | None, today: date) -> tuple[date, date] | None:
    """The days from..until (exclusive) that a literal such as LAST_N_DAYS:7 means, or None."""
    if count is None:
        return _plain_range(word, today)
    day = timedelta(days=1)
    match word:
        case "LAST_N_DAYS":
            return today - count * day, today + day
        case "NEXT_N_DAYS":
            return today + day, today + (count + 1) * day
        case "N_DAYS_AGO":
            return today - count * day, today - (count - 1) * day
        case "LAST_N_WEEKS":
            return _week(today) - 7 * count * day, _week(today)
        case "NEXT_N_WEEKS":
            return _week(today) + 7 * day, _week(today) + 7 * (count + 1) * day
        case "LAST_N_MONTHS":
            return _month(today, -count), _month(today, 0)
        case "NEXT_N_MONTHS":
            return _month(today, 1), _month(today, count + 1)
        case "LAST_N_QUARTERS":
            return _quarter(today, -count), _quarter(today, 0)
        case "NEXT_N_QUARTERS":
            return _quarter(today, 1), _quarter(today, count + 1)
        case "LAST_N_YEARS":
            return date(today.year - count, 1, 1), date(today.year, 1, 1)
        case "NEXT_N_YEARS":
            return date(today.year + 1, 1, 1), date(today.year + count + 1, 1, 1)
    return None


def _plain_range(word: str, today: date) -> tuple[date, date] | None:
    if word in _FIXED:
        start, end = _FIXED[word]
        return today + timedelta(days=start), today + timedelta(days=end)
    when, _, unit = word.partition("_")
    offset = {"LAST": -1, "THIS": 0, "NEXT": 1}.get(when)
    if offset is None:
        return None
    match unit:
        case "WEEK":
            start_day = _week(today) + timedelta(days=7 * offset)
            return start_day, start_day + timedelta(days=7)
        case "MONTH":
            return _month(today, offset), _month(today, offset + 1)
        case "QUARTER":
            return _quarter(today, offset), _quarter(today, offset + 1)
        case "YEAR":
            return date(today.year + offset, 1, 1), date(today.year + offset + 1, 1, 1)
    return None
