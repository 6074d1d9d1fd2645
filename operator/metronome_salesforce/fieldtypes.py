"""The types of single fields of the resources: what they take, and the sentence when they do not.

The patterns are those of the CRDs' rules. Sentences hold no value: a Secret's content pasted into
the wrong field must not reach a log.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from metronome_salesforce.linking import to_id18

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_URL = re.compile(r"https?://[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?/?")
_DURATION = re.compile(
    r"(?:(?P<days>[0-9]{1,4})d)?(?:(?P<hours>[0-9]{1,4})h)?"
    r"(?:(?P<minutes>[0-9]{1,5})m)?(?:(?P<seconds>[0-9]{1,6})s)?"
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_ID_FIELD = re.compile(r"salesforce_account_id|customFields\.[^\t\n\f\r ]+")
_SALESFORCE_VERSION = re.compile(r"(5[89]|[6-9][0-9])\.0")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ACCOUNT_ID = re.compile(r"001[A-Za-z0-9]{12}([A-Z0-5]{3})?")
_NAMESPACE = re.compile(r"([A-Za-z](_?[A-Za-z0-9])*)?")
_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"


def _cron_field(number: str, names: str = "") -> str:
    """The pattern of one cron field: a list of *, values and ranges, each with a step or not."""
    values = rf"\*|(?:{number})(?:-(?:{number}))?"
    if names:
        values += rf"|(?:{names})(?:-(?:{names}))?"
    term = f"(?:{values})(?:/[1-9][0-9]?)?"
    return f"{term}(?:,{term})*"


_SCHEDULE = re.compile(
    " +".join(
        (
            _cron_field("[0-5]?[0-9]"),
            _cron_field("[01]?[0-9]|2[0-3]"),
            _cron_field("0?[1-9]|[12][0-9]|3[01]"),
            _cron_field("0?[1-9]|1[0-2]", _MONTHS),
            _cron_field("[0-7]", _DAYS),
        )
    ),
    re.IGNORECASE | re.ASCII,
)


def refused(sentence: str) -> PydanticCustomError:
    """The error to raise in a validator; `sentence` must hold no value."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _matching(pattern: re.Pattern[str], sentence: str) -> AfterValidator:
    """A check that the whole text matches; the text itself stays out of the message."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise refused(sentence)
        return text

    return AfterValidator(check)


def _schedule(text: str) -> str:
    if not _SCHEDULE.fullmatch(text):
        raise refused(
            "must be five cron fields: minute (0-59), hour (0-23), day of month (1-31), month"
            " (1-12 or JAN-DEC) and day of week (0-7 or SUN-SAT), each a *, a value, a range, a"
            " step or a list of these, such as 0 6 * * MON-FRI"
        )
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        part = str(error).removeprefix("Bad ")
        if part == "day-of-month" and _days_in_order(text):
            raise refused("never comes: no such day is in the months that it names") from None
        raise refused(
            f"has a {part} range that ends before it begins (a week starts with SUN)"
        ) from None
    except StopIteration:
        raise refused("never comes") from None
    return text


def _days_in_order(schedule: str) -> bool:
    """Whether no range of the days of the month ends before it begins."""
    ranges = re.findall(r"([0-9]+)-([0-9]+)", schedule.split()[2])
    return all(int(first) <= int(last) for first, last in ranges)


def _time_zone(text: str) -> str:
    if not _ZONE.fullmatch(text):
        raise refused("must be the IANA name of a time zone, such as Europe/Berlin or Etc/UTC")
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise refused("is not a known time zone: use an IANA name such as Europe/Berlin") from None
    return text


def parse_duration(text: str) -> timedelta:
    """`34d`, `6h`, `1h30m` and the like; raises ValueError for other texts and for zero."""
    found = _DURATION.fullmatch(text)
    duration = timedelta()
    if found:
        duration = timedelta(**{unit: int(n) for unit, n in found.groupdict().items() if n})
    if not duration:
        raise ValueError("not a duration above zero")
    return duration


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(_text(value))
    except ValueError:
        raise refused(
            "must be a duration above zero of days, hours, minutes and seconds in that order,"
            " such as 34d, 6h or 1h30m"
        ) from None


def _lookback(value: object) -> timedelta:
    try:
        duration = value if isinstance(value, timedelta) else parse_duration(_text(value))
        if duration >= timedelta(days=1):
            return duration
    except ValueError:
        pass  # the same sentence says it all
    raise refused(
        "must be a duration of at least 1d: days, hours, minutes and seconds in that order, such as"
        " 34d or 36h"
    )


def _day(value: object) -> date:
    text = _text(value)
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass  # a date such as 30 February
    raise refused("must be a day, such as 2024-01-01")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be text")
    return value


def not_twice(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator of lists that are sets."""
    if len(set(items)) != len(items):
        raise refused("must not name anything twice")
    return items


def _account_id(text: str) -> str:
    if not _ACCOUNT_ID.fullmatch(text):
        raise refused(
            "must be the id of an Account in 15 or 18 letters and digits that begin with 001"
        )
    try:
        to_id18(text)
    except ValueError:
        raise refused(
            "has a last part (characters 16 to 18) that does not fit the others: copy the id"
            " again, with upper and lower case as they are"
        ) from None
    return text


def _url(example: str) -> AfterValidator:
    return _matching(
        _URL, f"must be https:// and a host name, without user, path or query, such as {example}"
    )


def _my_domain(url: str) -> str:
    if ".lightning.force.com" in url:
        raise refused(
            "must be the My Domain address, such as https://acme.my.salesforce.com, not the"
            " lightning.force.com address of the browser"
        )
    return url


_HOST = Field(min_length=1, max_length=280)
_WITHOUT_SLASH = AfterValidator(lambda url: url.removesuffix("/"))


Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_NAME, 'must be a name of lower case letters, digits, "-" and "."'),
]
"""The name of a Kubernetes object."""

DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_KEY, 'must be letters, digits, "-", "_" and "."'),
]
"""A key of a Secret or ConfigMap."""

Schedule = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_schedule)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_time_zone)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Lookback = Annotated[timedelta, BeforeValidator(_lookback)]
"""How far back usage is read: by whole days, so less than one would read nothing."""
Day = Annotated[date, BeforeValidator(_day)]

MetronomeUrl = Annotated[str, _HOST, _url("https://api.metronome.com"), _WITHOUT_SLASH]
InstanceUrl = Annotated[
    str,
    _HOST,
    _url("https://acme.my.salesforce.com"),
    AfterValidator(_my_domain),
    _WITHOUT_SLASH,
]

SalesforceIdField = Annotated[
    str,
    Field(min_length=1, max_length=200),
    _matching(
        _ID_FIELD, "must be salesforce_account_id, or customFields. and the key of a custom field"
    ),
]
SalesforceVersion = Annotated[
    str,
    Field(min_length=1, max_length=10),
    _matching(
        _SALESFORCE_VERSION, 'must be a version of Salesforce\'s API from 58.0 on, such as "66.0"'
    ),
]
CustomerId = Annotated[
    str,
    Field(min_length=1, max_length=36),
    _matching(
        _UUID,
        "must be the customer's id in Metronome, a UUID such as"
        " 0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001",
    ),
]
AccountId = Annotated[str, Field(min_length=1, max_length=18), AfterValidator(_account_id)]
NamespacePrefix = Annotated[
    str,
    Field(max_length=15),
    _matching(
        _NAMESPACE,
        "must be 1 to 15 letters, digits and single underscores, begin with a letter and not end"
        " with an underscore",
    ),
]
ApiName = Annotated[
    str,
    Field(min_length=1, max_length=80),
    _matching(_API_NAME, "must be the API name of a field of Account, such as ERP_Number__c"),
]
